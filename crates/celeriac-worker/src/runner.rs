//! Decides on deliveries and runs those that may run, a slot each.

use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bytes::Bytes;
use celeriac_app::Registry;
use celeriac_core::{
    ConsumerHandle, Delivery, DeliveryTag, Outcome, Pool as _, Request, Settled, Settlement, State, TaskId, TaskName,
    Timestamp, WorkerName,
};
use celeriac_protocol::TaskMeta;
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

use crate::{
    RustPool,
    consequence::{Consequence, Ended, Judge},
    events::Emitter,
    limits::Limits,
    prefetch::Prefetch,
    quarantine::{LOSSES_ALONE, Quarantine},
    rate::Buckets,
    roster::Roster,
    slots::Slots,
    strategy::{Decision, Prepared, decide},
    tell::{self, Counts},
    worker::BackOff,
};

/// What every run shares.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) judge: Arc<Judge>,
    pub(crate) registry: Registry,
    pub(crate) pool: Arc<RustPool>,
    pub(crate) consumer: ConsumerHandle,
    pub(crate) prefetch: Arc<Prefetch>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) worker: WorkerName,
    pub(crate) events: Arc<Emitter>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) buckets: Mutex<Buckets>,
    pub(crate) quarantine: Quarantine,
    pub(crate) outcomes: mpsc::Sender<Consequence>,
    pub(crate) slots: Arc<Slots>,
}

impl Runner {
    /// Runs deliveries until none come any more, and returns when the last run has ended. Once `stop` is told, nothing
    /// new is begun: what has not begun goes back.
    pub(crate) async fn run(self: Arc<Self>, mut deliveries: mpsc::Receiver<Vec<Delivery>>, stop: CancellationToken) {
        let runs = TaskTracker::new();
        while let Some(batch) = deliveries.recv().await {
            let mut results = self.results_of(&batch).await;
            for delivery in batch {
                let result = results.remove(&delivery.task_id);
                self.take(delivery, result, &runs, &stop).await;
            }
        }
        runs.close();
        runs.wait().await;
    }

    /// The results of those whose holder was lost after they had succeeded. One look for a batch, and none where nothing was
    /// redelivered.
    async fn results_of(&self, batch: &[Delivery]) -> HashMap<TaskId, Bytes> {
        let redelivered: Vec<_> = batch.iter().filter(|it| it.redelivered).collect();
        let ids: Vec<_> = redelivered.iter().map(|it| it.task_id.clone()).collect();
        let Some(results) = self.judge.app.results().filter(|_| !ids.is_empty()) else { return HashMap::new() };
        match results.fetch(&ids).await {
            Ok(documents) => {
                let found = redelivered.iter().zip(documents);
                found.filter_map(|(it, found)| Some((it.task_id.clone(), success_of(it, &found?)?))).collect()
            }
            Err(error) => {
                tracing::warn!(%error, "the records of redelivered tasks were not read: those that had succeeded run again");
                HashMap::new()
            }
        }
    }

    async fn take(
        self: &Arc<Self>,
        delivery: Delivery,
        result: Option<Bytes>,
        runs: &TaskTracker,
        stop: &CancellationToken,
    ) {
        let now = self.judge.app.clock().now();
        match decide(delivery, result, &self.registry, now) {
            Decision::GoOn(prepared, result) => {
                self.counts.succeeded();
                tracing::info!("Task {}[{}] had succeeded already", prepared.headers.task, prepared.headers.id);
                let ended = Ended {
                    prepared,
                    outcome: Outcome::Success { result },
                    runtime: Duration::ZERO,
                    settled_early: false,
                };
                let consequence =
                    self.judge.ended(&ended, now).unwrap_or_else(|error| bury(&ended.prepared, &error, false));
                self.send(consequence).await;
            }
            Decision::Run(prepared) => {
                let definition = &prepared.definition;
                let limit = self.limits.rate(definition);
                let limited = limit.map(|limit| self.buckets.lock().take(definition.name, limit, now));
                if let Some(Err(turn)) = limited {
                    self.counts.parked();
                    let tag = prepared.delivery.tag.clone();
                    return self.settle(Settlement::Park { tag, until: turn, message: None }).await;
                }
                let inside = (prepared.delivery.losses >= LOSSES_ALONE).then(|| self.quarantine.enter(now)).transpose();
                let inside = match inside {
                    Ok(inside) => inside,
                    Err(later) => {
                        self.counts.parked();
                        let tag = prepared.delivery.tag.clone();
                        return self.settle(Settlement::Park { tag, until: later, message: None }).await;
                    }
                };
                let slot = match stop.run_until_cancelled(self.slots.take()).await {
                    Some(slot) if !stop.is_cancelled() => slot,
                    _ => {
                        self.counts.handed_back();
                        return self.settle(Settlement::Requeue(prepared.delivery.tag)).await;
                    }
                };
                tell::received(&self.events, &prepared, now);
                let (this, stop) = (self.clone(), stop.clone());
                // Boxed: what is spawned is moved about a few times, and a run is some kilobytes.
                runs.spawn(async move {
                    Box::pin(this.run_guarded(prepared, &stop)).await;
                    drop((slot, inside));
                });
            }
            Decision::Park(delivery, until) => {
                self.counts.parked();
                self.settle(Settlement::Park { tag: delivery.tag, until, message: None }).await;
            }
            Decision::Revoke(prepared, why) => {
                tell::revoked(&self.events, &self.counts, &prepared, why, now);
                let consequence = self
                    .judge
                    .revoked(&prepared, why, false, now)
                    .unwrap_or_else(|error| bury(&prepared, &error, false));
                self.send(consequence).await;
            }
            Decision::Bury(buried) => {
                tell::buried(&self.events, &self.counts, &buried, now);
                self.send(self.judge.buried(&buried, now)).await;
            }
        }
    }

