//! The result backend, in Celery's keys.

use std::sync::Arc;

use bytes::Bytes;
use celeriac_core::{
    Capabilities, ChordPart, Error, ErrorKind, Joined, MetaWrite, Result, ResultBackend, State, TaskId, Timestamp,
    Written,
};
use celeriac_protocol::json::scan::Scanner;

use crate::{
    chords,
    engine::{Shared, capabilities, micros},
    link::closed,
    values::Arguments,
};

/// How many documents, and about how many bytes, one script stores.
const STORE_STEP: usize = 500;
const STORE_STEP_BYTES: usize = 8 << 20;
/// How many one call reads.
const FETCH_STEP: usize = 1_000;
/// How long the fact beside a document is kept that has no end itself.
const FACT_KEPT_MS: i64 = 7 * 24 * 3600 * 1_000;

/// See [`ResultBackend`].
pub struct RedisResults(Arc<Shared>);

impl RedisResults {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }
}

impl ResultBackend for RedisResults {
    fn capabilities(&self) -> Capabilities {
        capabilities(&self.0.layout)
    }

    async fn store(&self, batch: Vec<MetaWrite>) -> Result<Vec<Written>> {
        let limit = self.0.config.result_bytes_max;
        if let Some(write) = batch.iter().find(|write| write.document.len() > limit) {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("store {} bytes for task {}: result_max allows {limit}", write.document.len(), write.task_id),
            ));
        }
        let now = self.0.now();
        let mut written = Vec::with_capacity(batch.len());
        let (mut step, mut step_bytes) = (Arguments::default(), 0);
        let mut waiting = batch.iter().peekable();
        while let Some(write) = waiting.next() {
            if step.0.is_empty() {
                step.number(FACT_KEPT_MS);
            }
            step_bytes += write.document.len();
            let (layout, id) = (&self.0.layout, write.task_id.as_str());
            step.text(layout.meta(id))
                .text(layout.attempt(id))
                .text(write.state.as_str())
                .number(write.attempt)
                .text(&write.document[..])
                .number(time_to_live(write.expires, now));
            if step.0.len() > STORE_STEP * 6 || step_bytes > STORE_STEP_BYTES || waiting.peek().is_none() {
                let arguments = std::mem::take(&mut step).0;
                step_bytes = 0;
                let answers: Vec<u8> = self.0.link.call("store results", &self.0.scripts.store, &arguments).await?;
                written
                    .extend(answers.iter().map(|&answer| if answer == 1 { Written::Stored } else { Written::Stale }));
            }
        }
        Ok(written)
    }

    async fn fetch(&self, ids: &[TaskId]) -> Result<Vec<Option<Bytes>>> {
        let mut found = Vec::with_capacity(ids.len());
        for ids in ids.chunks(FETCH_STEP) {
            let mut command = redis::cmd("MGET");
            for id in ids {
                command.arg(self.0.layout.meta(id.as_str()));
            }
            let documents: Vec<Option<Vec<u8>>> = self.0.link.command("fetch results", &command).await?;
            found.extend(documents.into_iter().map(|document| document.map(Bytes::from)));
        }
        Ok(found)
    }

    async fn wait(&self, id: &TaskId) -> Result<Bytes> {
        let place = Place::take(&self.0, self.0.layout.meta(id.as_str())).await?;
        loop {
            let said = place.said.notified();
            tokio::pin!(said);
            said.as_mut().enable();
            if self.0.link.closed.is_cancelled() {
                return Err(closed(&format!("wait for task {id}")));
            }
            if let Some(document) = ended(&self.0, id).await? {
                return Ok(document);
            }
            said.await;
        }
    }

    async fn forget(&self, ids: &[TaskId]) -> Result<()> {
        for ids in ids.chunks(FETCH_STEP) {
            let mut command = redis::cmd("DEL");
            for id in ids {
                command.arg(self.0.layout.meta(id.as_str())).arg(self.0.layout.attempt(id.as_str()));
            }
            self.0.link.command::<()>("forget results", &command).await?;
        }
        Ok(())
    }

    /// Redis removes what has expired by itself.
    async fn expire(&self) -> Result<u64> {
        self.0.link.live().await.map(|_| 0)
    }

    async fn begin_chord(&self, group: &str, size: u32, expires: Option<Timestamp>) -> Result<()> {
        chords::begin(&self.0, group, size, expires).await
    }

    async fn join(&self, part: ChordPart) -> Result<Joined> {
        chords::join(&self.0, part).await
    }

    async fn finish_chord(&self, group: &str) -> Result<()> {
        chords::finish(&self.0, group).await
    }

    async fn close(&self) -> Result<()> {
        self.0.close_results().await;
        Ok(())
    }
}

