//! Where tasks run: Rust functions in this process, or Python children.

use std::{sync::Arc, time::Duration};

use celeriac_protocol::Message;

use crate::{Outcome, QueueName, Result, TaskId, TaskName, WorkerName};

/// A delivery decoded and about to run.
#[derive(Clone, Debug)]
pub struct Request {
    /// The task's id.
    pub id: TaskId,
    /// The task's name.
    pub task: TaskName,
    /// The queue it was delivered from.
    pub queue: QueueName,
    /// Counts every claim of this message, from 1. A higher attempt fences a lower one.
    pub attempt: u32,
    /// How often it was retried before, as the headers say.
    pub retries: u32,
    /// True when an earlier holder did not settle it.
    pub redelivered: bool,
    /// The worker that runs it.
    pub worker: WorkerName,
    /// The message, untouched. The pool decodes it.
    pub message: Message,
    /// When it is told to stop by itself, from its start.
    pub soft_limit: Option<Duration>,
    /// When it is stopped, from its start.
    pub hard_limit: Option<Duration>,
}

/// Runs requests. A child or task that is lost is an [`Outcome`], not an error.
pub trait Pool: Send + Sync + 'static {
    /// How many requests may run at a time.
    fn capacity(&self) -> usize;

    /// Runs one request to its end. Enforces the request's limits. Dropping the future stops the run as far as the
    /// pool can; the outcome is lost then.
    fn run(&self, request: Arc<Request>) -> impl Future<Output = Outcome> + Send;

    /// Stops one running attempt; false when it is not running here.
    fn terminate(&self, id: &TaskId, attempt: u32) -> bool;

    /// Changes the capacity.
    ///
    /// # Errors
    /// `Invalid` when the pool cannot have this size.
    fn resize(&self, capacity: usize) -> Result<()>;
}
