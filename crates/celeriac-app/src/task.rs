//! What a task is: its name, its options, its parameters, and the function that runs it.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use celeriac_core::{Error, ErrorKind, Outcome, Priority, Result};

use crate::Context;

/// A task that can be sent and run. Usually made by `#[task]`.
#[derive(Clone)]
pub struct TaskDefinition {
    /// The name on the wire.
    pub name: &'static str,
    /// What holds for each of its runs unless the message says otherwise.
    pub options: TaskOptions,
    /// Its parameters in order, without the injected ones.
    pub params: &'static [Param],
    /// Decodes the arguments and runs the function. Wrong arguments are an outcome too.
    pub run: RunTask,
}

/// A function that `#[task]` made a task of.
pub trait Task {
    /// The name on the wire.
    const NAME: &'static str;

    /// What a worker needs to run it.
    fn definition() -> TaskDefinition;
}

/// The function behind a task.
pub type RunTask = Arc<dyn Fn(Call) -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send + Sync>;

/// One run: what the function behind a task gets.
pub struct Call {
    /// Who runs, and the means to send, report progress and be cancelled. Holds the request with the raw message.
    pub ctx: Context,
}

/// One parameter of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param {
    /// Its name, which keyword arguments use.
    pub name: &'static str,
    /// Its Rust type as written.
    pub rust_type: &'static str,
    /// May be left out (an `Option`).
    pub optional: bool,
}

/// What holds for each run of a task unless the message says otherwise.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, each with Celery's name")]
pub struct TaskOptions {
    /// How often it is retried after a retryable error; none means for ever.
    pub max_retries: Option<u32>,
    /// How long it waits between two attempts.
    pub backoff: Backoff,
    /// When it is told to stop by itself, from its start.
    pub soft_time_limit: Option<Duration>,
    /// When it is stopped, from its start.
    pub time_limit: Option<Duration>,
    /// How many may start in a while, for each worker.
    pub rate_limit: Option<RateLimit>,
    /// The queue it is sent to; routing decides when none.
    pub queue: Option<&'static str>,
    /// How urgent it is.
    pub priority: Option<Priority>,
    /// Settle after the run (the default), or before it.
    pub acks_late: bool,
    /// How long after sending it may still begin.
    pub expires: Option<Duration>,
    /// Store no outcome.
    pub ignore_result: bool,
    /// Store that it has started.
    pub track_started: bool,
    /// Keep it in the dead set when it has failed for good.
    pub keep_failures: bool,
    /// How its arguments are written: `json`, `msgpack` or `yaml`; the application's default when none.
    pub serializer: Option<&'static str>,
}

impl Default for TaskOptions {
    fn default() -> Self {
        Self {
            max_retries: Some(3),
            backoff: Backoff::default(),
            soft_time_limit: None,
            time_limit: None,
            rate_limit: None,
            queue: None,
            priority: None,
            acks_late: true,
            expires: None,
            ignore_result: false,
            track_started: false,
            keep_failures: false,
            serializer: None,
        }
    }
}

/// How long a task waits between two attempts: `base * factor^retries`, at most `max`, and a part of it by chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The wait before the first retry.
    pub base: Duration,
    /// What each further wait is multiplied by, 1.0 or more.
    pub factor: f64,
    /// The longest wait.
    pub max: Duration,
    /// The part of the wait that is left to chance, from 0.0 (none) to 1.0 (all: any wait from zero to the full one).
    pub jitter: f64,
}

impl Default for Backoff {
    /// 1 s, doubling, at most 10 minutes, half of it by chance.
    fn default() -> Self {
        Self { base: Duration::from_secs(1), factor: 2.0, max: Duration::from_mins(10), jitter: 0.5 }
    }
}

impl Backoff {
    /// The wait before the retry after `retries` earlier ones; `chance` is from 0.0 to below 1.0.
    pub fn wait(&self, retries: u32, chance: f64) -> Duration {
        let exponent = i32::try_from(retries.min(1_000)).unwrap_or(i32::MAX);
        let full = (self.base.as_secs_f64() * self.factor.max(1.0).powi(exponent)).min(self.max.as_secs_f64());
        let jitter = self.jitter.clamp(0.0, 1.0);
        Duration::from_secs_f64(full * (1.0 - jitter) + full * jitter * chance.clamp(0.0, 1.0))
    }
}

/// How many runs may start in a while: a token bucket of one token, as Celery's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimit {
    /// Starts per second, more than zero.
    pub per_second: f64,
}

impl RateLimit {
    /// Reads Celery's form: a number with `/s`, `/m` or `/h`; without a unit it is per second. `0` is no limit: none.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        let invalid = || {
            Error::new(
                ErrorKind::Invalid,
                format!("read the rate limit {text:?}: write it as a number and /s, /m or /h, such as \"600/m\""),
            )
        };
        let (number, seconds) = match text.trim().split_once('/') {
            None => (text.trim(), 1.0),
            Some((number, "s")) => (number, 1.0),
            Some((number, "m")) => (number, 60.0),
            Some((number, "h")) => (number, 3600.0),
            Some(_) => return Err(invalid()),
        };
        let number: f64 = number.trim().parse().map_err(|_| invalid())?;
        if !number.is_finite() || number < 0.0 {
            return Err(invalid());
        }
        Ok((number > 0.0).then_some(Self { per_second: number / seconds }))
    }

    /// The time between two starts.
    pub fn interval(&self) -> Duration {
        Duration::try_from_secs_f64(1.0 / self.per_second).unwrap_or(Duration::MAX)
    }
}

impl fmt::Debug for TaskDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskDefinition")
            .field("name", &self.name)
            .field("options", &self.options)
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}
