//! What a running task knows of itself, and can do.

use std::sync::Arc;

use celeriac_core::{MetaWrite, Request, Result, State, TaskId};
use celeriac_protocol::{TaskMeta, json};
use serde::Serialize;
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

    /// The task's id.
    pub fn id(&self) -> &TaskId {
        &self.request.id
    }

    /// Counts every start of this message, from 1.
    pub fn attempt(&self) -> u32 {
        self.request.attempt
    }

    /// How often it was retried before.
    pub fn retries(&self) -> u32 {
        self.request.retries
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

    /// Stores how far it has come, as state `PROGRESS`: anything that serializes, such as `{"current": 3, "total": 9}`.
    ///
    /// # Errors
    /// When the value cannot be JSON, or the backend cannot store it.
    pub async fn progress(&self, value: &impl Serialize) -> Result<()> {
        let Some(results) = self.app.results() else { return Ok(()) };
        let text = json::to_vec(value).map_err(|error| {
            celeriac_core::Error::new(celeriac_core::ErrorKind::Invalid, "write the progress as JSON")
                .with_source(error)
        })?;
        let state = State::Custom("PROGRESS".into());
        let meta = TaskMeta::new(self.id().as_str(), state.clone(), text);
        let write = MetaWrite {
            task_id: self.id().clone(),
            state,
            attempt: self.attempt(),
            document: meta.encode(),
            expires: self.app.result_expiry(),
        };
        results.store(vec![write]).await?;
        Ok(())
    }
}
