//! The connection: one, made by one thread of ours, made anew when it is lost.
//!
//! ```text
//!             connected                   lost, silent, or a replica now
//!   down ────────────────► live (epoch n) ─────────────────────────────► down
//!    ▲ refused: wait, longer each time, never the same time twice │
//!    └──────────────────────────────────────────────────────────────┘
//! ```
//!
//! Everything of the engine goes over it: commands, scripts, and what the server tells by itself (messages of channels,
//! and that a key was changed), for which it speaks RESP3. Nothing on it blocks, so nobody waits for another. It is driven
//! by a thread of its own: tasks that block every thread of the application's runtime do not keep a lease from being
//! renewed.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use celeriac_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use rand::Rng as _;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, Pipeline, RedisError, Value, aio::MultiplexedConnection};
use tokio::{
    runtime::{Handle, Runtime},
    sync::{Notify, watch},
};
use tokio_util::sync::CancellationToken;

use crate::{Config, address::Address, ear::Ear, errors, scripts::Code};

/// The first wait after a refused connection, and the longest.
const BACK_OFF_MIN: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);
/// A connection that nobody used for so long is tried, so that a silent end is noticed.
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// How long the thread may take to end.
const END_TIME_MAX: Duration = Duration::from_secs(5);

/// A live connection and which one it is.
#[derive(Clone)]
pub(crate) struct Live {
    connection: MultiplexedConnection,
    pub(crate) epoch: u64,
}

/// The connection, whichever it is at the moment.
pub(crate) struct Link {
    place: String,
    timeout: Duration,
    runtime: Mutex<Option<Runtime>>,
    handle: Handle,
    live: watch::Receiver<Option<Live>>,
    /// Says that a connection is of no more use.
    broken: Arc<Broken>,
    /// Why there is none.
    trouble: Arc<Mutex<Option<Error>>>,
    pub(crate) ear: Arc<Ear>,
    pub(crate) closed: CancellationToken,
    /// Something was sent since the last probe.
    used: Arc<AtomicBool>,
}

/// The last connection that was found to be broken.
#[derive(Default)]
struct Broken {
    epoch: Mutex<u64>,
    changed: Notify,
}

impl Broken {
    fn tell(&self, epoch: u64) {
        let mut last = self.epoch.lock();
        *last = (*last).max(epoch);
        drop(last);
        self.changed.notify_one();
    }

    async fn until(&self, epoch: u64) {
        while *self.epoch.lock() < epoch {
            self.changed.notified().await;
        }
    }
}

impl Link {
    /// Connects, and keeps connected until closed.
    pub(crate) async fn open(config: &Config) -> Result<Self> {
        let failed =
            |error| Error::new(ErrorKind::Internal, "start the thread of the connection to Redis").with_source(error);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("celeriac-redis")
            .enable_all()
            .build()
            .map_err(failed)?;
        let (publish, live) = watch::channel(None);
        let ear = Arc::new(Ear::default());
        let keeper = Keeper {
            address: Address::new(config)?,
            config: config.clone(),
            publish,
            broken: Arc::new(Broken::default()),
            trouble: Arc::new(Mutex::new(None)),
            ear: ear.clone(),
            closed: CancellationToken::new(),
            used: Arc::new(AtomicBool::new(false)),
            epoch: 0,
        };
        let link = Self {
            place: config.place(),
            timeout: config.timeout,
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
            live,
            broken: keeper.broken.clone(),
            trouble: keeper.trouble.clone(),
            ear,
            closed: keeper.closed.clone(),
            used: keeper.used.clone(),
        };
        link.spawn(keeper.keep());
        // Wrong credentials and the like are said at once, and by whoever opens.
        link.live().await?;
        Ok(link)
    }

