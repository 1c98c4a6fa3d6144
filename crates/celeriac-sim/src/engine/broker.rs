//! The broker through a process that can die.

use celeriac_core::{
    Accepted, Broadcast, Broker, BrokerHandle, Capabilities, ConsumerInfo, Cursor, DeadEntry, DeadQuery, DeadReason,
    Listener, ListenerHandle, Message, Notice, Peek, Peeked, Publication, QueueDepth, QueueName, Result, Revocation,
    Subscription, TaskId, Topology,
};

use super::{consumer::SimConsumer, first_of};
use crate::{Sabotage, actor::Actor, step::Step};

pub(super) struct SimBroker {
    pub(super) inner: BrokerHandle,
    pub(super) actor: Actor,
}

impl Broker for SimBroker {
    type Consumer = SimConsumer;
    type Listener = SimListener;

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn declare(&self, topology: &Topology) -> Result<()> {
        self.actor.alive().await;
        self.inner.declare(topology).await
    }

    async fn publish(&self, batch: Vec<Publication>) -> Result<Vec<Accepted>> {
        let ids: Vec<_> = batch.iter().map(|it| it.task_id.as_str()).collect();
        let what = format!("publish {}", ids.join(", "));
        if self.actor.sabotage() == Some(Sabotage::SettleBeforeContinue) {
            let accepted = vec![Accepted::Queued; batch.len()];
            let inner = self.inner.clone();
            self.actor.put_off(Box::pin(async move { inner.publish(batch).await.map(|_| ()) }));
            return Ok(accepted);
        }
        let world = self.actor.world();
        self.actor
            .call(Step::Continue, &what, |part| {
                let batch = first_of(batch, part);
                let what = &what;
                async move {
                    world.book(|book| {
                        book.parked.extend(batch.iter().filter(|it| it.due.is_some()).map(|it| it.task_id.clone()));
                    });
                    let accepted = self.inner.publish(batch).await?;
                    self.actor.trace(format_args!("{what}"));
                    Ok(accepted)
                }
            })
            .await
    }

    async fn consume(&self, from: Subscription) -> Result<Self::Consumer> {
        self.actor.alive().await;
        Ok(SimConsumer::new(self.inner.consume(from).await?, self.actor.clone()))
    }

    async fn depth(&self, queues: &[QueueName]) -> Result<Vec<QueueDepth>> {
        self.actor.alive().await;
        self.inner.depth(queues).await
    }

    async fn peek(&self, peek: Peek) -> Result<Vec<Peeked>> {
        self.actor.alive().await;
        self.inner.peek(peek).await
    }

    async fn purge(&self, queue: &QueueName) -> Result<u64> {
        self.actor.alive().await;
        self.inner.purge(queue).await
    }

    async fn consumers(&self) -> Result<Vec<ConsumerInfo>> {
        self.actor.alive().await;
        self.inner.consumers().await
    }

    async fn bury(&self, entry: Publication, reason: DeadReason, detail: &str) -> Result<()> {
        self.actor.call(Step::Settle, "bury", |_| self.inner.bury(entry, reason, detail)).await
    }

    async fn dead(&self, query: DeadQuery) -> Result<Vec<DeadEntry>> {
        self.actor.alive().await;
        self.inner.dead(query).await
    }

    async fn replay(&self, entries: &[u64], edited: Option<Message>) -> Result<u64> {
        self.actor.alive().await;
        self.inner.replay(entries, edited).await
    }

    async fn drop_dead(&self, entries: &[u64]) -> Result<u64> {
        self.actor.alive().await;
        self.inner.drop_dead(entries).await
    }

    async fn revoke(&self, batch: Vec<Revocation>) -> Result<()> {
        let what = format!("revoke {}", batch.iter().map(|it| it.task_id.as_str()).collect::<Vec<_>>().join(", "));
        self.actor.call(Step::Continue, &what, |_| self.inner.revoke(batch)).await?;
        self.actor.trace(format_args!("{what}"));
        Ok(())
    }

    async fn revoked(&self, ids: &[TaskId]) -> Result<Vec<Option<Revocation>>> {
        self.actor.call(Step::Renew, "look up revocations", |_| self.inner.revoked(ids)).await
    }

    async fn broadcast(&self, channel: &str, notices: Vec<Notice>) -> Result<()> {
        self.actor.alive().await;
        self.inner.broadcast(channel, notices).await
    }

    async fn listen(&self, channel: &str, routing_key: Option<&str>, after: Option<Cursor>) -> Result<Self::Listener> {
        self.actor.alive().await;
        Ok(SimListener(self.inner.listen(channel, routing_key, after).await?))
    }

    async fn close(&self) -> Result<()> {
        self.actor.alive().await;
        self.inner.close().await
    }
}

pub(super) struct SimListener(ListenerHandle);

impl Listener for SimListener {
    async fn recv(&self, limit: usize) -> Result<Vec<Broadcast>> {
        self.0.recv(limit).await
    }
}
