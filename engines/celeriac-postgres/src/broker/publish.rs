//! Puts messages into their queues: one statement a batch.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use celeriac_core::{Accepted, Publication, Result, TaskId};
use tokio_postgres::types::Type;

use crate::{
    Config,
    connections::Session,
    engine::Shared,
    errors::Outcome,
    layout::{check_size, in_schema, later, micros, name, queue_topic},
};

/// How many messages of a large batch go into one statement.
const CHUNK_ROWS: usize = 2_000;
/// How many bytes go into one statement, unless one message alone has more.
const CHUNK_BYTES: usize = 8 << 20;
/// How many expired unique keys one batch removes.
const UNIQUE_SWEEP: i64 = 100;
const UNIQUE_KEY_BYTES_MAX: usize = 255;

/// `unnest` keeps the order of the arrays, so keys are given out in it.
const PUBLISH: &str = "\
WITH given AS MATERIALIZED ( \
    SELECT nextval('{s}.tickets') AS key, g.* FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) \
        AS g(task_id, task, queue, priority, due, headers, properties, body) \
), wide AS ( \
    INSERT INTO {s}.messages (key, task_id, task, queue, priority, published_at, due, headers, properties, body) \
    SELECT key, task_id, task, queue, priority, $9, due, headers, properties, body FROM given \
), later AS ( \
    INSERT INTO {s}.parked (queue, due, key, priority) SELECT queue, due, key, priority FROM given WHERE due IS NOT NULL \
), known AS ( \
    INSERT INTO {s}.queues (name, declared_at) SELECT name, $9 FROM unnest($10) AS q(name) ON CONFLICT DO NOTHING \
) \
INSERT INTO {s}.waiting (queue, priority, position, key, since) \
SELECT queue, priority, key, key, $9 FROM given WHERE due IS NULL";

/// In the order of the keys, so that two batches never wait for each other in a circle.
const TAKE_UNIQUE: &str = "\
WITH old AS ( \
    DELETE FROM {s}.unique_keys WHERE name IN ( \
        SELECT name FROM {s}.unique_keys WHERE until <= $4 AND name <> ALL ($1) \
        ORDER BY until LIMIT $5 FOR UPDATE SKIP LOCKED) \
) \
INSERT INTO {s}.unique_keys AS u (name, task_id, until) \
SELECT g.name, g.task_id, g.until FROM unnest($1, $2, $3) AS g(name, task_id, until) ORDER BY g.name \
ON CONFLICT (name) DO UPDATE SET task_id = excluded.task_id, until = excluded.until WHERE u.until <= $4 \
RETURNING name";

const HOLDERS: &str = "SELECT name, task_id FROM {s}.unique_keys WHERE name = ANY ($1)";

pub(super) async fn publish(shared: &Arc<Shared>, batch: Vec<Publication>) -> Result<Vec<Accepted>> {
    shared.broker.check("publish messages")?;
    check(&shared.config, &batch)?;
    let mut accepted = Vec::with_capacity(batch.len());
    for chunk in chunks(&batch) {
        let now = shared.now();
        let chunk = &Batch::new(chunk, now);
        let mut answers = shared
            .run("publish messages", |connection| async move {
                if chunk.has_unique() {
                    connection.begin().await?;
                    let answers = chunk.publish(&*connection, &shared.config.schema).await?;
                    connection.commit().await?;
                    shared.wake(&connection, &chunk.topics).await;
                    return Ok(answers);
                }
                // Both go out in one flight; the second is a transaction of its own, after the first.
                let publishing = chunk.publish(&*connection, &shared.config.schema);
                let (answers, ()) = tokio::join!(publishing, shared.wake(&connection, &chunk.topics));
                answers
            })
            .await?;
        accepted.append(&mut answers);
    }
    Ok(accepted)
}

/// Refuses what is too large, and keys that could not be shown to a person.
pub(crate) fn check(config: &Config, batch: &[Publication]) -> Result<()> {
    batch.iter().try_for_each(|publication| {
        check_size("a message", publication.message.len_bytes(), config.message_bytes_max, "message_max")?;
        let key_bytes = publication.unique.as_ref().map_or(0, |unique| unique.key.len());
        check_size("a unique key", key_bytes, UNIQUE_KEY_BYTES_MAX, "of none")
    })
}

