//! What became of the members of a group.

use std::{slice, time::Duration, vec};

use celeriac_core::{Result, State};
use serde::de::DeserializeOwned;

use super::{AsyncResult, GetError};

/// The members of a group that was sent, in order.
///
/// ```
/// # use celeriac_app::{App, GetError, GroupResult};
/// # async fn example(fetched: GroupResult<String>) -> Result<(), GetError> {
/// for page in fetched.join().await? {
///     println!("{page}");
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct GroupResult<T> {
    id: String,
    members: Vec<AsyncResult<T>>,
}

impl<T> GroupResult<T> {
    pub(crate) fn new(id: String, members: Vec<AsyncResult<T>>) -> Self {
        Self { id, members }
    }

    /// The group's id, which its members carry.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The members, in order.
    pub fn members(&self) -> &[AsyncResult<T>] {
        &self.members
    }

    /// The members, in order.
    pub fn iter(&self) -> slice::Iter<'_, AsyncResult<T>> {
        self.members.iter()
    }

    /// How many members it has.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// True when it has none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The state of each member, in order, in one round trip.
    ///
    /// # Errors
    /// As [`AsyncResult::meta`].
    pub async fn statuses(&self) -> Result<Vec<State>> {
        let Some(first) = self.members.first() else { return Ok(Vec::new()) };
        let ids: Vec<_> = self.members.iter().map(|member| member.id.clone()).collect();
        let documents = first.app.results_or_error()?.fetch(&ids).await?;
        let metas = self.members.iter().zip(documents).map(|(member, document)| {
            document.map_or(Ok(State::Pending), |document| member.read(&document).map(|meta| meta.status))
        });
        metas.collect()
    }

    /// How many members are done, whatever their end.
    ///
    /// # Errors
    /// As [`AsyncResult::meta`].
    pub async fn completed(&self) -> Result<usize> {
        Ok(self.statuses().await?.iter().filter(|state| state.is_ready()).count())
    }

    /// True when all members are done, whatever their end.
    ///
    /// # Errors
    /// As [`AsyncResult::meta`].
    pub async fn ready(&self) -> Result<bool> {
        Ok(self.completed().await? == self.len())
    }

    /// Stores that none of them shall run; with `terminate` those that run are stopped.
    ///
    /// # Errors
    /// When the broker cannot store it.
    pub async fn revoke(&self, terminate: bool) -> Result<()> {
        let Some(first) = self.members.first() else { return Ok(()) };
        first.app.broker().revoke(self.members.iter().map(|member| member.revocation(terminate)).collect()).await
    }

    /// Removes their records.
    ///
    /// # Errors
    /// When the backend cannot.
    pub async fn forget(&self) -> Result<()> {
        let Some(first) = self.members.first() else { return Ok(()) };
        let ids: Vec<_> = self.members.iter().map(|member| member.id.clone()).collect();
        first.app.results_or_error()?.forget(&ids).await
    }
}

impl<T: DeserializeOwned> GroupResult<T> {
    /// Waits until all are done and reads their values, in order. Cancel-safe.
    ///
    /// # Errors
    /// That of the first member, in order, that gave no value.
    pub async fn join(&self) -> Result<Vec<T>, GetError> {
        let mut values = Vec::with_capacity(self.len());
        for member in &self.members {
            values.push(member.get().await?);
        }
        Ok(values)
    }

    /// The same for at most `limit`.
    ///
    /// # Errors
    /// [`GetError::TimedOut`] when not all are done by then.
    pub async fn join_within(&self, limit: Duration) -> Result<Vec<T>, GetError> {
        let Some(first) = self.members.first() else { return Ok(Vec::new()) };
        let clock = first.app.clock().clone();
        clock.timeout(limit, self.join()).await.unwrap_or(Err(GetError::TimedOut(limit)))
    }
}

impl<T> IntoIterator for GroupResult<T> {
    type Item = AsyncResult<T>;
    type IntoIter = vec::IntoIter<AsyncResult<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.members.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a GroupResult<T> {
    type Item = &'a AsyncResult<T>;
    type IntoIter = slice::Iter<'a, AsyncResult<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.members.iter()
    }
}
