//! Looks at waiting messages without taking them.

use std::sync::Arc;

use celeriac_core::{Peek, PeekState, Peeked, Priority, QueueName, Result, TaskId, TaskName, WorkerName};
use rusqlite::{Row, params};

use super::claim::message;
use crate::{
    engine::Shared,
    errors::Outcome,
    layout::{key_in, key_out, name, page, small, timestamp},
};

/// What a listing reads of a message, and how its state is found: by where it is.
const COLUMNS: &str = "m.key, m.task_id, m.task, m.queue, m.priority, m.published_at, m.attempts, h.attempt, c.worker, \
                       p.due, m.headers, m.properties, m.body \
                       FROM messages m LEFT JOIN held h ON h.key = m.key LEFT JOIN consumers c ON c.id = h.consumer \
                       LEFT JOIN parked p ON p.queue = m.queue AND p.due = m.due AND p.key = m.key";

pub(super) async fn peek(shared: &Arc<Shared>, peek: Peek) -> Result<Vec<Peeked>> {
    let now = shared.now();
    shared
        .readers
        .run("look at waiting messages", move |conn| {
            let mut statement = conn.prepare_cached(&sql(&peek))?;
            let mut rows = statement.query(params![
                peek.after.map_or(0, key_in),
                peek.queue.as_ref().map(QueueName::as_str),
                peek.task_id.as_ref().map(TaskId::as_str),
                peek.task.as_ref().map(TaskName::as_str),
                now,
                page(peek.limit),
            ])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(peeked(row, now)?);
            }
            Ok(found)
        })
        .await
}

/// Goes through the narrow rows of the state that is asked for, so that a few messages in one state are found quickly
/// beside a million in another.
fn sql(peek: &Peek) -> String {
    let queue = if peek.queue.is_some() { "queue = ?2 AND" } else { "" };
    let keys = match (&peek.task_id, peek.state) {
        (Some(_), _) | (None, None) => None,
        (None, Some(PeekState::Ready)) => Some(format!(
            "SELECT key FROM waiting WHERE {queue} key > ?1 \
             UNION ALL SELECT key FROM parked WHERE {queue} due <= ?5 AND key > ?1"
        )),
        (None, Some(PeekState::Held)) => Some(format!("SELECT key FROM held WHERE {queue} key > ?1")),
        (None, Some(PeekState::Parked)) => Some(format!("SELECT key FROM parked WHERE {queue} due > ?5 AND key > ?1")),
    };
    // The tasks' names are not in the narrow rows: only without them is the page known before the wide rows are read.
    let first = if peek.task.is_none() { "ORDER BY key LIMIT ?6" } else { "" };
    let places = keys.map_or(String::new(), |keys| format!("AND m.key IN (SELECT key FROM ({keys}) {first})"));
    let state = match peek.state {
        None => "",
        Some(PeekState::Ready) => "AND h.key IS NULL AND (p.due IS NULL OR p.due <= ?5)",
        Some(PeekState::Held) => "AND h.key IS NOT NULL",
        Some(PeekState::Parked) => "AND p.due > ?5",
    };
    // A condition that is not asked for must not be in the way of an index.
    let task_id = if peek.task_id.is_some() { "AND m.task_id = ?3" } else { "AND ?3 IS NULL" };
    format!(
        "SELECT {COLUMNS} WHERE m.key > ?1 AND (?2 IS NULL OR m.queue = ?2) {task_id} AND (?4 IS NULL OR m.task = ?4) \
         AND ?5 IS NOT NULL {places} {state} ORDER BY m.key LIMIT ?6"
    )
}

fn peeked(row: &Row<'_>, now: i64) -> Outcome<Peeked> {
    let held: Option<i64> = row.get(7)?;
    let due: Option<i64> = row.get(9)?;
    let state = match (held, due) {
        (Some(_), _) => PeekState::Held,
        (None, Some(due)) if due > now => PeekState::Parked,
        (None, _) => PeekState::Ready,
    };
    let text = |index: usize| row.get::<_, String>(index);
    let worker: Option<String> = row.get(8)?;
    Ok(Peeked {
        key: key_out(row.get(0)?),
        task_id: name(TaskId::new(text(1)?), "a message's task id")?,
        task: name(TaskName::new(text(2)?), "a message's task")?,
        queue: name(QueueName::new(text(3)?), "a message's queue")?,
        priority: Priority(row.get(4)?),
        state,
        due: due.filter(|_| state == PeekState::Parked).map(timestamp),
        published_at: timestamp(row.get(5)?),
        attempt: small(held.map_or_else(|| row.get(6), Ok)?),
        holder: worker.map(|worker| name(WorkerName::new(worker), "a consumer's name")).transpose()?,
        message: message(row, 10)?,
    })
}
