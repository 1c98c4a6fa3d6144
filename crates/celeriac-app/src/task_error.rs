//! How a task says that it failed, and what shall follow.

use std::{fmt, time::Duration};

use celeriac_core::{Failure, Outcome};

/// What shall follow a failed run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskErrorKind {
    /// Try again by the task's retry policy. What `?` makes of any error.
    Retryable,
    /// Do not try again.
    Fatal,
    /// Try again, after this time where given; counts as a retry.
    Retry {
        /// From now.
        after: Option<Duration>,
    },
    /// Refuse the message: back to the queue, or into the dead set.
    Reject {
        /// Back to the queue.
        requeue: bool,
    },
    /// Settle and store nothing.
    Ignore,
}

/// Why a task failed. Not a `std::error::Error` itself, so that `?` turns every such error into a retryable one.
#[derive(Debug)]
pub struct TaskError {
    kind: TaskErrorKind,
    failure: Failure,
}

impl TaskError {
    fn with_kind(kind: TaskErrorKind, message: impl fmt::Display) -> Self {
        Self { kind, failure: Failure::builtin("RuntimeError", message.to_string()) }
    }

    /// Trying again may help.
    pub fn retryable(message: impl fmt::Display) -> Self {
        Self::with_kind(TaskErrorKind::Retryable, message)
    }

    /// Trying again never helps.
    pub fn fatal(message: impl fmt::Display) -> Self {
        Self::with_kind(TaskErrorKind::Fatal, message)
    }

    /// Try again after this time, whatever the policy's back-off says.
    pub fn retry_after(after: Duration, message: impl fmt::Display) -> Self {
        Self::with_kind(TaskErrorKind::Retry { after: Some(after) }, message)
    }

    /// Refuse the message; it goes to the dead set.
    pub fn reject(message: impl fmt::Display) -> Self {
        Self::with_kind(TaskErrorKind::Reject { requeue: false }, message)
    }

    /// Give the message back to its queue.
    pub fn requeue(message: impl fmt::Display) -> Self {
        Self::with_kind(TaskErrorKind::Reject { requeue: true }, message)
    }

    /// Settle and store nothing.
    pub fn ignore() -> Self {
        Self::with_kind(TaskErrorKind::Ignore, "ignored")
    }

    /// The same error under another exception name, which Python readers see.
    pub fn named(mut self, exc_type: impl Into<String>) -> Self {
        self.failure.exc_type = exc_type.into();
        self
    }

    /// What shall follow.
    pub fn kind(&self) -> &TaskErrorKind {
        &self.kind
    }

    /// What a person reads.
    pub fn message(&self) -> &str {
        &self.failure.message
    }
}

impl<E: std::error::Error> From<E> for TaskError {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            // Some errors already print their sources.
            if !message.ends_with(&cause_text) {
                message.push_str(": ");
                message.push_str(&cause_text);
            }
            source = cause.source();
        }
        let mut error = Self::retryable(message);
        // `std::io::error::Error` reads better than `RuntimeError` in a job viewer; Python makes a class of the name.
        let type_name = std::any::type_name::<E>();
        let short = type_name.split('<').next().unwrap_or(type_name).rsplit("::").next().unwrap_or("Error");
        error.failure.exc_type = if short == "Error" { "RuntimeError".into() } else { short.into() };
        error
    }
}

impl From<TaskError> for Outcome {
    fn from(error: TaskError) -> Self {
        let TaskError { kind, failure } = error;
        match kind {
            TaskErrorKind::Retryable => Self::Retryable(failure),
            TaskErrorKind::Fatal => Self::Failure(failure),
            TaskErrorKind::Retry { after } => Self::Retry { after, failure },
            TaskErrorKind::Reject { requeue } => Self::Reject { requeue, reason: failure.message },
            TaskErrorKind::Ignore => Self::Ignore,
        }
    }
}
