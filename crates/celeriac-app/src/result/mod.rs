//! What became of a task: asked for, waited for, read as its type.

mod group;

use std::{marker::PhantomData, time::Duration};

use celeriac_core::{Error, ErrorKind, Result, Revocation, State, TaskId};
use celeriac_protocol::{TaskMeta, json};
use serde::de::DeserializeOwned;
use thiserror::Error as ThisError;

use crate::App;

pub use group::GroupResult;

/// How long a revocation is remembered, as in Celery.
const REVOCATION_KEPT: Duration = Duration::from_hours(3);

/// A task that was sent, and what becomes of it. Cheap to clone.
#[derive(Debug)]
pub struct AsyncResult<T> {
    app: App,
    id: TaskId,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for AsyncResult<T> {
    fn clone(&self) -> Self {
        Self::new(self.app.clone(), self.id.clone())
    }
}

/// Why there is no value.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum GetError {
    /// It failed for good.
    #[error("the task failed: {exc_type}: {message}")]
    Failed {
        /// The exception's class.
        exc_type: String,
        /// What it says.
        message: String,
        /// Where it happened.
        traceback: Option<String>,
    },
    /// It was revoked, or had expired.
    #[error("the task was revoked: {reason}")]
    Revoked {
        /// `revoked`, `terminated` or `expired`.
        reason: String,
    },
    /// It is not done yet.
    #[error("the task was not done within {0:?}")]
    TimedOut(Duration),
    /// Its value has another type.
    #[error("the task's value is not what was expected: {0}")]
    WrongType(String),
    /// The backend could not be asked.
    #[error(transparent)]
    Engine(#[from] Error),
}

impl<T> AsyncResult<T> {
    pub(crate) fn new(app: App, id: TaskId) -> Self {
        Self { app, id, value: PhantomData }
    }

    /// The task's id.
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// The whole record; none while nothing is stored.
    ///
    /// # Errors
    /// `Unsupported` without a result backend; `Unavailable`; `Malformed` when the record does not parse.
    pub async fn meta(&self) -> Result<Option<TaskMeta>> {
        let documents = self.app.results_or_error()?.fetch(std::slice::from_ref(&self.id)).await?;
        documents.into_iter().flatten().next().map(|document| self.read(&document)).transpose()
    }

    /// Its state; `Pending` while nothing is stored.
    ///
    /// # Errors
    /// As [`Self::meta`].
    pub async fn status(&self) -> Result<State> {
        Ok(self.meta().await?.map_or(State::Pending, |meta| meta.status))
    }

    /// True when it is done, whatever its end.
    ///
    /// # Errors
    /// As [`Self::meta`].
    pub async fn ready(&self) -> Result<bool> {
        Ok(self.status().await?.is_ready())
    }

    /// True when it is done and gave a value.
    ///
    /// # Errors
    /// As [`Self::meta`].
    pub async fn successful(&self) -> Result<bool> {
        Ok(self.status().await? == State::Success)
    }

    /// True when it failed for good.
    ///
    /// # Errors
    /// As [`Self::meta`].
    pub async fn failed(&self) -> Result<bool> {
        Ok(self.status().await? == State::Failure)
    }

    /// The tasks that followed it: its callbacks, the next step of its chain. Known once it is done; empty before.
    ///
    /// # Errors
    /// As [`Self::meta`].
    pub async fn children(&self) -> Result<Vec<AsyncResult<serde_json::Value>>> {
        let Some(meta) = self.meta().await? else { return Ok(Vec::new()) };
        // Celery's result tuples: `[[id, parent], members]`, where a group has members in the second place.
        let tuples: Vec<((String, serde_json::Value), serde_json::Value)> = serde_json::from_slice(&meta.children)
            .map_err(|error| {
                Error::new(ErrorKind::Malformed, format!("read what followed task {}", self.id)).with_source(error)
            })?;
        tuples.into_iter().map(|((id, _), _)| Ok(AsyncResult::new(self.app.clone(), TaskId::new(id)?))).collect()
    }

    /// What it reported of its progress last: the value of a state of its own, such as `PROGRESS`; none when it has
    /// reported nothing yet, or is done.
    ///
    /// # Errors
    /// As [`Self::meta`]; `Malformed` when what it reported is no `P`.
    pub async fn progress<P: DeserializeOwned>(&self) -> Result<Option<P>> {
        Ok(match self.meta().await? {
            Some(meta) if matches!(meta.status, State::Custom(_)) => {
                Some(json::from_slice(&meta.result, "progress").map_err(|error| {
                    Error::new(ErrorKind::Malformed, format!("read the progress of task {}", self.id))
                        .with_source(error)
                })?)
            }
            _ => None,
        })
    }

    /// Stores that it shall not run; with `terminate` it is stopped if it runs.
    ///
    /// # Errors
    /// When the broker cannot store it.
    pub async fn revoke(&self, terminate: bool) -> Result<()> {
        self.app.broker().revoke(vec![self.revocation(terminate)]).await
    }

    /// Removes the record.
    ///
    /// # Errors
    /// When the backend cannot.
    pub async fn forget(&self) -> Result<()> {
        self.app.results_or_error()?.forget(std::slice::from_ref(&self.id)).await
    }

    fn revocation(&self, terminate: bool) -> Revocation {
        let expires = self.app.clock().now().saturating_add(REVOCATION_KEPT).unwrap_or(celeriac_core::Timestamp::MAX);
        Revocation { task_id: self.id.clone(), terminate, attempt: None, expires }
    }

    fn read(&self, document: &[u8]) -> Result<TaskMeta> {
        TaskMeta::parse(document).map_err(|error| {
            Error::new(ErrorKind::Malformed, format!("read the result of task {}", self.id)).with_source(error)
        })
    }
}

impl<T: DeserializeOwned> AsyncResult<T> {
    /// Waits until it is done and reads its value. Cancel-safe.
    ///
    /// # Errors
    /// What it failed with, or why there is no value.
    pub async fn get(&self) -> Result<T, GetError> {
        let document = self.app.results_or_error()?.wait(&self.id).await?;
        let meta = self.read(&document)?;
        let exception = meta.exception();
        match meta.status {
            State::Success => {
                json::from_slice(&meta.result, "result").map_err(|error| GetError::WrongType(error.to_string()))
            }
            State::Revoked => {
                Err(GetError::Revoked { reason: exception.map_or_else(|| "revoked".into(), |info| info.message()) })
            }
            _ => {
                let (exc_type, message) = exception.map_or_else(
                    || ("Exception".to_owned(), String::from_utf8_lossy(&meta.result).into_owned()),
                    |info| (info.exc_type.clone(), info.message()),
                );
                Err(GetError::Failed { exc_type, message, traceback: meta.traceback })
            }
        }
    }

    /// The same for at most `limit`.
    ///
    /// # Errors
    /// [`GetError::TimedOut`] when it is not done by then.
    pub async fn get_within(&self, limit: Duration) -> Result<T, GetError> {
        let clock = self.app.clock().clone();
        clock.timeout(limit, self.get()).await.unwrap_or(Err(GetError::TimedOut(limit)))
    }
}
