//! The memory engine's broker with a [`Watch`] on it: everything is passed on, and noted.

use std::{future::poll_fn, pin::pin, task::Poll};

use celeriac_core::{
    Accepted, Broadcast, Broker, BrokerHandle, Capabilities, Consumer, ConsumerHandle, ConsumerInfo, Cursor, DeadEntry,
    DeadQuery, DeadReason, Delivery, DeliveryTag, LeaseReport, Listener, ListenerHandle, Message, Notice, Peek, Peeked,
    Publication, QueueDepth, QueueName, Result, Revocation, Settled, Settlement, Subscription, TaskId, Topology,
};

use super::watch::Watch;

pub(super) struct WatchedBroker {
    pub(super) inner: BrokerHandle,
    pub(super) watch: Watch,
}

pub(super) struct WatchedConsumer {
    inner: ConsumerHandle,
    watch: Watch,
}

pub(super) struct PassedOn(ListenerHandle);

impl Broker for WatchedBroker {
    type Consumer = WatchedConsumer;
    type Listener = PassedOn;

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn declare(&self, topology: &Topology) -> Result<()> {
        self.inner.declare(topology).await
    }

    async fn publish(&self, batch: Vec<Publication>) -> Result<Vec<Accepted>> {
        let accepted = self.inner.publish(batch.clone()).await?;
        let queued = batch.into_iter().zip(&accepted).filter(|(_, accepted)| **accepted == Accepted::Queued);
        self.watch.note_sent(queued.map(|(publication, _)| publication));
        Ok(accepted)
    }

    async fn consume(&self, from: Subscription) -> Result<WatchedConsumer> {
        Ok(WatchedConsumer { inner: self.inner.consume(from).await?, watch: self.watch.clone() })
    }

    async fn depth(&self, queues: &[QueueName]) -> Result<Vec<QueueDepth>> {
        self.inner.depth(queues).await
    }

    async fn peek(&self, peek: Peek) -> Result<Vec<Peeked>> {
        self.inner.peek(peek).await
    }

    async fn purge(&self, queue: &QueueName) -> Result<u64> {
        self.inner.purge(queue).await
    }

    async fn consumers(&self) -> Result<Vec<ConsumerInfo>> {
        self.inner.consumers().await
    }

    async fn bury(&self, entry: Publication, reason: DeadReason, detail: &str) -> Result<()> {
        self.inner.bury(entry, reason, detail).await
    }

    async fn dead(&self, query: DeadQuery) -> Result<Vec<DeadEntry>> {
        self.inner.dead(query).await
    }

    async fn replay(&self, entries: &[u64], edited: Option<Message>) -> Result<u64> {
        self.inner.replay(entries, edited).await
    }

    async fn drop_dead(&self, entries: &[u64]) -> Result<u64> {
        self.inner.drop_dead(entries).await
    }

    async fn revoke(&self, batch: Vec<Revocation>) -> Result<()> {
        self.inner.revoke(batch).await
    }

    async fn revoked(&self, ids: &[TaskId]) -> Result<Vec<Option<Revocation>>> {
        self.inner.revoked(ids).await
    }

    async fn broadcast(&self, channel: &str, notices: Vec<Notice>) -> Result<()> {
        self.inner.broadcast(channel, notices).await
    }

    async fn listen(&self, channel: &str, routing_key: Option<&str>, after: Option<Cursor>) -> Result<PassedOn> {
        Ok(PassedOn(self.inner.listen(channel, routing_key, after).await?))
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

impl Consumer for WatchedConsumer {
    /// One delivery at a time, and none before the test allows it.
    async fn recv(&self, _limit: usize) -> Result<Vec<Delivery>> {
        loop {
            let changed = self.watch.changed();
            let mut changed = pin!(changed);
            changed.as_mut().enable();
            if self.watch.may_take() {
                break;
            }
            changed.await;
        }
        let mut inner = pin!(self.inner.recv(1));
        // The first time that the engine has nothing at once, it has nothing now.
        let deliveries = poll_fn(|cx| {
            let polled = inner.as_mut().poll(cx);
            if polled.is_pending() {
                self.watch.note_idle();
            }
            match polled {
                Poll::Ready(Ok(deliveries)) => {
                    self.watch.note_taken(&deliveries);
                    Poll::Ready(Ok(deliveries))
                }
                other => other,
            }
        })
        .await?;
        Ok(deliveries)
    }

    async fn subscribe(&self, queues: Vec<QueueName>) -> Result<()> {
        self.inner.subscribe(queues).await
    }

    async fn begin(&self, suspects: &[DeliveryTag]) -> Result<()> {
        self.inner.begin(suspects).await
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Result<Vec<Settled>> {
        self.watch.before_settling()?;
        let tags: Vec<_> = batch.iter().map(|settlement| settlement.tag().clone()).collect();
        let settled = self.inner.settle(batch).await?;
        self.watch.note_settled(&tags);
        Ok(settled)
    }

    async fn extend(&self, held: &[DeliveryTag]) -> Result<LeaseReport> {
        self.inner.extend(held).await
    }

    async fn close(&self) -> Result<()> {
        // Who dies closes nothing: what he held comes back when his lease has lapsed.
        if self.watch.is_dead() { Ok(()) } else { self.inner.close().await }
    }
}

impl Listener for PassedOn {
    async fn recv(&self, limit: usize) -> Result<Vec<Broadcast>> {
        self.0.recv(limit).await
    }
}
