//! One process's use of one database.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use celeriac_core::{BrokerHandle, Capabilities, Clock, Error, ErrorKind, HistoryHandle, Result, ResultsHandle};
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use crate::{
    Config, PostgresBroker, PostgresHistory, PostgresResults,
    broker::Consumption,
    connections::{Connection, Connections},
    driver::Driver,
    errors::{Failure, Outcome},
    layout::{in_schema, micros, timestamp},
    migrate::{self, CeleryTables},
    wake::{self, Hub, Sleeper},
};

/// The URL scheme, by which people know the engine.
const NAME: &str = "postgres";

/// How often a transaction that lost a race is tried again.
const RACES_MAX: u32 = 8;

/// What the engine does natively: everything.
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
    self_expiring: false,
    durable: true,
};

/// Broker, results and history in one PostgreSQL database. Cheap to clone.
///
/// ```no_run
/// # async fn example() -> celeriac_core::Result<()> {
/// use celeriac_core::{Clock, QueueName, Topology};
/// use celeriac_postgres::{Config, PostgresEngine};
///
/// let config = Config::from_url("postgresql://me:secret@db.example/shop")?;
/// let engine = PostgresEngine::open(config, Clock::system()).await?;
/// engine.broker().declare(&Topology { queues: vec![QueueName::new("mail")?] }).await?;
/// engine.close().await
/// # }
/// ```
#[derive(Clone)]
pub struct PostgresEngine(Arc<Shared>);

impl PostgresEngine {
    /// Connects, and makes our own schema or brings it up to date: safe when many processes start at once.
    ///
    /// # Errors
    /// `Unavailable` (no server there), `Denied` (user, password, rights, certificate), `NotFound` (no such database),
    /// `Unsupported` (tables of a newer version): each says what to do, none the password.
    pub async fn open(config: Config, clock: Clock) -> Result<Self> {
        let driver = Driver::start()?;
        let connections = Connections::new(&config, &clock, driver.handle())?;
        let shared = Arc::new(Shared {
            place: config.place(),
            config,
            clock,
            connections,
            hub: Arc::new(Hub::default()),
            celery_tables: CeleryTables::default(),
            consumptions: Mutex::new(Vec::new()),
            operations: TaskTracker::new(),
            broker: Part::default(),
            results: Part::default(),
            driver,
        });
        let opened = {
            let shared = &shared;
            shared.run("make the tables", |connection| async move { migrate::migrate(&connection, shared).await }).await
        };
        if let Err(error) = opened {
            shared.put_down().await;
            return Err(error);
        }
        Ok(Self(shared))
    }

    /// The broker.
    pub fn broker(&self) -> BrokerHandle {
        self.0.broker.open();
        BrokerHandle::new(NAME, PostgresBroker::new(self.0.clone()))
    }

    /// The result backend, in Celery's own tables.
    pub fn results(&self) -> ResultsHandle {
        self.0.results.open();
        ResultsHandle::new(NAME, PostgresResults::new(self.0.clone()))
    }

    /// The history.
    pub fn history(&self) -> HistoryHandle {
        HistoryHandle::new(NAME, PostgresHistory::new(self.0.clone()))
    }

    /// Puts everything down, whoever still has a handle: leases given up, connections closed, the thread joined.
    /// Idempotent.
    ///
    /// The handles' own `close` does the same as soon as both broker and results, as far as they were asked for, are
    /// closed.
    ///
    /// # Errors
    /// When a consumer could not give back what it held: it comes back by its lease.
    pub async fn close(&self) -> Result<()> {
        let closed = self.0.close_broker().await;
        self.0.close_results().await;
        closed
    }
}

impl std::fmt::Debug for PostgresEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PostgresEngine({})", self.0.place)
    }
}

/// Whether broker or results were asked for, and put down.
#[derive(Default)]
pub(crate) struct Part {
    opened: AtomicBool,
    closed: AtomicBool,
}

impl Part {
    fn open(&self) {
        self.opened.store(true, Ordering::Release);
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Nobody can use it any more, or ever asked for it.
    fn is_done(&self) -> bool {
        self.closed.load(Ordering::Acquire) || !self.opened.load(Ordering::Acquire)
    }

    /// # Errors
    /// `Invalid` when it was closed.
    pub(crate) fn check(&self, what: &str) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed(what));
        }
        Ok(())
    }
}

fn closed(what: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("{what}: the store is closed"))
}

