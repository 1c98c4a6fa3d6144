//! Slots: how many tasks run at a time. Their number may change while tasks run.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// The slots of one worker.
#[derive(Debug)]
pub(crate) struct Slots {
    free: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    size: usize,
    /// Slots that are to go and are still in use.
    owed: usize,
}

/// One slot in use; dropping it frees it.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Slots>);

impl Slots {
    pub(crate) fn new(size: usize) -> Arc<Self> {
        Arc::new(Self { free: Semaphore::new(size), state: Mutex::new(State { size, owed: 0 }) })
    }

    /// How many there are, those that are to go not counted.
    pub(crate) fn size(&self) -> usize {
        self.state.lock().size
    }

    /// Waits for a free slot. Cancel-safe.
    pub(crate) async fn take(self: &Arc<Self>) -> Slot {
        match self.free.acquire().await {
            Ok(permit) => permit.forget(),
            // Nobody closes it.
            Err(_) => std::future::pending().await,
        }
        Slot(self.clone())
    }

    /// Makes them so many. What runs goes on; slots in use go when they are freed.
    pub(crate) fn resize(&self, size: usize) {
        let mut state = self.state.lock();
        if size > state.size {
            let more = size - state.size;
            let kept = more.min(state.owed);
            state.owed -= kept;
            self.free.add_permits(more - kept);
        } else {
            let fewer = state.size - size;
            let gone = self.free.forget_permits(fewer);
            state.owed += fewer - gone;
        }
        state.size = size;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        if state.owed > 0 {
            state.owed -= 1;
        } else {
            self.0.free.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn take(slots: &Arc<Slots>) -> Option<Slot> {
        slots.take().now_or_never()
    }

    #[test]
    fn slots_in_use_go_when_they_are_freed() {
        let slots = Slots::new(3);
        let mut used: Vec<_> = (0..3).map(|_| take(&slots).expect("free")).collect();
        assert!(take(&slots).is_none());
        slots.resize(1);
        used.truncate(1);
        assert!(take(&slots).is_none(), "two went, and one is in use");
        used.clear();
        let only = take(&slots).expect("the one that stays");
        assert!(take(&slots).is_none());
        assert_eq!(slots.size(), 1);
        drop(only);
    }

    #[test]
    fn growing_takes_back_what_was_to_go() {
        let slots = Slots::new(2);
        let used: Vec<_> = (0..2).map(|_| take(&slots).expect("free")).collect();
        slots.resize(1);
        slots.resize(3);
        let third = take(&slots).expect("one more than are in use");
        assert!(take(&slots).is_none());
        drop((used, third));
        let all: Vec<_> = (0..3).map(|_| take(&slots).expect("free")).collect();
        assert!(take(&slots).is_none());
        assert_eq!(all.len(), 3);
    }
}
