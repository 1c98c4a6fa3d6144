//! Store, continue, settle: once for each batch of outcomes, in this order.
//!
//! A crash before the store repeats the task; one between store and settle repeats it too, and the stored record of
//! the same or a newer attempt stands. The other order would settle tasks whose outcome nobody can ever read.

use std::sync::Arc;

use celeriac_app::canvas::{ChordEnd, Plan};
use celeriac_core::{ConsumerHandle, Joined, MetaWrite, Result, Settlement, State};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    consequence::{Consequence, Judge, Part},
    prefetch::Prefetch,
    roster::Roster,
    worker::BackOff,
};

/// The most outcomes that are finished in one batch.
pub(crate) const BATCH_MAX: usize = 1_024;

/// Finishes outcomes.
pub(crate) struct Finisher {
    pub(crate) judge: Arc<Judge>,
    pub(crate) consumer: ConsumerHandle,
    pub(crate) prefetch: Arc<Prefetch>,
    pub(crate) roster: Arc<Roster>,
    /// Gives up what cannot be finished; set when the worker stops at once.
    pub(crate) cold: CancellationToken,
}

impl Finisher {
    /// Runs until every sender is gone and everything is finished.
    pub(crate) async fn run(self, mut outcomes: mpsc::Receiver<Consequence>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let clock = self.judge.app.clock().clone();
        let mut rate = 0.0;
        let mut since = clock.now();
        let mut finished = 0_u32;
        while outcomes.recv_many(&mut batch, BATCH_MAX).await > 0 {
            finished = finished.saturating_add(u32::try_from(batch.len()).unwrap_or(u32::MAX));
            self.finish(std::mem::take(&mut batch)).await;
            let now = clock.now();
            let seconds = now.duration_since(since).as_secs_f64();
            if seconds > 0.02 {
                rate = 0.5 * rate + 0.5 * f64::from(finished) / seconds;
                self.prefetch.adapt(rate);
                (since, finished) = (now, 0);
            }
        }
    }

    /// Finishes a batch; on trouble tries again with back-off, and one by one where the trouble is not the engine's.
    async fn finish(&self, batch: Vec<Consequence>) {
        let tags: Vec<_> =
            batch.iter().filter_map(|it| it.settlement.as_ref().map(|settlement| settlement.tag().clone())).collect();
        let mut back_off = BackOff::new(self.judge.app.ids().clone());
        let mut work = Batch::of(batch);
        loop {
            match self.steps(&mut work).await {
                Ok(()) => break,
                Err(error) if self.cold.is_cancelled() => {
                    tracing::warn!(%error, "stopping at once: what is not finished runs again");
                    break;
                }
                Err(error) if !error.is_transient() && work.is_single() => {
                    // It would fail for ever. Its delivery goes where a person finds it.
                    tracing::error!(%error, "an outcome cannot be finished");
                    work.give_up(&error, &self.judge);
                }
                Err(error) if !error.is_transient() => {
                    for single in work.into_singles() {
                        Box::pin(self.finish(vec![single])).await;
                    }
                    return;
                }
                Err(error) => {
                    let wait = back_off.next();
                    tracing::warn!(%error, ?wait, "outcomes were not finished; trying again");
                    let _ = self.cold.run_until_cancelled(self.judge.app.clock().sleep(wait)).await;
                }
            }
        }
        self.roster.remove(&tags);
        self.prefetch.give_back(tags.len());
    }

    /// The steps, each emptied once it is done, so that trying again repeats only what may not be done yet.
    async fn steps(&self, work: &mut Batch) -> Result<()> {
        if !work.metas.is_empty()
            && let Some(results) = self.judge.app.results()
        {
            results.store(work.metas.clone()).await?;
            work.metas.clear();
        }
        if !work.plan.is_empty() {
            self.judge.app.dispatch(work.plan.clone()).await?;
            work.plan = Plan::default();
        }
        while let Some(part) = work.parts.last() {
            self.join(part).await?;
            work.parts.pop();
        }
        if !work.settlements.is_empty() {
            self.consumer.settle(work.settlements.clone()).await?;
            work.settlements.clear();
        }
        Ok(())
    }

    /// Counts a part, and goes on with the chord when it was the last.
    ///
    /// The chord is finished when all that follows is done. A crash before that leaves it to this very part: its delivery
    /// is not settled yet, comes back, and claims the chord again.
    async fn join(&self, part: &Part) -> Result<()> {
        let Part { counted, headers, body } = part;
        let Some(results) = self.judge.app.results() else { return Ok(()) };
        let group = counted.group.clone();
        let Joined::Complete(parts) = results.join(counted.clone()).await? else { return Ok(()) };
        match self.judge.app.chord_end(headers, body, &parts)? {
            ChordEnd::Body(plan) => {
                self.judge.app.dispatch(plan).await?;
            }
            ChordEnd::Failed { exception, plan, unreached } => {
                let now = self.judge.app.clock().now();
                let failed = self.judge.unreached(headers, unreached, &State::Failure, &exception.encode(), now);
                if !failed.metas.is_empty() {
                    results.store(failed.metas).await?;
                }
                self.judge.app.dispatch(plan).await?;
                // The body may be a part of another chord, as deep as a canvas may be nested.
                if let Some(outer) = failed.part {
                    Box::pin(self.join(&outer)).await?;
                }
            }
        }
        results.finish_chord(&group).await
    }
}

/// The consequences of a batch, step by step.
struct Batch {
    metas: Vec<MetaWrite>,
    plan: Plan,
    parts: Vec<Part>,
    settlements: Vec<Settlement>,
    gave_up: bool,
    /// What it was made of, to be taken apart again.
    singles: Vec<Consequence>,
}

impl Batch {
    fn of(batch: Vec<Consequence>) -> Self {
        let mut work = Self {
            metas: Vec::with_capacity(batch.len()),
            plan: Plan::default(),
            parts: Vec::new(),
            settlements: Vec::with_capacity(batch.len()),
            gave_up: false,
            singles: Vec::new(),
        };
        for it in &batch {
            work.metas.extend(it.metas.iter().cloned());
            work.plan.extend(it.plan.clone());
            work.parts.extend(it.part.iter().cloned());
            work.settlements.extend(it.settlement.iter().cloned());
        }
        work.singles = batch;
        work
    }

    fn is_single(&self) -> bool {
        self.singles.len() <= 1
    }

    fn into_singles(self) -> Vec<Consequence> {
        self.singles
    }

    /// Keeps the delivery, for the dead set, and the fact of the failure, for whoever waits: for this task, or for one that
    /// was to follow it. What even that fails for is given up.
    fn give_up(&mut self, error: &celeriac_core::Error, judge: &Judge) {
        let (metas, plan) = (std::mem::take(&mut self.metas), std::mem::take(&mut self.plan));
        let again = std::mem::replace(&mut self.gave_up, true);
        if again {
            self.parts.clear();
        } else {
            self.metas = judge.unfinished(&metas, &plan, &mut self.parts, error);
        }
        let burying = self.settlements.iter().any(|it| matches!(it, Settlement::Dead { .. }));
        self.settlements = if burying && again {
            // Even burying fails: its lease lapses, and it comes back.
            Vec::new()
        } else {
            self.settlements
                .drain(..)
                .map(|settlement| Settlement::Dead {
                    tag: settlement.tag().clone(),
                    reason: celeriac_core::DeadReason::Other("unfinished".into()),
                    detail: error.to_string(),
                })
                .collect()
        };
    }
}
