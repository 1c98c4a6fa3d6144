//! The worker: what it is set to, and its life from start to stop.

use std::{sync::Arc, time::Duration};

use celeriac_app::{App, Registry, StateMap, TaskDefinition, host_name};
use celeriac_core::{ConsumerHandle, Error, ErrorKind, Ids, QueueName, Result, Subscription, Topology, WorkerName};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    RustPool, Shutdown,
    consequence::Judge,
    control::Control,
    events::{self, Emitter},
    fetch::Fetcher,
    finish::{self, Finisher},
    janitor,
    lease::Keeper,
    limits::Limits,
    prefetch::Prefetch,
    quarantine::Quarantine,
    roster::Roster,
    runner::Runner,
    shutdown::{Stage, StageWatch},
    slots::Slots,
    tell::Counts,
};

/// Consumes queues and runs tasks.
#[derive(Debug)]
pub struct Worker {
    app: App,
    registry: Registry,
    state: StateMap,
    queues: Vec<QueueName>,
    concurrency: usize,
    name: WorkerName,
    grace: Duration,
    soft_shutdown: Duration,
    lease: Duration,
    events: bool,
    lease_thread: bool,
}

/// What a worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Runs that gave a value.
    pub succeeded: u64,
    /// Runs that failed for good.
    pub failed: u64,
    /// Runs that failed and will be tried again.
    pub retried: u64,
    /// Deliveries that went back into the store until their time.
    pub parked: u64,
    /// Tasks not run, or stopped, because they were revoked or too late.
    pub revoked: u64,
    /// Deliveries that went into the dead set without being run.
    pub buried: u64,
    /// Deliveries given back to their queue.
    pub handed_back: u64,
    /// Credit for deliveries that did not come back: anything but zero is a bug of the worker.
    pub unreturned: i64,
}

/// Builds a [`Worker`].
#[derive(Debug)]
pub struct Builder {
    app: App,
    tasks: Vec<TaskDefinition>,
    state: StateMap,
    queues: Vec<QueueName>,
    concurrency: usize,
    name: String,
    grace: Duration,
    soft_shutdown: Duration,
    lease: Duration,
    events: bool,
    lease_thread: bool,
}

impl Worker {
    /// A worker of this application.
    pub fn builder(app: App) -> Builder {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Builder {
            events: app.settings().worker_send_task_events,
            lease: app.settings().lease,
            concurrency: app.settings().worker_concurrency.map_or(cores * 10, |slots| slots as usize),
            app,
            tasks: Vec::new(),
            state: StateMap::default(),
            queues: Vec::new(),
            name: "celeriac@%h".into(),
            grace: Duration::from_secs(30),
            soft_shutdown: Duration::ZERO,
            lease_thread: true,
        }
    }
}

impl Builder {
    /// The tasks it runs, usually `tasks![…]`.
    pub fn tasks(mut self, tasks: impl IntoIterator<Item = TaskDefinition>) -> Self {
        self.tasks.extend(tasks);
        self
    }

