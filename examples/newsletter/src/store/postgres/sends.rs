//! Sends and deliveries in PostgreSQL.

use std::time::SystemTime;

use celeriac::core::{TaskId, Timestamp};
use tokio_postgres::Row;

use super::{Postgres, count, storable};
use crate::{
    mail::Letter,
    store::{
        OutboxMail, Progress, Reader,
        sends::{CLAIMED_FOR, Fate, Found, Note, Tally},
    },
};

const PROGRESS: &str =
    "s.id, s.subject, s.started_at, s.total, s.sent, s.failed, s.unsubscribed, s.repeated, s.last_error, s.summary";

fn progress(row: &Row) -> Progress {
    Progress {
        id: row.get(0),
        subject: row.get(1),
        started_at: Timestamp::try_from(row.get::<_, SystemTime>(2)).unwrap_or(Timestamp::UNIX_EPOCH),
        total: count(row, 3),
        sent: count(row, 4),
        failed: count(row, 5),
        unsubscribed: count(row, 6),
        repeated: count(row, 7),
        last_error: row.get(8),
        summary: row.get(9),
    }
}

/// Everybody who is a reader gets a delivery, and the send knows how many they are: one statement.
const BEGIN: &str = r#"
    WITH audience AS (
        INSERT INTO newsletter.deliveries (send, email) SELECT $1, email FROM newsletter.readers RETURNING email
    ), begun AS (
        INSERT INTO newsletter.sends (id, subject, body, started_at, total)
        SELECT $1, $2, $3, $4, count(*) FROM audience
    )
    SELECT email FROM audience ORDER BY lower(email COLLATE "C")"#;

const UNQUEUED: &str = r#"
    SELECT email FROM newsletter.deliveries
    WHERE send = $1 AND fate = $2 AND EXISTS (SELECT FROM newsletter.sends WHERE id = $1 AND NOT queued)
    ORDER BY lower(email COLLATE "C")"#;

/// Claims what may be claimed, and reads what there is: one statement. Of two tasks at the same time the second waits for the
/// first, and sees its claim.
const CLAIM: &str = r#"
    WITH claimed AS (
        UPDATE newsletter.deliveries SET task = $3, task_until = $5
        WHERE send = $1 AND email = $2 AND fate = ANY ($6) AND (task IS NULL OR task = $3 OR task_until <= $4)
        RETURNING 1
    )
    SELECT d.fate, EXISTS (SELECT FROM claimed), s.subject, s.body, r.email, r.name, r.token
    FROM newsletter.deliveries d JOIN newsletter.sends s ON s.id = d.send
    LEFT JOIN newsletter.readers r ON lower(r.email COLLATE "C") = lower(d.email COLLATE "C")
    WHERE d.send = $1 AND d.email = $2"#;

/// Notes a fate, counts it, and files the mail where there is an outbox: one statement. What each earlier fate makes of it
/// comes along as a table, $4 to $9. The mail is locked before it is looked at, so that two notes are counted one after
/// the other.
fn note() -> String {
    format!(
        r"
    WITH earlier AS MATERIALIZED (
        SELECT fate FROM newsletter.deliveries WHERE send = $1 AND email = $2 FOR UPDATE
    ), tally AS MATERIALIZED (
        SELECT t.* FROM earlier JOIN unnest($4::text[], $5::bool[], $6::int[], $7::int[], $8::int[], $9::int[])
            AS t (fate, changes, sent, failed, unsubscribed, repeated) USING (fate)
    ), noted AS (
        UPDATE newsletter.deliveries d SET fate = $3, error = $10, task = NULL
        FROM tally WHERE tally.changes AND d.send = $1 AND d.email = $2
    ), filed AS (
        INSERT INTO newsletter.outbox (send, email, subject, body)
        SELECT $1, $11, $12, $13 FROM tally WHERE $11::text IS NOT NULL
    )
    UPDATE newsletter.sends s SET
        sent = s.sent + t.sent, failed = s.failed + t.failed, unsubscribed = s.unsubscribed + t.unsubscribed,
        repeated = s.repeated + t.repeated, last_error = coalesce(CASE WHEN t.changes THEN $10 END, s.last_error)
    FROM tally t WHERE s.id = $1
    RETURNING {PROGRESS}"
    )
}

