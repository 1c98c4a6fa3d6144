//! The application: engines, clock and identities under one handle.

use std::sync::Arc;

use celeriac_core::{BrokerHandle, Clock, HistoryHandle, Ids, ResultsHandle};

/// The engines an application stands on.
#[derive(Clone, Debug)]
pub struct Engines {
    /// Carries the messages.
    pub broker: BrokerHandle,
    /// Remembers what became of tasks; without one every result is ignored.
    pub results: Option<ResultsHandle>,
    /// Keeps the records of tasks, where the engine can.
    pub history: Option<HistoryHandle>,
    /// Tells the time.
    pub clock: Clock,
    /// Makes identities.
    pub ids: Ids,
}

/// An application: sends tasks and reads their results. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engines: Engines,
}

impl App {
    /// An application on these engines.
    pub fn new(engines: Engines) -> Self {
        Self(Arc::new(Inner { engines }))
    }

    /// The broker.
    pub fn broker(&self) -> &BrokerHandle {
        &self.0.engines.broker
    }

    /// The result backend, if there is one.
    pub fn results(&self) -> Option<&ResultsHandle> {
        self.0.engines.results.as_ref()
    }

    /// The history, if the engine keeps one.
    pub fn history(&self) -> Option<&HistoryHandle> {
        self.0.engines.history.as_ref()
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.0.engines.clock
    }

    /// Where identities come from.
    pub fn ids(&self) -> &Ids {
        &self.0.engines.ids
    }
}
