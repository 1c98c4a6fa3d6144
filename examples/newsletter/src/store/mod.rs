//! Readers, sends and what was delivered: in a SQLite file of the newsletter's own, or in a PostgreSQL database.
//!
//! What there is to know and to decide is here, in `readers.rs` and `sends.rs`; `sqlite` and `postgres` only keep it, each in
//! its SQL. Several processes share a store (web and workers). Each call is one short transaction.

mod postgres;
mod readers;
mod sends;
mod sqlite;

use std::path::Path;

use celeriac::core::{TaskId, Timestamp};

use crate::mail::{Letter, Mail};
use postgres::Postgres;
pub use readers::{NAME_BYTES_MAX, Reader, Registered, is_email, name_problem};
pub use sends::{CLAIMED_FOR, Errand, OutboxMail, Progress};
use sends::{Fate, Found, Note, summary};
use sqlite::Sqlite;

/// Readers, sends and deliveries. Cheap to clone. Every call fails when the file or the database cannot be used.
#[derive(Clone, Debug)]
pub struct Store(Keeper);

/// Who keeps it. Both do the same, each in its SQL.
#[derive(Clone, Debug)]
enum Keeper {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

/// Asks whoever keeps the store.
macro_rules! ask {
    ($store:expr, $keeper:ident => $call:expr) => {
        match &$store.0 {
            Keeper::Sqlite($keeper) => $call.await,
            Keeper::Postgres($keeper) => $call.await,
        }
    };
}

impl Store {
    /// Opens the store that a URL names: `sqlite://FILE`, or `postgresql://user:password@host:5432/database`, also
    /// written `postgres://`.
    ///
    /// # Errors
    /// When the URL names none, or the store cannot be used. The sentence shows no password.
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        match scheme {
            "sqlite" if !rest.is_empty() => {
                let path = std::path::PathBuf::from(rest);
                tokio::task::spawn_blocking(move || Self::open(&path)).await?
            }
            _ if scheme.split('+').next().is_some_and(|name| matches!(name, "postgresql" | "postgres")) => {
                Ok(Self(Keeper::Postgres(Postgres::connect(url).await?)))
            }
            _ => anyhow::bail!(
                "the readers can be kept in sqlite://FILE or postgresql://user:password@host:5432/database, and in no \
                 database whose URL begins with {scheme:?}"
            ),
        }
    }

    /// Opens a SQLite file, makes its tables when it is new, and brings an older one up to date.
    ///
    /// # Errors
    /// When the file cannot be opened, is something else, or is newer than this program.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        Ok(Self(Keeper::Sqlite(Sqlite::open(path)?)))
    }

    /// Signs somebody up.
    pub async fn register(&self, email: String, name: String) -> anyhow::Result<Registered> {
        let added = self.register_all(vec![(email, name)]).await?;
        Ok(if added == 1 { Registered::Now } else { Registered::Already })
    }

    /// Signs many up in one transaction, all or none, and tells how many were new. Each is an address and a name.
    pub async fn register_all(&self, readers: Vec<(String, String)>) -> anyhow::Result<usize> {
        let readers: Vec<Reader> = readers.into_iter().map(|(email, name)| Reader::new(email, name)).collect();
        ask!(self, keeper => keeper.register_all(readers))
    }

    /// How many readers there are.
    pub async fn count(&self) -> anyhow::Result<u32> {
        ask!(self, keeper => keeper.count())
    }

    /// The reader whose unsubscribe link ends with this.
    pub async fn reader_with(&self, token: String) -> anyhow::Result<Option<Reader>> {
        ask!(self, keeper => keeper.reader_with(token))
    }

    /// Removes the reader whose unsubscribe link ends with this, and tells whether there was one.
    pub async fn unsubscribe(&self, token: String) -> anyhow::Result<bool> {
        ask!(self, keeper => keeper.unsubscribe(token))
    }

    /// Begins a send to everybody who is a reader now, and gives their addresses. Until [`Self::queued`] is told of it, their
    /// tasks may be missing.
    pub async fn begin(&self, id: String, letter: Letter, now: Timestamp) -> anyhow::Result<Vec<String>> {
        ask!(self, keeper => keeper.begin(id, letter, now))
    }

    /// Notes that the queue has a task for every reader of a send.
    pub async fn queued(&self, send: String) -> anyhow::Result<()> {
        ask!(self, keeper => keeper.queued(send))
    }

    /// Whose task may be missing in the queue: who still waits for a send that the queue may not have taken whole. Nobody
    /// when it did, or when there is no such send.
    pub async fn unqueued(&self, send: String) -> anyhow::Result<Vec<String>> {
        ask!(self, keeper => keeper.unqueued(send))
    }

    /// What is left to do for one reader of a send, claimed for this task: until [`CLAIMED_FOR`] is over no other gets the
    /// same mail to deliver.
    pub async fn errand(&self, send: String, email: String, task: TaskId, now: Timestamp) -> anyhow::Result<Errand> {
        Ok(ask!(self, keeper => keeper.claim(send, email, task, now))?.map_or(Errand::Unknown, Found::errand))
    }

    /// Notes that a mail was handed over, and puts it into the outbox where `outbox` says so. A second time counts as a
    /// repeat. Tells how far the send is now.
    pub async fn delivered(&self, email: String, mail: Mail, outbox: bool) -> anyhow::Result<Progress> {
        self.note(Note {
            send: mail.send.clone(),
            email,
            fate: Fate::Sent,
            error: None,
            outbox: outbox.then_some(mail),
        })
        .await
    }

    /// Notes that a reader unsubscribed before it was their turn. Tells how far the send is now.
    pub async fn skipped(&self, send: String, email: String) -> anyhow::Result<Progress> {
        self.note(Note { send, email, fate: Fate::Unsubscribed, error: None, outbox: None }).await
    }

    /// Notes that a mail never will be handed over. Tells how far the send is now.
    pub async fn failed(&self, send: String, email: String, error: &str) -> anyhow::Result<Progress> {
        self.note(Note { send, email, fate: Fate::Failed, error: Some(error.to_owned()), outbox: None }).await
    }

    async fn note(&self, note: Note) -> anyhow::Result<Progress> {
        let unknown = format!("there is no send {} to {}", note.send, note.email);
        ask!(self, keeper => keeper.note(note))?.ok_or_else(|| anyhow::anyhow!(unknown))
    }

    /// How far a send has come; none when there is no such send.
    pub async fn progress(&self, send: String) -> anyhow::Result<Option<Progress>> {
        ask!(self, keeper => keeper.progress(send))
    }

    /// The last sends, newest first.
    pub async fn recent(&self, limit: u32) -> anyhow::Result<Vec<Progress>> {
        ask!(self, keeper => keeper.recent(limit))
    }

    /// Writes the summary of a send, once, and gives it.
    ///
    /// # Errors
    /// Also when there is no such send.
    pub async fn summarize(&self, send: String, now: Timestamp) -> anyhow::Result<String> {
        let Some(progress) = self.progress(send.clone()).await? else { anyhow::bail!("there is no send {send}") };
        if let Some(written) = progress.summary {
            return Ok(written);
        }
        let text = summary(&progress, now);
        ask!(self, keeper => keeper.summarize(send, text.clone()))?;
        Ok(text)
    }

    /// How many mails the outbox has, and the last of them, newest first.
    pub async fn outbox(&self, limit: u32) -> anyhow::Result<(u32, Vec<OutboxMail>)> {
        ask!(self, keeper => keeper.outbox(limit))
    }
}
