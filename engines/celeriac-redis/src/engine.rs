//! One process's use of one database.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, Ordering},
};

use celeriac_core::{BrokerHandle, Capabilities, Clock, HistoryHandle, Result, ResultsHandle, Timestamp};
use parking_lot::Mutex;

use crate::{
    Config, RedisBroker, RedisHistory, RedisResults, consumer::Consumption, layout::Layout, link::Link,
    scripts::Scripts,
};

/// The URL scheme, by which people know the engine.
const NAME: &str = "redis";

/// Broker, results and history in one Redis database. Cheap to clone.
///
/// ```no_run
/// # async fn example() -> celeriac_core::Result<()> {
/// use celeriac_core::{Clock, QueueName, Topology};
/// use celeriac_redis::{Config, RedisEngine};
///
/// let engine = RedisEngine::open(Config::from_url("redis://localhost/0")?, Clock::system()).await?;
/// let broker = engine.broker();
/// broker.declare(&Topology { queues: vec![QueueName::new("celery")?] }).await?;
/// engine.close().await
/// # }
/// ```
#[derive(Clone)]
pub struct RedisEngine(Arc<Shared>);

impl RedisEngine {
    /// Connects to the server.
    ///
    /// # Errors
    /// `Unavailable` (no answer in time), `Denied` (user, password, access list), `Invalid` (certificates, database's
    /// number), `Unsupported` (too old a server): each says what and where, and never the password.
    pub async fn open(config: Config, clock: Clock) -> Result<Self> {
        let layout = Layout::new(&config);
        let link = Link::open(&config).await?;
        Ok(Self(Arc::new(Shared {
            scripts: Scripts::new(&layout),
            layout,
            config,
            clock,
            link,
            consumptions: Mutex::new(Vec::new()),
            broker_open: AtomicBool::new(false),
            results_open: AtomicBool::new(false),
        })))
    }

    /// The broker.
    pub fn broker(&self) -> BrokerHandle {
        self.0.broker_open.store(true, Ordering::Release);
        BrokerHandle::new(NAME, RedisBroker::new(self.0.clone()))
    }

    /// The result backend.
    pub fn results(&self) -> ResultsHandle {
        self.0.results_open.store(true, Ordering::Release);
        ResultsHandle::new(NAME, RedisResults::new(self.0.clone()))
    }

    /// The history.
    pub fn history(&self) -> HistoryHandle {
        HistoryHandle::new(NAME, RedisHistory::new(self.0.clone()))
    }

    /// Puts everything down, whoever still has a handle: deliveries given back, the connection closed, its thread joined.
    /// Idempotent.
    ///
    /// The handles' own `close` does the same as soon as both broker and results, as far as they were asked for, are
    /// closed.
    pub async fn close(&self) -> Result<()> {
        let closed = self.0.close_broker().await;
        self.0.close_results().await;
        closed
    }
}

impl std::fmt::Debug for RedisEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RedisEngine({:?})", self.0.config)
    }
}

/// What broker, results and history share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) layout: Layout,
    pub(crate) scripts: Scripts,
    pub(crate) clock: Clock,
    pub(crate) link: Link,
    consumptions: Mutex<Vec<Weak<Consumption>>>,
    broker_open: AtomicBool,
    results_open: AtomicBool,
}

impl Shared {
    /// The time now, in µs.
    pub(crate) fn now(&self) -> i64 {
        micros(self.clock.now())
    }

    /// Remembers a consumer, to close it with the broker.
    pub(crate) fn remember(&self, consumption: &Arc<Consumption>) {
        let mut consumptions = self.consumptions.lock();
        consumptions.retain(|consumption| consumption.strong_count() > 0);
        consumptions.push(Arc::downgrade(consumption));
    }

    pub(crate) async fn close_broker(&self) -> Result<()> {
        self.broker_open.store(false, Ordering::Release);
        let consumptions: Vec<_> = self.consumptions.lock().drain(..).filter_map(|weak| weak.upgrade()).collect();
        let mut outcome = Ok(());
        for consumption in consumptions {
            // One that cannot be given up comes back by its lease: close the others all the same.
            let closed = consumption.close().await;
            outcome = outcome.and(closed);
        }
        self.close_if_unused().await;
        outcome
    }

    pub(crate) async fn close_results(&self) {
        self.results_open.store(false, Ordering::Release);
        self.close_if_unused().await;
    }

    async fn close_if_unused(&self) {
        if !self.broker_open.load(Ordering::Acquire) && !self.results_open.load(Ordering::Acquire) {
            self.link.close().await;
        }
    }
}

/// An instant as the scripts have it: µs since 1970, none before.
pub(crate) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond().max(0)
}

/// What the engine does by itself.
pub(crate) fn capabilities(layout: &Layout) -> Capabilities {
    Capabilities {
        // In Celery's layout the order is Celery's: a lower number is served first.
        priority: layout.fixed_steps().is_none(),
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
        durable: true,
        self_expiring: true,
    }
}
