//! What became of tasks, in Celery's own tables, and the counting of chords in ours.
//!
//! ```text
//!   store ──┬─► celery_taskmeta         what any Celery reads, as any Celery writes it
//!           └─► {schema}.results        attempt and expiry; the document, where the columns would not give it back
//! ```
//!
//! Both rows are written by one transaction, and that is how they are known to belong together: PostgreSQL keeps the
//! writing transaction of every row (`xmin`). When a real Celery writes its row later, ours does not speak of it any
//! more, and its row counts.

mod chords;
mod columns;
mod fetch;
mod store;
mod timestamp;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use celeriac_core::{
    Capabilities, ChordPart, Error, ErrorKind, Joined, MetaWrite, Result, ResultBackend, TaskId, Timestamp, Written,
};
use tokio_postgres::types::Type;

use crate::{
    connections::Session,
    engine::{CAPABILITIES, Shared},
    layout::{count, result_topic},
};

/// How many records one statement stores or reads.
const CHUNK: usize = 1_000;
/// How many expired records one statement removes.
const EXPIRE_STEP: i64 = 1_000;
/// Who waits for what a real Celery stores is told by nobody: the first look comes soon, later ones less often.
const LOOK_MIN: Duration = Duration::from_millis(250);
const LOOK_MAX: Duration = Duration::from_secs(2);

const FORGET: &str = "\
WITH ours AS (DELETE FROM {s}.results WHERE task_id = ANY ($1)) DELETE FROM celery_taskmeta WHERE task_id = ANY ($1)";

/// Celery's row goes only if it is still the one that ours speaks of.
const EXPIRE: &str = "\
WITH ours AS ( \
    DELETE FROM {s}.results WHERE ctid = ANY (ARRAY( \
        SELECT ctid FROM {s}.results WHERE expires <= $1 ORDER BY expires LIMIT $2 FOR UPDATE SKIP LOCKED)) \
    RETURNING task_id, xmin AS written \
), theirs AS ( \
    DELETE FROM celery_taskmeta t USING ours WHERE t.task_id = ours.task_id AND t.xmin = ours.written \
) SELECT count(*) FROM ours";

/// Remembers outcomes in Celery's tables. See [`ResultBackend`].
pub struct PostgresResults {
    shared: Arc<Shared>,
}

impl PostgresResults {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl ResultBackend for PostgresResults {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn store(&self, batch: Vec<MetaWrite>) -> Result<Vec<Written>> {
        self.shared.results.check("store results")?;
        store::store(&self.shared, &batch).await
    }

    async fn fetch(&self, ids: &[TaskId]) -> Result<Vec<Option<Bytes>>> {
        self.shared.results.check("fetch results")?;
        let mut found = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(CHUNK) {
            let records = fetch::fetch(&self.shared, chunk, None).await?;
            found.extend(records.into_iter().map(|record| record.map(|record| record.document)));
        }
        Ok(found)
    }

    async fn wait(&self, id: &TaskId) -> Result<Bytes> {
        let what = "wait for a result";
        self.shared.results.check(what)?;
        let sleeper = self.shared.sleeper(vec![result_topic(id.as_str())]);
        let mut look = LOOK_MIN;
        loop {
            let wakes = sleeper.wakes();
            let (shared, ids, asleep) = (self.shared.clone(), [id.clone()], sleeper.clone());
            let looking = async move { fetch::fetch(&shared, &ids, Some(&asleep)).await };
            let mut found = self.shared.driver.detach(what, looking).await?;
            if let Some(record) = found.pop().flatten().filter(|record| record.ready) {
                return Ok(record.document);
            }
            let stop = self.shared.driver.stop();
            tokio::select! {
                () = sleeper.woken_after(wakes) => {}
                () = self.shared.clock.sleep(look) => look = (look * 2).min(LOOK_MAX),
                () = stop.cancelled() => {
                    return Err(Error::new(ErrorKind::Invalid, format!("{what}: the store is closed")));
                }
            }
        }
    }

    async fn forget(&self, ids: &[TaskId]) -> Result<()> {
        self.shared.results.check("forget results")?;
        for chunk in ids.chunks(CHUNK) {
            let ids: &Vec<&str> = &chunk.iter().map(TaskId::as_str).collect();
            self.shared
                .run("forget results", |connection| async move {
                    self.shared.celery_tables.ensure(&connection).await?;
                    connection.rows(&self.shared.sql(FORGET), &[(ids, Type::TEXT_ARRAY)]).await.map(drop)
                })
                .await?;
        }
        Ok(())
    }

    async fn expire(&self) -> Result<u64> {
        self.shared.results.check("remove expired results")?;
        let now = self.shared.now();
        let mut removed = 0;
        loop {
            let step: i64 = self
                .shared
                .run("remove expired results", |connection| async move {
                    self.shared.celery_tables.ensure(&connection).await?;
                    let params = [(&now as _, Type::INT8), (&EXPIRE_STEP as _, Type::INT8)];
                    let results: i64 = connection.rows(&self.shared.sql(EXPIRE), &params).await?[0].try_get(0)?;
                    Ok(results + chords::expire(&self.shared, &connection, now).await?)
                })
                .await?;
            if step == 0 {
                return Ok(removed);
            }
            removed += count(step);
        }
    }

    async fn begin_chord(&self, group: &str, size: u32, expires: Option<Timestamp>) -> Result<()> {
        self.shared.results.check("begin a chord")?;
        chords::begin(&self.shared, group, size, expires).await
    }

    async fn join(&self, part: ChordPart) -> Result<Joined> {
        self.shared.results.check("join a chord")?;
        chords::join(&self.shared, &part).await
    }

    async fn finish_chord(&self, group: &str) -> Result<()> {
        self.shared.results.check("finish a chord")?;
        chords::finish(&self.shared, group).await
    }

    async fn close(&self) -> Result<()> {
        self.shared.close_results().await;
        Ok(())
    }
}