    /// Runs something on the connection's own thread.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(work);
    }

    /// The connection, when there is one or soon will be.
    pub(crate) async fn live(&self) -> Result<Live> {
        let mut live = self.live.clone();
        let waiting = async {
            loop {
                if let Some(live) = live.borrow_and_update().clone() {
                    return Some(live);
                }
                // What trying again does not help is said at once.
                if self.trouble.lock().as_ref().is_some_and(|trouble| !trouble.is_transient()) {
                    return None;
                }
                live.changed().await.ok()?;
            }
        };
        let found = tokio::select! {
            biased;
            () = self.closed.cancelled() => return Err(closed("use the connection")),
            found = tokio::time::timeout(self.timeout, waiting) => found,
        };
        match found {
            Ok(Some(live)) => Ok(live),
            Ok(None) | Err(_) => Err(self.trouble()),
        }
    }

    /// Which connection it is; none while there is none.
    pub(crate) fn epoch(&self) -> Option<u64> {
        self.live.borrow().as_ref().map(|live| live.epoch)
    }

    /// Sends one command.
    pub(crate) async fn command<T: FromRedisValue>(&self, what: &str, command: &Cmd) -> Result<T> {
        let mut live = self.live().await?;
        self.used.store(true, Ordering::Relaxed);
        let answer = command.query_async(&mut live.connection).await;
        self.judge(what, &live, answer)
    }

    /// Sends several commands at once.
    pub(crate) async fn pipeline<T: FromRedisValue>(&self, what: &str, pipeline: &Pipeline) -> Result<T> {
        let mut live = self.live().await?;
        self.used.store(true, Ordering::Relaxed);
        let answer = pipeline.query_async(&mut live.connection).await;
        self.judge(what, &live, answer)
    }

    /// Runs a script: by its digest, and with its text where the server does not know it (any more).
    pub(crate) async fn call<T: FromRedisValue>(&self, what: &str, code: &Code, arguments: &[Vec<u8>]) -> Result<T> {
        let mut live = self.live().await?;
        self.used.store(true, Ordering::Relaxed);
        let by_digest = invocation("EVALSHA", &code.digest, arguments);
        let mut answer = by_digest.query_async(&mut live.connection).await;
        if answer.as_ref().is_err_and(errors::is_no_script) {
            answer = invocation("EVAL", &code.text, arguments).query_async(&mut live.connection).await;
        }
        self.judge(what, &live, answer)
    }

    /// Asks to be told when one of these keys is changed, and then runs a script, in one round trip.
    pub(crate) async fn watch_and_call(
        &self,
        what: &str,
        keys: &[String],
        code: &Code,
        arguments: &[Vec<u8>],
    ) -> Result<Vec<Value>> {
        let mut pipeline = Pipeline::new();
        // Reading a key that is not there counts too: one is told when it comes.
        pipeline.cmd("CLIENT").arg("CACHING").arg("YES").ignore();
        pipeline.cmd("EXISTS").arg(keys).ignore();
        pipeline.add_command(invocation("EVALSHA", &code.digest, arguments));
        let mut live = self.live().await?;
        self.used.store(true, Ordering::Relaxed);
        let mut answer: redis::RedisResult<Vec<Vec<Value>>> = pipeline.query_async(&mut live.connection).await;
        if answer.as_ref().is_err_and(errors::is_no_script) {
            answer = invocation("EVAL", &code.text, arguments)
                .query_async(&mut live.connection)
                .await
                .map(|answer| vec![answer]);
        }
        self.judge(what, &live, answer).map(|mut answers| answers.pop().unwrap_or_default())
    }

    /// What an error means, and whether the connection goes with it.
    fn judge<T>(&self, what: &str, live: &Live, answer: Result<T, RedisError>) -> Result<T> {
        answer.map_err(|error| {
            if self.closed.is_cancelled() {
                return closed(what);
            }
            if errors::ends_connection(&error) {
                self.broken.tell(live.epoch);
            }
            errors::explain(what, &self.place, &error)
        })
    }

    fn trouble(&self) -> Error {
        match &*self.trouble.lock() {
            Some(error) => Error::new(error.kind(), error.sentence()),
            None => Error::new(ErrorKind::Unavailable, format!("connect to {} in time", self.place)),
        }
    }

    /// Ends the connection and its thread. Idempotent.
    pub(crate) async fn close(&self) {
        self.closed.cancel();
        self.ear.wake_everybody();
        let runtime = self.runtime.lock().take();
        if let Some(runtime) = runtime {
            // Joining a thread blocks; where it is not allowed, the thread is told and left to end by itself.
            let ended = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(END_TIME_MAX)).await;
            if let Err(error) = ended {
                tracing::warn!(%error, "the thread of the connection to Redis was not joined");
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.closed.cancel();
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }
}

