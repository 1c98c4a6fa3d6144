//! One store, and the handles onto it.

use std::sync::Arc;

use celeriac_core::{BrokerHandle, Clock, HistoryHandle, ResultsHandle};

use crate::{Limits, MemoryBroker, MemoryHistory, MemoryResults, connection::Connection, store::Store};

/// The URL scheme, by which people know the engine.
const NAME: &str = "memory";

/// Broker, results and history in this process's memory. Cheap to clone: clones share the store.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use celeriac_core::{Clock, QueueName, Topology};
/// use celeriac_memory::MemoryEngine;
///
/// let engine = MemoryEngine::new(Clock::system());
/// let broker = engine.broker();
/// broker.declare(&Topology { queues: vec![QueueName::new("mail")?] }).await?;
/// assert_eq!(engine.broker().depth(&[]).await?[0].ready, 0);
/// # Ok::<(), celeriac_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct MemoryEngine(Arc<Store>);

impl MemoryEngine {
    /// An empty store with the default limits.
    pub fn new(clock: Clock) -> Self {
        Self::with_limits(clock, &Limits::default())
    }

    /// An empty store with these limits.
    pub fn with_limits(clock: Clock, limits: &Limits) -> Self {
        Self(Arc::new(Store::new(clock, limits)))
    }

    /// A broker with a connection of its own: closing it leaves the store and its other handles alone.
    pub fn broker(&self) -> BrokerHandle {
        BrokerHandle::new(NAME, MemoryBroker::new(Connection::open(self.0.clone())))
    }

    /// A result backend with a connection of its own.
    pub fn results(&self) -> ResultsHandle {
        ResultsHandle::new(NAME, MemoryResults::new(Connection::open(self.0.clone())))
    }

    /// The history.
    pub fn history(&self) -> HistoryHandle {
        HistoryHandle::new(NAME, MemoryHistory::new(self.0.clone()))
    }
}

impl std::fmt::Debug for MemoryEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemoryEngine({:?})", self.0.clock)
    }
}
