//! Rate limits: a bucket of one token for each task. Whoever finds it empty goes back into the store until it is his turn.

use std::collections::BTreeMap;

use celeriac_app::RateLimit;
use celeriac_core::Timestamp;

/// The buckets of one worker.
#[derive(Debug, Default)]
pub(crate) struct Buckets(BTreeMap<&'static str, Bucket>);

#[derive(Debug)]
struct Bucket {
    /// When the next one may start.
    free_at: Timestamp,
    /// When the next one that has to wait is told to come back, so that not all come at once.
    come_back_at: Timestamp,
}

impl Buckets {
    /// Takes the token, or says when to come back.
    pub(crate) fn take(&mut self, task: &'static str, limit: RateLimit, now: Timestamp) -> Result<(), Timestamp> {
        let after = |at: Timestamp| at.saturating_add(limit.interval()).unwrap_or(Timestamp::MAX);
        let bucket = self.0.entry(task).or_insert(Bucket { free_at: now, come_back_at: now });
        if now >= bucket.free_at {
            bucket.free_at = after(now);
            return Ok(());
        }
        let turn = bucket.come_back_at.max(bucket.free_at);
        bucket.come_back_at = after(turn);
        Err(turn)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn those_who_wait_come_back_one_after_the_other_and_then_run() {
        let limit = RateLimit { per_second: 1.0 };
        let mut buckets = Buckets::default();
        let at = |seconds| Timestamp::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(buckets.take("t", limit, at(0)), Ok(()));
        assert_eq!(buckets.take("t", limit, at(0)), Err(at(1)));
        assert_eq!(buckets.take("t", limit, at(0)), Err(at(2)));
        assert_eq!(buckets.take("t", limit, at(1)), Ok(()));
        assert_eq!(buckets.take("t", limit, at(2)), Ok(()));
        assert_eq!(buckets.take("other", limit, at(2)), Ok(()));
    }
}
