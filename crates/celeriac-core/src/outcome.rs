//! What running a task gave. A task that fails is not an error: it is an outcome, stored and sent on.

use std::time::Duration;

use bytes::Bytes;

/// A failure as Celery stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The class of the error, e.g. `RuntimeError`.
    pub exc_type: String,
    /// Where a Python reader finds the class; `builtins` unless known better.
    pub exc_module: String,
    /// What a person reads.
    pub message: String,
    /// Where it happened: a backtrace or traceback.
    pub traceback: Option<String>,
}

impl Failure {
    /// A failure that a Python reader sees as the builtin exception `exc_type`.
    pub fn builtin(exc_type: &str, message: impl Into<String>) -> Self {
        Self { exc_type: exc_type.into(), exc_module: "builtins".into(), message: message.into(), traceback: None }
    }
}

/// What running a task gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It returned; `result` is its value as JSON text.
    Success {
        /// The encoded value, passed through untouched.
        result: Bytes,
    },
    /// It failed and trying again may help: the worker applies the task's retry policy.
    Retryable(Failure),
    /// It failed for good.
    Failure(Failure),
    /// It asked to run again.
    Retry {
        /// From now; the task's own policy decides when none.
        after: Option<Duration>,
        /// What had happened, for the record.
        failure: Failure,
    },
    /// It refused its message: back to the queue, or to the dead set.
    Reject {
        /// Back to the queue.
        requeue: bool,
        /// Why, for the dead set.
        reason: String,
    },
    /// It is done and nothing shall be stored.
    Ignore,
    /// The arguments do not fit the task.
    BadArguments(Failure),
    /// It ran longer than its hard limit and was stopped.
    TimedOut {
        /// The limit it broke.
        limit: Duration,
    },
    /// It was stopped because it was revoked.
    Terminated,
    /// Whatever ran it is gone.
    Lost {
        /// What happened to it.
        reason: String,
    },
    /// It was put down because the worker stops: give it back, count nothing.
    Interrupted,
}
