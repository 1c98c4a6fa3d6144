//! The history: records of tasks, and what happened to each.

use std::{collections::HashMap, sync::Arc};

use celeriac_core::{Cursor, History, Result, StateCount, TaskId, TaskQuery, TaskRecord, TimelineEntry, Timestamp};
use futures_util::future::try_join_all;
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

use crate::{
    connections::{Connection, Param, Session},
    engine::Shared,
    errors::Outcome,
    layout::{count, key_in, key_out, legible, micros, page, timestamp},
};

/// The longest text of a record that is kept, in characters.
const TEXT_CHARS_MAX: usize = 10_000;
/// How many timeline entries of one task are shown.
const TIMELINE_MAX: i64 = 1_000;
/// How many records one statement removes.
const PRUNE_STEP: i64 = 500;
/// How many records are on their way to the server at once.
const FLIGHT: usize = 200;

const COLUMNS: &str = "id, name, state, queue, worker, args, kwargs, result, exception, traceback, retries, root_id, \
                       parent_id, group_id, eta, expires, sent_at, received_at, started_at, ended_at, runtime_seconds, \
                       updated_at";

const STORE: &str = "\
INSERT INTO {s}.history (id, name, state, queue, worker, args, kwargs, result, exception, traceback, retries, root_id, \
    parent_id, group_id, eta, expires, sent_at, received_at, started_at, ended_at, runtime_seconds, updated_at) \
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22) \
ON CONFLICT (id) DO UPDATE SET name = $2, state = $3, queue = $4, worker = $5, args = $6, kwargs = $7, result = $8, \
    exception = $9, traceback = $10, retries = $11, root_id = $12, parent_id = $13, group_id = $14, eta = $15, \
    expires = $16, sent_at = $17, received_at = $18, started_at = $19, ended_at = $20, runtime_seconds = $21, \
    updated_at = $22";

const TELL: &str = "\
INSERT INTO {s}.timeline (task_id, seq, at, kind, source, detail) \
SELECT task_id, nextval('{s}.tickets'), at, kind, source, detail \
FROM unnest($1, $2, $3, $4, $5) AS g(task_id, at, kind, source, detail)";

const PRUNE: &str = "\
WITH old AS ( \
    DELETE FROM {s}.history WHERE ctid = ANY (ARRAY( \
        SELECT ctid FROM {s}.history WHERE updated_at < $1 ORDER BY updated_at, seq LIMIT $2 FOR UPDATE SKIP LOCKED)) \
    RETURNING id \
), told AS (DELETE FROM {s}.timeline t USING old WHERE t.task_id = old.id) \
SELECT count(*) FROM old";

/// Keeps records in tables. See [`History`].
pub struct PostgresHistory {
    shared: Arc<Shared>,
}

impl PostgresHistory {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl History for PostgresHistory {
    async fn cursor(&self) -> Result<Option<Cursor>> {
        self.shared
            .run("read the history's cursor", |connection| async move {
                let rows = connection.rows(&self.shared.sql("SELECT cursor FROM {s}.history_cursor"), &[]).await?;
                Ok(rows.first().map(|row| row.try_get(0)).transpose()?.map(|cursor| Cursor(key_out(cursor))))
            })
            .await
    }

    async fn fold(
        &self,
        from: Option<Cursor>,
        to: Cursor,
        records: Vec<TaskRecord>,
        timeline: Vec<(TaskId, TimelineEntry)>,
    ) -> Result<bool> {
        let (shared, records, timeline) = (&self.shared, &records, &timeline);
        shared
            .run("fold events into the history", |connection| async move {
                connection.begin().await?;
                if !move_cursor(shared, &connection, from, to).await? {
                    connection.roll_back().await?;
                    return Ok(false);
                }
                for flight in records.chunks(FLIGHT) {
                    let sql = &shared.sql(STORE);
                    let connection = &connection;
                    try_join_all(flight.iter().map(|record| store(connection, sql, record))).await?;
                }
                tell(shared, &connection, timeline).await?;
                connection.commit().await?;
                Ok(true)
            })
            .await
    }

    async fn records(&self, ids: &[TaskId]) -> Result<Vec<Option<TaskRecord>>> {
        let texts: &Vec<&str> = &ids.iter().map(TaskId::as_str).collect();
        let sql = &self.shared.sql(&format!("SELECT {COLUMNS} FROM {{s}}.history WHERE id = ANY ($1)"));
        let found = self
            .shared
            .run("read records of the history", |connection| async move {
                let rows = connection.rows(sql, &[(texts, Type::TEXT_ARRAY)]).await?;
                rows.iter().map(record).collect::<Outcome<Vec<_>>>()
            })
            .await?;
        let found: HashMap<String, TaskRecord> = found.into_iter().map(|it| (it.id.clone(), it)).collect();
        Ok(ids.iter().map(|id| found.get(id.as_str()).cloned()).collect())
    }

