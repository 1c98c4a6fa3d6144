//! Stores records: both rows in one statement, fenced by attempt.

use std::{collections::HashSet, sync::Arc};

use celeriac_core::{MetaWrite, Result, Written};
use tokio_postgres::types::Type;

use super::{CHUNK, columns::Stored};
use crate::{
    connections::{Connection, Session},
    engine::Shared,
    errors::Outcome,
    layout::{check_size, micros, result_topic},
};

/// What has expired is as good as gone, also for fencing; so is whatever ours says of a row that a Celery has written
/// since. A success is never written over, whoever stored it.
const STORE: &str = "\
WITH given AS MATERIALIZED ( \
    SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19) \
        AS g(task_id, state, attempt, expires, group_id, parent_id, document, for_celery, status, result, date_done, \
             traceback, children, name, args, kwargs, worker, retries, queue) \
), ours AS ( \
    INSERT INTO {s}.results AS r (task_id, state, attempt, stored_at, expires, group_id, parent_id, document) \
    SELECT g.task_id, g.state, g.attempt, $20, g.expires, g.group_id, g.parent_id, g.document FROM given g \
    WHERE NOT EXISTS (SELECT FROM celery_taskmeta t WHERE t.task_id = g.task_id AND t.status = 'SUCCESS') \
    ORDER BY g.task_id \
    ON CONFLICT (task_id) DO UPDATE SET state = excluded.state, attempt = excluded.attempt, \
        stored_at = excluded.stored_at, expires = excluded.expires, group_id = excluded.group_id, \
        parent_id = excluded.parent_id, document = excluded.document \
    WHERE r.state <> 'SUCCESS' AND r.attempt <= excluded.attempt \
    RETURNING r.task_id \
), theirs AS ( \
    INSERT INTO celery_taskmeta AS t (id, task_id, status, result, date_done, traceback, children, name, args, kwargs, \
        worker, retries, queue) \
    SELECT nextval('task_id_sequence'), g.task_id, g.status, g.result, g.date_done, g.traceback, g.children, g.name, g.args, \
        g.kwargs, g.worker, g.retries, g.queue FROM given g JOIN ours ON ours.task_id = g.task_id \
    WHERE g.for_celery ORDER BY g.task_id \
    ON CONFLICT (task_id) DO UPDATE SET status = excluded.status, result = excluded.result, \
        date_done = excluded.date_done, traceback = excluded.traceback, children = excluded.children, \
        name = excluded.name, args = excluded.args, kwargs = excluded.kwargs, worker = excluded.worker, \
        retries = excluded.retries, queue = excluded.queue, stamps = NULL \
    WHERE t.status IS DISTINCT FROM 'SUCCESS' \
) SELECT task_id FROM ours";

/// Removes what has expired of these, and what ours says of rows that were written or removed by a Celery since. Tells
/// whether there was any.
const CLEAR: &str = "\
WITH over AS ( \
    DELETE FROM {s}.results r WHERE r.task_id = ANY ($1) AND (r.expires <= $2 OR (r.document IS NULL AND NOT EXISTS ( \
        SELECT FROM celery_taskmeta t WHERE t.task_id = r.task_id AND t.xmin = r.xmin))) \
    RETURNING r.task_id, r.xmin AS written, r.expires <= $2 AS expired \
), theirs AS ( \
    DELETE FROM celery_taskmeta t USING over WHERE over.expired AND t.task_id = over.task_id AND t.xmin = over.written \
) SELECT task_id FROM over";

pub(super) async fn store(shared: &Arc<Shared>, batch: &[MetaWrite]) -> Result<Vec<Written>> {
    for write in batch {
        check_size("a result", write.document.len(), shared.config.result_bytes_max, "result_max")?;
    }
    let mut written = vec![Written::Stale; batch.len()];
    let mut rest: Vec<usize> = (0..batch.len()).collect();
    while !rest.is_empty() {
        let round = take_round(&mut rest, batch);
        let writes: Vec<&MetaWrite> = round.iter().map(|index| &batch[*index]).collect();
        let stored = store_round(shared, &writes).await?;
        for index in round {
            if stored.contains(batch[index].task_id.as_str()) {
                written[index] = Written::Stored;
            }
        }
    }
    Ok(written)
}

