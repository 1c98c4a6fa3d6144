//! Looks at waiting messages without taking them.

use std::sync::Arc;

use celeriac_core::{Peek, PeekState, Peeked, QueueName, Result, TaskId, TaskName, WorkerName};
use tokio_postgres::{Row, types::Type};

use super::claim::{message, priority};
use crate::{
    connections::Session,
    engine::Shared,
    errors::Outcome,
    layout::{key_in, key_out, name, page, small, timestamp},
};

pub(super) async fn peek(shared: &Arc<Shared>, peek: Peek) -> Result<Vec<Peeked>> {
    shared.broker.check("look at waiting messages")?;
    let (now, sql) = (shared.now(), &shared.sql(&sql(&peek)));
    let (after, limit) = (peek.after.map_or(0, key_in), page(peek.limit));
    let queue = peek.queue.as_ref().map(QueueName::as_str);
    let id = peek.task_id.as_ref().map(TaskId::as_str);
    let task = peek.task.as_ref().map(TaskName::as_str);
    shared
        .run("look at waiting messages", |connection| async move {
            let params = [
                (&after as _, Type::INT8),
                (&queue as _, Type::TEXT),
                (&id as _, Type::TEXT),
                (&task as _, Type::TEXT),
                (&now as _, Type::INT8),
                (&limit as _, Type::INT8),
            ];
            connection.rows(sql, &params).await?.iter().map(|row| peeked(row, now)).collect()
        })
        .await
}

/// Finds the page's keys first: in the narrow table of the state that is asked for, so that a few messages in one state
/// are found quickly beside a million in another; else in the messages themselves. The state is where the key is.
fn sql(peek: &Peek) -> String {
    // A condition that is not asked for must not be in the way of an index.
    let queue = if peek.queue.is_some() { "queue = $2" } else { "$2::text IS NULL" };
    let task_id = if peek.task_id.is_some() { "m.task_id = $3" } else { "$3::text IS NULL" };
    let task = if peek.task.is_some() { "m.task = $4" } else { "$4::text IS NULL" };
    let parked = "SELECT key FROM {s}.parked WHERE key > $1 AND";
    let places = match peek.state {
        None => format!("SELECT key FROM {{s}}.messages m WHERE key > $1 AND {queue} AND {task_id} AND {task}"),
        Some(PeekState::Held) => format!("SELECT key FROM {{s}}.held WHERE key > $1 AND {queue}"),
        Some(PeekState::Parked) => format!("{parked} {queue} AND due > $5"),
        Some(PeekState::Ready) => {
            format!("SELECT key FROM {{s}}.waiting WHERE key > $1 AND {queue} UNION ALL {parked} {queue} AND due <= $5")
        }
    };
    let named = peek.task_id.is_some() || peek.task.is_some();
    // Ids and tasks do not stand in the narrow tables: they are asked for before the page is cut.
    let page = if peek.state.is_some() && named {
        format!("SELECT p.key FROM ({places}) AS p JOIN {{s}}.messages m ON m.key = p.key WHERE {task_id} AND {task}")
    } else {
        places
    };
    format!(
        "WITH page AS MATERIALIZED (SELECT key FROM ({page}) AS k ORDER BY key LIMIT $6), \
         hands AS MATERIALIZED (SELECT key, attempt, consumer FROM {{s}}.held WHERE key = ANY (ARRAY(SELECT key FROM page))) \
         SELECT m.key, m.task_id, m.task, m.queue, m.priority, m.published_at, m.attempts, h.attempt, c.worker, p.due, \
                m.headers, m.properties, m.body, $3::text IS NULL, $4::text IS NULL, $5::bigint \
         FROM page JOIN {{s}}.messages m ON m.key = page.key LEFT JOIN hands h ON h.key = m.key \
         LEFT JOIN {{s}}.consumers c ON c.id = h.consumer \
         LEFT JOIN {{s}}.parked p ON p.queue = m.queue AND p.due = m.due AND p.key = m.key \
         ORDER BY m.key"
    )
}

fn peeked(row: &Row, now: i64) -> Outcome<Peeked> {
    let held: Option<i32> = row.try_get(7)?;
    let due: Option<i64> = row.try_get(9)?;
    let state = match (held, due) {
        (Some(_), _) => PeekState::Held,
        (None, Some(due)) if due > now => PeekState::Parked,
        (None, _) => PeekState::Ready,
    };
    let text = |index: usize| row.try_get::<_, &str>(index);
    let worker: Option<&str> = row.try_get(8)?;
    Ok(Peeked {
        key: key_out(row.try_get(0)?),
        task_id: name(TaskId::new(text(1)?), "a message's task id")?,
        task: name(TaskName::new(text(2)?), "a message's task")?,
        queue: name(QueueName::new(text(3)?), "a message's queue")?,
        priority: priority(row.try_get(4)?),
        state,
        due: due.filter(|_| state == PeekState::Parked).map(timestamp),
        published_at: timestamp(row.try_get(5)?),
        attempt: small(match held {
            Some(attempt) => attempt,
            None => row.try_get(6)?,
        }),
        holder: worker.map(|worker| name(WorkerName::new(worker), "a consumer's name")).transpose()?,
        message: message(row, 10)?,
    })
}
