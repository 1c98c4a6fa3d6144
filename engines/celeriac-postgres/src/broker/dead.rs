//! The dead set.

use std::sync::Arc;

use celeriac_core::{
    DeadEntry, DeadQuery, DeadReason, Error, ErrorKind, Message, Publication, QueueName, Result, TaskId, TaskName,
};
use tokio_postgres::{Row, types::Type};

use super::{claim::message, publish::check, settle::DETAIL_CHARS_MAX};
use crate::{
    connections::Session,
    engine::Shared,
    errors::Outcome,
    layout::{check_size, count, key_in, key_out, legible, name, page, queue_topic, small, timestamp},
};

/// How many entries one statement replays or drops.
const STEP: usize = 1_000;

const BURY: &str = "\
WITH known AS (INSERT INTO {s}.queues (name, declared_at) VALUES ($3, $7) ON CONFLICT DO NOTHING) \
INSERT INTO {s}.dead (entry, task_id, task, queue, priority, reason, detail, published_at, died_at, attempts, headers, \
    properties, body) VALUES (nextval('{s}.tickets'), $1, $2, $3, $4, $5, $6, $7, $7, 0, $8, $9, $10)";

/// In the order of the entries; with other bytes where they are given.
const REPLAY: &str = "\
WITH raised AS ( \
    DELETE FROM {s}.dead WHERE entry = ANY ($1) \
    RETURNING entry, task_id, task, queue, priority, published_at, attempts, coalesce($3, headers) AS headers, \
        coalesce($4, properties) AS properties, coalesce($5, body) AS body \
), keyed AS MATERIALIZED ( \
    SELECT nextval('{s}.tickets') AS key, r.* FROM (SELECT * FROM raised ORDER BY entry) AS r \
), wide AS ( \
    INSERT INTO {s}.messages (key, task_id, task, queue, priority, published_at, attempts, headers, properties, body) \
    SELECT key, task_id, task, queue, priority, published_at, attempts, headers, properties, body FROM keyed \
), ready AS ( \
    INSERT INTO {s}.waiting (queue, priority, position, key, since) SELECT queue, priority, key, key, $2 FROM keyed \
) SELECT queue, count(*) FROM keyed GROUP BY queue";

const DROP: &str = "WITH gone AS (DELETE FROM {s}.dead WHERE entry = ANY ($1) RETURNING 1) SELECT count(*) FROM gone";

pub(super) async fn bury(shared: &Arc<Shared>, entry: Publication, reason: DeadReason, detail: &str) -> Result<()> {
    shared.broker.check("put a message into the dead set")?;
    check(&shared.config, std::slice::from_ref(&entry))?;
    let now = shared.now();
    let (reason, detail) = (&legible(reason.as_str(), DETAIL_CHARS_MAX), &legible(detail, DETAIL_CHARS_MAX));
    let (entry, priority) = (&entry, i16::from(entry.priority.0));
    shared
        .run("put a message into the dead set", |connection| async move {
            connection
                .rows(
                    &shared.sql(BURY),
                    &[
                        (&entry.task_id.as_str(), Type::TEXT),
                        (&entry.task.as_str(), Type::TEXT),
                        (&entry.queue.as_str(), Type::TEXT),
                        (&priority, Type::INT2),
                        (reason, Type::TEXT),
                        (detail, Type::TEXT),
                        (&now, Type::INT8),
                        (&&*entry.message.headers, Type::BYTEA),
                        (&&*entry.message.properties, Type::BYTEA),
                        (&&*entry.message.body, Type::BYTEA),
                    ],
                )
                .await
                .map(drop)
        })
        .await
}