/// Keeps the connection.
struct Keeper {
    address: Address,
    config: Config,
    publish: watch::Sender<Option<Live>>,
    broken: Arc<Broken>,
    trouble: Arc<Mutex<Option<Error>>>,
    ear: Arc<Ear>,
    closed: CancellationToken,
    used: Arc<AtomicBool>,
    epoch: u64,
}

impl Keeper {
    async fn keep(mut self) {
        let closed = self.closed.clone();
        closed
            .run_until_cancelled(async {
                let mut back_off = BACK_OFF_MIN;
                loop {
                    match self.connect().await {
                        Ok(live) => {
                            if self.epoch > 1 {
                                tracing::info!("connected to {} again", self.config.place());
                            }
                            *self.trouble.lock() = None;
                            back_off = BACK_OFF_MIN;
                            self.publish.send_replace(Some(live.clone()));
                            // Whoever waited may have missed something.
                            self.ear.wake_everybody();
                            self.until_lost(live).await;
                            tracing::warn!("the connection to {} is lost", self.config.place());
                        }
                        Err(error) => {
                            tracing::warn!(%error, "no connection; trying again");
                            *self.trouble.lock() = Some(error);
                        }
                    }
                    // Also wakes those who wait for a connection, to hear of the trouble.
                    self.publish.send_replace(None);
                    let wait = back_off.mul_f64(rand::rng().random_range(0.5..1.0));
                    tokio::time::sleep(wait).await;
                    back_off = (back_off * 2).min(BACK_OFF_MAX);
                }
            })
            .await;
        self.publish.send_replace(None);
    }

    async fn connect(&mut self) -> Result<Live> {
        let what = "connect";
        let place = self.config.place();
        let explain = |error: RedisError| errors::explain(what, &place, &error);
        let client = self.address.client().await.map_err(explain)?;
        self.epoch += 1;
        let epoch = self.epoch;
        let (ear, broken) = (self.ear.clone(), self.broken.clone());
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.config.connect_timeout))
            .set_response_timeout(Some(self.config.timeout))
            .set_push_sender(move |push| {
                if !ear.hear(&push) {
                    broken.tell(epoch);
                }
                Ok::<(), redis::aio::SendError>(())
            });
        let mut connection = client.get_multiplexed_async_connection_with_config(&settings).await.map_err(explain)?;
        let mut greeting = Pipeline::new();
        greeting.cmd("CLIENT").arg("TRACKING").arg("ON").arg("OPTIN").ignore();
        let channels = self.ear.channels();
        for (command, channels) in channels {
            if !channels.is_empty() {
                greeting.cmd(command).arg(channels).ignore();
            }
        }
        greeting.exec_async(&mut connection).await.map_err(explain)?;
        Ok(Live { connection, epoch })
    }

    /// Returns when the connection is lost, and looks for that by itself when nobody uses it.
    async fn until_lost(&self, mut live: Live) {
        let probing = async {
            loop {
                tokio::time::sleep(PROBE_EVERY).await;
                if !self.used.swap(false, Ordering::Relaxed)
                    && redis::cmd("PING").exec_async(&mut live.connection).await.is_err()
                {
                    return;
                }
            }
        };
        tokio::select! {
            () = self.broken.until(live.epoch) => {}
            () = probing => {}
        }
    }
}

fn invocation(how: &str, script: &str, arguments: &[Vec<u8>]) -> Cmd {
    let mut command = redis::cmd(how);
    command.arg(script).arg(0).arg(arguments);
    command
}

/// The error of every call after the end.
pub(crate) fn closed(what: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("{what}: the engine is closed"))
}
