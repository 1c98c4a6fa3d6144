//! What an engine gives to the suite.

use celeriac_core::{BrokerHandle, Clock, HistoryHandle, Result, ResultsHandle};

/// A store that a case has for itself.
///
/// Dropping it removes whatever it stood on. A server that cannot be started is a panic, never a skip.
pub trait Fixture: Sized + Send + Sync + 'static {
    /// Whether the engine goes by the clock it is given.
    const TIME: Time;
    /// The largest message the store takes: one byte more is refused.
    const MESSAGE_BYTES_MAX: usize;

    /// Makes an empty store whose engines go by `clock`.
    fn fresh(clock: Clock) -> impl Future<Output = Result<Self>> + Send;

    /// Opens the store once more, as another process would: a connection of its own, its own handles.
    fn process(&self) -> impl Future<Output = Result<Process>> + Send;
}

/// How time passes for an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// As the clock says: the suite moves it by hand.
    Manual,
    /// As a server says: the suite has to wait, and uses short times.
    Real,
}

/// One process's handles onto a store. A seam that the engine does not have is `None`.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// The broker.
    pub broker: Option<BrokerHandle>,
    /// The result backend.
    pub results: Option<ResultsHandle>,
    /// The history.
    pub history: Option<HistoryHandle>,
}

impl Process {
    /// Closes everything that can be closed.
    pub async fn close(&self) -> Result<()> {
        if let Some(broker) = &self.broker {
            broker.close().await?;
        }
        if let Some(results) = &self.results {
            results.close().await?;
        }
        Ok(())
    }
}
