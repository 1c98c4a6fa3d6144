//! Who sleeps in this process, and how they are woken.
//!
//! Waking too often costs a look into the file; waking too seldom would lose time, so in doubt everybody is woken.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{Notify, watch};

use crate::tx::Touched;

/// Somebody who wants to know when there may be something in one of its queues.
pub(crate) trait Sleeper: Send + Sync {
    /// Whether one of these queues concerns it.
    fn serves(&self, touched: &Touched) -> bool;
    /// Look again.
    fn wake(&self);
    /// Whether the file holds anything new for it; in doubt it does. One read, where waking costs a transaction.
    fn has_reason(&self, conn: &Connection) -> bool;
}

/// The sleepers of one process.
pub(crate) struct Hub {
    sleepers: Mutex<Vec<Weak<dyn Sleeper>>>,
    waits: Mutex<HashMap<Arc<str>, Wait>>,
    broadcasts: watch::Sender<u64>,
}

struct Wait {
    notify: Arc<Notify>,
    waiters: usize,
}

impl Hub {
    pub(crate) fn new() -> Self {
        Self { sleepers: Mutex::new(Vec::new()), waits: Mutex::new(HashMap::new()), broadcasts: watch::Sender::new(0) }
    }

    /// Wakes `sleeper` from now on, until it is dropped.
    pub(crate) fn register(&self, sleeper: Weak<dyn Sleeper>) {
        let mut sleepers = self.sleepers.lock();
        sleepers.retain(|sleeper| sleeper.strong_count() > 0);
        sleepers.push(sleeper);
    }

    /// Changes whenever there may be new broadcasts.
    pub(crate) fn broadcasts(&self) -> watch::Receiver<u64> {
        self.broadcasts.subscribe()
    }

    /// Waits for results of this task while it lives.
    pub(crate) fn wait_for(self: &Arc<Self>, task_id: &str) -> ResultWait {
        let mut waits = self.waits.lock();
        let task_id: Arc<str> = waits.get_key_value(task_id).map_or_else(|| task_id.into(), |(key, _)| key.clone());
        let wait = waits.entry(task_id.clone()).or_insert_with(|| Wait { notify: Arc::new(Notify::new()), waiters: 0 });
        wait.waiters += 1;
        ResultWait { notify: wait.notify.clone(), task_id, hub: self.clone() }
    }

    /// True when nobody in this process waits for anything.
    pub(crate) fn is_idle(&self) -> bool {
        self.broadcasts.receiver_count() == 0
            && self.waits.lock().is_empty()
            && self.sleepers.lock().iter().all(|sleeper| sleeper.strong_count() == 0)
    }

    /// The file has changed, and nobody has said how: it may as well have been this process. Wakes those for whom there
    /// is something in it.
    pub(crate) fn look(&self, conn: &Connection) {
        let sleepers: Vec<_> = self.sleepers.lock().iter().filter_map(Weak::upgrade).collect();
        for sleeper in sleepers.iter().filter(|sleeper| sleeper.has_reason(conn)) {
            sleeper.wake();
        }
        self.wake_readers();
    }

    /// Wakes everybody who only has to read.
    fn wake_readers(&self) {
        self.broadcasts.send_modify(|generation| *generation = generation.wrapping_add(1));
        for wait in self.waits.lock().values() {
            wait.notify.notify_waiters();
        }
    }

    /// Wakes whoever may be concerned.
    pub(crate) fn wake(&self, touched: &Touched) {
        if touched.everything || !touched.queues.is_empty() {
            // Woken outside the lock: waking may drop the last handle of a sleeper.
            let sleepers: Vec<_> = self.sleepers.lock().iter().filter_map(Weak::upgrade).collect();
            for sleeper in sleepers {
                if touched.everything || sleeper.serves(touched) {
                    sleeper.wake();
                }
            }
        }
        if touched.everything {
            self.wake_readers();
            return;
        }
        if touched.broadcasts {
            self.broadcasts.send_modify(|generation| *generation = generation.wrapping_add(1));
        }
        if !touched.results.is_empty() {
            let waits = self.waits.lock();
            if !waits.is_empty() {
                for wait in touched.results.iter().filter_map(|task_id| waits.get(task_id)) {
                    wait.notify.notify_waiters();
                }
            }
        }
    }
}

/// A place among those who wait for one task's result.
pub(crate) struct ResultWait {
    notify: Arc<Notify>,
    task_id: Arc<str>,
    hub: Arc<Hub>,
}

impl ResultWait {
    /// Completes at the next result; enable it before looking into the file, so that none slips through.
    pub(crate) fn next(&self) -> tokio::sync::futures::Notified<'_> {
        self.notify.notified()
    }
}

impl Drop for ResultWait {
    fn drop(&mut self) {
        let mut waits = self.hub.waits.lock();
        if let Some(wait) = waits.get_mut(&self.task_id) {
            wait.waiters -= 1;
            if wait.waiters == 0 {
                waits.remove(&self.task_id);
            }
        }
    }
}