    /// A value that tasks can have injected as `State<T>`.
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.state = self.state.with(value);
        self
    }

    /// All values that tasks can have injected.
    pub fn state_map(mut self, state: StateMap) -> Self {
        self.state = state;
        self
    }

    /// The queues it serves; the default one and those of its tasks unless said.
    pub fn queues(mut self, queues: impl IntoIterator<Item = QueueName>) -> Self {
        self.queues = queues.into_iter().collect();
        self
    }

    /// How many tasks run at a time; the setting `worker_concurrency`, or ten for each core, unless said.
    pub fn concurrency(mut self, slots: usize) -> Self {
        self.concurrency = slots;
        self
    }

    /// Its name; `%h` is the host. `celeriac@%h` unless said.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// How long running tasks get to finish when it stops; 30 s unless said.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long running tasks that are asked to stop get for it before they are put down, when the grace is over or the
    /// worker is told to stop at once; no time unless said.
    ///
    /// Celery's setting of this meaning is `worker_soft_shutdown_timeout`.
    pub fn soft_shutdown(mut self, timeout: Duration) -> Self {
        self.soft_shutdown = timeout;
        self
    }

    /// How long after its last sign of life its deliveries come back; the setting `lease` (30 s) unless
    /// said, one second at the least.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Send task events.
    pub fn events(mut self, on: bool) -> Self {
        self.events = on;
        self
    }

    /// Keep the lease from a thread of its own (the default), or as one more task of the runtime: for simulations,
    /// which have one thread and a clock of their own.
    pub fn lease_thread(mut self, on: bool) -> Self {
        self.lease_thread = on;
        self
    }

    /// The worker.
    ///
    /// # Errors
    /// `Invalid` when two tasks have one name, there is no slot, or a name is no name.
    pub fn build(self) -> Result<Worker> {
        if self.concurrency == 0 {
            return Err(Error::new(
                ErrorKind::Invalid,
                "start a worker with no slots: set its concurrency to 1 or more",
            ));
        }
        if self.lease < Duration::from_secs(1) {
            return Err(Error::new(ErrorKind::Invalid, "start a worker with a lease of less than a second"));
        }
        let mut queues = self.queues;
        if queues.is_empty() {
            queues.push(self.app.settings().task_default_queue.clone());
            for task in &self.tasks {
                let queue = match task.options.queue {
                    Some(queue) => QueueName::new(queue)?,
                    None => self.app.settings().route(task.name).clone(),
                };
                if !queues.contains(&queue) {
                    queues.push(queue);
                }
            }
        }
        Ok(Worker {
            registry: Registry::new(self.tasks)?,
            name: WorkerName::new(self.name.replace("%h", &host_name()))?,
            app: self.app,
            state: self.state,
            queues,
            concurrency: self.concurrency,
            grace: self.grace,
            soft_shutdown: self.soft_shutdown,
            lease: self.lease,
            events: self.events,
            lease_thread: self.lease_thread,
        })
    }
}

impl Worker {
    /// Its name.
    pub fn name(&self) -> &WorkerName {
        &self.name
    }

    /// Runs tasks until told to stop, puts its work down, and says what it did.
    ///
    /// Dropping the future is a crash: everything it had begun ends at once, nothing is given back, and what it held
    /// comes back to its queues one lease later.
    ///
    /// # Errors
    /// When it cannot begin to consume. Trouble later is logged and tried again.
    pub async fn run(self, shutdown: Shutdown) -> Result<Report> {
        let mut stage = shutdown.watch()?;
        self.app.broker().declare(&Topology { queues: self.queues.clone() }).await?;
        let consumer = self
            .app
            .broker()
            .consume(Subscription { worker: self.name.clone(), queues: self.queues.clone(), lease: self.lease })
            .await?;
        let life = Life::begin(&self, consumer, &shutdown)?;
        let queues: Vec<_> = self.queues.iter().map(QueueName::as_str).collect();
        tracing::info!("{} ready: {} slots, queues {}", self.name, self.concurrency, queues.join(", "));
        let report = life.end(&mut stage, &self).await?;
        tracing::info!(
            "{} stopped: {} succeeded, {} failed, {} retried, {} given back",
            self.name,
            report.succeeded,
            report.failed,
            report.retried,
            report.handed_back
        );
        Ok(report)
    }
}

/// Everything that a running worker has spawned. All of it is joined.
struct Life {
    consumer: ConsumerHandle,
    pool: Arc<RustPool>,
    prefetch: Arc<Prefetch>,
    counts: Arc<Counts>,
    stop_fetching: CancellationToken,
    cold: CancellationToken,
    stop_keeping: CancellationToken,
    stop_telling: CancellationToken,
    fetcher: AbortOnDropHandle<()>,
    runner: AbortOnDropHandle<()>,
    finisher: AbortOnDropHandle<()>,
    keeper: Kept,
    teller: Option<AbortOnDropHandle<()>>,
    controller: AbortOnDropHandle<()>,
    janitor: AbortOnDropHandle<()>,
    /// Last, for when the others are dropped before their end.
    _put_down: PutDown,
}