    async fn timeline(&self, id: &TaskId) -> Result<Vec<TimelineEntry>> {
        let sql = "SELECT at, kind, source, detail FROM {s}.timeline WHERE task_id = $1 ORDER BY seq DESC LIMIT $2";
        let mut entries: Vec<TimelineEntry> = self
            .shared
            .run("read a task's timeline", |connection| async move {
                let params = [(&id.as_str() as _, Type::TEXT), (&TIMELINE_MAX as _, Type::INT8)];
                let entry = |row: &Row| {
                    Ok(TimelineEntry {
                        at: timestamp(row.try_get(0)?),
                        kind: row.try_get(1)?,
                        source: row.try_get(2)?,
                        detail: row.try_get(3)?,
                    })
                };
                connection.rows(&self.shared.sql(sql), &params).await?.iter().map(entry).collect()
            })
            .await?;
        entries.reverse();
        Ok(entries)
    }

    async fn tasks(&self, query: TaskQuery) -> Result<Vec<TaskRecord>> {
        let query = &query;
        self.shared
            .run("search the history", |connection| async move { search(&self.shared, &connection, query).await })
            .await
    }

    async fn counts(&self, name: Option<&str>) -> Result<Vec<StateCount>> {
        let condition = if name.is_some() { "name = $1" } else { "$1::text IS NULL" };
        let sql = &format!("SELECT state, count(*) FROM {{s}}.history WHERE {condition} GROUP BY state ORDER BY state");
        self.shared
            .run("count the history's records", |connection| async move {
                let rows = connection.rows(&self.shared.sql(sql), &[(&name, Type::TEXT)]).await?;
                let counted = |row: &Row| Ok(StateCount { state: row.try_get(0)?, tasks: count(row.try_get(1)?) });
                rows.iter().map(counted).collect()
            })
            .await
    }

