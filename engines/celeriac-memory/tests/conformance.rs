//! The engine in memory passes the suite, except that it survives nothing.

use celeriac_conformance::{Fixture, Process, Time};
use celeriac_core::{Clock, Result};
use celeriac_memory::{Limits, MemoryEngine};

/// Small, so that the cases at the limit are quick.
const MESSAGE_BYTES_MAX: usize = 2 << 20;

struct MemoryStore(MemoryEngine);

impl Fixture for MemoryStore {
    const TIME: Time = Time::Manual;
    const MESSAGE_BYTES_MAX: usize = MESSAGE_BYTES_MAX;

    async fn fresh(clock: Clock) -> Result<Self> {
        let limits = Limits { message_bytes_max: MESSAGE_BYTES_MAX, ..Limits::default() };
        Ok(Self(MemoryEngine::with_limits(clock, &limits)))
    }

    async fn process(&self) -> Result<Process> {
        let Self(engine) = self;
        Ok(Process { broker: Some(engine.broker()), results: Some(engine.results()), history: Some(engine.history()) })
    }
}

celeriac_conformance::suite!(MemoryStore, not_applicable: [
    "durable::messages_survive_the_end_of_every_process",
    "durable::acknowledged_messages_stay_gone",
    "durable::facts_survive_the_end_of_every_process",
    "durable::results_survive_the_end_of_every_process",
]);
