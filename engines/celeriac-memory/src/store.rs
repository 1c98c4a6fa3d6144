//! The store that all handles of one engine share: four parts, each behind its own lock.

use std::sync::atomic::{AtomicU64, Ordering};

use celeriac_core::{Clock, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{Limits, channels::Channels, history::Records, queues::Queues, results::Results};

/// Everything there is. No lock is held across an await, and none while another is taken.
pub(crate) struct Store {
    pub(crate) clock: Clock,
    queues: Mutex<Queues>,
    /// Rings when a message became ready, or when something will happen earlier than the waiting ones think.
    pub(crate) work: Notify,
    pub(crate) channels: Mutex<Channels>,
    /// Rings when something was broadcast.
    pub(crate) news: Notify,
    pub(crate) results: Mutex<Results>,
    pub(crate) history: Mutex<Records>,
    connections: AtomicU64,
}

impl Store {
    pub(crate) fn new(clock: Clock, limits: &Limits) -> Self {
        Self {
            queues: Mutex::new(Queues::new(limits)),
            work: Notify::new(),
            channels: Mutex::new(Channels::new(limits)),
            news: Notify::new(),
            results: Mutex::new(Results::new(limits)),
            history: Mutex::new(Records::new(limits.history_max)),
            connections: AtomicU64::new(0),
            clock,
        }
    }

    /// Does one atomic step with the queues, as they are at the present instant, and wakes whoever it concerns.
    pub(crate) fn queues<T>(&self, step: impl FnOnce(&mut Queues, Timestamp) -> T) -> T {
        let mut queues = self.queues.lock();
        let now = self.clock.now();
        let expected = queues.next_instant();
        queues.catch_up(now);
        let output = step(&mut queues, now);
        let earlier = match (expected, queues.next_instant()) {
            (Some(expected), Some(next)) => next < expected,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        let wake = queues.take_news() || earlier;
        drop(queues);
        if wake {
            self.work.notify_waiters();
        }
        output
    }

    pub(crate) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }
}
