//! The engine passes the whole suite against a real PostgreSQL, a database for each case: each process of a case
//! connects by itself.

use celeriac_conformance::{Fixture, Process, Time};
use celeriac_core::{Clock, Result};
use celeriac_postgres::{Config, PostgresEngine};
use celeriac_testbed::{Database, Postgres};

/// Small, so that the cases at the limit are quick.
const MESSAGE_BYTES_MAX: usize = 2 << 20;

struct PostgresStore {
    database: Database,
    clock: Clock,
}

impl Fixture for PostgresStore {
    const TIME: Time = Time::Manual;
    const MESSAGE_BYTES_MAX: usize = MESSAGE_BYTES_MAX;

    async fn fresh(clock: Clock) -> Result<Self> {
        Ok(Self { database: Postgres::shared().database(), clock })
    }

    async fn process(&self) -> Result<Process> {
        let mut config = Config::from_url(&self.database.url())?;
        config.message_bytes_max = MESSAGE_BYTES_MAX;
        config.server_time = false;
        let engine = PostgresEngine::open(config, self.clock.clone()).await?;
        Ok(Process { broker: Some(engine.broker()), results: Some(engine.results()), history: Some(engine.history()) })
    }
}

celeriac_conformance::suite!(PostgresStore, not_applicable: []);
