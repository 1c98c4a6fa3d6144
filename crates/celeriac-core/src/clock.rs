//! Time as a value. Whoever needs to know or wait for an instant is handed a [`Clock`]; nobody asks the system.
//!
//! - [`Clock::system`]: wall time; sleeps by tokio's timer.
//! - [`Clock::tokio`]: starts at an instant and follows tokio's own clock, which simulations pause and skip forward.
//! - [`ManualClock`]: stands still until a test moves it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Tells the time and waits for it. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Kind);

#[derive(Clone)]
enum Kind {
    System,
    Tokio { start: Timestamp, base: tokio::time::Instant },
    Manual(Arc<Manual>),
}

impl Clock {
    /// The machine's wall clock.
    pub fn system() -> Self {
        Self(Kind::System)
    }

    /// A clock that shows `start` now and goes as fast as tokio's, which tests may pause. Needs a tokio runtime.
    pub fn tokio(start: Timestamp) -> Self {
        Self(Kind::Tokio { start, base: tokio::time::Instant::now() })
    }

    /// A clock that stands at `start` until its other half moves it.
    pub fn manual(start: Timestamp) -> (Self, ManualClock) {
        let manual =
            Arc::new(Manual { state: Mutex::new(ManualState { now: start, next_key: 0, timers: BTreeMap::new() }) });
        (Self(Kind::Manual(manual.clone())), ManualClock(manual))
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Kind::System => Timestamp::now(),
            Kind::Tokio { start, base } => after(*start, base.elapsed()),
            Kind::Manual(manual) => manual.state.lock().now,
        }
    }

    /// Waits for `duration`. Cancel-safe.
    pub async fn sleep(&self, duration: Duration) {
        match &self.0 {
            Kind::System | Kind::Tokio { .. } => tokio::time::sleep(duration).await,
            Kind::Manual(manual) => {
                let until = after(manual.state.lock().now, duration);
                manual.wait(until).await;
            }
        }
    }

    /// Waits until `instant`; returns at once when it has passed. Cancel-safe.
    pub async fn sleep_until(&self, instant: Timestamp) {
        match &self.0 {
            Kind::System | Kind::Tokio { .. } => loop {
                // Wall clocks are set forward and back: look again after the timer, and do not sleep a day in one go.
                let Ok(left) = Duration::try_from(instant.duration_since(self.now())) else { return };
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(Duration::from_hours(1))).await;
            },
            Kind::Manual(manual) => manual.wait(instant).await,
        }
    }

    /// Runs `future` for at most `limit`; `None` when the limit came first (the future is dropped then).
    pub async fn timeout<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = self.sleep(limit) => None,
        }
    }
}

/// `instant + duration`, or the last instant that can be written.
fn after(instant: Timestamp, duration: Duration) -> Timestamp {
    instant.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Kind::System => "system",
            Kind::Tokio { .. } => "tokio",
            Kind::Manual(_) => "manual",
        };
        write!(f, "Clock({kind}, {})", self.now())
    }
}

/// The half of a manual clock that moves it.
#[derive(Clone)]
pub struct ManualClock(Arc<Manual>);

impl ManualClock {
    /// Moves time forward and wakes, in order, whoever waited for an instant on the way.
    pub fn advance(&self, by: Duration) {
        let mut state = self.0.state.lock();
        state.now = after(state.now, by);
        let now = state.now;
        let later = state.timers.split_off(&(now, u64::MAX));
        let due = std::mem::replace(&mut state.timers, later);
        drop(state);
        for (_, timer) in due {
            // The sleeper may be gone: a dropped `sleep` is not an error.
            let _ = timer.send(());
        }
    }

    /// The instant the next sleeper waits for, if anybody sleeps.
    pub fn next_timer(&self) -> Option<Timestamp> {
        let mut state = self.0.state.lock();
        state.timers.retain(|_, timer| !timer.is_closed());
        state.timers.keys().next().map(|(at, _)| *at)
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.0.state.lock().now
    }
}

struct Manual {
    state: Mutex<ManualState>,
}

struct ManualState {
    now: Timestamp,
    next_key: u64,
    timers: BTreeMap<(Timestamp, u64), oneshot::Sender<()>>,
}

impl Manual {
    async fn wait(self: &Arc<Self>, until: Timestamp) {
        let (key, woken) = {
            let mut state = self.state.lock();
            if until <= state.now {
                return;
            }
            let (waker, woken) = oneshot::channel();
            let key = (until, state.next_key);
            state.next_key += 1;
            state.timers.insert(key, waker);
            (key, woken)
        };
        let _forget = Forget { clock: Arc::downgrade(self), key };
        // The sender is dropped only with the clock itself; then nobody can wait for anything any more.
        let _ = woken.await;
    }
}

/// Takes a timer out when its sleeper is dropped, so that cancelled sleeps leave nothing behind.
struct Forget {
    clock: Weak<Manual>,
    key: (Timestamp, u64),
}

impl Drop for Forget {
    fn drop(&mut self) {
        if let Some(clock) = self.clock.upgrade() {
            clock.state.lock().timers.remove(&self.key);
        }
    }
}
