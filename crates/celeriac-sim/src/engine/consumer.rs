//! A consumer through a process that can die. Writes down what it holds.

use celeriac_core::{
    Consumer, ConsumerHandle, Delivery, DeliveryTag, LeaseReport, QueueName, Result, Settled, Settlement,
};
use parking_lot::Mutex;

use super::first_of;
use crate::{
    Sabotage,
    actor::Actor,
    step::{Edge, Step},
};

pub(super) struct SimConsumer {
    inner: ConsumerHandle,
    actor: Actor,
    /// Claimed by a call that did not live to tell, or whose answer was lost: it comes with the next one.
    claimed: Mutex<Vec<Delivery>>,
}

impl SimConsumer {
    pub(super) fn new(inner: ConsumerHandle, actor: Actor) -> Self {
        Self { inner, actor, claimed: Mutex::default() }
    }

    fn note_claimed(&self, deliveries: &[Delivery]) -> Step {
        let world = self.actor.world();
        world.book(|book| {
            let mut step = Step::Claim;
            let held = book.held.entry(self.actor.name().to_owned()).or_default();
            for delivery in deliveries {
                held.insert((delivery.tag.key, delivery.tag.attempt), delivery.task_id.clone());
                if book.parked.remove(&delivery.task_id) {
                    step = Step::Promote;
                }
            }
            step
        })
    }

    fn note_settled(&self, batch: &[Settlement], settled: &[Settled]) {
        let world = self.actor.world();
        for (settlement, settled) in batch.iter().zip(settled) {
            let tag = settlement.tag();
            let (verb, parked) = match settlement {
                Settlement::Ack(_) => ("acks", false),
                Settlement::Requeue(_) => ("requeues", false),
                Settlement::Lost(_) => ("loses", false),
                Settlement::Park { .. } => ("parks", true),
                Settlement::Dead { .. } => ("buries", false),
            };
            let done = *settled == Settled::Done;
            let id = world.book(|book| {
                let id = book.let_go(self.actor.name(), tag, done);
                if matches!(settlement, Settlement::Ack(_)) {
                    book.acked.entry(self.actor.name().to_owned()).or_default().extend(id.clone());
                }
                if parked && done {
                    book.parked.extend(id.clone());
                }
                id
            });
            let id = id.map_or_else(|| format!("message {}", tag.key), |id| id.to_string());
            self.actor.trace(format_args!("{verb} {id} attempt {}: {settled:?}", tag.attempt));
        }
    }
}

impl Consumer for SimConsumer {
    async fn recv(&self, limit: usize) -> Result<Vec<Delivery>> {
        self.actor.point(Step::Claim, Edge::Before).await;
        if self.actor.world().goes_deaf() {
            // A connection that is dead and does not know it: only the caller's own watch gets over it.
            self.actor.trace(format_args!("goes deaf"));
            return std::future::pending().await;
        }
        if self.claimed.lock().is_empty() {
            let deliveries = self.inner.recv(limit).await?;
            self.actor.alive().await;
            let step = self.note_claimed(&deliveries);
            for it in &deliveries {
                let (id, attempt, losses) = (&it.task_id, it.tag.attempt, it.losses);
                self.actor.trace(format_args!("claims {id} attempt {attempt} losses {losses}"));
            }
            *self.claimed.lock() = deliveries;
            self.actor.point(step, Edge::After).await;
        }
        // A claim is never lost with its answer: that is the contract of `recv`.
        self.actor.call(Step::Claim, "claim", |_| std::future::ready(Ok(()))).await?;
        let mut claimed = self.claimed.lock();
        let first = limit.min(claimed.len());
        let rest = claimed.split_off(first);
        Ok(std::mem::replace(&mut claimed, rest))
    }

    async fn subscribe(&self, queues: Vec<QueueName>) -> Result<()> {
        self.actor.alive().await;
        self.inner.subscribe(queues).await
    }

    async fn begin(&self, suspects: &[DeliveryTag]) -> Result<()> {
        self.actor
            .call(Step::Run, "begin", |_| async {
                self.inner.begin(suspects).await?;
                for tag in suspects {
                    let id = self.actor.world().book(|book| book.suspect_begins(self.actor.name(), tag));
                    self.actor.trace(format_args!("says that {id:?} begins, attempt {}", tag.attempt));
                }
                Ok(())
            })
            .await
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Result<Vec<Settled>> {
        let parks = batch.iter().any(|it| matches!(it, Settlement::Park { .. }));
        let step = if parks { Step::Park } else { Step::Settle };
        let settled = self
            .actor
            .call(step, "settle", |part| {
                let batch = first_of(batch, part);
                async move {
                    let settled = self.inner.settle(batch.clone()).await?;
                    self.note_settled(&batch, &settled);
                    Ok(settled)
                }
            })
            .await?;
        self.actor.catch_up().await;
        Ok(settled)
    }

    async fn extend(&self, held: &[DeliveryTag]) -> Result<LeaseReport> {
        if self.actor.sabotage() == Some(Sabotage::NoRenewal) {
            return Ok(LeaseReport::default());
        }
        self.actor
            .call(Step::Renew, "renew", |_| async {
                let report = self.inner.extend(held).await?;
                for tag in &report.lost {
                    self.actor.world().book(|book| book.let_go(self.actor.name(), tag, false));
                    self.actor.trace(format_args!("hears that message {} is lost", tag.key));
                }
                Ok(report)
            })
            .await
    }

    async fn close(&self) -> Result<()> {
        self.actor
            .call(Step::Close, "close", |_| async {
                self.inner.close().await?;
                self.actor.world().book(|book| book.held.remove(self.actor.name()));
                self.actor.trace(format_args!("closes"));
                Ok(())
            })
            .await
    }
}
