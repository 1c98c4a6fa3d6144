//! The result backend.

use std::sync::Arc;

use bytes::Bytes;
use celeriac_core::{
    Capabilities, ChordPart, Joined, MetaWrite, Result, ResultBackend, State, TaskId, Timestamp, Written,
};
use rusqlite::{OptionalExtension, params};

use crate::{
    chords,
    engine::{CAPABILITIES, Shared},
    errors::Outcome,
    layout::{check_size, micros},
    tx::Tx,
    writer::Durability,
};

/// How many records go into one command, so that others get in between.
const CHUNK: usize = 1_000;

/// Remembers results in tables. See [`ResultBackend`].
pub struct SqliteResults {
    shared: Arc<Shared>,
}

impl SqliteResults {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl ResultBackend for SqliteResults {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn store(&self, batch: Vec<MetaWrite>) -> Result<Vec<Written>> {
        for write in &batch {
            let what = "a result document";
            check_size(what, write.document.len(), self.shared.config.result_bytes_max, "result_max")?;
        }
        let mut written = Vec::with_capacity(batch.len());
        let mut rest = batch;
        while !rest.is_empty() {
            let tail = rest.split_off(rest.len().min(CHUNK));
            let chunk = std::mem::replace(&mut rest, tail);
            let room = self.shared.writer.room(chunk.iter().map(|write| write.document.len()).sum()).await?;
            let now = self.shared.now();
            let mut answers = self
                .shared
                .writer
                .run("store results", Durability::Durable, chunk.len(), move |tx| {
                    let answers = store_all(tx, &chunk, now);
                    drop(room);
                    answers
                })
                .await?;
            written.append(&mut answers);
        }
        Ok(written)
    }

    async fn fetch(&self, ids: &[TaskId]) -> Result<Vec<Option<Bytes>>> {
        let (now, ids) = (self.shared.now(), ids.to_vec());
        self.shared
            .readers
            .run("fetch results", move |conn| {
                let mut statement = conn.prepare_cached(
                    "SELECT document FROM results WHERE task_id = ? AND (expires IS NULL OR expires > ?)",
                )?;
                ids.iter()
                    .map(|id| {
                        let document: Option<Vec<u8>> =
                            statement.query_row((id.as_str(), now), |row| row.get(0)).optional()?;
                        Ok(document.map(Bytes::from))
                    })
                    .collect()
            })
            .await
    }

    async fn wait(&self, id: &TaskId) -> Result<Bytes> {
        let waiting = self.shared.hub.wait_for(id.as_str());
        self.shared.waker.listen()?;
        loop {
            let next = waiting.next();
            tokio::pin!(next);
            // Before the look, so that what is stored during it is not missed.
            next.as_mut().enable();
            let (now, id) = (self.shared.now(), id.clone());
            let ready = self.shared.readers.run("wait for a result", move |conn| ready(conn, &id, now)).await?;
            if let Some(document) = ready {
                return Ok(document);
            }
            next.await;
        }
    }

    async fn forget(&self, ids: &[TaskId]) -> Result<()> {
        for chunk in ids.chunks(CHUNK) {
            let chunk = chunk.to_vec();
            self.shared
                .writer
                .run("forget results", Durability::Durable, chunk.len(), move |tx| {
                    let mut delete = tx.statement("DELETE FROM results WHERE task_id = ?")?;
                    for id in &chunk {
                        delete.execute([id.as_str()])?;
                    }
                    Ok(())
                })
                .await?;
        }
        Ok(())
    }

    async fn expire(&self) -> Result<u64> {
        let now = self.shared.now();
        let mut removed = 0;
        loop {
            let step = self
                .shared
                .writer
                .run("remove expired results", Durability::Relaxed, CHUNK, move |tx| {
                    let results = tx
                        .statement(&format!(
                            "DELETE FROM results WHERE task_id IN \
                             (SELECT task_id FROM results WHERE expires <= ? LIMIT {CHUNK})"
                        ))?
                        .execute([now])?;
                    Ok(results + chords::expire(tx, now)?)
                })
                .await?;
            if step == 0 {
                return Ok(removed);
            }
            removed += u64::try_from(step).unwrap_or(u64::MAX);
        }
    }

    async fn begin_chord(&self, group: &str, size: u32, expires: Option<Timestamp>) -> Result<()> {
        chords::begin(&self.shared, group, size, expires).await
    }

    async fn join(&self, part: ChordPart) -> Result<Joined> {
        chords::join(&self.shared, part).await
    }

    async fn finish_chord(&self, group: &str) -> Result<()> {
        chords::finish(&self.shared, group).await
    }

    async fn close(&self) -> Result<()> {
        self.shared.close_results().await
    }
}

fn store_all(tx: &mut Tx<'_>, chunk: &[MetaWrite], now: i64) -> Outcome<Vec<Written>> {
    // What has expired is as good as gone, also for fencing.
    let mut upsert = tx.statement(
        "INSERT INTO results (task_id, state, attempt, stored_at, expires, document) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT (task_id) DO UPDATE SET state = ?2, attempt = ?3, stored_at = ?4, expires = ?5, document = ?6 \
         WHERE (state <> 'SUCCESS' AND attempt <= ?3) OR expires <= ?4",
    )?;
    let mut written = Vec::with_capacity(chunk.len());
    for write in chunk {
        let changed = upsert.execute(params![
            write.task_id.as_str(),
            write.state.as_str(),
            write.attempt,
            now,
            write.expires.map(micros),
            &*write.document,
        ])?;
        if changed == 0 {
            written.push(Written::Stale);
            continue;
        }
        if write.state.is_ready() {
            tx.touch_result(write.task_id.as_str());
        }
        written.push(Written::Stored);
    }
    Ok(written)
}

/// The document, if the task's state is one after which nothing happens.
fn ready(conn: &rusqlite::Connection, id: &TaskId, now: i64) -> Outcome<Option<Bytes>> {
    let found: Option<(String, Vec<u8>)> = conn
        .prepare_cached("SELECT state, document FROM results WHERE task_id = ? AND (expires IS NULL OR expires > ?)")?
        .query_row((id.as_str(), now), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(found.filter(|(state, _)| State::parse(state).is_ready()).map(|(_, document)| document.into()))
}
