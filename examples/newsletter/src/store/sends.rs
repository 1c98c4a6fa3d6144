//! Sends: a letter on its way to all who were readers when it was sent, and how far it has come.

use celeriac::core::Timestamp;
use rusqlite::{OptionalExtension as _, Row, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

use super::{Reader, Store};
use crate::mail::{Letter, Mail};

/// Stands in place of an error where a reader left before it was their turn.
const UNSUBSCRIBED: &str = "unsubscribed";

/// How far a send has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// Its id.
    pub id: String,
    /// Its subject.
    pub subject: String,
    /// How many readers it goes to.
    pub total: u32,
    /// How many have got it.
    pub sent: u32,
    /// How many never will.
    pub failed: u32,
    /// How many unsubscribed before it was their turn, and get none.
    pub unsubscribed: u32,
    /// How many mails were handed over a second time after a crash.
    pub repeated: u32,
    /// The last reason of a failure.
    pub last_error: Option<String>,
    /// What the summary says; none until all is done.
    pub summary: Option<String>,
}

impl Progress {
    /// How many readers are done with, one way or another.
    pub fn done(&self) -> u32 {
        self.sent + self.failed + self.unsubscribed
    }

    /// True when nobody is left.
    pub fn is_done(&self) -> bool {
        self.done() >= self.total
    }

    /// The part that is done, in whole percent.
    pub fn percent(&self) -> u64 {
        (u64::from(self.done()) * 100).checked_div(u64::from(self.total)).unwrap_or(100)
    }

    const COLUMNS: &str = "id, subject, total, sent, failed, unsubscribed, repeated, last_error, summary";

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            subject: row.get(1)?,
            total: row.get(2)?,
            sent: row.get(3)?,
            failed: row.get(4)?,
            unsubscribed: row.get(5)?,
            repeated: row.get(6)?,
            last_error: row.get(7)?,
            summary: row.get(8)?,
        })
    }
}

/// What there is to do for one reader of a send.
#[derive(Debug)]
pub enum Errand {
    /// Send this letter to this reader.
    Deliver(Letter, Reader),
    /// Nothing: they have it, or had left when it was their turn.
    Delivered,
    /// Nothing: they have unsubscribed.
    Unsubscribed,
    /// Nothing: there is no such send in this file.
    Unknown,
}

/// A mail that went nowhere but into the outbox.
#[derive(Clone, Debug)]
pub struct OutboxMail {
    /// Whom it was for.
    pub email: String,
    /// Its subject.
    pub subject: String,
    /// Its text.
    pub body: String,
}

