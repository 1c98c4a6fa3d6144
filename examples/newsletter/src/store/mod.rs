//! Readers, sends and what was delivered: in a SQLite file of the newsletter's own, or in a PostgreSQL database.
//!
//! What there is to know and to decide is here, in `readers.rs` and `sends.rs`; `sqlite` and `postgres` only keep it, each in
//! its SQL. Several processes share a store (web and workers). Each call is one short transaction.

mod readers;
mod sends;
mod sqlite;

use std::path::Path;

use celeriac::core::{TaskId, Timestamp};

use crate::mail::{Letter, Mail};
pub use readers::{NAME_BYTES_MAX, Reader, Registered, is_email, name_problem};
pub use sends::{CLAIMED_FOR, Errand, OutboxMail, Progress};
use sends::{Fate, Found, Note, summary};
use sqlite::Sqlite;

/// Readers, sends and deliveries. Cheap to clone. Every call fails when the file or the database cannot be used.
#[derive(Clone, Debug)]
pub struct Store(Sqlite);

impl Store {
    /// Opens a SQLite file, makes its tables when it is new, and brings an older one up to date.
    ///
    /// # Errors
    /// When the file cannot be opened, is something else, or is newer than this program.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        Ok(Self(Sqlite::open(path)?))
    }

    /// Signs somebody up.
    pub async fn register(&self, email: String, name: String) -> anyhow::Result<Registered> {
        let added = self.register_all(vec![(email, name)]).await?;
        Ok(if added == 1 { Registered::Now } else { Registered::Already })
    }

    /// Signs many up in one transaction, all or none, and tells how many were new. Each is an address and a name.
    pub async fn register_all(&self, readers: Vec<(String, String)>) -> anyhow::Result<usize> {
        self.0.register_all(readers.into_iter().map(|(email, name)| Reader::new(email, name)).collect()).await
    }

    /// How many readers there are.
    pub async fn count(&self) -> anyhow::Result<u32> {
        self.0.count().await
    }

    /// The reader whose unsubscribe link ends with this.
    pub async fn reader_with(&self, token: String) -> anyhow::Result<Option<Reader>> {
        self.0.reader_with(token).await
    }

    /// Removes the reader whose unsubscribe link ends with this, and tells whether there was one.
    pub async fn unsubscribe(&self, token: String) -> anyhow::Result<bool> {
        self.0.unsubscribe(token).await
    }

    /// Begins a send to everybody who is a reader now, and gives their addresses. Until [`Self::queued`] is told of it, their
    /// tasks may be missing.
    pub async fn begin(&self, id: String, letter: Letter, now: Timestamp) -> anyhow::Result<Vec<String>> {
        self.0.begin(id, letter, now).await
    }

    /// Notes that the queue has a task for every reader of a send.
    pub async fn queued(&self, send: String) -> anyhow::Result<()> {
        self.0.queued(send).await
    }

    /// Whose task may be missing in the queue: who still waits for a send that the queue may not have taken whole. Nobody
    /// when it did, or when there is no such send.
    pub async fn unqueued(&self, send: String) -> anyhow::Result<Vec<String>> {
        self.0.unqueued(send).await
    }

    /// What is left to do for one reader of a send, claimed for this task: until [`CLAIMED_FOR`] is over no other gets the
    /// same mail to deliver.
    pub async fn errand(&self, send: String, email: String, task: TaskId, now: Timestamp) -> anyhow::Result<Errand> {
        Ok(self.0.claim(send, email, task, now).await?.map_or(Errand::Unknown, Found::errand))
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
        self.0.note(note).await?.ok_or_else(|| anyhow::anyhow!(unknown))
    }

    /// How far a send has come; none when there is no such send.
    pub async fn progress(&self, send: String) -> anyhow::Result<Option<Progress>> {
        self.0.progress(send).await
    }

    /// The last sends, newest first.
    pub async fn recent(&self, limit: u32) -> anyhow::Result<Vec<Progress>> {
        self.0.recent(limit).await
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
        self.0.summarize(send, text.clone()).await?;
        Ok(text)
    }

    /// How many mails the outbox has, and the last of them, newest first.
    pub async fn outbox(&self, limit: u32) -> anyhow::Result<(u32, Vec<OutboxMail>)> {
        self.0.outbox(limit).await
    }
}
