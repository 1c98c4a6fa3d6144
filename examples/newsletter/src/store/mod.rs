//! Readers, sends and what was delivered, in a SQLite file of the newsletter's own.
//!
//! Several processes share it (web and workers). Each call is one short transaction on a thread for blocking work.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use celeriac::core::Timestamp;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;

/// The longest e-mail address, as RFC 5321 has it, and the longest name.
pub const EMAIL_BYTES_MAX: usize = 254;
/// The longest name of a reader, in bytes.
pub const NAME_BYTES_MAX: usize = 120;

/// Readers, sends and deliveries.
#[derive(Clone, Debug)]
pub struct Store(Arc<Mutex<Connection>>);

/// What became of signing up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// They are a reader now.
    Now,
    /// They were one already.
    Already,
}

/// How far a send has come.
#[derive(Clone, Debug, Serialize)]
pub struct Progress {
    /// Its subject.
    pub subject: String,
    /// How many readers it goes to.
    pub total: u32,
    /// How many have got it.
    pub sent: u32,
    /// How many never will, with the last reason.
    pub failed: u32,
    /// How many mails were handed over a second time after a crash.
    pub repeated: u32,
    /// The last reason of a failure.
    pub last_error: Option<String>,
    /// What the summary says; none until all is done.
    pub summary: Option<String>,
}

impl Progress {
    /// True when nobody is left.
    pub fn is_done(&self) -> bool {
        self.sent + self.failed >= self.total
    }

    /// The part that is done, in percent.
    pub fn percent(&self) -> u64 {
        (u64::from(self.sent + self.failed) * 100).checked_div(u64::from(self.total)).unwrap_or(100)
    }
}