    /// Runs one within its span. A panic outside the task's function is a bug of ours: the run counts as lost, and the
    /// third time as poison, so that its delivery does not stay in hand for ever.
    async fn run_guarded(&self, prepared: Box<Prepared>, stop: &CancellationToken) {
        let (tag, headers) = (prepared.delivery.tag.clone(), &prepared.headers);
        let (id, retries) = (headers.id.clone(), headers.retries);
        let span = tracing::info_span!("task", %id, name = headers.task, attempt = tag.attempt, retries);
        let run = AssertUnwindSafe(self.run_one(prepared, stop).instrument(span)).catch_unwind();
        if run.await.is_ok() {
            return;
        }
        tracing::error!(%id, "the worker panicked while it dealt with a task: this is a bug of Celeriac");
        match self.roster.get(&tag) {
            Some(it) if it.acknowledged => self.let_go(&tag),
            Some(_) => self.settle(Settlement::Lost(tag)).await,
            None => {}
        }
    }

    async fn run_one(&self, prepared: Box<Prepared>, stop: &CancellationToken) {
        use std::sync::atomic::Ordering::Relaxed;
        let clock = self.judge.app.clock();
        let tag = prepared.delivery.tag.clone();
        if prepared.delivery.losses > 0 && !self.say_that_it_begins(&prepared, stop).await {
            self.counts.handed_back();
            return self.settle(Settlement::Requeue(tag)).await;
        }
        let settled_early = match self.settle_early(&prepared, stop).await {
            Early::NotAsked => false,
            Early::Settled => true,
            Early::NotOurs => return self.let_go(&tag),
            Early::Stopped => {
                self.counts.handed_back();
                return self.settle(Settlement::Requeue(tag)).await;
            }
        };
        let started = clock.now();
        self.roster.begin(&tag, prepared.definition.name, started);
        tell::started(&self.events, &prepared, started);
        if (prepared.definition.options.track_started || self.judge.app.settings().task_track_started)
            && let (Some(results), Some(meta)) = (self.judge.app.results(), self.judge.started(&prepared, started))
            && let Err(error) = results.store(vec![meta]).await
        {
            tracing::warn!(%error, id = %prepared.headers.id, "that it has started was not stored");
        }
        self.events.active.fetch_add(1, Relaxed);
        let outcome = self.pool.run(Arc::new(self.request(&prepared))).await;
        self.events.active.fetch_sub(1, Relaxed);
        self.events.processed.fetch_add(1, Relaxed);
        let now = clock.now();
        let runtime = Duration::try_from(now.duration_since(started)).unwrap_or_default();
        let ended = Ended { prepared, outcome, runtime, settled_early };
        let consequence =
            self.judge.ended(&ended, now).unwrap_or_else(|error| bury(&ended.prepared, &error, settled_early));
        tell::ended(&self.events, &self.counts, &ended, wait_of(&ended.outcome, &consequence, now), now);
        if settled_early {
            self.let_go(&tag);
        }
        self.send(consequence).await;
    }

    /// Says that a suspect begins, before it does. False when the worker stops before it could be said.
    async fn say_that_it_begins(&self, prepared: &Prepared, stop: &CancellationToken) -> bool {
        let mut back_off = BackOff::new(self.judge.app.ids().clone());
        while let Err(error) = self.consumer.begin(std::slice::from_ref(&prepared.delivery.tag)).await {
            let wait = back_off.next();
            tracing::warn!(%error, ?wait, id = %prepared.headers.id, "not said that a lost task begins again; trying again");
            if stop.run_until_cancelled(self.judge.app.clock().sleep(wait)).await.is_none() {
                return false;
            }
        }
        true
    }

