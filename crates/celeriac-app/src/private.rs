//! What `#[task]` writes calls to. Not for use by hand.

use celeriac_core::{Error, Failure, Outcome};
use celeriac_protocol::json;
use serde::Serialize;

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
