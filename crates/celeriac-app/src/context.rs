//! What a running task knows of itself, and can do.

use std::sync::Arc;

use celeriac_core::Request;
use tokio_util::sync::CancellationToken;

use crate::{App, StateMap};

/// A running task's own view: who it is, whether it shall stop, what it may do. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    request: Arc<Request>,
    app: App,
    state: StateMap,
    cancellation: CancellationToken,
}

impl Context {
    /// A context for one run. Made by pools.
    pub fn new(request: Arc<Request>, app: App, state: StateMap, cancellation: CancellationToken) -> Self {
        Self { request, app, state, cancellation }
    }

    /// What is being run.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The application, to send more tasks.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The values that can be injected.
    pub fn state(&self) -> &StateMap {
        &self.state
    }

    /// Cancelled when the task shall stop by itself: its soft time limit is over, it was revoked, or the worker stops
    /// in earnest.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancellation
    }
}