impl Store {
    /// Begins a send, and gives the addresses it goes to.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub async fn begin(&self, id: String, letter: Letter, now: Timestamp) -> anyhow::Result<Vec<String>> {
        self.with_durably(move |db| {
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let emails: Vec<String> = transaction
                .prepare("SELECT email FROM readers ORDER BY email")?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            transaction.execute(
                "INSERT INTO sends (id, subject, body, total, started_at) VALUES (?, ?, ?, ?, ?)",
                params![
                    id,
                    letter.subject,
                    letter.body,
                    i64::try_from(emails.len()).unwrap_or(i64::MAX),
                    now.as_microsecond()
                ],
            )?;
            transaction.commit()?;
            Ok(emails)
        })
        .await
    }

    /// What is left to do for one reader of a send.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub async fn errand(&self, send: String, email: String) -> anyhow::Result<Errand> {
        self.with(move |db| {
            // Who failed for good is tried again when somebody retries the task; who left stays left.
            let mut done = db.prepare_cached(
                "SELECT 1 FROM deliveries WHERE send = ?1 AND email = ?2 AND (error IS NULL OR error = ?3)",
            )?;
            if done.exists([&send, &email, UNSUBSCRIBED])? {
                return Ok(Errand::Delivered);
            }
            let mut find = db.prepare_cached("SELECT subject, body FROM sends WHERE id = ?")?;
            let letter = find.query_row([&send], |row| Ok(Letter { subject: row.get(0)?, body: row.get(1)? }));
            let Some(letter) = letter.optional()? else { return Ok(Errand::Unknown) };
            let mut find = db.prepare_cached("SELECT email, name, token FROM readers WHERE email = ?")?;
            let reader = find
                .query_row([&email], |row| Ok(Reader { email: row.get(0)?, name: row.get(1)?, token: row.get(2)? }));
            Ok(reader.optional()?.map_or(Errand::Unsubscribed, |reader| Errand::Deliver(letter, reader)))
        })
        .await
    }

    /// Notes that a mail was handed over, and puts it into the outbox where `outbox` says so. A second time counts as a
    /// repeat.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub async fn delivered(&self, mail: Mail, outbox: bool) -> anyhow::Result<()> {
        self.with(move |db| {
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            // Counted here and not when somebody looks: a page is watched while ten thousand mails go out.
            let earlier: Option<Option<String>> = transaction
                .prepare_cached("SELECT error FROM deliveries WHERE send = ? AND email = ?")?
                .query_row([&mail.send, &mail.email], |row| row.get(0))
                .optional()?;
            transaction
                .prepare_cached("INSERT OR REPLACE INTO deliveries (send, email) VALUES (?, ?)")?
                .execute([&mail.send, &mail.email])?;
            let count = match earlier {
                None => "UPDATE sends SET sent = sent + 1 WHERE id = ?",
                Some(Some(_)) => "UPDATE sends SET sent = sent + 1, failed = failed - 1 WHERE id = ?",
                Some(None) => "UPDATE sends SET repeated = repeated + 1 WHERE id = ?",
            };
            transaction.prepare_cached(count)?.execute([&mail.send])?;
            if outbox {
                transaction
                    .prepare_cached("INSERT INTO outbox (email, subject, body, send) VALUES (?, ?, ?, ?)")?
                    .execute([&mail.email, &mail.subject, &mail.text, &mail.send])?;
            }
            transaction.commit()
        })
        .await
    }

    /// Notes that a reader unsubscribed before it was their turn.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub async fn skipped(&self, send: String, email: String) -> anyhow::Result<()> {
        // Not an error of a delivery, but as final: it has its place among them so that it is counted once.
        self.ended(send, email, UNSUBSCRIBED, "UPDATE sends SET unsubscribed = unsubscribed + 1 WHERE id = ?1").await
    }

    /// Notes that a mail never will be handed over.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub async fn failed(&self, send: String, email: String, error: &str) -> anyhow::Result<()> {
        self.ended(send, email, error, "UPDATE sends SET failed = failed + 1, last_error = ?2 WHERE id = ?1").await
    }

    async fn ended(&self, send: String, email: String, why: &str, count: &'static str) -> anyhow::Result<()> {
        let why = why.to_owned();
        self.with(move |db| {
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let added = transaction.execute(
                "INSERT OR IGNORE INTO deliveries (send, email, error) VALUES (?, ?, ?)",
                [&send, &email, &why],
            )?;
            if added == 1 {
                let mut count = transaction.prepare_cached(count)?;
                count.raw_bind_parameter(1, &send)?;
                if count.parameter_count() > 1 {
                    count.raw_bind_parameter(2, &why)?;
                }
                count.raw_execute()?;
            }
            transaction.commit()
        })
        .await
    }

    /// How far a send has come; none when there is no such send.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub async fn progress(&self, send: String) -> anyhow::Result<Option<Progress>> {
        self.with(move |db| {
            db.prepare_cached(&format!("SELECT {} FROM sends WHERE id = ?", Progress::COLUMNS))?
                .query_row([&send], Progress::read)
                .optional()
        })
        .await
    }

    /// The last sends, newest first.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub async fn recent(&self, limit: u32) -> anyhow::Result<Vec<Progress>> {
        self.with(move |db| {
            let columns = Progress::COLUMNS;
            db.prepare_cached(&format!("SELECT {columns} FROM sends ORDER BY started_at DESC LIMIT ?"))?
                .query_map([limit], Progress::read)?
                .collect()
        })
        .await
    }

    /// Writes the summary of a send, once.
    ///
    /// # Errors
    /// When the file cannot be used, or there is no such send.
    pub async fn summarize(&self, send: String, now: Timestamp) -> anyhow::Result<String> {
        let Some(progress) = self.progress(send.clone()).await? else { anyhow::bail!("there is no send {send}") };
        self.with(move |db| {
            let started: i64 = db.query_row("SELECT started_at FROM sends WHERE id = ?", [&send], |row| row.get(0))?;
            let tenths = now.as_microsecond().saturating_sub(started).max(0) / 100_000;
            let left = match progress.unsubscribed {
                0 => String::new(),
                left => format!(", {left} unsubscribed meanwhile"),
            };
            let summary = format!(
                "{} sent, {} failed{left}, in {}.{} s",
                progress.sent,
                progress.failed,
                tenths / 10,
                tenths % 10
            );
            db.execute("UPDATE sends SET summary = ? WHERE id = ? AND summary IS NULL", [&summary, &send])?;
            Ok(summary)
        })
        .await
    }

    /// Says of a send that the queue did not take it, or not all of it.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub async fn refused(&self, send: String, why: String) -> anyhow::Result<()> {
        self.with(move |db| {
            db.execute("UPDATE sends SET last_error = ?1, summary = 'Not sent to everybody' WHERE id = ?2", [why, send])
        })
        .await?;
        Ok(())
    }

    /// How many mails the outbox has, and the last of them, newest first.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub async fn outbox(&self, limit: u32) -> anyhow::Result<(u32, Vec<OutboxMail>)> {
        self.with(move |db| {
            let count = db.query_row("SELECT count(*) FROM outbox", [], |row| row.get(0))?;
            let last = db
                .prepare("SELECT email, subject, body FROM outbox ORDER BY id DESC LIMIT ?")?
                .query_map([limit], |row| {
                    Ok(OutboxMail { email: row.get(0)?, subject: row.get(1)?, body: row.get(2)? })
                })?
                .collect::<Result<_, _>>()?;
            Ok((count, last))
        })
        .await
    }
}
