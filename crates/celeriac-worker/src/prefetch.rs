//! How many deliveries a worker may hold: one a slot, and a small allowance that hides the latency of fetching.
//!
//! The allowance is what the worker gets through in a few milliseconds: hundreds for tasks that take microseconds, none for
//! tasks that take seconds. Nothing is hoarded.

use std::time::Duration;

use parking_lot::Mutex;
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
    sizes: Mutex<Sizes>,
}

#[derive(Debug)]
struct Sizes {
    slots: usize,
    allowance: usize,
    /// The credit there is, taken or not. It may be more than slots and allowance for a while: what is taken cannot be
    /// called back.
    all: usize,
}

impl Prefetch {
    pub(crate) fn new(slots: usize) -> Self {
        // As much again as there are slots, until the rate is known.
        let sizes = Sizes { slots, allowance: slots, all: slots * 2 };
        Self { credit: Semaphore::new(sizes.all), sizes: Mutex::new(sizes) }
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
        count(self.size()) - count(self.credit.available_permits())
    }

    /// The credit there is, taken or not.
    pub(crate) fn size(&self) -> usize {
        self.sizes.lock().all
    }

    /// Sets the allowance for a measured rate.
    pub(crate) fn adapt(&self, tasks_per_second: f64) {
        self.change(|sizes| sizes.allowance = allowance(tasks_per_second));
    }

    /// Sets the number of slots.
    pub(crate) fn set_slots(&self, slots: usize) {
        self.change(|sizes| sizes.slots = slots);
    }

    fn change(&self, change: impl FnOnce(&mut Sizes)) {
        let mut sizes = self.sizes.lock();
        change(&mut sizes);
        let wanted = sizes.slots + sizes.allowance;
        if wanted > sizes.all {
            self.credit.add_permits(wanted - sizes.all);
            sizes.all = wanted;
        } else {
            sizes.all -= self.credit.forget_permits(sizes.all - wanted);
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
