//! Reads records: from Celery's columns, or from the document where that is kept.

use std::sync::Arc;

use bytes::Bytes;
use celeriac_core::{Result, State, TaskId};
use tokio_postgres::{Row, types::Type};

use super::columns::Columns;
use crate::{
    connections::Session,
    engine::Shared,
    errors::Outcome,
    wake::{self, Sleeper},
};

/// Our row speaks of Celery's when one transaction wrote both, and for itself when Celery's table has none; then it must
/// have the document.
const FETCH: &str = "\
SELECT r.state, r.document, r.group_id, r.parent_id, t.status, t.result, t.date_done, t.traceback, t.children, t.name, t.args, \
       t.kwargs, t.worker, t.retries, t.queue, t.task_id IS NOT NULL OR r.document IS NOT NULL, \
       coalesce(r.expires <= $2, false) \
FROM unnest($1) WITH ORDINALITY AS w(id, number) \
LEFT JOIN celery_taskmeta t ON t.task_id = w.id \
LEFT JOIN {s}.results r ON r.task_id = w.id AND (t.task_id IS NULL OR r.xmin = t.xmin) \
ORDER BY w.number";

/// A record that was found.
pub(super) struct Record {
    pub(super) document: Bytes,
    /// Nothing happens after its state.
    pub(super) ready: bool,
}

/// Reads these, in order. A `sleeper` is about to wait: its topic is put down before the last look.
pub(super) async fn fetch(
    shared: &Arc<Shared>,
    ids: &[TaskId],
    sleeper: Option<&Arc<Sleeper>>,
) -> Result<Vec<Option<Record>>> {
    let texts: &Vec<&str> = &ids.iter().map(TaskId::as_str).collect();
    let now = shared.now();
    let rows = shared
        .run("fetch results", |connection| async move {
            shared.celery_tables.ensure(&connection).await?;
            let sql = shared.sql(FETCH);
            let params = [(texts as _, Type::TEXT_ARRAY), (&now as _, Type::INT8)];
            let unarmed = sleeper.filter(|sleeper| !sleeper.is_armed());
            let Some(sleeper) = unarmed else { return connection.rows(&sql, &params).await };
            // In one flight: first it says that it sleeps, then it looks.
            let wakes = sleeper.wakes();
            let arming = wake::arm(&*connection, &shared.config.schema, sleeper.topics());
            let (armed, rows) = tokio::join!(arming, connection.rows(&sql, &params));
            armed?;
            sleeper.set_armed(wakes);
            rows
        })
        .await?;
    rows.iter()
        .zip(ids)
        .map(|(row, id)| record(row, id).map_err(|failure| failure.explain("fetch results", "")))
        .collect()
}

fn record(row: &Row, id: &TaskId) -> Outcome<Option<Record>> {
    let (there, expired): (bool, bool) = (row.try_get(15)?, row.try_get(16)?);
    if !there || expired {
        return Ok(None);
    }
    if let Some(document) = row.try_get::<_, Option<&[u8]>>(1)? {
        let state: &str = row.try_get(0)?;
        return Ok(Some(Record { document: Bytes::copy_from_slice(document), ready: State::parse(state).is_ready() }));
    }
    let columns = Columns {
        status: row.try_get(4)?,
        result: row.try_get(5)?,
        date_done: row.try_get(6)?,
        traceback: row.try_get(7)?,
        children: row.try_get(8)?,
        name: row.try_get(9)?,
        args: row.try_get(10)?,
        kwargs: row.try_get(11)?,
        worker: row.try_get(12)?,
        retries: row.try_get(13)?,
        queue: row.try_get(14)?,
    };
    let document = columns.document(id.as_str(), row.try_get(2)?, row.try_get(3)?)?;
    Ok(Some(Record { document, ready: columns.state().is_ready() }))
}
