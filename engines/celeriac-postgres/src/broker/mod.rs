//! The broker: one file for each thing that can happen to a message.
//!
//! ```text
//!  publish ──► waiting ──claim──► held ──settle──► gone | dead
//!     │           ▲                │ │
//!     └► parked ──┘ promote        │ └─ park ──► parked
//!                 ▲── requeue, lapse ┘
//! ```

mod claim;
mod consumer;
mod consumption;
mod dead;
mod fanout;
mod leases;
mod mailbox;
mod peek;
mod publish;
mod purge;
mod queues;
mod revocations;
mod settle;

use std::sync::Arc;

use celeriac_core::{
    Accepted, Broker, Capabilities, ConsumerInfo, Cursor, DeadEntry, DeadQuery, DeadReason, Message, Notice, Peek,
    Peeked, Publication, QueueDepth, QueueName, Result, Revocation, Subscription, TaskId, Topology,
};

pub(crate) use self::consumption::Consumption;
pub(crate) use self::publish::{Batch, check};
pub use self::{consumer::PostgresConsumer, fanout::PostgresListener};
use crate::engine::{CAPABILITIES, Shared};

/// Carries messages in tables. See [`Broker`].
pub struct PostgresBroker {
    shared: Arc<Shared>,
}

impl PostgresBroker {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Broker for PostgresBroker {
    type Consumer = PostgresConsumer;
    type Listener = PostgresListener;

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn declare(&self, topology: &Topology) -> Result<()> {
        queues::declare(&self.shared, topology).await
    }

    async fn publish(&self, batch: Vec<Publication>) -> Result<Vec<Accepted>> {
        publish::publish(&self.shared, batch).await
    }

    async fn consume(&self, from: Subscription) -> Result<Self::Consumer> {
        PostgresConsumer::start(self.shared.clone(), from).await
    }

    async fn depth(&self, queues: &[QueueName]) -> Result<Vec<QueueDepth>> {
        queues::depth(&self.shared, queues).await
    }

    async fn peek(&self, peek: Peek) -> Result<Vec<Peeked>> {
        peek::peek(&self.shared, peek).await
    }

    async fn purge(&self, queue: &QueueName) -> Result<u64> {
        purge::purge(&self.shared, queue).await
    }

    async fn consumers(&self) -> Result<Vec<ConsumerInfo>> {
        leases::consumers(&self.shared).await
    }

    async fn bury(&self, entry: Publication, reason: DeadReason, detail: &str) -> Result<()> {
        dead::bury(&self.shared, entry, reason, detail).await
    }

    async fn dead(&self, query: DeadQuery) -> Result<Vec<DeadEntry>> {
        dead::list(&self.shared, query).await
    }

    async fn replay(&self, entries: &[u64], edited: Option<Message>) -> Result<u64> {
        dead::replay(&self.shared, entries, edited).await
    }

    async fn drop_dead(&self, entries: &[u64]) -> Result<u64> {
        dead::drop_dead(&self.shared, entries).await
    }

    async fn revoke(&self, batch: Vec<Revocation>) -> Result<()> {
        revocations::revoke(&self.shared, batch).await
    }

    async fn revoked(&self, ids: &[TaskId]) -> Result<Vec<Option<Revocation>>> {
        revocations::revoked(&self.shared, ids).await
    }

    async fn broadcast(&self, channel: &str, notices: Vec<Notice>) -> Result<()> {
        fanout::broadcast(&self.shared, channel, notices).await
    }

    async fn listen(&self, channel: &str, routing_key: Option<&str>, after: Option<Cursor>) -> Result<Self::Listener> {
        PostgresListener::start(self.shared.clone(), channel, routing_key, after).await
    }

    async fn close(&self) -> Result<()> {
        self.shared.close_broker().await
    }
}
