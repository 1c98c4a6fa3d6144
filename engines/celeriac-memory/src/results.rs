//! The result backend.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use celeriac_core::{
    Capabilities, ChordPart, Joined, MetaWrite, Result, ResultBackend, State, TaskId, Timestamp, Written,
};
use tokio::sync::Notify;

use crate::{
    Limits,
    broker::CAPABILITIES,
    chords::Chords,
    config::{check_room, check_size},
    connection::{Connection, closed},
    expiring::Expiring,
    store::Store,
};

/// Remembers results in memory. See [`ResultBackend`].
pub struct MemoryResults {
    connection: Arc<Connection>,
}

impl MemoryResults {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self { connection }
    }
}

impl ResultBackend for MemoryResults {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn store(&self, batch: Vec<MetaWrite>) -> Result<Vec<Written>> {
        let store = self.connection.store("store results")?;
        let now = store.clock.now();
        store.results.lock().store(batch, now)
    }

    async fn fetch(&self, ids: &[TaskId]) -> Result<Vec<Option<Bytes>>> {
        let store = self.connection.store("fetch results")?;
        let now = store.clock.now();
        let results = store.results.lock();
        Ok(ids.iter().map(|id| results.records.get(id, now).map(|record| record.document.clone())).collect())
    }

    async fn wait(&self, id: &TaskId) -> Result<Bytes> {
        let waiter = Waiter::register(&self.connection.store, id);
        loop {
            let stored = waiter.bell.notified();
            tokio::pin!(stored);
            stored.as_mut().enable();
            let store = self.connection.store("wait for a result")?;
            if let Some(document) = store.results.lock().ready(id, store.clock.now()) {
                return Ok(document);
            }
            tokio::select! {
                () = self.connection.closed.cancelled() => return Err(closed("wait for a result")),
                () = stored => {}
            }
        }
    }

    async fn forget(&self, ids: &[TaskId]) -> Result<()> {
        let mut results = self.connection.store("forget results")?.results.lock();
        for id in ids {
            results.remove(id);
        }
        Ok(())
    }

    async fn expire(&self) -> Result<u64> {
        let store = self.connection.store("remove expired results")?;
        Ok(store.results.lock().expire(store.clock.now()))
    }

    async fn begin_chord(&self, group: &str, size: u32, expires: Option<Timestamp>) -> Result<()> {
        let store = self.connection.store("begin a chord")?;
        store.results.lock().chords.begin(group, size, expires, store.clock.now())
    }

    async fn join(&self, part: ChordPart) -> Result<Joined> {
        let store = self.connection.store("join a chord")?;
        store.results.lock().chords.join(part, store.clock.now())
    }

    async fn finish_chord(&self, group: &str) -> Result<()> {
        let store = self.connection.store("finish a chord")?;
        store.results.lock().chords.finish(group, store.clock.now());
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.connection.closed.cancel();
        Ok(())
    }
}

/// All records of a store, and who waits for one.
pub(crate) struct Results {
    limits: Limits,
    records: Expiring<TaskId, Record>,
    bytes: usize,
    chords: Chords,
    /// One bell a task, while somebody waits for it.
    waiting: BTreeMap<TaskId, Weak<Notify>>,
}

struct Record {
    state: State,
    attempt: u32,
    document: Bytes,
}

impl Results {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            records: Expiring::new(),
            bytes: 0,
            chords: Chords::new(limits),
            waiting: BTreeMap::new(),
        }
    }

    fn store(&mut self, batch: Vec<MetaWrite>, now: Timestamp) -> Result<Vec<Written>> {
        let Limits { results_max, results_bytes_max, result_bytes_max, .. } = self.limits;
        let mut bytes = 0;
        for write in &batch {
            check_size("a result", write.document.len(), "result_bytes_max", result_bytes_max)?;
            bytes += write.document.len();
        }
        if self.records.len() + batch.len() > results_max || self.bytes + bytes > results_bytes_max {
            self.expire_records(now);
        }
        // A rewritten record is counted twice here: near the limit that refuses a little too early.
        check_room("results", self.records.len() + batch.len() <= results_max, "results_max", results_max)?;
        check_room(
            "bytes of results",
            self.bytes + bytes <= results_bytes_max,
            "results_bytes_max",
            results_bytes_max,
        )?;
        Ok(batch.into_iter().map(|write| self.store_one(write, now)).collect())
    }

    fn store_one(&mut self, write: MetaWrite, now: Timestamp) -> Written {
        if let Some(stored) = self.records.get(&write.task_id, now)
            && (stored.state == State::Success || stored.attempt > write.attempt)
        {
            return Written::Stale;
        }
        let MetaWrite { task_id, state, attempt, document, expires } = write;
        if state.is_ready()
            && let Some(bell) = self.waiting.get(&task_id).and_then(Weak::upgrade)
        {
            bell.notify_waiters();
        }
        self.bytes += document.len();
        let record = Record { state, attempt, document };
        if let Some(before) = self.records.insert(task_id, record, expires.unwrap_or(Timestamp::MAX)) {
            self.bytes -= before.document.len();
        }
        Written::Stored
    }

    /// The document, if nothing more will happen to the task.
    fn ready(&self, id: &TaskId, now: Timestamp) -> Option<Bytes> {
        self.records.get(id, now).filter(|record| record.state.is_ready()).map(|record| record.document.clone())
    }

    fn remove(&mut self, id: &TaskId) {
        if let Some(record) = self.records.remove(id) {
            self.bytes -= record.document.len();
        }
    }

    fn expire(&mut self, now: Timestamp) -> u64 {
        self.expire_records(now) + self.chords.expire(now)
    }

    fn expire_records(&mut self, now: Timestamp) -> u64 {
        let mut removed = 0;
        while let Some(record) = self.records.pop_expired(now) {
            self.bytes -= record.document.len();
            removed += 1;
        }
        removed
    }
}

/// One `wait`'s share of the bell of a task. The last one takes it out.
struct Waiter<'store> {
    store: &'store Store,
    id: TaskId,
    bell: Arc<Notify>,
}

impl<'store> Waiter<'store> {
    fn register(store: &'store Store, id: &TaskId) -> Self {
        let mut results = store.results.lock();
        let bell = results.waiting.get(id).and_then(Weak::upgrade).unwrap_or_else(|| {
            let bell = Arc::new(Notify::new());
            results.waiting.insert(id.clone(), Arc::downgrade(&bell));
            bell
        });
        Self { store, id: id.clone(), bell }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut results = self.store.results.lock();
        // Bells are handed out under this lock: with one left, it is ours and nobody gets another.
        if Arc::strong_count(&self.bell) == 1 {
            results.waiting.remove(&self.id);
        }
    }
}
