//! Where suspects run: those that were running when workers were lost, one at a time in each worker.
//!
//! ```text
//!   losses 0     runs like any other
//!   losses 1     it was in a lost worker's hands, perhaps only waiting there: it is said that it begins, and it runs
//!   losses 2     it was running when a worker was lost: it runs when no other such one does
//!   losses 3     and once more: it is convicted, and goes into the dead set
//! ```

use std::{sync::Arc, time::Duration};

use celeriac_core::Timestamp;
use parking_lot::Mutex;

/// A delivery with so many losses runs alone among its like.
pub(crate) const LOSSES_ALONE: u32 = 2;
/// A delivery with so many losses is convicted.
pub(crate) const LOSSES_MAX: u32 = 3;
/// The shortest and the longest time after which one that finds the place taken comes back.
const COME_BACK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// The one place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quarantine(Arc<Mutex<Option<Timestamp>>>);

/// The place while somebody has it.
#[derive(Debug)]
pub(crate) struct Inside(Quarantine);

impl Quarantine {
    /// Takes the place, or says when to come back: after as long as the other one has run already, so that those who wait
    /// for a long one do not come back all the time.
    pub(crate) fn enter(&self, now: Timestamp) -> Result<Inside, Timestamp> {
        let mut since = self.0.lock();
        let Some(since) = *since else {
            *since = Some(now);
            return Ok(Inside(self.clone()));
        };
        let ran = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        Err(now.saturating_add(ran.clamp(COME_BACK.0, COME_BACK.1)).unwrap_or(Timestamp::MAX))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        *self.0.0.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_inside_at_a_time_and_the_others_come_back_later_and_later() {
        let at = |seconds| Timestamp::UNIX_EPOCH + Duration::from_secs(seconds);
        let quarantine = Quarantine::default();
        let inside = quarantine.enter(at(0)).unwrap();
        assert_eq!(quarantine.enter(at(0)).unwrap_err(), at(1));
        assert_eq!(quarantine.enter(at(20)).unwrap_err(), at(40));
        assert_eq!(quarantine.enter(at(1_000)).unwrap_err(), at(1_060));
        drop(inside);
        assert!(quarantine.enter(at(1_000)).is_ok());
    }
}
