//! Runs Rust tasks in this process: their limits, their panics, their end.

use std::{
    any::Any,
    backtrace::Backtrace,
    cell::RefCell,
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Once,
        atomic::{AtomicUsize, Ordering},
    },
};

use celeriac_app::{App, Call, Context, Registry, StateMap};
use celeriac_core::{Error, ErrorKind, Failure, Outcome, Pool, Request, Result, TaskId};
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Runs the tasks of a registry as futures of this process.
#[derive(Debug)]
pub struct RustPool {
    app: App,
    registry: Registry,
    state: StateMap,
    capacity: AtomicUsize,
    running: Mutex<HashMap<(TaskId, u32), Stop>>,
}

/// How a run is stopped from outside.
#[derive(Clone, Debug)]
struct Stop {
    /// Tells the task to stop by itself.
    ask: CancellationToken,
    /// Drops it: it was revoked.
    terminate: CancellationToken,
    /// Drops it: the worker stops.
    interrupt: CancellationToken,
}

impl RustPool {
    /// A pool for these tasks.
    pub fn new(app: App, registry: Registry, state: StateMap, capacity: usize) -> Self {
        remember_backtraces();
        Self { app, registry, state, capacity: AtomicUsize::new(capacity), running: Mutex::default() }
    }

    /// Puts every run down: each ends as [`Outcome::Interrupted`].
    pub(crate) fn interrupt_all(&self) {
        for stop in self.stops() {
            stop.ask.cancel();
            stop.interrupt.cancel();
        }
    }

    /// Tells every run to stop by itself.
    pub(crate) fn ask_all(&self) {
        for stop in self.stops() {
            stop.ask.cancel();
        }
    }

    /// All runs, in order, so that a run of the worker with the same seed is the same run.
    fn stops(&self) -> Vec<Stop> {
        let mut stops: Vec<_> = self.running.lock().iter().map(|(key, stop)| (key.clone(), stop.clone())).collect();
        stops.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        stops.into_iter().map(|(_, stop)| stop).collect()
    }

    /// Drops a run whose lease is lost: whatever it gives is nobody's any more.
    pub(crate) fn abandon(&self, id: &TaskId, attempt: u32) {
        if let Some(stop) = self.running.lock().get(&(id.clone(), attempt)) {
            stop.ask.cancel();
            stop.interrupt.cancel();
        }
    }

    async fn run_limited(&self, request: Arc<Request>, stop: &Stop) -> Outcome {
        let Some(definition) = self.registry.get(request.task.as_str()) else {
            return Outcome::Failure(Failure::builtin("NotRegistered", format!("{} is not registered", request.task)));
        };
        let (soft, hard) = (request.soft_limit, request.hard_limit);
        let ctx = Context::new(request, self.app.clone(), self.state.clone(), stop.ask.clone());
        let run = AssertUnwindSafe(async { (definition.run)(Call { ctx }).await }).catch_unwind();
        let clock = self.app.clock();
        let soft_limit = async {
            if let Some(soft) = soft {
                clock.sleep(soft).await;
                stop.ask.cancel();
            }
            std::future::pending::<()>().await;
        };
        let hard_limit = async {
            match hard {
                Some(hard) => {
                    clock.sleep(hard).await;
                    hard
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            outcome = run => match outcome.unwrap_or_else(|payload| panicked(payload.as_ref())) {
                outcome @ Outcome::Success { .. } => outcome,
                // It was told to stop and did: what it says of that is not why it ended.
                _ if stop.terminate.is_cancelled() => Outcome::Terminated,
                outcome => outcome,
            },
            () = stop.terminate.cancelled() => Outcome::Terminated,
            () = stop.interrupt.cancelled() => Outcome::Interrupted,
            limit = hard_limit => Outcome::TimedOut { limit },
            () = soft_limit => unreachable!("the soft limit only asks"),
        }
    }
}

impl Pool for RustPool {
    fn capacity(&self) -> usize {
        self.capacity.load(Ordering::Relaxed)
    }

    async fn run(&self, request: Arc<Request>) -> Outcome {
        let key = (request.id.clone(), request.attempt);
        let stop = Stop {
            ask: CancellationToken::new(),
            terminate: CancellationToken::new(),
            interrupt: CancellationToken::new(),
        };
        self.running.lock().insert(key.clone(), stop.clone());
        let _forget = Forget { pool: self, key };
        self.run_limited(request, &stop).await
    }

    fn terminate(&self, id: &TaskId, attempt: u32) -> bool {
        match self.running.lock().get(&(id.clone(), attempt)) {
            Some(stop) => {
                stop.ask.cancel();
                stop.terminate.cancel();
                true
            }
            None => false,
        }
    }

    fn resize(&self, capacity: usize) -> Result<()> {
        if capacity == 0 {
            return Err(Error::new(ErrorKind::Invalid, "make a pool of no slots"));
        }
        self.capacity.store(capacity, Ordering::Relaxed);
        Ok(())
    }
}

/// Takes a run off the list also when its future is dropped.
struct Forget<'a> {
    pool: &'a RustPool,
    key: (TaskId, u32),
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.pool.running.lock().remove(&self.key);
    }
}

thread_local! {
    /// Where the last panic of this thread happened. The hook runs on the panicking thread, just before the panic is
    /// caught there.
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The most of a backtrace that is stored, in bytes.
const BACKTRACE_BYTES_MAX: usize = 16 << 10;

fn remember_backtraces() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let earlier = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let place = info.location().map_or_else(String::new, |location| format!("at {location}\n"));
            let mut text = format!("{place}{}", Backtrace::force_capture());
            let mut end = BACKTRACE_BYTES_MAX.min(text.len());
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            LAST_PANIC.set(Some(text));
            earlier(info);
        }));
    });
}

fn panicked(payload: &(dyn Any + Send)) -> Outcome {
    let message = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is no text".into());
    let mut failure = Failure::builtin("Panic", format!("the task panicked: {message}"));
    failure.traceback = LAST_PANIC.take();
    Outcome::Failure(failure)
}