/// Splits a batch into statements' worths.
fn chunks(batch: &[Publication]) -> impl Iterator<Item = &[Publication]> {
    let mut rest = batch;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |(index, publication): &(usize, &Publication)| {
            bytes += publication.message.len_bytes();
            *index == 0 || (*index < CHUNK_ROWS && bytes <= CHUNK_BYTES)
        };
        let rows = rest.iter().enumerate().take_while(fits).count();
        let (chunk, tail) = rest.split_at(rows);
        rest = tail;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// Publications for one statement.
pub(crate) struct Batch<'a> {
    publications: &'a [Publication],
    /// Who sleeps for them.
    pub(crate) topics: Vec<String>,
    queues: Vec<&'a str>,
    now: i64,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(publications: &'a [Publication], now: i64) -> Self {
        let queues: BTreeSet<&str> = publications.iter().map(|publication| publication.queue.as_str()).collect();
        let topics = queues.iter().map(|queue| queue_topic(queue)).collect();
        Self { publications, topics, queues: queues.into_iter().collect(), now }
    }

    fn has_unique(&self) -> bool {
        self.publications.iter().any(|publication| publication.unique.is_some())
    }

    /// Writes them. With unique keys it takes several statements: the caller has a transaction open.
    pub(crate) async fn publish(&self, session: &impl Session, schema: &str) -> Outcome<Vec<Accepted>> {
        let answers = self.take_unique(session, schema).await?;
        let is_queued = |(publication, answer)| matches!(answer, &Accepted::Queued).then_some(publication);
        let accepted: Vec<&Publication> = self.publications.iter().zip(&answers).filter_map(is_queued).collect();
        if accepted.is_empty() {
            return Ok(answers);
        }
        let task_ids: Vec<&str> = accepted.iter().map(|it| it.task_id.as_str()).collect();
        let tasks: Vec<&str> = accepted.iter().map(|it| it.task.as_str()).collect();
        let queues: Vec<&str> = accepted.iter().map(|it| it.queue.as_str()).collect();
        let priorities: Vec<i16> = accepted.iter().map(|it| i16::from(it.priority.0)).collect();
        let due: Vec<Option<i64>> =
            accepted.iter().map(|it| it.due.map(micros).filter(|due| *due > self.now)).collect();
        let headers: Vec<&[u8]> = accepted.iter().map(|it| &*it.message.headers).collect();
        let properties: Vec<&[u8]> = accepted.iter().map(|it| &*it.message.properties).collect();
        let bodies: Vec<&[u8]> = accepted.iter().map(|it| &*it.message.body).collect();
        session
            .rows(
                &in_schema(PUBLISH, schema),
                &[
                    (&task_ids, Type::TEXT_ARRAY),
                    (&tasks, Type::TEXT_ARRAY),
                    (&queues, Type::TEXT_ARRAY),
                    (&priorities, Type::INT2_ARRAY),
                    (&due, Type::INT8_ARRAY),
                    (&headers, Type::BYTEA_ARRAY),
                    (&properties, Type::BYTEA_ARRAY),
                    (&bodies, Type::BYTEA_ARRAY),
                    (&self.now, Type::INT8),
                    (&self.queues, Type::TEXT_ARRAY),
                ],
            )
            .await?;
        Ok(answers)
    }

    /// Takes the keys that are free, and answers for every publication.
    async fn take_unique(&self, session: &impl Session, schema: &str) -> Outcome<Vec<Accepted>> {
        let mut answers = vec![Accepted::Queued; self.publications.len()];
        if !self.has_unique() {
            return Ok(answers);
        }
        // The first of the batch with a key tries to take it; the others are refused in any case.
        let mut first: HashMap<&[u8], usize> = HashMap::new();
        for (index, publication) in self.publications.iter().enumerate() {
            if let Some(unique) = &publication.unique {
                first.entry(unique.key.as_bytes()).or_insert(index);
            }
        }
        let keys: Vec<&[u8]> = first.keys().copied().collect();
        let ids: Vec<&str> = keys.iter().map(|key| self.publications[first[key]].task_id.as_str()).collect();
        let until: Vec<i64> = keys
            .iter()
            .map(|key| self.publications[first[key]].unique.as_ref().map_or(0, |it| later(self.now, it.window)))
            .collect();
        let taken = session
            .rows(
                &in_schema(TAKE_UNIQUE, schema),
                &[
                    (&keys, Type::BYTEA_ARRAY),
                    (&ids, Type::TEXT_ARRAY),
                    (&until, Type::INT8_ARRAY),
                    (&self.now, Type::INT8),
                    (&UNIQUE_SWEEP, Type::INT8),
                ],
            )
            .await?;
        let mut ours = BTreeSet::new();
        for row in &taken {
            ours.insert(row.try_get::<_, &[u8]>(0)?);
        }
        // Whoever holds the others keeps them: the rows are locked since the attempt to take them.
        let rows = session.rows(&in_schema(HOLDERS, schema), &[(&keys, Type::BYTEA_ARRAY)]).await?;
        let mut holders: HashMap<&[u8], TaskId> = HashMap::new();
        for row in &rows {
            holders
                .insert(row.try_get(0)?, name(TaskId::new(row.try_get::<_, &str>(1)?), "the holder of a unique key")?);
        }
        for (index, (publication, answer)) in self.publications.iter().zip(&mut answers).enumerate() {
            let Some(unique) = &publication.unique else { continue };
            let key = unique.key.as_bytes();
            if ours.contains(key) && first[key] == index {
                continue;
            }
            if let Some(holder) = holders.get(key) {
                *answer = Accepted::Duplicate(holder.clone());
            }
        }
        Ok(answers)
    }
}
