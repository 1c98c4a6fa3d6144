//! The dead set.

use std::sync::Arc;

use celeriac_core::{
    DeadEntry, DeadQuery, DeadReason, Error, ErrorKind, Message, Publication, QueueName, Result, TaskId, TaskName,
};
use rusqlite::params;

use super::{claim::message, place::Waiting, publish::check, queues::Known};
use crate::{
    engine::Shared,
    errors::Outcome,
    layout::{check_size, key_in, key_out, name, page, small, timestamp},
    tx::Tx,
    writer::Durability,
};

/// The longest detail that is kept, in characters.
const DETAIL_CHARS_MAX: usize = 10_000;
/// How many entries one command replays or drops.
const STEP: usize = 1_000;

pub(super) async fn bury(shared: &Arc<Shared>, entry: Publication, reason: DeadReason, detail: &str) -> Result<()> {
    check(shared, &entry)?;
    let (now, detail) = (shared.now(), detail.to_owned());
    shared
        .writer
        .run("put a message into the dead set", Durability::Durable, 1, move |tx| {
            Known::prepare(tx)?.put(&entry.queue, now)?;
            let number = tx.ticket()?;
            tx.statement(
                "INSERT INTO dead (entry, task_id, task, queue, priority, reason, detail, published_at, died_at, attempts, \
                 headers, properties, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?)",
            )?
            .execute(params![
                number,
                entry.task_id.as_str(),
                entry.task.as_str(),
                entry.queue.as_str(),
                entry.priority.0,
                reason.as_str(),
                cut(&detail),
                now,
                now,
                &*entry.message.headers,
                &*entry.message.properties,
                &*entry.message.body,
            ])?;
            Ok(())
        })
        .await
}

/// Copies a message into the dead set; the caller removes it.
pub(super) fn move_message(
    tx: &mut Tx<'_>,
    key: i64,
    attempt: u32,
    reason: &DeadReason,
    detail: &str,
    now: i64,
) -> Outcome<()> {
    let entry = tx.ticket()?;
    tx.statement(
        "INSERT INTO dead (entry, task_id, task, queue, priority, reason, detail, published_at, died_at, attempts, headers, \
         properties, body) \
         SELECT ?, task_id, task, queue, priority, ?, ?, published_at, ?, ?, headers, properties, body \
         FROM messages WHERE key = ?",
    )?
    .execute(params![entry, reason.as_str(), cut(detail), now, attempt, key])?;
    Ok(())
}

pub(super) async fn list(shared: &Arc<Shared>, query: DeadQuery) -> Result<Vec<DeadEntry>> {
    shared
        .readers
        .run("list the dead set", move |conn| {
            // A condition that is not asked for must not be in the way of an index.
            let queue = if query.queue.is_some() { "queue = ?2" } else { "?2 IS NULL" };
            let task_id = if query.task_id.is_some() { "task_id = ?4" } else { "?4 IS NULL" };
            let mut statement = conn.prepare_cached(&format!(
                "SELECT entry, task_id, task, queue, reason, detail, died_at, attempts, headers, properties, body \
                 FROM dead WHERE entry < ?1 AND {queue} AND (?3 IS NULL OR task = ?3) AND {task_id} \
                 ORDER BY entry DESC LIMIT ?5"
            ))?;
            let mut rows = statement.query(params![
                query.before.map_or(i64::MAX, key_in),
                query.queue.as_ref().map(QueueName::as_str),
                query.task.as_ref().map(TaskName::as_str),
                query.task_id.as_ref().map(TaskId::as_str),
                page(query.limit),
            ])?;
            let mut entries = Vec::new();
            while let Some(row) = rows.next()? {
                let text = |index: usize| row.get::<_, String>(index);
                entries.push(DeadEntry {
                    entry: key_out(row.get(0)?),
                    task_id: name(TaskId::new(text(1)?), "a dead message's task id")?,
                    task: TaskName::new(text(2)?).ok(),
                    queue: name(QueueName::new(text(3)?), "a dead message's queue")?,
                    reason: DeadReason::parse(&text(4)?),
                    detail: text(5)?,
                    died_at: timestamp(row.get(6)?),
                    attempt: small(row.get(7)?),
                    message: message(row, 8)?,
                });
            }
            Ok(entries)
        })
        .await
}

pub(super) async fn replay(shared: &Arc<Shared>, entries: &[u64], edited: Option<Message>) -> Result<u64> {
    if let Some(message) = &edited {
        if entries.len() != 1 {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("replay {} dead messages with one edited message: name one entry", entries.len()),
            ));
        }
        check_size("a message", message.len_bytes(), shared.config.message_bytes_max, "message_max")?;
    }
    let edited = Arc::new(edited);
    in_steps(shared, "replay dead messages", entries, move |tx, entry, now| {
        let key = tx.ticket()?;
        let copied = tx
            .statement(
                "INSERT INTO messages (key, task_id, task, queue, priority, published_at, attempts, headers, properties, body) \
                 SELECT ?, task_id, task, queue, priority, published_at, attempts, ifnull(?, headers), \
                 ifnull(?, properties), ifnull(?, body) FROM dead WHERE entry = ?",
            )?
            .execute(params![
                key,
                edited.as_ref().as_ref().map(|message| &*message.headers),
                edited.as_ref().as_ref().map(|message| &*message.properties),
                edited.as_ref().as_ref().map(|message| &*message.body),
                entry,
            ])?;
        if copied == 0 {
            return Ok(false);
        }
        let (queue, priority): (String, i64) = tx
            .statement("DELETE FROM dead WHERE entry = ? RETURNING queue, priority")?
            .query_row([entry], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Waiting::prepare(tx)?.put(&queue, priority, key, key, now)?;
        tx.touch_queue(&queue);
        Ok(true)
    })
    .await
}

pub(super) async fn drop_dead(shared: &Arc<Shared>, entries: &[u64]) -> Result<u64> {
    in_steps(shared, "drop dead messages", entries, |tx, entry, _| {
        Ok(tx.statement("DELETE FROM dead WHERE entry = ?")?.execute([entry])? == 1)
    })
    .await
}

/// Does something to each entry, so many in one transaction, and counts those that were there.
async fn in_steps<F>(shared: &Arc<Shared>, what: &str, entries: &[u64], each: F) -> Result<u64>
where
    F: Fn(&mut Tx<'_>, i64, i64) -> Outcome<bool> + Clone + Send + 'static,
{
    let now = shared.now();
    let mut found = 0;
    for step in entries.chunks(STEP) {
        let (step, each) = (step.to_vec(), each.clone());
        found += shared
            .writer
            .run(what, Durability::Durable, step.len(), move |tx| {
                let mut found = 0;
                for entry in step {
                    found += u64::from(each(tx, key_in(entry), now)?);
                }
                Ok(found)
            })
            .await?;
    }
    Ok(found)
}

fn cut(detail: &str) -> &str {
    detail.char_indices().nth(DETAIL_CHARS_MAX).map_or(detail, |(end, _)| &detail[..end])
}