impl Postgres {
    pub(in crate::store) async fn begin(
        &self,
        id: String,
        letter: Letter,
        now: Timestamp,
    ) -> anyhow::Result<Vec<String>> {
        let rows = self.rows_durably(BEGIN, &[&id, &letter.subject, &letter.body, &instant(now)?]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    pub(in crate::store) async fn queued(&self, send: String) -> anyhow::Result<()> {
        self.rows("UPDATE newsletter.sends SET queued = true WHERE id = $1", &[&storable(&send)]).await?;
        Ok(())
    }

    pub(in crate::store) async fn unqueued(&self, send: String) -> anyhow::Result<Vec<String>> {
        let rows = self.rows(UNQUEUED, &[&storable(&send), &Fate::Waiting.as_str()]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    pub(in crate::store) async fn claim(
        &self,
        send: String,
        email: String,
        task: TaskId,
        now: Timestamp,
    ) -> anyhow::Result<Option<Found>> {
        let until = now.saturating_add(CLAIMED_FOR).unwrap_or(Timestamp::MAX);
        let (now, until) = (instant(now)?, instant(until)?);
        let open: Vec<&str> = Fate::ALL.into_iter().filter(|fate| fate.is_open()).map(Fate::as_str).collect();
        let task = storable(task.as_str());
        let found = self.row(CLAIM, &[&storable(&send), &storable(&email), &task, &now, &until, &open]).await?;
        let Some(row) = found else { return Ok(None) };
        let reader = row.get::<_, Option<String>>(4).map(|email| Reader { email, name: row.get(5), token: row.get(6) });
        Ok(Some(Found {
            fate: row.get::<_, &str>(0).parse()?,
            claimed: row.get(1),
            letter: Letter { subject: row.get(2), body: row.get(3) },
            reader,
        }))
    }

    pub(in crate::store) async fn note(&self, note: Note) -> anyhow::Result<Option<Progress>> {
        let tallies = Fate::ALL.map(|earlier| Tally::of(earlier, note.fate));
        let column = |of: fn(&Tally) -> i32| -> Vec<i32> { tallies.iter().map(of).collect() };
        let earlier = Fate::ALL.map(Fate::as_str).to_vec();
        let changes: Vec<bool> = tallies.iter().map(|tally| tally.changes).collect();
        let (sent, failed) = (column(|tally| tally.sent), column(|tally| tally.failed));
        let (unsubscribed, repeated) = (column(|tally| tally.unsubscribed), column(|tally| tally.repeated));
        let error = note.error.as_deref().map(storable);
        let mail = note.outbox.as_ref();
        let (to, subject) = (mail.map(|mail| storable(&mail.email)), mail.map(|mail| storable(&mail.subject)));
        let text = mail.map(|mail| storable(&mail.text));
        let noted = self
            .row(
                &self::note(),
                &[
                    &storable(&note.send),
                    &storable(&note.email),
                    &note.fate.as_str(),
                    &earlier,
                    &changes,
                    &sent,
                    &failed,
                    &unsubscribed,
                    &repeated,
                    &error,
                    &to,
                    &subject,
                    &text,
                ],
            )
            .await?;
        Ok(noted.as_ref().map(progress))
    }

    pub(in crate::store) async fn progress(&self, send: String) -> anyhow::Result<Option<Progress>> {
        let find = format!("SELECT {PROGRESS} FROM newsletter.sends s WHERE id = $1");
        Ok(self.row(&find, &[&storable(&send)]).await?.as_ref().map(progress))
    }

    pub(in crate::store) async fn recent(&self, limit: u32) -> anyhow::Result<Vec<Progress>> {
        let find = format!("SELECT {PROGRESS} FROM newsletter.sends s ORDER BY started_at DESC LIMIT $1");
        Ok(self.rows(&find, &[&i64::from(limit)]).await?.iter().map(progress).collect())
    }

    pub(in crate::store) async fn summarize(&self, send: String, text: String) -> anyhow::Result<()> {
        let write = "UPDATE newsletter.sends SET summary = $2 WHERE id = $1 AND summary IS NULL";
        self.rows(write, &[&storable(&send), &text]).await?;
        Ok(())
    }

    pub(in crate::store) async fn outbox(&self, limit: u32) -> anyhow::Result<(u32, Vec<OutboxMail>)> {
        let count = self.row("SELECT count(*) FROM newsletter.outbox", &[]).await?;
        let count = count.map_or(0, |row| u32::try_from(row.get::<_, i64>(0)).unwrap_or(u32::MAX));
        let find = "SELECT email, subject, body FROM newsletter.outbox ORDER BY id DESC LIMIT $1";
        let last = self.rows(find, &[&i64::from(limit)]).await?;
        let read = |row: &Row| OutboxMail { email: row.get(0), subject: row.get(1), body: row.get(2) };
        Ok((count, last.iter().map(read).collect()))
    }
}

/// An instant as the client takes it.
fn instant(at: Timestamp) -> anyhow::Result<SystemTime> {
    Ok(SystemTime::try_from(at)?)
}
