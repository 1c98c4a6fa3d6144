//! Exit codes, as scripts see them.

use std::process::ExitCode;

use celeriac::core::{Error, ErrorKind};

/// How a command ended. The numbers are Celery's where Celery has them, else those of `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what it was asked.
    Done = 0,
    /// It could not: the message on standard error says why and what to do.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// What was asked for does not exist: no such task, result, entry, or (as in Celery) no worker answered.
    NotFound = 69,
    /// The broker or the result backend cannot be reached or is busy. Trying again is sound.
    Unavailable = 75,
    /// Reading or writing the store is not allowed.
    Denied = 77,
    /// A task was not done in the time given; as `timeout(1)` has it.
    TimedOut = 124,
}

impl Exit {
    /// The code for what went wrong.
    pub fn of(error: &anyhow::Error) -> Self {
        match error.downcast_ref::<Error>().map(Error::kind) {
            Some(ErrorKind::NotFound) => Self::NotFound,
            Some(ErrorKind::Unavailable) => Self::Unavailable,
            Some(ErrorKind::Denied) => Self::Denied,
            Some(ErrorKind::Invalid) => Self::Usage,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What `--help` says of settings.
pub(crate) const SETTINGS: &str = "\
Settings come from flags, then from the environment (CELERIAC_BROKER_URL, CELERY_RESULT_BACKEND, ...), then from a file \
(--config, or CELERIAC_CONFIG, or celeriac.toml in the working directory). See docs/reference/settings.md.";

/// What `--help` says of exit codes.
pub(crate) const HELP: &str = "\
Exit codes:
  0   done
  1   failed; standard error says why
  2   wrong command line or setting
  69  nothing there: no such task, result or entry, or no worker answered
  75  the broker or result backend is unavailable; try again
  77  not allowed to read or write the store
  124 a task was not done in the time given";
