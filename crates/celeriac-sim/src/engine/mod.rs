//! The simulated engine: the engine in memory, seen through a process that can die and calls that can fail.
//!
//! What is simulated is the real semantics: every claim, lease, due time and chord is `celeriac-memory`'s, which starts
//! no task and asks nobody but the clock. This layer only refuses, delays, breaks off and forgets to answer.

mod broker;
mod consumer;
mod results;

use celeriac_core::{BrokerHandle, ResultsHandle};
use celeriac_memory::MemoryEngine;

use crate::actor::Actor;

/// The broker as one process sees it.
pub(crate) fn broker(engine: &MemoryEngine, actor: &Actor) -> BrokerHandle {
    BrokerHandle::new("sim", broker::SimBroker { inner: engine.broker(), actor: actor.clone() })
}

/// The result backend as one process sees it.
pub(crate) fn results(engine: &MemoryEngine, actor: &Actor) -> ResultsHandle {
    ResultsHandle::new("sim", results::SimResults { inner: engine.results(), actor: actor.clone() })
}

/// How much of a batch a call that is broken off does.
fn first_of<T>(mut batch: Vec<T>, part: crate::actor::Part) -> Vec<T> {
    if part == crate::actor::Part::Some {
        batch.truncate(batch.len() / 2);
    }
    batch
}