    async fn prune(&self, before: Timestamp) -> Result<u64> {
        let before = micros(before);
        let mut removed = 0;
        loop {
            let step: i64 = self
                .shared
                .run("prune the history", |connection| async move {
                    let params = [(&before as _, Type::INT8), (&PRUNE_STEP as _, Type::INT8)];
                    Ok(connection.rows(&self.shared.sql(PRUNE), &params).await?[0].try_get(0)?)
                })
                .await?;
            if step == 0 {
                return Ok(removed);
            }
            removed += count(step);
        }
    }
}

/// False when another monitor has moved it already.
async fn move_cursor(shared: &Shared, connection: &Connection, from: Option<Cursor>, to: Cursor) -> Outcome<bool> {
    let to = key_in(to.0);
    let moved = match from {
        None => {
            let sql = "INSERT INTO {s}.history_cursor (cursor) VALUES ($1) ON CONFLICT DO NOTHING RETURNING 1";
            connection.rows(&shared.sql(sql), &[(&to, Type::INT8)]).await?
        }
        Some(from) => {
            let sql = "UPDATE {s}.history_cursor SET cursor = $1 WHERE cursor = $2 RETURNING 1";
            connection.rows(&shared.sql(sql), &[(&to, Type::INT8), (&key_in(from.0), Type::INT8)]).await?
        }
    };
    Ok(!moved.is_empty())
}

async fn store(connection: &Connection, sql: &str, record: &TaskRecord) -> Outcome<()> {
    let text = |text: &Option<String>| text.as_deref().map(|text| legible(text, TEXT_CHARS_MAX));
    let time = |at: Option<Timestamp>| at.map(micros);
    let names = [&record.name, &record.queue, &record.worker, &record.root_id, &record.parent_id, &record.group_id];
    let [name, queue, worker, root_id, parent_id, group_id] = names.map(text);
    let texts = [&record.args, &record.kwargs, &record.result, &record.exception, &record.traceback];
    let [args, kwargs, result, exception, traceback] = texts.map(text);
    let [eta, expires] = [&record.eta, &record.expires].map(text);
    let (state, retries) = (legible(&record.state, TEXT_CHARS_MAX), i64::from(record.retries));
    let [sent, received, started, ended] =
        [record.sent_at, record.received_at, record.started_at, record.ended_at].map(time);
    let updated = micros(record.updated_at);
    let params: [Param<'_>; 22] = [
        (&record.id, Type::TEXT),
        (&name, Type::TEXT),
        (&state, Type::TEXT),
        (&queue, Type::TEXT),
        (&worker, Type::TEXT),
        (&args, Type::TEXT),
        (&kwargs, Type::TEXT),
        (&result, Type::TEXT),
        (&exception, Type::TEXT),
        (&traceback, Type::TEXT),
        (&retries, Type::INT8),
        (&root_id, Type::TEXT),
        (&parent_id, Type::TEXT),
        (&group_id, Type::TEXT),
        (&eta, Type::TEXT),
        (&expires, Type::TEXT),
        (&sent, Type::INT8),
        (&received, Type::INT8),
        (&started, Type::INT8),
        (&ended, Type::INT8),
        (&record.runtime_seconds, Type::FLOAT8),
        (&updated, Type::INT8),
    ];
    connection.rows(sql, &params).await.map(drop)
}

async fn tell(shared: &Shared, connection: &Connection, timeline: &[(TaskId, TimelineEntry)]) -> Outcome<()> {
    if timeline.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = timeline.iter().map(|(id, _)| id.as_str()).collect();
    let at: Vec<i64> = timeline.iter().map(|(_, entry)| micros(entry.at)).collect();
    let texts = |of: fn(&TimelineEntry) -> &str| -> Vec<String> {
        timeline.iter().map(|(_, entry)| legible(of(entry), TEXT_CHARS_MAX)).collect()
    };
    let (kinds, sources) = (texts(|entry| &entry.kind), texts(|entry| &entry.source));
    let details = texts(|entry| &entry.detail);
    connection
        .rows(
            &shared.sql(TELL),
            &[
                (&ids, Type::TEXT_ARRAY),
                (&at, Type::INT8_ARRAY),
                (&kinds, Type::TEXT_ARRAY),
                (&sources, Type::TEXT_ARRAY),
                (&details, Type::TEXT_ARRAY),
            ],
        )
        .await
        .map(drop)
}

async fn search(shared: &Shared, connection: &Connection, query: &TaskQuery) -> Outcome<Vec<TaskRecord>> {
    let mut conditions: Vec<String> = Vec::new();
    let mut values: Vec<(Box<dyn ToSql + Sync + Send>, Type)> = vec![
        (Box::new(page(query.limit)), Type::INT8),
        (Box::new(i64::try_from(query.offset).unwrap_or(i64::MAX)), Type::INT8),
    ];
    let mut filter = |condition: &str, value: Option<String>| {
        if let Some(value) = value {
            values.push((Box::new(legible(&value, TEXT_CHARS_MAX)), Type::TEXT));
            conditions.push(condition.replace('?', &format!("${}", values.len())));
        }
    };
    filter("state = ?", query.state.as_ref().map(|state| state.as_str().to_owned()));
    filter("name = ?", query.name.clone());
    filter("queue = ?", query.queue.clone());
    filter("worker = ?", query.worker.clone());
    filter("(group_id = ? OR root_id = ?)", query.workflow.clone());
    filter(
        "(id ILIKE ? OR name ILIKE ? OR args ILIKE ? OR kwargs ILIKE ? OR result ILIKE ? OR exception ILIKE ?)",
        query.search.as_deref().map(like),
    );
    let conditions = if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") };
    let sql = shared.sql(&format!(
        "SELECT {COLUMNS} FROM {{s}}.history WHERE {conditions} ORDER BY updated_at DESC, seq DESC LIMIT $1 OFFSET $2"
    ));
    let params: Vec<Param<'_>> =
        values.iter().map(|(value, kind)| (&**value as &(dyn ToSql + Sync), kind.clone())).collect();
    connection.rows(&sql, &params).await?.iter().map(record).collect()
}

/// The pattern that finds this text anywhere, whatever characters are in it.
fn like(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

fn record(row: &Row) -> Outcome<TaskRecord> {
    let time = |index: usize| Ok::<_, tokio_postgres::Error>(row.try_get::<_, Option<i64>>(index)?.map(timestamp));
    Ok(TaskRecord {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        state: row.try_get(2)?,
        queue: row.try_get(3)?,
        worker: row.try_get(4)?,
        args: row.try_get(5)?,
        kwargs: row.try_get(6)?,
        result: row.try_get(7)?,
        exception: row.try_get(8)?,
        traceback: row.try_get(9)?,
        retries: u32::try_from(row.try_get::<_, i64>(10)?).unwrap_or(u32::MAX),
        root_id: row.try_get(11)?,
        parent_id: row.try_get(12)?,
        group_id: row.try_get(13)?,
        eta: row.try_get(14)?,
        expires: row.try_get(15)?,
        sent_at: time(16)?,
        received_at: time(17)?,
        started_at: time(18)?,
        ended_at: time(19)?,
        runtime_seconds: row.try_get(20)?,
        updated_at: timestamp(row.try_get(21)?),
    })
}