/// What broker, results and history share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) connections: Connections,
    pub(crate) hub: Arc<Hub>,
    pub(crate) driver: Driver,
    pub(crate) celery_tables: CeleryTables,
    pub(crate) broker: Part,
    pub(crate) results: Part,
    /// Host, port and database, for errors.
    place: String,
    consumptions: Mutex<Vec<Weak<Consumption>>>,
    /// Whatever talks to the server: closing waits for it.
    operations: TaskTracker,
}

impl Shared {
    /// The time now, as stored: the server's where leases go by it.
    pub(crate) fn now(&self) -> i64 {
        micros(self.clock.now()).saturating_add(self.connections.offset())
    }

    /// Waits until a stored time. Cancel-safe.
    pub(crate) async fn sleep_until(&self, at: i64) {
        self.clock.sleep_until(timestamp(at.saturating_sub(self.connections.offset()))).await;
    }

    /// A statement, with the schema where it writes `{s}`.
    pub(crate) fn sql(&self, sql: &str) -> String {
        in_schema(sql, &self.config.schema)
    }

    /// Does something with a connection, within its time; again when it lost a race. `what` completes "could not …".
    pub(crate) async fn run<T, F, W>(&self, what: &str, work: F) -> Result<T>
    where
        F: Fn(Arc<Connection>) -> W,
        W: Future<Output = Outcome<T>>,
    {
        let operation = self.operations.token();
        let mut races = 0;
        loop {
            let stop = self.driver.stop();
            let done = stop.run_until_cancelled(self.run_once(&work)).await.ok_or_else(|| closed(what))?;
            match done {
                Ok(value) => {
                    drop(operation);
                    return Ok(value);
                }
                Err(failure) if failure.lost_a_race() && races < RACES_MAX => races += 1,
                Err(failure) => {
                    if failure.spoils_the_connection() {
                        self.connections.give_up_idle();
                    }
                    return Err(failure.explain(what, &self.place));
                }
            }
        }
    }

    async fn run_once<T, W: Future<Output = Outcome<T>>>(&self, work: impl Fn(Arc<Connection>) -> W) -> Outcome<T> {
        // The server ends the statement by itself; ours is the longer wait, for when nobody answers at all.
        let limit = self.config.statement_timeout + Duration::from_secs(1);
        let within = tokio::time::timeout(limit, async {
            let connection = Arc::new(self.connections.get().await?);
            let done = work(connection.clone()).await;
            if done.as_ref().is_err_and(Failure::spoils_the_connection) {
                connection.spoil();
            }
            done
        });
        within.await.unwrap_or(Err(Failure::TooLong))
    }

    /// Wakes whoever sleeps for these topics. News is committed already, so a failure only delays.
    pub(crate) async fn wake(&self, connection: &Connection, topics: &[String]) {
        if let Err(failure) = wake::wake(connection, &self.config.schema, topics).await {
            tracing::debug!(?failure, "nobody was woken; they look by themselves");
        }
    }

    /// Registers somebody who may sleep, and listens from now on.
    pub(crate) fn sleeper(&self, topics: Vec<String>) -> Arc<Sleeper> {
        let sleeper = self.hub.sleeper(topics);
        if self.hub.begin_listening() {
            let (hub, dialer) = (self.hub.clone(), self.connections.dialer().clone());
            self.driver.spawn(wake::listen(hub, dialer, self.config.schema.clone(), self.driver.stop()));
        }
        sleeper
    }

    /// Remembers a consumer, to close it with the broker.
    pub(crate) fn remember(&self, consumption: &Arc<Consumption>) {
        let mut consumptions = self.consumptions.lock();
        consumptions.retain(|consumption| consumption.strong_count() > 0);
        consumptions.push(Arc::downgrade(consumption));
    }

    pub(crate) async fn close_broker(self: &Arc<Self>) -> Result<()> {
        let consumptions: Vec<_> = self.consumptions.lock().drain(..).filter_map(|weak| weak.upgrade()).collect();
        // One that cannot be given up comes back by its lease: close the others all the same.
        let closed = join_all(consumptions.iter().map(|consumption| consumption.close(self))).await;
        self.broker.close();
        self.put_down_if_done().await;
        closed.into_iter().collect()
    }

    pub(crate) async fn close_results(&self) {
        self.results.close();
        self.put_down_if_done().await;
    }

    async fn put_down_if_done(&self) {
        if self.broker.is_done() && self.results.is_done() {
            self.put_down().await;
        }
    }

    async fn put_down(&self) {
        // What is under way ends by itself, at the latest with its time.
        self.operations.close();
        self.operations.wait().await;
        self.connections.close();
        self.driver.join().await;
    }
}
