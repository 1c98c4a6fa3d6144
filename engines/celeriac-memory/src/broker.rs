//! The broker: the queues and channels of the store, through one connection.

use std::sync::Arc;

use celeriac_core::{
    Accepted, Broker, Capabilities, ConsumerInfo, Cursor, DeadEntry, DeadQuery, DeadReason, Message, Notice, Peek,
    Peeked, Publication, QueueDepth, QueueName, Result, Revocation, Subscription, TaskId, Topology,
};

use crate::{MemoryConsumer, MemoryListener, config::check_consumer_queues, connection::Connection};

/// What the engine does by itself: everything but to outlive its process.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    priority: true,
    delay: true,
    park: true,
    lease: true,
    dead_set: true,
    revocation: true,
    unique: true,
    fan_out: true,
    replay: true,
    peek: true,
    consumers: true,
    push_wait: true,
    durable: false,
    self_expiring: false,
};

/// Carries messages in memory. See [`Broker`].
///
/// Made by [`MemoryEngine::broker`](crate::MemoryEngine::broker). Promotes what is due and takes back what lapsed
/// leases held at whatever call comes next; a waiting `recv` wakes up for it by itself.
pub struct MemoryBroker {
    connection: Arc<Connection>,
}

impl MemoryBroker {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self { connection }
    }
}

impl Broker for MemoryBroker {
    type Consumer = MemoryConsumer;
    type Listener = MemoryListener;

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn declare(&self, topology: &Topology) -> Result<()> {
        self.connection.store("declare queues")?.queues(|queues, _| queues.declare(&topology.queues))
    }

    async fn publish(&self, batch: Vec<Publication>) -> Result<Vec<Accepted>> {
        self.connection.store("publish messages")?.queues(|queues, now| queues.publish(batch, now))
    }

    async fn consume(&self, from: Subscription) -> Result<Self::Consumer> {
        let Subscription { worker, queues: mut names, lease } = from;
        names.sort();
        names.dedup();
        check_consumer_queues(names.len(), 1)?;
        let connection = self.connection.id;
        let registration = self
            .connection
            .store("register a consumer")?
            .queues(|queues, now| queues.register(connection, worker, names, lease, now))?;
        Ok(MemoryConsumer::new(self.connection.clone(), registration))
    }

    async fn depth(&self, queues: &[QueueName]) -> Result<Vec<QueueDepth>> {
        Ok(self.connection.store("count messages")?.queues(|store, _| store.depth(queues)))
    }

    async fn peek(&self, peek: Peek) -> Result<Vec<Peeked>> {
        Ok(self.connection.store("look at waiting messages")?.queues(|queues, _| queues.peek(&peek)))
    }

    async fn purge(&self, queue: &QueueName) -> Result<u64> {
        Ok(self.connection.store("purge a queue")?.queues(|queues, _| queues.purge(queue)))
    }

    async fn consumers(&self) -> Result<Vec<ConsumerInfo>> {
        Ok(self.connection.store("list the consumers")?.queues(|queues, _| queues.consumers()))
    }

    async fn bury(&self, entry: Publication, reason: DeadReason, detail: &str) -> Result<()> {
        self.connection
            .store("put a message into the dead set")?
            .queues(|queues, now| queues.bury(entry, reason, detail, now))
    }

    async fn dead(&self, query: DeadQuery) -> Result<Vec<DeadEntry>> {
        Ok(self.connection.store("list dead messages")?.queues(|queues, _| queues.dead(&query)))
    }

    async fn replay(&self, entries: &[u64], edited: Option<Message>) -> Result<u64> {
        self.connection
            .store("replay dead messages")?
            .queues(|queues, now| queues.replay(entries, edited.as_ref(), now))
    }

    async fn drop_dead(&self, entries: &[u64]) -> Result<u64> {
        Ok(self.connection.store("drop dead messages")?.queues(|queues, _| queues.drop_dead(entries)))
    }

    async fn revoke(&self, batch: Vec<Revocation>) -> Result<()> {
        self.connection.store("revoke tasks")?.queues(|queues, now| queues.revoke(batch, now))
    }

    async fn revoked(&self, ids: &[TaskId]) -> Result<Vec<Option<Revocation>>> {
        let look = |id: &TaskId| self.connection.store.queues(|queues, now| queues.revocation(id, now));
        self.connection.store("look up revoked tasks")?;
        Ok(ids.iter().map(look).collect())
    }

    async fn broadcast(&self, channel: &str, notices: Vec<Notice>) -> Result<()> {
        let store = self.connection.store("broadcast")?;
        store.channels.lock().send(channel, notices)?;
        store.news.notify_waiters();
        Ok(())
    }

    async fn listen(&self, channel: &str, routing_key: Option<&str>, after: Option<Cursor>) -> Result<Self::Listener> {
        let position = self.connection.store("listen to a channel")?.channels.lock().place(channel, after)?;
        Ok(MemoryListener::new(self.connection.clone(), channel, routing_key, position))
    }

    async fn close(&self) -> Result<()> {
        // First the token, then the step: a claim looks at the token within its step, so none comes after this one.
        self.connection.closed.cancel();
        self.connection.store.queues(|queues, _| queues.unregister_all(self.connection.id));
        Ok(())
    }
}