/// Ends what no handle ends: the thread of the lease, which would keep a dead worker's deliveries for ever, and the runs.
struct PutDown {
    stop_keeping: CancellationToken,
    pool: Arc<RustPool>,
}

impl Drop for PutDown {
    fn drop(&mut self) {
        self.stop_keeping.cancel();
        self.pool.interrupt_all();
    }
}

enum Kept {
    Thread(std::thread::JoinHandle<()>),
    Task(AbortOnDropHandle<()>),
}

impl Life {
    fn begin(worker: &Worker, consumer: ConsumerHandle, shutdown: &Shutdown) -> Result<Self> {
        let app = worker.app.clone();
        let clock = app.clock().clone();
        let (roster, limits) = (Arc::new(Roster::default()), Arc::new(Limits::default()));
        let slots = Slots::new(worker.concurrency);
        let prefetch = Arc::new(Prefetch::new(worker.concurrency));
        let pool =
            Arc::new(RustPool::new(app.clone(), worker.registry.clone(), worker.state.clone(), worker.concurrency));
        let counts = Arc::new(Counts::default());
        let judge = Arc::new(Judge { app: app.clone(), worker: worker.name.clone() });
        let (stop_fetching, cold) = (CancellationToken::new(), CancellationToken::new());
        let (stop_keeping, stop_telling) = (CancellationToken::new(), CancellationToken::new());
        // One batch in hand, one on its way: what is claimed is bounded by the credit, not by this channel.
        let (deliveries_in, deliveries) = mpsc::channel(2);
        let (outcomes_in, outcomes) = mpsc::channel(finish::BATCH_MAX * 2);
        let (emitter, waiting) = Emitter::new(worker.name.clone(), &app.broker().capabilities(), worker.events);
        let emitter = Arc::new(emitter);
        let teller =
            waiting.map(|waiting| spawn(events::carry(app.clone(), emitter.clone(), waiting, stop_telling.clone())));

        let keeper = Keeper {
            consumer: consumer.clone(),
            broker: app.broker().clone(),
            roster: roster.clone(),
            pool: pool.clone(),
            clock: clock.clone(),
            every: worker.lease / 3,
            stop: stop_keeping.clone(),
        };
        let keeper = if worker.lease_thread { Kept::Thread(keeper.start()?) } else { Kept::Task(spawn(keeper.keep())) };
        let finisher = Finisher {
            judge: judge.clone(),
            consumer: consumer.clone(),
            prefetch: prefetch.clone(),
            roster: roster.clone(),
            cold: cold.clone(),
        };
        let runner = Arc::new(Runner {
            judge,
            registry: worker.registry.clone(),
            pool: pool.clone(),
            consumer: consumer.clone(),
            prefetch: prefetch.clone(),
            roster: roster.clone(),
            limits: limits.clone(),
            worker: worker.name.clone(),
            events: emitter.clone(),
            counts: counts.clone(),
            buckets: parking_lot::Mutex::default(),
            quarantine: Quarantine::default(),
            outcomes: outcomes_in,
            slots: slots.clone(),
        });
        let fetcher = Fetcher {
            consumer: consumer.clone(),
            broker: app.broker().clone(),
            queues: worker.queues.clone(),
            prefetch: prefetch.clone(),
            roster: roster.clone(),
            clock: clock.clone(),
            ids: app.ids().clone(),
            out: deliveries_in,
        };
        let janitor = spawn(janitor::keep_clean(app.clone(), stop_telling.clone()));
        let control = Control {
            app,
            name: worker.name.clone(),
            registry: worker.registry.clone(),
            consumer: consumer.clone(),
            queues: parking_lot::Mutex::new(worker.queues.clone()),
            roster,
            pool: pool.clone(),
            slots,
            prefetch: prefetch.clone(),
            limits,
            events: emitter,
            shutdown: shutdown.clone(),
            started_at: clock.now(),
            revoked: parking_lot::Mutex::default(),
        };
        Ok(Self {
            controller: spawn(control.run(stop_telling.clone())),
            janitor,
            consumer,
            _put_down: PutDown { stop_keeping: stop_keeping.clone(), pool: pool.clone() },
            pool,
            prefetch,
            counts,
            fetcher: spawn(fetcher.run(stop_fetching.clone())),
            runner: spawn(runner.run(deliveries, stop_fetching.clone())),
            finisher: spawn(finisher.run(outcomes)),
            keeper,
            teller,
            stop_fetching,
            cold,
            stop_keeping,
            stop_telling,
        })
    }

