//! A SQLite file: each call is one transaction on a thread for blocking work.

mod readers;
mod sends;

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use parking_lot::Mutex;
use rusqlite::{Connection, TransactionBehavior};

/// How long to wait for another process that writes.
const BUSY_WAIT: Duration = Duration::from_secs(10);

/// What each version of the file adds to the one before; `user_version` tells how many a file has.
const VERSIONS: [&str; 3] = [
    "CREATE TABLE IF NOT EXISTS readers (email TEXT PRIMARY KEY COLLATE NOCASE, name TEXT NOT NULL) STRICT;
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
     ) STRICT;",
    // Tokens end unsubscribe links; whoever left during a send is counted there; a letter is kept once, not in each task.
    "ALTER TABLE readers ADD COLUMN token TEXT;
     UPDATE readers SET token = lower(hex(randomblob(16)));
     CREATE UNIQUE INDEX readers_by_token ON readers (token);
     ALTER TABLE sends ADD COLUMN body TEXT NOT NULL DEFAULT '';
     ALTER TABLE sends ADD COLUMN unsubscribed INTEGER NOT NULL DEFAULT 0;
     CREATE INDEX sends_by_start ON sends (started_at);",
    // Whom a send goes to is written down when it begins, and whether the queue has all their tasks; a mail belongs to one
    // task at a time. Sends that are under way go on to today's readers.
    "ALTER TABLE sends ADD COLUMN queued INTEGER NOT NULL DEFAULT 1;
     ALTER TABLE deliveries ADD COLUMN fate TEXT NOT NULL DEFAULT 'sent';
     ALTER TABLE deliveries ADD COLUMN task TEXT;
     ALTER TABLE deliveries ADD COLUMN task_until INTEGER NOT NULL DEFAULT 0;
     UPDATE deliveries SET fate = iif(error = 'unsubscribed', error, 'failed') WHERE error IS NOT NULL;
     UPDATE deliveries SET error = NULL WHERE fate = 'unsubscribed';
     INSERT OR IGNORE INTO deliveries (send, email, fate)
         SELECT sends.id, readers.email, 'waiting' FROM sends CROSS JOIN readers WHERE sends.summary IS NULL;",
];

/// A file of readers, sends and deliveries. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Sqlite(Arc<Mutex<Connection>>);

impl Sqlite {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let db = open(path).with_context(|| format!("could not open the readers' file {}", path.display()))?;
        Ok(Self(Arc::new(Mutex::new(db))))
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let db = self.0.clone();
        tokio::task::spawn_blocking(move || work(&mut db.lock())).await?.context("could not use the readers' file")
    }

    /// The same, and on the disk when it returns: who was told that they are a reader stays one through a power cut. Notes
    /// of deliveries do without: one that a power cut takes repeats a mail, and loses none.
    async fn with_durably<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        self.with(|db| {
            db.pragma_update(None, "synchronous", "FULL")?;
            let done = work(db);
            db.pragma_update(None, "synchronous", "NORMAL")?;
            done
        })
        .await
    }
}

fn open(path: &Path) -> anyhow::Result<Connection> {
    let mut db = Connection::open(path)?;
    db.busy_timeout(BUSY_WAIT)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "NORMAL")?;
    // Two processes may find the same new file: the second waits here and finds it made.
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let missing = VERSIONS.get(version as usize..).with_context(|| {
        format!(
            "it is of version {version}, and this program knows {} at the most: use a newer program",
            VERSIONS.len()
        )
    })?;
    for step in missing {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", u32::try_from(VERSIONS.len())?)?;
    transaction.commit()?;
    Ok(db)
}
