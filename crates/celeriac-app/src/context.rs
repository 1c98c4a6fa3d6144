//! What a running task knows of itself, and can do.

use std::{sync::Arc, time::Duration};

use celeriac_core::{MetaWrite, Request, Result, State, TaskId, fence};
use celeriac_protocol::{Headers, TaskMeta, json};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::{App, AsyncResult, Group, GroupResult, Signature, StateMap, TaskError, canvas::Lineage};

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

    /// Sends a task or a canvas as this task's: its parent is this one, its root this one's root.
    ///
    /// # Errors
    /// As [`App::send`].
    pub async fn send<T>(&self, signature: Signature<T>) -> Result<AsyncResult<T>> {
        self.app.send_from(signature, &self.lineage()).await
    }

    /// Sends many in one round trip, as this task's.
    ///
    /// # Errors
    /// As [`App::send_many`].
    pub async fn send_many<T>(
        &self,
        signatures: impl IntoIterator<Item = Signature<T>>,
    ) -> Result<Vec<AsyncResult<T>>> {
        self.app.send_many_from(signatures, &self.lineage()).await
    }

    /// Sends a group, as this task's.
    ///
    /// # Errors
    /// As [`App::send_group`].
    pub async fn send_group<T>(&self, group: Group<T>) -> Result<GroupResult<T>> {
        self.app.send_group_from(group, &self.lineage()).await
    }

    /// What a task returns as its error to run again after this time: `return Err(ctx.retry(30.s()))`. It counts as a
    /// retry: when the task had its retries, it fails for good.
    #[must_use = "return it as the task's error"]
    pub fn retry(&self, after: Duration) -> TaskError {
        TaskError::retry_after(after, format!("asked to run again in {after:?}"))
    }

    fn lineage(&self) -> Lineage {
        // The headers were read before the task was run; a request made by hand may have none.
        let root = Headers::parse(&self.request.message.headers).ok().and_then(|headers| headers.root_id);
        Lineage { root_id: root.or_else(|| Some(self.id().to_string())), parent_id: Some(self.id().to_string()) }
    }

    /// The application. What is sent through it does not know this task as its parent: see [`Self::send`].
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
            attempt: fence(self.retries(), self.attempt()),
            document: meta.encode(),
            expires: self.app.result_expiry(),
        };
        results.store(vec![write]).await?;
        Ok(())
    }
}
