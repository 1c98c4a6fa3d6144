//! The thread that drives every connection of an engine.
//!
//! A worker renews its lease whatever its tasks do. If the connections were driven by the runtime that runs the tasks,
//! one that blocks all its threads would silence them, and the lease with them.

use std::{future::Future, thread};

use celeriac_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A thread with a runtime of its own.
pub(crate) struct Driver {
    handle: Handle,
    stop: CancellationToken,
    /// What runs on it and has to end in order.
    tasks: TaskTracker,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Driver {
    pub(crate) fn start() -> Result<Self> {
        let failed = |error| Error::new(ErrorKind::Internal, "start the thread of PostgreSQL").with_source(error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = thread::Builder::new()
            .name("celeriac-postgres".into())
            .spawn(move || runtime.block_on(stopped.cancelled()))
            .map_err(failed)?;
        Ok(Self { handle, stop, tasks: TaskTracker::new(), thread: Mutex::new(Some(thread)) })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Told when everything is being put down.
    pub(crate) fn stop(&self) -> CancellationToken {
        self.stop.child_token()
    }

    /// Runs something on the thread. Whatever it is ends by itself, or when told by [`Self::stop`].
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(work, &self.handle);
    }

    /// Does something on the thread, whether the caller goes on asking for it or not: whoever waits for a long time may be
    /// asked seldom, and must not keep a connection meanwhile.
    pub(crate) async fn detach<T: Send + 'static>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let done = self.tasks.spawn_on(work, &self.handle).await;
        done.unwrap_or_else(|_| Err(Error::new(ErrorKind::Invalid, format!("{what}: the store is closed"))))
    }

    /// Ends the thread and waits for it. Idempotent.
    pub(crate) async fn join(&self) {
        self.stop.cancel();
        let Some(thread) = self.thread.lock().take() else { return };
        // It has nothing more to do than to drop its connections.
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the thread of PostgreSQL panicked");
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Without a close the thread ends by itself. It cannot be joined here: it may be the one that drops.
        self.stop.cancel();
    }
}