    /// Waits for the word to stop, and stops in order.
    async fn end(mut self, stage: &mut StageWatch, worker: &Worker) -> Result<Report> {
        let mut finishing = true;
        let consuming = tokio::select! {
            biased;
            reached = stage.reached(Stage::Graceful) => {
                if reached == Stage::Cold {
                    self.cold.cancel();
                }
                true
            }
            ended = &mut self.fetcher => {
                joined("the fetcher", ended);
                tracing::error!("the broker has stopped delivering: the worker stops");
                false
            }
            ended = &mut self.finisher => {
                // Tasks that nobody finishes must not go on.
                joined("the finisher", ended);
                finishing = false;
                self.cold.cancel();
                true
            }
        };
        self.stop_fetching.cancel();
        if consuming {
            joined("the fetcher", (&mut self.fetcher).await);
        }
        let grace = async {
            tokio::select! {
                biased;
                () = self.cold.cancelled() => {}
                () = worker.app.clock().sleep(worker.grace) => {
                    tracing::warn!("the grace of {:?} is over", worker.grace);
                }
                _ = stage.reached(Stage::Cold) => {}
            }
            self.cold.cancel();
            self.pool.ask_all();
            worker.app.clock().sleep(worker.soft_shutdown).await;
        };
        tokio::select! {
            biased;
            ended = &mut self.runner => joined("the runner", ended),
            () = grace => {
                self.pool.interrupt_all();
                joined("the runner", (&mut self.runner).await);
            }
        }
        if finishing {
            // Every sender of outcomes is gone now: the finisher ends when it has finished the last.
            joined("the finisher", self.finisher.await);
        }
        self.stop_keeping.cancel();
        match self.keeper {
            Kept::Task(task) => joined("the keeper of the lease", task.await),
            Kept::Thread(thread) => {
                let ended = tokio::task::spawn_blocking(move || thread.join().is_ok()).await;
                if !ended.unwrap_or(false) {
                    tracing::error!("the keeper of the lease ended in a panic");
                }
            }
        }
        let closed = self.consumer.close().await;
        self.stop_telling.cancel();
        joined("remote control", self.controller.await);
        joined("the janitor", self.janitor.await);
        if let Some(teller) = self.teller {
            joined("the teller of events", teller.await);
        }
        closed?;
        if !finishing {
            return Err(Error::new(ErrorKind::Internal, "finish tasks: the part that does it ended in a panic"));
        }
        Ok(Report { unreturned: self.prefetch.unreturned(), ..self.counts.report() })
    }
}

/// Spawns a part that ends when its handle is dropped.
fn spawn(part: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(part))
}

/// A part that panicked is a bug; it is said, and the rest is still put down in order.
fn joined(part: &str, ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "{part} did not end in order");
    }
}

/// How long to wait before trying again: longer each time, with chance in it.
#[derive(Debug)]
pub(crate) struct BackOff {
    ids: Ids,
    tries: u32,
}

impl BackOff {
    pub(crate) fn new(ids: Ids) -> Self {
        Self { ids, tries: 0 }
    }

    pub(crate) fn next(&mut self) -> Duration {
        let policy = celeriac_app::Backoff {
            base: Duration::from_millis(50),
            factor: 2.0,
            max: Duration::from_secs(5),
            jitter: 0.5,
        };
        let wait = policy.wait(self.tries, self.ids.fraction());
        self.tries = self.tries.saturating_add(1);
        wait
    }

    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }
}
