//! Sends and deliveries in SQLite.

use celeriac::core::{TaskId, Timestamp};
use rusqlite::{
    Connection, OptionalExtension as _, Row, ToSql, TransactionBehavior, params,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};

use super::Sqlite;
use crate::{
    mail::Letter,
    store::{
        OutboxMail, Progress, Reader,
        sends::{CLAIMED_FOR, Fate, Found, Note, Tally},
    },
};

const PROGRESS: &str = "id, subject, started_at, total, sent, failed, unsubscribed, repeated, last_error, summary";

fn progress(row: &Row<'_>) -> rusqlite::Result<Progress> {
    Ok(Progress {
        id: row.get(0)?,
        subject: row.get(1)?,
        started_at: Timestamp::from_microsecond(row.get(2)?).unwrap_or(Timestamp::UNIX_EPOCH),
        total: row.get(3)?,
        sent: row.get(4)?,
        failed: row.get(5)?,
        unsubscribed: row.get(6)?,
        repeated: row.get(7)?,
        last_error: row.get(8)?,
        summary: row.get(9)?,
    })
}

impl ToSql for Fate {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.as_str().to_sql()
    }
}

impl FromSql for Fate {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map_err(|error: anyhow::Error| FromSqlError::Other(error.into()))
    }
}

impl Sqlite {
    pub(in crate::store) async fn begin(
        &self,
        id: String,
        letter: Letter,
        now: Timestamp,
    ) -> anyhow::Result<Vec<String>> {
        self.with_durably(move |db| {
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let total = transaction.execute(
                "INSERT INTO deliveries (send, email, fate) SELECT ?1, email, ?2 FROM readers",
                params![id, Fate::Waiting],
            )?;
            transaction.execute(
                "INSERT INTO sends (id, subject, body, total, started_at, queued) VALUES (?, ?, ?, ?, ?, 0)",
                params![
                    id,
                    letter.subject,
                    letter.body,
                    i64::try_from(total).unwrap_or(i64::MAX),
                    now.as_microsecond()
                ],
            )?;
            let emails = waiting(&transaction, &id)?;
            transaction.commit()?;
            Ok(emails)
        })
        .await
    }

    pub(in crate::store) async fn queued(&self, send: String) -> anyhow::Result<()> {
        self.with(move |db| db.execute("UPDATE sends SET queued = 1 WHERE id = ?", [send])).await?;
        Ok(())
    }

    pub(in crate::store) async fn unqueued(&self, send: String) -> anyhow::Result<Vec<String>> {
        self.with(move |db| {
            let mut open = db.prepare_cached("SELECT 1 FROM sends WHERE id = ? AND queued = 0")?;
            if open.exists([&send])? { waiting(db, &send) } else { Ok(Vec::new()) }
        })
        .await
    }

    pub(in crate::store) async fn claim(
        &self,
        send: String,
        email: String,
        task: TaskId,
        now: Timestamp,
    ) -> anyhow::Result<Option<Found>> {
        self.with(move |db| {
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut find = transaction.prepare_cached(
                "SELECT fate, task IS NULL OR task = ?3 OR task_until <= ?4, subject, body, readers.email, name, token
                 FROM deliveries JOIN sends ON sends.id = send LEFT JOIN readers ON readers.email = deliveries.email
                 WHERE send = ?1 AND deliveries.email = ?2",
            )?;
            let found = find
                .query_row(params![send, email, task.as_str(), now.as_microsecond()], |row| {
                    let fate: Fate = row.get(0)?;
                    let reader: Option<String> = row.get(4)?;
                    Ok(Found {
                        fate,
                        claimed: fate.is_open() && row.get(1)?,
                        letter: Letter { subject: row.get(2)?, body: row.get(3)? },
                        reader: match reader {
                            Some(email) => Some(Reader { email, name: row.get(5)?, token: row.get(6)? }),
                            None => None,
                        },
                    })
                })
                .optional()?;
            drop(find);
            if found.as_ref().is_some_and(|found| found.claimed) {
                let until = now.saturating_add(CLAIMED_FOR).unwrap_or(Timestamp::MAX);
                transaction
                    .prepare_cached("UPDATE deliveries SET task = ?3, task_until = ?4 WHERE send = ?1 AND email = ?2")?
                    .execute(params![send, email, task.as_str(), until.as_microsecond()])?;
            }
            transaction.commit()?;
            Ok(found)
        })
        .await
    }

    pub(in crate::store) async fn note(&self, note: Note) -> anyhow::Result<Option<Progress>> {
        self.with(move |db| {
            let Note { send, email, fate, error, outbox } = note;
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let earlier = transaction
                .prepare_cached("SELECT fate FROM deliveries WHERE send = ? AND email = ?")?
                .query_row([&send, &email], |row| row.get(0))
                .optional()?;
            let Some(earlier) = earlier else { return Ok(None) };
            let tally = Tally::of(earlier, fate);
            if tally.changes {
                transaction
                    .prepare_cached(
                        "UPDATE deliveries SET fate = ?3, error = ?4, task = NULL WHERE send = ?1 AND email = ?2",
                    )?
                    .execute(params![send, email, fate, error])?;
            }
            let error = error.filter(|_| tally.changes);
            let progress = transaction
                .prepare_cached(&format!(
                    "UPDATE sends SET sent = sent + ?2, failed = failed + ?3, unsubscribed = unsubscribed + ?4,
                         repeated = repeated + ?5, last_error = coalesce(?6, last_error)
                     WHERE id = ?1 RETURNING {PROGRESS}"
                ))?
                .query_row(params![send, tally.sent, tally.failed, tally.unsubscribed, tally.repeated, error], progress)
                .optional()?;
            if let Some(mail) = outbox {
                transaction
                    .prepare_cached("INSERT INTO outbox (email, subject, body, send) VALUES (?, ?, ?, ?)")?
                    .execute([&mail.email, &mail.subject, &mail.text, &mail.send])?;
            }
            transaction.commit()?;
            Ok(progress)
        })
        .await
    }

    pub(in crate::store) async fn progress(&self, send: String) -> anyhow::Result<Option<Progress>> {
        self.with(move |db| {
            db.prepare_cached(&format!("SELECT {PROGRESS} FROM sends WHERE id = ?"))?
                .query_row([&send], progress)
                .optional()
        })
        .await
    }

    pub(in crate::store) async fn recent(&self, limit: u32) -> anyhow::Result<Vec<Progress>> {
        self.with(move |db| {
            db.prepare_cached(&format!("SELECT {PROGRESS} FROM sends ORDER BY started_at DESC LIMIT ?"))?
                .query_map([limit], progress)?
                .collect()
        })
        .await
    }

    pub(in crate::store) async fn summarize(&self, send: String, text: String) -> anyhow::Result<()> {
        self.with(move |db| {
            db.execute("UPDATE sends SET summary = ?2 WHERE id = ?1 AND summary IS NULL", [send, text])
        })
        .await?;
        Ok(())
    }

    pub(in crate::store) async fn outbox(&self, limit: u32) -> anyhow::Result<(u32, Vec<OutboxMail>)> {
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

/// Who still waits for a send, by address.
fn waiting(db: &Connection, send: &str) -> rusqlite::Result<Vec<String>> {
    db.prepare_cached("SELECT email FROM deliveries WHERE send = ? AND fate = ? ORDER BY email COLLATE NOCASE")?
        .query_map(params![send, Fate::Waiting], |row| row.get(0))?
        .collect()
}
