//! The engine in a file passes the whole suite: each process of a case opens the file by itself.

use celeriac_conformance::{Fixture, Process, Time};
use celeriac_core::{Clock, Error, ErrorKind, Result};
use celeriac_sqlite::{Config, SqliteEngine};
use tempfile::TempDir;

/// Small, so that the cases at the limit are quick.
const MESSAGE_BYTES_MAX: usize = 2 << 20;

struct SqliteStore {
    folder: TempDir,
    clock: Clock,
}

impl Fixture for SqliteStore {
    const TIME: Time = Time::Manual;
    const MESSAGE_BYTES_MAX: usize = MESSAGE_BYTES_MAX;

    async fn fresh(clock: Clock) -> Result<Self> {
        let folder = tempfile::tempdir()
            .map_err(|error| Error::new(ErrorKind::Internal, "make a folder for a store").with_source(error))?;
        Ok(Self { folder, clock })
    }

    async fn process(&self) -> Result<Process> {
        let mut config = Config::new(self.folder.path().join("tasks.db"));
        config.message_bytes_max = MESSAGE_BYTES_MAX;
        let engine = SqliteEngine::open(config, self.clock.clone())?;
        Ok(Process { broker: Some(engine.broker()), results: Some(engine.results()), history: Some(engine.history()) })
    }
}

celeriac_conformance::suite!(SqliteStore, not_applicable: []);
