//! From the channel of events into the history, each event once, whoever else records.
//!
//! The cursor in the store says how far events are folded. Whoever folds a batch moves it in the same step; a viewer that
//! finds it moved was overtaken by another one, and goes on from there.

use std::{collections::HashMap, time::Duration};

use celeriac_core::{
    Broadcast, Clock, Cursor, HistoryHandle, ListenerHandle, Result, TaskId, TaskRecord, TimelineEntry,
};
use celeriac_protocol::Event;
use tokio_util::sync::CancellationToken;

use crate::{
    fold::{fold, instant},
    monitor::Inner,
};

/// The broadcast channel that carries events: the name of Celery's exchange.
pub const CHANNEL: &str = "celeryev";
/// Broadcasts folded in one step; a worker puts up to 256 events into one.
const BROADCASTS_MAX: usize = 64;
/// The first and the longest wait after an error.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How often old records are looked for.
const PRUNE_EVERY: Duration = Duration::from_mins(1);

/// Records until told to stop. Trouble with the store is waited out: events stay in their channel meanwhile.
pub(crate) async fn run(inner: &Inner, stop: &CancellationToken) {
    let clock = &inner.sources.clock;
    let mut wait = BACK_OFF.0;
    while !stop.is_cancelled() {
        match record(inner, stop, &mut wait).await {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(%error, "events are not recorded for now; trying again in {:?}", wait);
                stop.run_until_cancelled(clock.sleep(wait)).await;
                wait = (wait * 2).min(BACK_OFF.1);
            }
        }
    }
}

/// Removes old records until told to stop.
pub(crate) async fn prune(inner: &Inner, stop: &CancellationToken) {
    let clock = &inner.sources.clock;
    while stop.run_until_cancelled(clock.sleep(PRUNE_EVERY)).await.is_some() {
        let Ok(before) = clock.now().checked_sub(inner.config.retention) else { continue };
        match inner.history.prune(before).await {
            Ok(0) => {}
            Ok(records) => tracing::debug!(records, "old records removed"),
            Err(error) => tracing::warn!(%error, "old records could not be removed"),
        }
    }
}

/// Records until stopped, overtaken by another viewer (`Ok`), or in trouble.
async fn record(inner: &Inner, stop: &CancellationToken, wait: &mut Duration) -> Result<()> {
    let history = &inner.history;
    let mut from = history.cursor().await?;
    let broker = &inner.sources.broker;
    // What is kept from before the first viewer came is worth having, too.
    let after = broker.capabilities().replay.then(|| from.unwrap_or_default());
    let listener: ListenerHandle = broker.listen(CHANNEL, None, after).await?;
    while let Some(received) = stop.run_until_cancelled(listener.recv(BROADCASTS_MAX)).await {
        let broadcasts = received?;
        let Some(to) = broadcasts.last().map(|last| last.cursor) else { return Ok(()) };
        let batch = Batch::read(&broadcasts, inner);
        if !batch.store(history, &inner.sources.clock, from, to).await? {
            tracing::debug!("another viewer records, too");
            return Ok(());
        }
        from = Some(to);
        *wait = BACK_OFF.0;
        inner.live.changed();
    }
    Ok(())
}

/// The events of tasks in some broadcasts.
struct Batch {
    events: Vec<(TaskId, Event)>,
}

impl Batch {
    /// Reads broadcasts; tells `live` of each event. What does not parse is left out and said.
    fn read(broadcasts: &[Broadcast], inner: &Inner) -> Self {
        let now = inner.sources.clock.now();
        let (mut events, mut garbage) = (Vec::new(), 0_u32);
        for broadcast in broadcasts {
            let Ok(parsed) = Event::parse_all(&broadcast.notice.body) else {
                garbage += 1;
                continue;
            };
            for event in parsed {
                inner.live.note(&event, instant(event.timestamp).unwrap_or(now));
                if event.kind.starts_with("task-") {
                    match event.task_id().and_then(|id| TaskId::new(id).ok()) {
                        Some(id) => events.push((id, event)),
                        None => garbage += 1,
                    }
                }
            }
        }
        if garbage > 0 {
            tracing::warn!(garbage, "events that do not parse were left out");
        }
        Self { events }
    }

    /// Folds everything and moves the cursor. False when somebody else did.
    async fn store(self, history: &HistoryHandle, clock: &Clock, from: Option<Cursor>, to: Cursor) -> Result<bool> {
        let mut ids: Vec<TaskId> = self.events.iter().map(|(id, _)| id.clone()).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut records: HashMap<&TaskId, TaskRecord> = history
            .records(&ids)
            .await?
            .into_iter()
            .zip(&ids)
            .map(|(record, id)| {
                (id, record.unwrap_or_else(|| TaskRecord { id: id.to_string(), ..TaskRecord::default() }))
            })
            .collect();
        let now = clock.now();
        let timeline: Vec<(TaskId, TimelineEntry)> = self
            .events
            .iter()
            .map(|(id, event)| {
                let record = records.get_mut(id).expect("every event's task has a record");
                (id.clone(), fold(record, event, now).1)
            })
            .collect();
        // A record that only unknown kinds of events speak of has no state, and is none.
        let records = records.into_values().filter(|record| !record.state.is_empty()).collect();
        history.fold(from, to, records, timeline).await
    }
}
