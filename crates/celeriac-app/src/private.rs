//! What `#[task]` writes calls to. Not for use by hand.

use std::{cell::Cell, error::Error as StdError};

use celeriac_core::{Error, Failure, Outcome};
use celeriac_protocol::json;
use serde::Serialize;

use crate::{TaskError, TaskErrorKind};

/// The outcome of a value.
pub fn success<T: Serialize>(value: &T) -> Outcome {
    match json::to_vec(value) {
        Ok(text) => Outcome::Success { result: text.into() },
        Err(error) => {
            Outcome::Failure(Failure::builtin("TypeError", format!("the task's value cannot be JSON: {error}")))
        }
    }
}

/// The outcome of a state that the worker was not given: no retry helps before somebody does.
pub fn no_state(error: &Error) -> Outcome {
    Outcome::Failure(Failure::builtin("RuntimeError", error.to_string()))
}

/// Runs a function that blocks on a thread for such work. Its panic is the caller's.
pub async fn blocking<T: Send + 'static>(function: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(function).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(payload) => std::panic::resume_unwind(payload),
            // The runtime itself is going down, and whoever waits with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// What `retry_if` says of an error.
pub fn verdict<E, K: Into<TaskErrorKind>>(error: &E, judge: impl FnOnce(&E) -> K) -> TaskErrorKind {
    judge(error).into()
}

/// A task's error on its way to a [`TaskError`]: by `Into` where there is one ([`Converted`]), else as a boxed error
/// ([`Boxed`]), which `anyhow::Error` and `String` can be. One trait cannot say both, but method lookup can: it finds the
/// one of `Given` itself before the one of a reference to it.
pub struct Given<E>(pub Cell<Option<E>>);

/// See [`Given`].
pub trait Converted {
    /// The error; once.
    fn task_error(&self) -> TaskError;
}

impl<E: Into<TaskError>> Converted for Given<E> {
    fn task_error(&self) -> TaskError {
        self.0.take().expect("an error is taken once").into()
    }
}

/// See [`Given`].
pub trait Boxed {
    /// The error; once.
    fn task_error(&self) -> TaskError;
}

impl<E: Into<Box<dyn StdError + Send + Sync>>> Boxed for &Given<E> {
    fn task_error(&self) -> TaskError {
        let boxed = self.0.take().expect("an error is taken once").into();
        TaskError::from(Unnamed(boxed)).named("RuntimeError")
    }
}

/// A boxed error as an error: boxes are none.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Unnamed(Box<dyn StdError + Send + Sync>);
