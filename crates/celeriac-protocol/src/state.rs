//! The states of a task, in Celery's words.

use std::{fmt, sync::Arc};

/// The state of a task as Celery stores and shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing is recorded: not sent, waiting, or forgotten.
    Pending,
    /// A worker has it in hand (events only).
    Received,
    /// A worker has begun to run it.
    Started,
    /// It returned a value.
    Success,
    /// It failed for good.
    Failure,
    /// It failed and will run again.
    Retry,
    /// It was revoked or had expired before it could run, or was terminated.
    Revoked,
    /// A worker refused it (events only).
    Rejected,
    /// A state of the task's own, such as `PROGRESS`.
    Custom(Arc<str>),
}

impl State {
    /// The name on the wire, upper case.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending => "PENDING",
            Self::Received => "RECEIVED",
            Self::Started => "STARTED",
            Self::Success => "SUCCESS",
            Self::Failure => "FAILURE",
            Self::Retry => "RETRY",
            Self::Revoked => "REVOKED",
            Self::Rejected => "REJECTED",
            Self::Custom(name) => name,
        }
    }

    /// Reads a name; whatever is none of Celery's own becomes [`State::Custom`].
    pub fn parse(name: &str) -> Self {
        match name {
            "PENDING" => Self::Pending,
            "RECEIVED" => Self::Received,
            "STARTED" => Self::Started,
            "SUCCESS" => Self::Success,
            "FAILURE" => Self::Failure,
            "RETRY" => Self::Retry,
            "REVOKED" => Self::Revoked,
            "REJECTED" => Self::Rejected,
            other => Self::Custom(other.into()),
        }
    }

    /// True when nothing more will happen: `SUCCESS`, `FAILURE` or `REVOKED`.
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Success | Self::Failure | Self::Revoked)
    }

    /// Celery's precedence: 0 is the strongest. An event with a weaker state does not replace a stronger one.
    ///
    /// Source: Celery 5.7, `celery/states.py`.
    pub fn precedence(&self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Custom(_) => 2,
            Self::Revoked => 3,
            Self::Started => 4,
            Self::Received => 5,
            Self::Rejected => 6,
            Self::Retry => 7,
            Self::Pending => 8,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
