//! How a task says that it failed, and what shall follow.

use std::{fmt, time::Duration};

use celeriac_core::{Failure, Outcome};

/// What shall follow a failed run.
///
/// A `bool` is one too, for `retry_if`: true is [`Retryable`](Self::Retryable), false is [`Fatal`](Self::Fatal).
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

impl From<bool> for TaskErrorKind {
    fn from(retryable: bool) -> Self {
        if retryable { Self::Retryable } else { Self::Fatal }
    }
}

/// Why a task failed, and what shall follow.
///
/// `?` turns every `std::error::Error` into a *retryable* one: the task runs again by its own policy (`max_retries`,
/// `backoff`), and fails for good when it had its retries. Where that is wrong there are three ways to say so:
///
/// - at the place: `.map_err(TaskError::fatal)?`, or [`TaskError::retry_after`], [`reject`](Self::reject),
///   [`ignore`](Self::ignore);
/// - for the task: `#[task(retry_if = is_transient)]`, a function of the error that says true or false, or a
///   [`TaskErrorKind`];
/// - for an error type of one's own that is no `std::error::Error`: `impl From<MailError> for TaskError`.
///
/// ```
/// use std::time::Duration;
/// use celeriac_app::{TaskError, TaskErrorKind};
///
/// fn parse(text: &str) -> Result<u32, TaskError> {
///     let number: u32 = text.parse().map_err(TaskError::fatal)?; // it will never be a number
///     if number > 9 {
///         return Err(TaskError::retry_after(Duration::from_secs(60), "too many at once"));
///     }
///     Ok(number)
/// }
/// assert_eq!(parse("x").unwrap_err().kind(), &TaskErrorKind::Fatal);
/// ```
///
/// It is no `std::error::Error` itself: the conversion of all of them would not be possible then.
#[derive(Debug)]
pub struct TaskError {
    kind: TaskErrorKind,
    failure: Failure,
}

impl TaskError {
    fn new(kind: TaskErrorKind, message: impl fmt::Display) -> Self {
        Self { kind, failure: Failure::builtin("RuntimeError", message.to_string()) }
    }

    /// Trying again may help.
    pub fn retryable(message: impl fmt::Display) -> Self {
        Self::new(TaskErrorKind::Retryable, message)
    }

    /// Trying again never helps.
    pub fn fatal(message: impl fmt::Display) -> Self {
        Self::new(TaskErrorKind::Fatal, message)
    }

    /// Try again after this time, whatever the policy's back-off says.
    pub fn retry_after(after: Duration, message: impl fmt::Display) -> Self {
        Self::new(TaskErrorKind::Retry { after: Some(after) }, message)
    }

    /// Refuse the message; it goes to the dead set.
    pub fn reject(message: impl fmt::Display) -> Self {
        Self::new(TaskErrorKind::Reject { requeue: false }, message)
    }

    /// Give the message back to its queue.
    pub fn requeue(message: impl fmt::Display) -> Self {
        Self::new(TaskErrorKind::Reject { requeue: true }, message)
    }

    /// Settle and store nothing.
    pub fn ignore() -> Self {
        Self::new(TaskErrorKind::Ignore, "ignored")
    }

    /// The same error under another exception name, which Python readers see.
    pub fn named(mut self, exc_type: impl Into<String>) -> Self {
        self.failure.exc_type = exc_type.into();
        self
    }

    /// The same error with something else to follow.
    pub fn with_kind(mut self, kind: impl Into<TaskErrorKind>) -> Self {
        self.kind = kind.into();
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

#[cfg(test)]
mod tests {
    use super::*;

    /// An error as libraries write them: a sentence, and the cause behind it.
    #[derive(Debug, thiserror::Error)]
    #[error("the mail was not sent")]
    struct MailError(#[source] std::num::ParseIntError);

    #[test]
    fn what_the_question_mark_makes_is_retryable_and_tells_all_causes() {
        let error = TaskError::from(MailError("x".parse::<u32>().unwrap_err()));
        assert_eq!(error.kind(), &TaskErrorKind::Retryable);
        assert_eq!(error.message(), "the mail was not sent: invalid digit found in string");
        let Outcome::Retryable(failure) = error.into() else { panic!("it is retryable") };
        assert_eq!(failure.exc_type, "MailError");
    }

    #[test]
    fn a_verdict_takes_the_place_of_the_kind() {
        assert_eq!(TaskError::retryable("x").with_kind(false).kind(), &TaskErrorKind::Fatal);
        let after = Some(Duration::from_secs(9));
        let Outcome::Retry { after: asked, failure } =
            TaskError::fatal("busy").with_kind(TaskErrorKind::Retry { after }).into()
        else {
            panic!("it is a retry")
        };
        assert_eq!((asked, failure.message.as_str()), (after, "busy"));
    }
}
