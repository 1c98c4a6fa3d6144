//! Removes results whose time is over, where the engine does not by itself: otherwise a file would only grow.

use std::time::Duration;

use celeriac_app::App;
use celeriac_core::Result;
use tokio_util::sync::CancellationToken;

/// Every worker looks so often. Two that look at once remove nothing twice.
const EVERY: Duration = Duration::from_mins(10);

/// Removes what has expired, every ten minutes until told to stop.
pub(crate) async fn keep_clean(app: App, stop: CancellationToken) {
    if app.results().is_none_or(|results| results.capabilities().self_expiring) {
        return;
    }
    while stop.run_until_cancelled(app.clock().sleep(EVERY)).await.is_some() {
        match stop.run_until_cancelled(round(&app)).await {
            Some(Ok(0)) => {}
            Some(Ok(gone)) => tracing::debug!(gone, "expired results were removed"),
            Some(Err(error)) => tracing::warn!(%error, "expired results were not removed; trying again later"),
            None => return,
        }
    }
}

/// Removes everything that has expired by now, in the engine's steps, and tells how many records that were.
async fn round(app: &App) -> Result<u64> {
    let Some(results) = app.results() else { return Ok(0) };
    let mut gone = 0;
    loop {
        match results.expire().await? {
            0 => return Ok(gone),
            some => gone += some,
        }
    }
}

#[cfg(test)]
mod tests {
    use celeriac_app::{Engines, Settings};
    use celeriac_core::{Clock, Ids, MetaWrite, State, TaskId, Timestamp};
    use celeriac_memory::MemoryEngine;

    use super::*;

    #[tokio::test]
    async fn a_round_removes_what_has_expired_and_nothing_else() {
        let (clock, time) = Clock::manual(Timestamp::UNIX_EPOCH);
        let engine = MemoryEngine::new(clock.clone());
        let results = engine.results();
        let engines = Engines {
            broker: engine.broker(),
            results: Some(results.clone()),
            history: None,
            clock: clock.clone(),
            ids: Ids::system(),
        };
        let app = App::new(engines, Settings::default());
        let write = |id: String, expires| MetaWrite {
            task_id: TaskId::new(id).unwrap(),
            state: State::Success,
            attempt: 1,
            document: b"{}"[..].into(),
            expires,
        };
        let soon = Some(clock.now() + Duration::from_secs(1));
        let mut batch: Vec<_> = (0..2_500).map(|number| write(number.to_string(), soon)).collect();
        batch.push(write("for-ever".into(), None));
        results.store(batch).await.unwrap();
        assert_eq!(round(&app).await.unwrap(), 0);
        time.advance(Duration::from_secs(2));
        assert_eq!(round(&app).await.unwrap(), 2_500);
        assert_eq!(round(&app).await.unwrap(), 0);
        assert!(results.fetch(&[TaskId::new("for-ever").unwrap()]).await.unwrap()[0].is_some());
    }
}
