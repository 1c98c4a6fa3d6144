//! Broadcasts: a short log of payloads that listeners follow.

use std::{sync::Arc, time::Duration};

use celeriac_core::{Broadcast, Cursor, Error, ErrorKind, Listener, Notice, Result};
use rusqlite::Connection;
use tokio::sync::Mutex;

use crate::{
    engine::Shared,
    errors::Outcome,
    layout::{PAGE_MAX, check_size, key_in, key_out},
    tx::Tx,
    writer::Durability,
};

/// The log is trimmed whenever so many more broadcasts were sent, by at most twice as many.
const TRIM_EVERY: i64 = 256;
/// The longest name of a channel, and the longest routing key, in bytes.
const NAME_BYTES_MAX: usize = 255;

pub(super) async fn broadcast(shared: &Arc<Shared>, channel: &str, notices: Vec<Notice>) -> Result<()> {
    check_channel(channel)?;
    let mut bytes = 0;
    for notice in &notices {
        check_size("a broadcast", notice.len_bytes(), shared.config.result_bytes_max, "result_max")?;
        if notice.routing_key.len() > NAME_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("use a routing key of {} bytes: it has at most {NAME_BYTES_MAX}", notice.routing_key.len()),
            ));
        }
        bytes += notice.len_bytes();
    }
    if notices.is_empty() {
        return Ok(());
    }
    let kept = i64::from(shared.config.broadcasts_kept);
    let (now, kept_for, channel) = (shared.now(), shared.config.broadcasts_kept_for, channel.to_owned());
    let room = shared.writer.room(bytes).await?;
    shared
        .writer
        .run("broadcast", Durability::Relaxed, notices.len(), move |tx| {
            let mut insert = tx.statement(
                "INSERT INTO broadcasts (cursor, channel, sent_at, routing_key, headers, payload)
                 VALUES (?, ?, ?, ?, ?, ?)",
            )?;
            let mut trim_due = false;
            let mut cursor = 0;
            for notice in &notices {
                cursor = tx.broadcast_cursor()?;
                insert.execute((cursor, &channel, now, &notice.routing_key, &*notice.headers, &*notice.body))?;
                trim_due |= cursor % TRIM_EVERY == 0;
            }
            if trim_due {
                trim(tx, cursor.saturating_sub(kept), now, kept_for)?;
            }
            tx.touch_broadcasts();
            drop(room);
            Ok(())
        })
        .await
}

/// Removes what is before `first` or too old, from the log's beginning on, in a bounded step.
fn trim(tx: &mut Tx<'_>, first: i64, now: i64, kept_for: Duration) -> Outcome<()> {
    let oldest = now.saturating_sub(i64::try_from(kept_for.as_micros()).unwrap_or(i64::MAX));
    let mut last = None;
    {
        let mut head = tx.statement("SELECT cursor, sent_at FROM broadcasts ORDER BY cursor LIMIT ?")?;
        // Twice as many as come in between two trims, and never fewer than one command may bring.
        let mut rows = head.query([TRIM_EVERY * 2 + 10 * 1_000])?;
        while let Some(row) = rows.next()? {
            let (cursor, sent_at): (i64, i64) = (row.get(0)?, row.get(1)?);
            if cursor > first && sent_at >= oldest {
                break;
            }
            last = Some(cursor);
        }
    }
    if let Some(last) = last {
        tx.statement("DELETE FROM broadcasts WHERE cursor <= ?")?.execute([last])?;
    }
    Ok(())
}

fn check_channel(channel: &str) -> Result<()> {
    if channel.is_empty() || channel.len() > NAME_BYTES_MAX {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("use a channel's name of {} bytes: it has 1 to {NAME_BYTES_MAX}", channel.len()),
        ));
    }
    Ok(())
}

/// Follows a channel. See [`Listener`].
pub struct SqliteListener {
    shared: Arc<Shared>,
    channel: Arc<str>,
    routing_key: Option<Arc<str>>,
    /// Up to where everything was handed out. Locked while one `recv` is at it, so that none hears a thing twice.
    position: Mutex<i64>,
    /// Kept so that this process goes on looking while the listener lives.
    _alive: tokio::sync::watch::Receiver<u64>,
}

impl SqliteListener {
    pub(super) async fn start(
        shared: Arc<Shared>,
        channel: &str,
        routing_key: Option<&str>,
        after: Option<Cursor>,
    ) -> Result<Self> {
        check_channel(channel)?;
        shared.waker.listen()?;
        let alive = shared.hub.broadcasts();
        let position = match after {
            Some(cursor) => key_in(cursor.0),
            None => shared.readers.run("listen to a channel", last_cursor).await?,
        };
        Ok(Self {
            shared,
            channel: channel.into(),
            routing_key: routing_key.map(Into::into),
            position: Mutex::new(position),
            _alive: alive,
        })
    }
}

impl Listener for SqliteListener {
    async fn recv(&self, limit: usize) -> Result<Vec<Broadcast>> {
        let limit = limit.clamp(1, PAGE_MAX);
        let mut position = self.position.lock().await;
        let mut news = self.shared.hub.broadcasts();
        loop {
            // Seen before the look, so that what comes during it counts as news.
            news.borrow_and_update();
            let (after, channel, key) = (*position, self.channel.clone(), self.routing_key.clone());
            let (found, seen) = self
                .shared
                .readers
                .run("read broadcasts", move |conn| read(conn, &channel, key.as_deref(), after, limit))
                .await?;
            *position = seen;
            if !found.is_empty() {
                return Ok(found);
            }
            if news.changed().await.is_err() {
                return Err(Error::new(ErrorKind::Invalid, "listen: the store is closed"));
            }
        }
    }
}

/// Reads the channel's broadcasts after a place, and tells up to where there is nothing more.
fn read(
    conn: &Connection,
    channel: &str,
    routing_key: Option<&str>,
    after: i64,
    limit: usize,
) -> Outcome<(Vec<Broadcast>, i64)> {
    let end = last_cursor(conn)?.max(after);
    let mut statement = conn.prepare_cached(
        "SELECT cursor, routing_key, headers, payload FROM broadcasts
         WHERE cursor > ?1 AND channel = ?2 AND (?3 IS NULL OR routing_key = ?3) ORDER BY cursor LIMIT ?4",
    )?;
    let mut rows = statement.query((after, channel, routing_key, i64::try_from(limit).unwrap_or(i64::MAX)))?;
    let mut found = Vec::new();
    let mut last = after;
    while let Some(row) = rows.next()? {
        last = row.get(0)?;
        let (headers, body): (Vec<u8>, Vec<u8>) = (row.get(2)?, row.get(3)?);
        let notice = Notice { routing_key: row.get(1)?, headers: headers.into(), body: body.into() };
        found.push(Broadcast { cursor: Cursor(key_out(last)), notice });
    }
    let seen = if found.len() < limit { end } else { last };
    Ok((found, seen))
}

fn last_cursor(conn: &Connection) -> Outcome<i64> {
    Ok(conn.prepare_cached("SELECT broadcast FROM counters WHERE only = 1")?.query_row([], |row| row.get(0))?)
}
