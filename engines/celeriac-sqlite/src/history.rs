//! The history: records of tasks, and what happened to each.

use std::sync::Arc;

use celeriac_core::{Cursor, History, Result, StateCount, TaskId, TaskQuery, TaskRecord, TimelineEntry, Timestamp};
use rusqlite::{OptionalExtension, Row, ToSql, named_params, params};

use crate::{
    engine::Shared,
    errors::Outcome,
    layout::{count, key_in, key_out, micros, page, small, timestamp},
    tx::Tx,
    writer::Durability,
};

/// The longest text of a record that is kept, in characters.
const TEXT_CHARS_MAX: usize = 10_000;
/// How many timeline entries of one task are shown.
const TIMELINE_MAX: i64 = 1_000;
/// How many records one command removes.
const PRUNE_STEP: usize = 500;

const COLUMNS: &str = "id, name, state, queue, worker, args, kwargs, result, exception, traceback, retries, root_id, \
                       parent_id, group_id, eta, expires, sent_at, received_at, started_at, ended_at, runtime_seconds, \
                       updated_at";

/// Keeps records in tables. See [`History`].
pub struct SqliteHistory {
    shared: Arc<Shared>,
}

impl SqliteHistory {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl History for SqliteHistory {
    async fn cursor(&self) -> Result<Option<Cursor>> {
        self.shared
            .readers
            .run("read the history's cursor", |conn| {
                Ok(conn
                    .prepare_cached("SELECT cursor FROM history_cursor WHERE only = 1")?
                    .query_row([], |row| row.get(0))
                    .optional()?
                    .map(|cursor| Cursor(key_out(cursor))))
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
        let rows = records.len() + timeline.len();
        // Broadcasts are not durable by themselves, so neither need be what was read from them.
        self.shared
            .writer
            .run("fold events into the history", Durability::Relaxed, rows, move |tx| {
                if !move_cursor(tx, from, to)? {
                    return Ok(false);
                }
                store_records(tx, &records)?;
                store_timeline(tx, &timeline)?;
                Ok(true)
            })
            .await
    }

    async fn records(&self, ids: &[TaskId]) -> Result<Vec<Option<TaskRecord>>> {
        let ids = ids.to_vec();
        self.shared
            .readers
            .run("read records of the history", move |conn| {
                let mut statement = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM history WHERE id = ?"))?;
                ids.iter().map(|id| Ok(statement.query_row([id.as_str()], record).optional()?)).collect()
            })
            .await
    }

    async fn timeline(&self, id: &TaskId) -> Result<Vec<TimelineEntry>> {
        let id = id.clone();
        self.shared
            .readers
            .run("read a task's timeline", move |conn| {
                let mut statement = conn.prepare_cached(
                    "SELECT at, kind, source, detail FROM timeline WHERE task_id = ? ORDER BY seq DESC LIMIT ?",
                )?;
                let mut entries: Vec<TimelineEntry> = statement
                    .query_map((id.as_str(), TIMELINE_MAX), |row| {
                        Ok(TimelineEntry {
                            at: timestamp(row.get(0)?),
                            kind: row.get(1)?,
                            source: row.get(2)?,
                            detail: row.get(3)?,
                        })
                    })?
                    .collect::<Result<_, _>>()?;
                entries.reverse();
                Ok(entries)
            })
            .await
    }

    async fn tasks(&self, query: TaskQuery) -> Result<Vec<TaskRecord>> {
        self.shared.readers.run("search the history", move |conn| search(conn, &query)).await
    }

    async fn counts(&self, name: Option<&str>) -> Result<Vec<StateCount>> {
        let name = name.map(ToOwned::to_owned);
        self.shared
            .readers
            .run("count the history's records", move |conn| {
                let condition = if name.is_some() { "name = ?1" } else { "?1 IS NULL" };
                let mut statement = conn.prepare_cached(&format!(
                    "SELECT state, count(*) FROM history WHERE {condition} GROUP BY state ORDER BY state"
                ))?;
                let counts = statement
                    .query_map([name], |row| Ok(StateCount { state: row.get(0)?, tasks: count(row.get(1)?) }))?
                    .collect::<Result<_, _>>()?;
                Ok(counts)
            })
            .await
    }

    async fn prune(&self, before: Timestamp) -> Result<u64> {
        let before = micros(before);
        let mut removed = 0;
        loop {
            let step = self
                .shared
                .writer
                .run("prune the history", Durability::Relaxed, PRUNE_STEP, move |tx| prune_step(tx, before))
                .await?;
            if step == 0 {
                return Ok(removed);
            }
            removed += step;
        }
    }
}

/// False when another monitor has moved it already.
fn move_cursor(tx: &Tx<'_>, from: Option<Cursor>, to: Cursor) -> Outcome<bool> {
    let now: Option<i64> =
        tx.statement("SELECT cursor FROM history_cursor WHERE only = 1")?.query_row([], |row| row.get(0)).optional()?;
    if now != from.map(|from| key_in(from.0)) {
        return Ok(false);
    }
    tx.statement("INSERT OR REPLACE INTO history_cursor (only, cursor) VALUES (1, ?)")?.execute([key_in(to.0)])?;
    Ok(true)
}

fn store_records(tx: &Tx<'_>, records: &[TaskRecord]) -> Outcome<()> {
    let mut upsert = tx.statement(&format!(
        "INSERT INTO history ({COLUMNS}) VALUES (:id, :name, :state, :queue, :worker, :args, :kwargs, :result, :exception, \
         :traceback, :retries, :root_id, :parent_id, :group_id, :eta, :expires, :sent_at, :received_at, :started_at, \
         :ended_at, :runtime_seconds, :updated_at) \
         ON CONFLICT (id) DO UPDATE SET name = :name, state = :state, queue = :queue, worker = :worker, args = :args, \
         kwargs = :kwargs, result = :result, exception = :exception, traceback = :traceback, retries = :retries, \
         root_id = :root_id, parent_id = :parent_id, group_id = :group_id, eta = :eta, expires = :expires, \
         sent_at = :sent_at, received_at = :received_at, started_at = :started_at, ended_at = :ended_at, \
         runtime_seconds = :runtime_seconds, updated_at = :updated_at"
    ))?;
    for record in records {
        upsert.execute(named_params! {
            ":id": record.id,
            ":name": text(record.name.as_ref()),
            ":state": record.state,
            ":queue": text(record.queue.as_ref()),
            ":worker": text(record.worker.as_ref()),
            ":args": text(record.args.as_ref()),
            ":kwargs": text(record.kwargs.as_ref()),
            ":result": text(record.result.as_ref()),
            ":exception": text(record.exception.as_ref()),
            ":traceback": text(record.traceback.as_ref()),
            ":retries": record.retries,
            ":root_id": text(record.root_id.as_ref()),
            ":parent_id": text(record.parent_id.as_ref()),
            ":group_id": text(record.group_id.as_ref()),
            ":eta": text(record.eta.as_ref()),
            ":expires": text(record.expires.as_ref()),
            ":sent_at": record.sent_at.map(micros),
            ":received_at": record.received_at.map(micros),
            ":started_at": record.started_at.map(micros),
            ":ended_at": record.ended_at.map(micros),
            ":runtime_seconds": record.runtime_seconds,
            ":updated_at": micros(record.updated_at),
        })?;
    }
    Ok(())
}

fn store_timeline(tx: &mut Tx<'_>, timeline: &[(TaskId, TimelineEntry)]) -> Outcome<()> {
    let mut insert =
        tx.statement("INSERT INTO timeline (task_id, seq, at, kind, source, detail) VALUES (?, ?, ?, ?, ?, ?)")?;
    for (id, entry) in timeline {
        let seq = tx.ticket()?;
        let (kind, source, detail) = (cut(&entry.kind), cut(&entry.source), cut(&entry.detail));
        insert.execute((id.as_str(), seq, micros(entry.at), kind, source, detail))?;
    }
    Ok(())
}

fn search(conn: &rusqlite::Connection, query: &TaskQuery) -> Outcome<Vec<TaskRecord>> {
    let mut conditions: Vec<&str> = Vec::new();
    let mut values: Vec<(&str, Box<dyn ToSql>)> = vec![
        (":limit", Box::new(page(query.limit))),
        (":offset", Box::new(i64::try_from(query.offset).unwrap_or(i64::MAX))),
    ];
    let mut filter = |condition: &'static str, parameter: &'static str, value: Option<String>| {
        if let Some(value) = value {
            conditions.push(condition);
            values.push((parameter, Box::new(value)));
        }
    };
    filter("state = :state", ":state", query.state.as_ref().map(|state| state.as_str().to_owned()));
    filter("name = :name", ":name", query.name.clone());
    filter("queue = :queue", ":queue", query.queue.clone());
    filter("worker = :worker", ":worker", query.worker.clone());
    filter("(group_id = :workflow OR root_id = :workflow)", ":workflow", query.workflow.clone());
    filter(
        "(id LIKE :text ESCAPE '\\' OR name LIKE :text ESCAPE '\\' OR args LIKE :text ESCAPE '\\' \
         OR kwargs LIKE :text ESCAPE '\\' OR result LIKE :text ESCAPE '\\' OR exception LIKE :text ESCAPE '\\')",
        ":text",
        query.search.as_deref().map(like),
    );
    let conditions = if conditions.is_empty() { "1".to_owned() } else { conditions.join(" AND ") };
    let mut statement = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM history WHERE {conditions} ORDER BY updated_at DESC, seq DESC LIMIT :limit OFFSET :offset"
    ))?;
    let values: Vec<(&str, &dyn ToSql)> = values.iter().map(|(name, value)| (*name, &**value)).collect();
    let records = statement.query_map(&*values, record)?.collect::<Result<_, _>>()?;
    Ok(records)
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

fn prune_step(tx: &Tx<'_>, before: i64) -> Outcome<u64> {
    let records: Vec<(i64, String)> = tx
        .statement(&format!("SELECT seq, id FROM history WHERE updated_at < ? ORDER BY updated_at LIMIT {PRUNE_STEP}"))?
        .query_map([before], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut timeline = tx.statement("DELETE FROM timeline WHERE task_id = ?")?;
    let mut record = tx.statement("DELETE FROM history WHERE seq = ?")?;
    for (seq, id) in &records {
        timeline.execute([id])?;
        record.execute(params![seq])?;
    }
    Ok(records.len() as u64)
}

fn record(row: &Row<'_>) -> rusqlite::Result<TaskRecord> {
    let time = |index: usize| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(index)?.map(timestamp));
    Ok(TaskRecord {
        id: row.get(0)?,
        name: row.get(1)?,
        state: row.get(2)?,
        queue: row.get(3)?,
        worker: row.get(4)?,
        args: row.get(5)?,
        kwargs: row.get(6)?,
        result: row.get(7)?,
        exception: row.get(8)?,
        traceback: row.get(9)?,
        retries: small(row.get(10)?),
        root_id: row.get(11)?,
        parent_id: row.get(12)?,
        group_id: row.get(13)?,
        eta: row.get(14)?,
        expires: row.get(15)?,
        sent_at: time(16)?,
        received_at: time(17)?,
        started_at: time(18)?,
        ended_at: time(19)?,
        runtime_seconds: row.get(20)?,
        updated_at: timestamp(row.get(21)?),
    })
}

fn text(text: Option<&String>) -> Option<&str> {
    text.map(|text| cut(text))
}

fn cut(text: &str) -> &str {
    text.char_indices().nth(TEXT_CHARS_MAX).map_or(text, |(end, _)| &text[..end])
}
