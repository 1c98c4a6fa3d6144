//! How many deliveries a worker may hold: one a slot, and a small allowance that hides the latency of fetching.
//!
//! The allowance is what the worker gets through in a few milliseconds: hundreds for tasks that take microseconds, none for
//! tasks that take seconds. Nothing is hoarded.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::sync::Semaphore;

/// The work that is kept at hand beyond the slots, in time.
pub const AT_HAND: Duration = Duration::from_millis(25);
/// The most that is kept at hand beyond the slots, whatever the rate.
pub const ALLOWANCE_MAX: usize = 2_048;
/// The most that is claimed in one step.
pub const CLAIM_MAX: usize = 512;

/// The credit for deliveries: taken when one is fetched, given back when it is settled.
#[derive(Debug)]
pub(crate) struct Prefetch {
    credit: Semaphore,
    size: AtomicUsize,
    slots: usize,
}

impl Prefetch {
    pub(crate) fn new(slots: usize) -> Self {
        // As much again as there are slots, until the rate is known.
        Self { credit: Semaphore::new(slots * 2), size: AtomicUsize::new(slots * 2), slots }
    }

    /// Takes credit for at least one delivery, and for as many as are free up to [`CLAIM_MAX`]. Cancel-safe.
    pub(crate) async fn take(&self) -> usize {
        let Ok(first) = self.credit.acquire().await else { return std::future::pending().await };
        first.forget();
        let more = self.credit.available_permits().min(CLAIM_MAX - 1);
        // Somebody may shrink the credit between the two: then one is enough.
        match self.credit.try_acquire_many(u32::try_from(more).unwrap_or(0)) {
            Ok(rest) => {
                rest.forget();
                1 + more
            }
            Err(_) => 1,
        }
    }

    pub(crate) fn give_back(&self, count: usize) {
        self.credit.add_permits(count);
    }

    /// What was taken and has not been given back.
    pub(crate) fn unreturned(&self) -> i64 {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        count(self.size.load(Ordering::Relaxed)) - count(self.credit.available_permits())
    }

    /// Sets the allowance for a measured rate.
    pub(crate) fn adapt(&self, tasks_per_second: f64) {
        let wanted = self.slots + allowance(tasks_per_second);
        let size = self.size.load(Ordering::Relaxed);
        if wanted > size {
            self.credit.add_permits(wanted - size);
            self.size.store(wanted, Ordering::Relaxed);
        } else if wanted < size {
            let gone = self.credit.forget_permits(size - wanted);
            self.size.store(size - gone, Ordering::Relaxed);
        }
    }
}

/// How many deliveries to keep at hand for a rate.
pub fn allowance(tasks_per_second: f64) -> usize {
    let wanted = tasks_per_second * AT_HAND.as_secs_f64();
    if wanted.is_finite() && wanted > 0.0 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive and far below the limits"
        )]
        let wanted = wanted.min(1e6) as usize;
        wanted.min(ALLOWANCE_MAX)
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_tasks_get_an_allowance_and_slow_ones_none() {
        assert_eq!(allowance(0.2), 0);
        assert_eq!(allowance(4_000.0), 100);
        assert_eq!(allowance(1e9), ALLOWANCE_MAX);
        assert_eq!(allowance(f64::NAN), 0);
    }

    #[tokio::test]
    async fn credit_follows_the_rate_both_ways() {
        let prefetch = Prefetch::new(4);
        assert_eq!(prefetch.take().await, 8);
        prefetch.adapt(4_000.0);
        assert_eq!(prefetch.take().await, 96);
        prefetch.give_back(104);
        prefetch.adapt(0.0);
        assert_eq!(prefetch.take().await, 4);
    }
}
