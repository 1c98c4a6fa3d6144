//! One process's use of one file.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, Ordering},
};

use celeriac_core::{BrokerHandle, Capabilities, Clock, HistoryHandle, Result, ResultsHandle};
use parking_lot::Mutex;

use crate::{
    Config, SqliteBroker, SqliteHistory, SqliteResults, broker::Consumption, hub::Hub, open::open_writer,
    readers::Readers, tx::Touched, wake::Waker, writer::Writer,
};

/// The URL scheme, by which people know the engine.
const NAME: &str = "sqlite";

/// Broker, results and history in one SQLite file. Cheap to clone.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use celeriac_core::{Clock, QueueName, Topology};
/// use celeriac_sqlite::{Config, SqliteEngine};
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("tasks.db");
/// let engine = SqliteEngine::open(Config::new(path), Clock::system())?;
/// let broker = engine.broker();
/// broker.declare(&Topology { queues: vec![QueueName::new("mail")?] }).await?;
/// assert_eq!(broker.depth(&[]).await?[0].ready, 0);
/// engine.close().await?;
/// # Ok::<(), celeriac_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct SqliteEngine(Arc<Shared>);

impl SqliteEngine {
    /// Opens the file, makes it if there is none, and brings its tables up to date. Blocks while it does: a few
    /// milliseconds, or up to the busy timeout when another process has the file locked.
    ///
    /// # Errors
    /// `NotFound` (no such folder), `Denied` (permissions, read-only), `Corrupt` (damaged, no database, or another
    /// program's), `Unsupported` (made by a newer version), `Unavailable` (locked for too long), `Full`: each says what
    /// to do.
    pub fn open(config: Config, clock: Clock) -> Result<Self> {
        let conn = open_writer(&config, &clock.now().to_string())?;
        let hub = Arc::new(Hub::new());
        let waker = Arc::new(Waker::new(&config, hub.clone()));
        let readers = Readers::start(&config)?;
        let writer = Writer::start(conn, &config, hub.clone(), waker.clone())?;
        Ok(Self(Arc::new(Shared {
            config,
            clock,
            writer,
            readers,
            waker,
            hub,
            consumptions: Mutex::new(Vec::new()),
            broker_open: AtomicBool::new(false),
            results_open: AtomicBool::new(false),
        })))
    }

    /// The broker.
    pub fn broker(&self) -> BrokerHandle {
        self.0.broker_open.store(true, Ordering::Release);
        BrokerHandle::new(NAME, SqliteBroker::new(self.0.clone()))
    }

    /// The result backend.
    pub fn results(&self) -> ResultsHandle {
        self.0.results_open.store(true, Ordering::Release);
        ResultsHandle::new(NAME, SqliteResults::new(self.0.clone()))
    }

    /// The history.
    pub fn history(&self) -> HistoryHandle {
        HistoryHandle::new(NAME, SqliteHistory::new(self.0.clone()))
    }

    /// Puts everything down, whoever still has a handle: leases given up, threads joined, the file closed. Idempotent.
    ///
    /// The handles' own `close` does the same as soon as both broker and results, as far as they were asked for, are
    /// closed.
    pub async fn close(&self) -> Result<()> {
        self.0.close_broker().await?;
        self.0.close_results().await
    }
}

impl std::fmt::Debug for SqliteEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SqliteEngine({})", self.0.config.path.display())
    }
}

/// What broker, results and history share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) writer: Writer,
    pub(crate) readers: Readers,
    pub(crate) waker: Arc<Waker>,
    pub(crate) hub: Arc<Hub>,
    consumptions: Mutex<Vec<Weak<Consumption>>>,
    broker_open: AtomicBool,
    results_open: AtomicBool,
}

impl Shared {
    /// The time now, as stored.
    pub(crate) fn now(&self) -> i64 {
        crate::layout::micros(self.clock.now())
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
            let closed = consumption.close(self).await;
            outcome = outcome.and(closed);
        }
        self.close_if_unused().await;
        outcome
    }

    pub(crate) async fn close_results(&self) -> Result<()> {
        self.results_open.store(false, Ordering::Release);
        self.close_if_unused().await;
        Ok(())
    }

    async fn close_if_unused(&self) {
        if self.broker_open.load(Ordering::Acquire) || self.results_open.load(Ordering::Acquire) {
            return;
        }
        self.waker.close();
        // Readers before the writer: the last connection to close empties the log into the file.
        self.readers.close().await;
        self.writer.close().await;
        // Whoever still waits for a result or a broadcast looks once more, and hears that the store is closed.
        self.hub.wake(&Touched::everything());
    }
}

/// What the engine does by itself: everything.
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
    durable: true,
    self_expiring: false,
};
