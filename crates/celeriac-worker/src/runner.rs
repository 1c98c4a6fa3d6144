//! Decides on deliveries and runs those that may run, a slot each.

use std::{sync::Arc, time::Duration};

use celeriac_app::Registry;
use celeriac_core::{ConsumerHandle, Delivery, Outcome, Pool as _, Request, Settlement, TaskName, WorkerName};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    RustPool,
    consequence::{Consequence, Ended, Judge},
    events::Emitter,
    lease::Held,
    prefetch::Prefetch,
    rate::Buckets,
    strategy::{Decision, Prepared, decide},
    tell::{self, Counts},
};

/// What every run shares.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) judge: Arc<Judge>,
    pub(crate) registry: Registry,
    pub(crate) pool: Arc<RustPool>,
    pub(crate) consumer: ConsumerHandle,
    pub(crate) prefetch: Arc<Prefetch>,
    pub(crate) held: Held,
    pub(crate) worker: WorkerName,
    pub(crate) events: Arc<Emitter>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) buckets: Mutex<Buckets>,
    pub(crate) outcomes: mpsc::Sender<Consequence>,
    pub(crate) slots: Arc<Semaphore>,
}

impl Runner {
    /// Runs deliveries until none come any more, and returns when the last run has ended. Once `stop` is told, nothing
    /// new is begun: what has not begun goes back.
    pub(crate) async fn run(self: Arc<Self>, mut deliveries: mpsc::Receiver<Vec<Delivery>>, stop: CancellationToken) {
        let runs = TaskTracker::new();
        while let Some(batch) = deliveries.recv().await {
            for delivery in batch {
                self.take(delivery, &runs, &stop).await;
            }
        }
        runs.close();
        runs.wait().await;
    }

    async fn take(self: &Arc<Self>, delivery: Delivery, runs: &TaskTracker, stop: &CancellationToken) {
        let now = self.judge.app.clock().now();
        match decide(delivery, &self.registry, now) {
            Decision::Run(prepared) => {
                let definition = &prepared.definition;
                let limited =
                    definition.options.rate_limit.map(|limit| self.buckets.lock().take(definition.name, limit, now));
                if let Some(Err(turn)) = limited {
                    self.counts.parked();
                    let tag = prepared.delivery.tag.clone();
                    return self.settle(Settlement::Park { tag, until: turn, message: None }).await;
                }
                let slot = match stop.run_until_cancelled(self.slots.clone().acquire_owned()).await {
                    Some(Ok(slot)) if !stop.is_cancelled() => slot,
                    _ => {
                        self.counts.handed_back();
                        return self.settle(Settlement::Requeue(prepared.delivery.tag)).await;
                    }
                };
                tell::received(&self.events, &prepared, now);
                let this = self.clone();
                // Boxed: what is spawned is moved about a few times, and a run is some kilobytes.
                runs.spawn(async move {
                    Box::pin(this.run_one(prepared)).await;
                    drop(slot);
                });
            }
            Decision::Park(delivery, until) => {
                self.counts.parked();
                self.settle(Settlement::Park { tag: delivery.tag, until, message: None }).await;
            }
            Decision::Revoke(prepared, why) => {
                tell::revoked(&self.events, &self.counts, &prepared, why, now);
                let consequence =
                    self.judge.revoked(&prepared, why, now).unwrap_or_else(|error| bury(&prepared, &error));
                self.send(consequence).await;
            }
            Decision::Bury(buried) => {
                tell::buried(&self.events, &self.counts, &buried, now);
                self.send(self.judge.buried(&buried, now)).await;
            }
        }
    }

    async fn run_one(&self, prepared: Box<Prepared>) {
        use std::sync::atomic::Ordering::Relaxed;
        let clock = self.judge.app.clock();
        let tag = prepared.delivery.tag.clone();
        let mut settled_early = false;
        if !prepared.definition.options.acks_late {
            // The task asked for it: at most once. When even this fails, it is not run here.
            match self.consumer.settle(vec![Settlement::Ack(tag.clone())]).await {
                Ok(_) => settled_early = true,
                Err(error) => {
                    tracing::warn!(%error, id = %prepared.headers.id, "not settled early: it runs late-acked");
                }
            }
        }
        let started = clock.now();
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
        let consequence = self.judge.ended(&ended, now).unwrap_or_else(|error| bury(&ended.prepared, &error));
        tell::ended(&self.events, &self.counts, &ended, wait_of(&ended.outcome, &consequence, now), now);
        if settled_early {
            self.held.lock().remove(&tag);
            self.prefetch.give_back(1);
        }
        self.send(consequence).await;
    }

    fn request(&self, prepared: &Prepared) -> Request {
        let (headers, delivery, options) = (&prepared.headers, &prepared.delivery, &prepared.definition.options);
        let settings = self.judge.app.settings();
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
            soft_limit: seconds(soft).or(options.soft_time_limit).or(settings.task_soft_time_limit),
            hard_limit: seconds(hard).or(options.time_limit).or(settings.task_time_limit),
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

/// How long until it runs again, when it does.
fn wait_of(outcome: &Outcome, consequence: &Consequence, now: celeriac_core::Timestamp) -> Option<Duration> {
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

/// A task whose message cannot be followed up: into the dead set.
fn bury(prepared: &Prepared, error: &celeriac_core::Error) -> Consequence {
    tracing::error!(%error, id = %prepared.headers.id, "what follows a task cannot be worked out");
    Consequence {
        settlement: Some(Settlement::Dead {
            tag: prepared.delivery.tag.clone(),
            reason: celeriac_core::DeadReason::Malformed,
            detail: error.to_string(),
        }),
        ..Consequence::default()
    }
}
