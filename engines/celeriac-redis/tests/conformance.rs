//! The engine passes the suite against a real server, in both of its layouts.
//!
//! One server for all cases of a run; each case has a prefix of its own.

use std::sync::{
    LazyLock,
    atomic::{AtomicU32, Ordering},
};

use celeriac_conformance::{Fixture, Process, Time};
use celeriac_core::{Clock, Result};
use celeriac_redis::{Config, RedisEngine};
use celeriac_testbed::RedisServer;

/// Small, so that the cases at the limit are quick.
const MESSAGE_BYTES_MAX: usize = 2 << 20;

static SERVER: LazyLock<RedisServer> = LazyLock::new(RedisServer::start);
static STORES: AtomicU32 = AtomicU32::new(0);

struct Store {
    url: String,
    clock: Clock,
}

impl Store {
    fn fresh(layout: &str, clock: Clock) -> Self {
        let number = STORES.fetch_add(1, Ordering::Relaxed);
        let url = SERVER.url();
        Self { url: format!("{url}?layout={layout}&global_keyprefix=case-{number}:&message_max=2MiB"), clock }
    }

    async fn process(&self) -> Result<Process> {
        let config = Config::from_url(&self.url)?;
        assert_eq!(config.message_bytes_max, MESSAGE_BYTES_MAX);
        let engine = RedisEngine::open(config, self.clock.clone()).await?;
        Ok(Process { broker: Some(engine.broker()), results: Some(engine.results()), history: Some(engine.history()) })
    }
}

mod celeriac {
    use super::{Clock, Fixture, MESSAGE_BYTES_MAX, Process, Result, Store, Time};

    struct OwnLayout(Store);

    impl Fixture for OwnLayout {
        const TIME: Time = Time::Manual;
        const MESSAGE_BYTES_MAX: usize = MESSAGE_BYTES_MAX;

        async fn fresh(clock: Clock) -> Result<Self> {
            Ok(Self(Store::fresh("celeriac", clock)))
        }

        async fn process(&self) -> Result<Process> {
            self.0.process().await
        }
    }

    celeriac_conformance::suite!(OwnLayout, not_applicable: []);
}

mod celery {
    use super::{Clock, Fixture, MESSAGE_BYTES_MAX, Process, Result, Store, Time};

    struct CelerysLayout(Store);

    impl Fixture for CelerysLayout {
        const TIME: Time = Time::Manual;
        const MESSAGE_BYTES_MAX: usize = MESSAGE_BYTES_MAX;

        async fn fresh(clock: Clock) -> Result<Self> {
            Ok(Self(Store::fresh("celery", clock)))
        }

        async fn process(&self) -> Result<Process> {
            self.0.process().await
        }
    }

    // Celery has four steps, of which the lowest number is served first: see tests/celerys_layout.rs.
    celeriac_conformance::suite!(CelerysLayout, not_applicable: [
        "ordering::higher_priorities_come_first",
        "ordering::priorities_reach_from_0_to_255",
        "ordering::arrival_decides_within_a_priority",
        "ordering::a_late_urgent_message_overtakes",
        "ordering::urgent_messages_of_one_queue_starve_no_other",
        "settling::a_requeued_message_keeps_its_priority",
        "parking::due_messages_keep_their_priority",
        "looking::depth_tells_how_long_the_oldest_waits",
        "durable::messages_survive_the_end_of_every_process",
        "model::random_steps_agree_with_the_model",
    ]);
}