pub(super) async fn list(shared: &Arc<Shared>, query: DeadQuery) -> Result<Vec<DeadEntry>> {
    shared.broker.check("list the dead set")?;
    // A condition that is not asked for must not be in the way of an index.
    let queue = if query.queue.is_some() { "queue = $2" } else { "$2::text IS NULL" };
    let task_id = if query.task_id.is_some() { "task_id = $4" } else { "$4::text IS NULL" };
    let sql = &shared.sql(&format!(
        "SELECT entry, task_id, task, queue, reason, detail, died_at, attempts, headers, properties, body \
         FROM {{s}}.dead WHERE entry < $1 AND {queue} AND ($3::text IS NULL OR task = $3) AND {task_id} \
         ORDER BY entry DESC LIMIT $5"
    ));
    let (before, limit) = (query.before.map_or(i64::MAX, key_in), page(query.limit));
    let queue = query.queue.as_ref().map(QueueName::as_str);
    let task = query.task.as_ref().map(TaskName::as_str);
    let id = query.task_id.as_ref().map(TaskId::as_str);
    shared
        .run("list the dead set", |connection| async move {
            let params = [
                (&before as _, Type::INT8),
                (&queue as _, Type::TEXT),
                (&task as _, Type::TEXT),
                (&id as _, Type::TEXT),
                (&limit as _, Type::INT8),
            ];
            connection.rows(sql, &params).await?.iter().map(entry).collect()
        })
        .await
}

pub(super) async fn replay(shared: &Arc<Shared>, entries: &[u64], edited: Option<Message>) -> Result<u64> {
    shared.broker.check("replay dead messages")?;
    if let Some(message) = &edited {
        if entries.len() != 1 {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("replay {} dead messages with one edited message: name one entry", entries.len()),
            ));
        }
        check_size("a message", message.len_bytes(), shared.config.message_bytes_max, "message_max")?;
    }
    let headers = edited.as_ref().map(|message| &*message.headers);
    let properties = edited.as_ref().map(|message| &*message.properties);
    let body = edited.as_ref().map(|message| &*message.body);
    let (mut found, now) = (0, shared.now());
    for step in entries.chunks(STEP) {
        let step: &Vec<i64> = &step.iter().copied().map(key_in).collect();
        found += shared
            .run("replay dead messages", |connection| async move {
                let params = [
                    (step as _, Type::INT8_ARRAY),
                    (&now as _, Type::INT8),
                    (&headers as _, Type::BYTEA),
                    (&properties as _, Type::BYTEA),
                    (&body as _, Type::BYTEA),
                ];
                let rows = connection.rows(&shared.sql(REPLAY), &params).await?;
                let (mut topics, mut raised) = (Vec::new(), 0);
                for row in &rows {
                    topics.push(queue_topic(row.try_get(0)?));
                    raised += count(row.try_get(1)?);
                }
                shared.wake(&connection, &topics).await;
                Ok(raised)
            })
            .await?;
    }
    Ok(found)
}

pub(super) async fn drop_dead(shared: &Arc<Shared>, entries: &[u64]) -> Result<u64> {
    shared.broker.check("drop dead messages")?;
    let mut found = 0;
    for step in entries.chunks(STEP) {
        let step: &Vec<i64> = &step.iter().copied().map(key_in).collect();
        found += shared
            .run("drop dead messages", |connection| async move {
                let rows = connection.rows(&shared.sql(DROP), &[(step, Type::INT8_ARRAY)]).await?;
                Ok(count(rows[0].try_get(0)?))
            })
            .await?;
    }
    Ok(found)
}

fn entry(row: &Row) -> Outcome<DeadEntry> {
    let text = |index: usize| row.try_get::<_, &str>(index);
    Ok(DeadEntry {
        entry: key_out(row.try_get(0)?),
        task_id: name(TaskId::new(text(1)?), "a dead message's task id")?,
        task: TaskName::new(text(2)?).ok(),
        queue: name(QueueName::new(text(3)?), "a dead message's queue")?,
        reason: DeadReason::parse(text(4)?),
        detail: row.try_get(5)?,
        died_at: timestamp(row.try_get(6)?),
        attempt: small(row.try_get(7)?),
        message: message(row, 8)?,
    })
}