/// How long a record lives, in ms; zero for ever. One that has expired already is stored for an instant, since it is
/// what was asked for.
pub(crate) fn time_to_live(expires: Option<Timestamp>, now: i64) -> i64 {
    expires.map_or(0, |expires| ((micros(expires) - now) / 1_000).clamp(1, i64::MAX / 1_000_000))
}

/// The document of a task that has ended.
async fn ended(shared: &Shared, id: &TaskId) -> Result<Option<Bytes>> {
    let mut command = redis::cmd("MGET");
    command.arg(shared.layout.meta(id.as_str())).arg(shared.layout.attempt(id.as_str()));
    let found: (Option<Vec<u8>>, Option<String>) = shared.link.command("wait for a result", &command).await?;
    let (Some(document), fact) = found else { return Ok(None) };
    let beside = fact.as_deref().and_then(|fact| fact.split_once(' ')).map(|(_, state)| State::parse(state));
    let ended = beside.or_else(|| told(&document)).is_some_and(|state| state.is_ready());
    Ok(ended.then(|| document.into()))
}

/// The state that a document tells.
fn told(document: &[u8]) -> Option<State> {
    let mut state = None;
    let read = Scanner::new(document, "a result").members(|scanner, name| {
        if name == "status" {
            state = Some(State::parse(&scanner.decoded_string()?));
        } else {
            scanner.slice()?;
        }
        Ok(())
    });
    read.ok().and(state)
}

/// A place among those who wait for one task's result.
struct Place {
    shared: Arc<Shared>,
    channel: String,
    said: Arc<tokio::sync::Notify>,
}

impl Place {
    /// Subscribes before anybody looks, so that nothing slips through.
    async fn take(shared: &Arc<Shared>, channel: String) -> Result<Self> {
        let said = shared.link.ear.join(&channel);
        let place = Self { shared: shared.clone(), channel, said };
        // Whoever came first may not be subscribed yet: doing it twice is harmless.
        subscribe(shared, "SUBSCRIBE", &place.channel).await?;
        Ok(place)
    }
}

async fn subscribe(shared: &Shared, how: &str, channel: &str) -> Result<()> {
    let mut command = redis::cmd(how);
    command.arg(channel);
    shared.link.command::<redis::Value>("wait for a result", &command).await.map(drop)
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.link.ear.leave(&self.channel);
        let (shared, channel) = (self.shared.clone(), std::mem::take(&mut self.channel));
        self.shared.link.spawn(async move {
            let ear = &shared.link.ear;
            if shared.link.closed.is_cancelled() || !ear.forget(&channel) {
                return;
            }
            let mut left = subscribe(&shared, "UNSUBSCRIBE", &channel).await;
            if left.is_ok() && ear.waits(&channel) {
                // Somebody came in between, whose subscription went with ours: it looks once more, too.
                left = subscribe(&shared, "SUBSCRIBE", &channel).await;
                ear.say(&channel);
            }
            if let Err(error) = left {
                // The next connection subscribes to what is waited for then, and wakes everybody.
                tracing::debug!(%error, "a subscription was not put right");
            }
        });
    }
}