impl Store {
    /// Opens the file, and makes its tables when it is new.
    ///
    /// # Errors
    /// When the file cannot be opened or is something else.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let open = || -> rusqlite::Result<Connection> {
            let db = Connection::open(path)?;
            db.busy_timeout(Duration::from_secs(10))?;
            db.pragma_update(None, "journal_mode", "WAL")?;
            db.pragma_update(None, "synchronous", "NORMAL")?;
            db.execute_batch(
                "BEGIN IMMEDIATE;
                 CREATE TABLE IF NOT EXISTS readers (email TEXT PRIMARY KEY COLLATE NOCASE, name TEXT NOT NULL) STRICT;
                 CREATE TABLE IF NOT EXISTS sends (
                     id TEXT PRIMARY KEY, subject TEXT NOT NULL, total INTEGER NOT NULL, started_at INTEGER NOT NULL, summary TEXT,
                     sent INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0, repeated INTEGER NOT NULL DEFAULT 0,
                     last_error TEXT
                 ) STRICT;
                 CREATE TABLE IF NOT EXISTS deliveries (
                     send TEXT NOT NULL, email TEXT NOT NULL, error TEXT, PRIMARY KEY (send, email)
                 ) STRICT, WITHOUT ROWID;
                 CREATE TABLE IF NOT EXISTS outbox (
                     id INTEGER PRIMARY KEY, email TEXT NOT NULL, subject TEXT NOT NULL, body TEXT NOT NULL, send TEXT NOT NULL
                 ) STRICT;
                 COMMIT;",
            )?;
            Ok(db)
        };
        let db = open().with_context(|| format!("could not open the readers' file {}", path.display()))?;
        Ok(Self(Arc::new(Mutex::new(db))))
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let db = self.0.clone();
        tokio::task::spawn_blocking(move || work(&mut db.lock())).await?.context("could not use the readers' file")
    }

    /// Signs somebody up.
    pub async fn register(&self, email: String, name: String) -> anyhow::Result<Registered> {
        self.with(move |db| {
            let added = db.execute("INSERT OR IGNORE INTO readers (email, name) VALUES (?, ?)", [email, name])?;
            Ok(if added == 1 { Registered::Now } else { Registered::Already })
        })
        .await
    }

    /// Signs many up at once, and tells how many were new.
    pub async fn register_all(&self, readers: Vec<(String, String)>) -> anyhow::Result<usize> {
        self.with(move |db| {
            let transaction = db.transaction()?;
            let mut added = 0;
            {
                let mut insert = transaction.prepare("INSERT OR IGNORE INTO readers (email, name) VALUES (?, ?)")?;
                for (email, name) in readers {
                    added += insert.execute([email, name])?;
                }
            }
            transaction.commit()?;
            Ok(added)
        })
        .await
    }

    /// How many readers there are.
    pub async fn count(&self) -> anyhow::Result<u32> {
        self.with(|db| db.query_row("SELECT count(*) FROM readers", [], |row| row.get(0))).await
    }

    /// Begins a send, and gives the addresses it goes to.
    pub async fn begin(&self, id: String, subject: String, now: Timestamp) -> anyhow::Result<Vec<String>> {
        self.with(move |db| {
            let transaction = db.transaction()?;
            let emails: Vec<String> = transaction
                .prepare("SELECT email FROM readers ORDER BY email")?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            transaction.execute(
                "INSERT INTO sends (id, subject, total, started_at) VALUES (?, ?, ?, ?)",
                params![id, subject, i64::try_from(emails.len()).unwrap_or(i64::MAX), now.as_microsecond()],
            )?;
            transaction.commit()?;
            Ok(emails)
        })
        .await
    }

    /// Whether a reader has got a send already.
    pub async fn is_delivered(&self, send: String, email: String) -> anyhow::Result<bool> {
        self.with(move |db| {
            let mut found =
                db.prepare_cached("SELECT 1 FROM deliveries WHERE send = ? AND email = ? AND error IS NULL")?;
            found.exists([send, email])
        })
        .await
    }

    /// Notes that a mail was handed over, and puts it into the outbox where `outbox` has it (subject and body). A second
    /// time counts as a repeat.
    pub async fn delivered(&self, send: String, email: String, outbox: Option<(String, String)>) -> anyhow::Result<()> {
        self.with(move |db| {
            let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            // Counted here and not when somebody looks: a page is watched while ten thousand mails go out.
            let earlier: Option<Option<String>> = transaction
                .query_row("SELECT error FROM deliveries WHERE send = ? AND email = ?", [&send, &email], |row| {
                    row.get(0)
                })
                .optional()?;
            transaction.execute("INSERT OR REPLACE INTO deliveries (send, email) VALUES (?, ?)", [&send, &email])?;
            transaction.execute(
                match earlier {
                    None => "UPDATE sends SET sent = sent + 1 WHERE id = ?",
                    Some(Some(_)) => "UPDATE sends SET sent = sent + 1, failed = failed - 1 WHERE id = ?",
                    Some(None) => "UPDATE sends SET repeated = repeated + 1 WHERE id = ?",
                },
                [&send],
            )?;
            if let Some((subject, body)) = outbox {
                transaction.execute(
                    "INSERT INTO outbox (email, subject, body, send) VALUES (?, ?, ?, ?)",
                    [&email, &subject, &body, &send],
                )?;
            }
            transaction.commit()
        })
        .await
    }

    /// Notes that a mail never will be handed over.
    pub async fn failed(&self, send: String, email: String, error: String) -> anyhow::Result<()> {
        self.with(move |db| {
            let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let added = transaction.execute(
                "INSERT OR IGNORE INTO deliveries (send, email, error) VALUES (?, ?, ?)",
                [&send, &email, &error],
            )?;
            if added == 1 {
                transaction
                    .execute("UPDATE sends SET failed = failed + 1, last_error = ? WHERE id = ?", [&error, &send])?;
            }
            transaction.commit()?;
            Ok(())
        })
        .await
    }

    /// How far a send has come; none when there is no such send.
    pub async fn progress(&self, send: String) -> anyhow::Result<Option<Progress>> {
        self.with(move |db| {
            let mut find = db.prepare_cached(
                "SELECT subject, total, sent, failed, repeated, last_error, summary FROM sends WHERE id = ?",
            )?;
            find.query_row([&send], |row| {
                Ok(Progress {
                    subject: row.get(0)?,
                    total: row.get(1)?,
                    sent: row.get(2)?,
                    failed: row.get(3)?,
                    repeated: row.get(4)?,
                    last_error: row.get(5)?,
                    summary: row.get(6)?,
                })
            })
            .optional()
        })
        .await
    }

    /// Writes the summary of a send, once.
    pub async fn summarize(&self, send: String, now: Timestamp) -> anyhow::Result<String> {
        let Some(progress) = self.progress(send.clone()).await? else { anyhow::bail!("there is no send {send}") };
        self.with(move |db| {
            let started: i64 = db.query_row("SELECT started_at FROM sends WHERE id = ?", [&send], |row| row.get(0))?;
            let micros = now.as_microsecond().saturating_sub(started).max(0);
            let summary = format!(
                "{} sent, {} failed, in {}.{:01} s",
                progress.sent,
                progress.failed,
                micros / 1_000_000,
                micros / 100_000 % 10
            );
            db.execute("UPDATE sends SET summary = ? WHERE id = ? AND summary IS NULL", [&summary, &send])?;
            Ok(summary)
        })
        .await
    }

    /// The last mails of the outbox: address, subject, body.
    pub async fn outbox(&self, limit: u32) -> anyhow::Result<Vec<(String, String, String)>> {
        self.with(move |db| {
            db.prepare("SELECT email, subject, body FROM outbox ORDER BY id DESC LIMIT ?")?
                .query_map([limit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect()
        })
        .await
    }
}

/// Checks an address as far as a form can: one `@`, something on both sides, a dot in the domain, nothing odd.
pub fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    text.len() <= EMAIL_BYTES_MAX
        && !local.is_empty()
        && domain.split('.').count() > 1
        && domain.split('.').all(|label| !label.is_empty())
        && !text.chars().any(|c| c.is_whitespace() || c.is_control() || "<>()[],;:\\\"".contains(c))
        && !domain.contains('@')
}