/// Takes the next records off the front: one of a task, because one statement writes a row once.
fn take_round(rest: &mut Vec<usize>, batch: &[MetaWrite]) -> Vec<usize> {
    let mut seen = HashSet::new();
    // Two of one task keep their order: what comes behind the second is left for the next round.
    let fits = |index: &&usize| seen.len() < CHUNK && seen.insert(batch[**index].task_id.as_str());
    let count = rest.iter().take_while(fits).count();
    let tail = rest.split_off(count);
    std::mem::replace(rest, tail)
}

async fn store_round(shared: &Arc<Shared>, writes: &[&MetaWrite]) -> Result<HashSet<String>> {
    let rows = &Rows::new(writes, shared);
    let now = shared.now();
    shared
        .run("store results", |connection| async move {
            shared.celery_tables.ensure(&connection).await?;
            // Told of at once, behind the rows; whoever is told in vain looks again and sleeps on.
            let storing = rows.store(shared, &connection, now);
            let (stored, ()) = tokio::join!(storing, shared.wake(&connection, &rows.topics));
            let mut stored = stored?;
            let stale: Vec<&str> = rows.ids.iter().filter(|id| !stored.contains(**id)).copied().collect();
            if stale.is_empty() {
                return Ok(stored);
            }
            let params = [(&stale as _, Type::TEXT_ARRAY), (&now as _, Type::INT8)];
            if connection.rows(&shared.sql(CLEAR), &params).await?.is_empty() {
                return Ok(stored);
            }
            let again: Vec<&MetaWrite> =
                writes.iter().filter(|write| stale.contains(&write.task_id.as_str())).copied().collect();
            let again = Rows::new(&again, shared);
            stored.extend(again.store(shared, &connection, now).await?);
            shared.wake(&connection, &again.topics).await;
            Ok(stored)
        })
        .await
}

/// Records as one array a column.
#[derive(Default)]
struct Rows<'a> {
    ids: Vec<&'a str>,
    states: Vec<&'a str>,
    attempts: Vec<i64>,
    expires: Vec<Option<i64>>,
    stored: Vec<Stored>,
    topics: Vec<String>,
}

impl<'a> Rows<'a> {
    fn new(writes: &[&'a MetaWrite], shared: &Shared) -> Self {
        let mut rows = Self::default();
        for write in writes {
            rows.ids.push(write.task_id.as_str());
            rows.states.push(write.state.as_str());
            rows.attempts.push(i64::from(write.attempt));
            rows.expires.push(write.expires.map(micros));
            rows.stored.push(Stored::of(write.task_id.as_str(), &write.document, shared.config.result_format));
            if write.state.is_ready() {
                rows.topics.push(result_topic(write.task_id.as_str()));
            }
        }
        rows
    }

    async fn store(&self, shared: &Shared, connection: &Connection, now: i64) -> Outcome<HashSet<String>> {
        macro_rules! column {
            ($of:ident) => {
                &self.stored.iter().map(|it| it.columns.as_ref().and_then(|it| it.$of.as_ref())).collect::<Vec<_>>()
            };
        }
        let rows = connection
            .rows(
                &shared.sql(STORE),
                &[
                    (&self.ids, Type::TEXT_ARRAY),
                    (&self.states, Type::TEXT_ARRAY),
                    (&self.attempts, Type::INT8_ARRAY),
                    (&self.expires, Type::INT8_ARRAY),
                    (&self.stored.iter().map(|it| it.group_id.as_ref()).collect::<Vec<_>>(), Type::TEXT_ARRAY),
                    (&self.stored.iter().map(|it| it.parent_id.as_ref()).collect::<Vec<_>>(), Type::TEXT_ARRAY),
                    (&self.stored.iter().map(|it| it.document.as_deref()).collect::<Vec<_>>(), Type::BYTEA_ARRAY),
                    (&self.stored.iter().map(|it| it.columns.is_some()).collect::<Vec<_>>(), Type::BOOL_ARRAY),
                    (column!(status), Type::TEXT_ARRAY),
                    (column!(result), Type::BYTEA_ARRAY),
                    (column!(date_done), Type::TIMESTAMP_ARRAY),
                    (column!(traceback), Type::TEXT_ARRAY),
                    (column!(children), Type::BYTEA_ARRAY),
                    (column!(name), Type::TEXT_ARRAY),
                    (column!(args), Type::BYTEA_ARRAY),
                    (column!(kwargs), Type::BYTEA_ARRAY),
                    (column!(worker), Type::TEXT_ARRAY),
                    (column!(retries), Type::INT4_ARRAY),
                    (column!(queue), Type::TEXT_ARRAY),
                    (&now, Type::INT8),
                ],
            )
            .await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }
}
