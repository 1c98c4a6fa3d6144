//! The broker: one file for each thing that can happen to a message.
//!
//! ```text
//!  publish ──► waiting ──claim──► held ──settle──► gone | dead
//!     │           ▲                │ │
//!     └► parked ──┘ promote        │ └─ park ──► parked
//!                 ▲── requeue, lapse ┘
//! ```

mod claim;
mod consumption;
mod dead;
mod fanout;
mod leases;
mod peek;
mod place;
mod publish;
mod queues;
mod revocations;
mod settle;

use std::sync::Arc;

use celeriac_core::{
    Accepted, Broker, Capabilities, ConsumerInfo, Cursor, DeadEntry, DeadQuery, DeadReason, Message, Notice, Peek,
    Peeked, Publication, QueueDepth, QueueName, Result, Revocation, Subscription, TaskId, Topology,
};

pub(crate) use self::consumption::Consumption;
pub use self::{consumption::SqliteConsumer, fanout::SqliteListener};
use crate::engine::{CAPABILITIES, Shared};

/// Carries messages in tables. See [`Broker`].
pub struct SqliteBroker {
    shared: Arc<Shared>,
}

impl SqliteBroker {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Broker for SqliteBroker {
    type Consumer = SqliteConsumer;
    type Listener = SqliteListener;

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
        SqliteConsumer::start(self.shared.clone(), from).await
    }

    async fn depth(&self, queues: &[QueueName]) -> Result<Vec<QueueDepth>> {
        queues::depth(&self.shared, queues).await
    }

    async fn peek(&self, peek: Peek) -> Result<Vec<Peeked>> {
        peek::peek(&self.shared, peek).await
    }

    async fn purge(&self, queue: &QueueName) -> Result<u64> {
        queues::purge(&self.shared, queue).await
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
        SqliteListener::start(self.shared.clone(), channel, routing_key, after).await
    }

    async fn close(&self) -> Result<()> {
        self.shared.close_broker().await
    }
}
