//! Puts messages into their queues.

use std::{collections::VecDeque, iter::Peekable, sync::Arc, time::Duration, vec};

use celeriac_core::{Accepted, Publication, Result, TaskId, Unique};
use rusqlite::{OptionalExtension, params};

use super::{
    place::{Parked, Waiting},
    queues::Known,
};
use crate::{
    engine::Shared,
    errors::Outcome,
    layout::{check_size, micros, name},
    tx::Tx,
    writer::{Answer, Durability},
};

/// How many messages of a large batch go into one command, so that others get in between.
const CHUNK_ROWS: usize = 1_000;
/// How many bytes go into one command, unless one message alone has more.
const CHUNK_BYTES: usize = 8 << 20;
/// How many commands of one batch may be on their way.
const CHUNKS_SENT_MAX: usize = 4;
/// How many expired unique keys one command removes.
const UNIQUE_SWEEP: usize = 100;

pub(super) async fn publish(shared: &Arc<Shared>, batch: Vec<Publication>) -> Result<Vec<Accepted>> {
    for publication in &batch {
        check(shared, publication)?;
    }
    let mut accepted = Vec::with_capacity(batch.len());
    // Several chunks are on their way at once, so that they are committed together and the writer has no gaps.
    let mut sent: VecDeque<Answer<Vec<Accepted>>> = VecDeque::with_capacity(CHUNKS_SENT_MAX);
    let mut rest = batch.into_iter().peekable();
    loop {
        if sent.len() == CHUNKS_SENT_MAX || rest.peek().is_none() {
            let Some(answer) = sent.pop_front() else { return Ok(accepted) };
            accepted.append(&mut answer.answer("publish messages", &shared.writer).await?);
            continue;
        }
        let (chunk, bytes) = take_chunk(&mut rest);
        let rows = chunk.len();
        let now = shared.now();
        let room = shared.writer.room(bytes).await?;
        let work = move |tx: &mut Tx<'_>| {
            let answers = insert_all(tx, &chunk, now);
            drop(room);
            answers
        };
        sent.push_back(shared.writer.submit(Durability::Durable, rows, work).await?);
    }
}

/// Refuses what is too large, and keys that could not be shown to a person.
pub(super) fn check(shared: &Shared, publication: &Publication) -> Result<()> {
    let bytes = publication.message.len_bytes();
    check_size("a message", bytes, shared.config.message_bytes_max, "message_max")?;
    let key_bytes = publication.unique.as_ref().map_or(0, |unique| unique.key.len());
    check_size("a unique key", key_bytes, UNIQUE_KEY_BYTES_MAX, "of none")
}

const UNIQUE_KEY_BYTES_MAX: usize = 255;

/// Takes the next command's share off the front.
fn take_chunk(rest: &mut Peekable<vec::IntoIter<Publication>>) -> (Vec<Publication>, usize) {
    let mut bytes = 0;
    let mut chunk = Vec::with_capacity(rest.len().min(CHUNK_ROWS));
    while chunk.len() < CHUNK_ROWS {
        let fits = |next: &Publication| chunk.is_empty() || bytes + next.message.len_bytes() <= CHUNK_BYTES;
        let Some(next) = rest.next_if(fits) else { break };
        bytes += next.message.len_bytes();
        chunk.push(next);
    }
    (chunk, bytes)
}

fn insert_all(tx: &mut Tx<'_>, chunk: &[Publication], now: i64) -> Outcome<Vec<Accepted>> {
    let mut messages = tx.statement(
        "INSERT INTO messages (key, task_id, task, queue, priority, published_at, due, headers, properties, body) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    let mut waiting = Waiting::prepare(tx)?;
    let mut parked = Parked::prepare(tx)?;
    let mut known = Known::prepare(tx)?;
    let mut accepted = Vec::with_capacity(chunk.len());
    for publication in chunk {
        if let Some(unique) = &publication.unique
            && let Some(holder) = take_unique(tx, unique, &publication.task_id, now)?
        {
            accepted.push(Accepted::Duplicate(holder));
            continue;
        }
        let key = tx.ticket()?;
        let (queue, priority) = (publication.queue.as_str(), i64::from(publication.priority.0));
        let due = publication.due.map(micros).filter(|due| *due > now);
        let message = &publication.message;
        messages.execute(params![
            key,
            publication.task_id.as_str(),
            publication.task.as_str(),
            queue,
            priority,
            now,
            due,
            &*message.headers,
            &*message.properties,
            &*message.body,
        ])?;
        match due {
            Some(due) => parked.put(queue, due, key, priority)?,
            None => waiting.put(queue, priority, key, key, now)?,
        }
        known.put(&publication.queue, now)?;
        tx.touch_queue(queue);
        accepted.push(Accepted::Queued);
    }
    Ok(accepted)
}

/// Takes the key, or tells which task has it.
fn take_unique(tx: &Tx<'_>, unique: &Unique, task_id: &TaskId, now: i64) -> Outcome<Option<TaskId>> {
    let holder: Option<String> = tx
        .statement("SELECT task_id FROM unique_keys WHERE name = ? AND until > ?")?
        .query_row((&unique.key, now), |row| row.get(0))
        .optional()?;
    if let Some(holder) = holder {
        return name(TaskId::new(holder), "the holder of a unique key").map(Some);
    }
    tx.statement(&format!(
        "DELETE FROM unique_keys WHERE name IN (SELECT name FROM unique_keys WHERE until <= ? LIMIT {UNIQUE_SWEEP})"
    ))?
    .execute([now])?;
    let until = now.saturating_add(window_micros(unique.window));
    tx.statement("INSERT OR REPLACE INTO unique_keys (name, task_id, until) VALUES (?, ?, ?)")?.execute((
        &unique.key,
        task_id.as_str(),
        until,
    ))?;
    Ok(None)
}

fn window_micros(window: Duration) -> i64 {
    i64::try_from(window.as_micros()).unwrap_or(i64::MAX)
}