    /// Settles a delivery before its run, where its task asks for that: then it begins at most once.
    ///
    /// An answer that was lost is asked for again. Then a stale one most likely means that the first had taken effect, and
    /// the task is here and nowhere else.
    async fn settle_early(&self, prepared: &Prepared, stop: &CancellationToken) -> Early {
        if prepared.definition.options.acks_late {
            return Early::NotAsked;
        }
        let tag = &prepared.delivery.tag;
        let mut back_off = BackOff::new(self.judge.app.ids().clone());
        let mut asked_before = false;
        loop {
            match self.consumer.settle(vec![Settlement::Ack(tag.clone())]).await {
                Ok(settled) if asked_before || settled == [Settled::Done] => {
                    // No longer held, but its credit is not back before its end: nothing is hoarded.
                    self.roster.acknowledge(tag);
                    return Early::Settled;
                }
                Ok(_) => return Early::NotOurs,
                Err(error) => {
                    asked_before = true;
                    let wait = back_off.next();
                    tracing::warn!(%error, ?wait, id = %prepared.headers.id, "not settled before its run; trying again");
                    if stop.run_until_cancelled(self.judge.app.clock().sleep(wait)).await.is_none() {
                        return Early::Stopped;
                    }
                }
            }
        }
    }

    /// Forgets a delivery that is not this worker's any more.
    fn let_go(&self, tag: &DeliveryTag) {
        self.roster.remove([tag]);
        self.prefetch.give_back(1);
    }

    fn request(&self, prepared: &Prepared) -> Request {
        let (headers, delivery, settings) = (&prepared.headers, &prepared.delivery, self.judge.app.settings());
        let limits = self.limits.time(&prepared.definition);
        let (hard, soft) = headers.timelimit;
        let seconds = |limit: Option<f64>| limit.and_then(|limit| Duration::try_from_secs_f64(limit).ok());
        Request {
            id: delivery.task_id.clone(),
            // The headers decide: the delivery's name is what the sender told the engine, for people. Mostly it is the same.
            task: match prepared.definition.name {
                name if name == delivery.task.as_str() => delivery.task.clone(),
                name => TaskName::new(name).unwrap_or_else(|_| delivery.task.clone()),
            },
            queue: delivery.queue.clone(),
            attempt: delivery.tag.attempt,
            retries: headers.retries,
            redelivered: delivery.redelivered,
            worker: self.worker.clone(),
            message: delivery.message.clone(),
            soft_limit: seconds(soft).or(limits.soft).or(settings.task_soft_time_limit),
            hard_limit: seconds(hard).or(limits.hard).or(settings.task_time_limit),
        }
    }

    async fn settle(&self, settlement: Settlement) {
        self.send(Consequence { settlement: Some(settlement), ..Consequence::default() }).await;
    }

    async fn send(&self, consequence: Consequence) {
        // The finisher outlives every sender: it ends when the last of them is gone.
        let _ = self.outcomes.send(consequence).await;
    }
}

/// The value that a record has, if this very delivery succeeded: one that is older than its message is of an earlier task of
/// the same id.
fn success_of(delivery: &Delivery, document: &[u8]) -> Option<Bytes> {
    let meta = TaskMeta::parse(document).ok()?;
    let done: Timestamp = meta.date_done?.parse().ok()?;
    (meta.status == State::Success && done >= delivery.published_at).then_some(meta.result)
}

/// Whether a delivery was settled before its run.
enum Early {
    /// Its task did not ask for it.
    NotAsked,
    Settled,
    /// Its lease was lost: another worker has it.
    NotOurs,
    /// The worker stops, and it has not begun.
    Stopped,
}

/// How long until it runs again, when it does.
fn wait_of(outcome: &Outcome, consequence: &Consequence, now: Timestamp) -> Option<Duration> {
    if !matches!(outcome, Outcome::Retryable(_) | Outcome::Retry { .. }) {
        return None;
    }
    let due = match &consequence.settlement {
        Some(Settlement::Park { until, .. }) => Some(*until),
        Some(_) => None,
        None => consequence.plan.publications.last().and_then(|publication| publication.due),
    };
    due.map(|due| Duration::try_from(due.duration_since(now)).unwrap_or_default())
}

/// A task whose message cannot be followed up: into the dead set, if there is still a delivery.
fn bury(prepared: &Prepared, error: &celeriac_core::Error, settled_early: bool) -> Consequence {
    tracing::error!(%error, id = %prepared.headers.id, "what follows a task cannot be worked out");
    let settlement = Settlement::Dead {
        tag: prepared.delivery.tag.clone(),
        reason: celeriac_core::DeadReason::Malformed,
        detail: error.to_string(),
    };
    Consequence { settlement: (!settled_early).then_some(settlement), ..Consequence::default() }
}
