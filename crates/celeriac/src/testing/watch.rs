//! What a test sees of its engine, and holds back from its worker.

use std::{collections::HashSet, sync::Arc};

use celeriac_core::{Delivery, DeliveryTag, Error, ErrorKind, Publication, Result};
use parking_lot::Mutex;
use tokio::sync::{Notify, futures::Notified};

/// What passes between the engine and the worker. Cheap to clone: clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    seen: Mutex<Seen>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Seen {
    /// Everything that was sent, in order.
    sent: Vec<Publication>,
    /// How many deliveries the worker may still take.
    allowed: usize,
    /// What it has in hand.
    held: HashSet<DeliveryTag>,
    /// It asked for more, and there was nothing for it.
    idle: bool,
    /// It dies before it settles what it has in hand next.
    dies: bool,
    dead: bool,
}

/// How a worker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Something runs, or is about to be taken.
    Busy,
    /// It has done what it was allowed to.
    Done,
    /// It found nothing to do.
    Idle,
    /// The test made it die.
    Dead,
}

impl Watch {
    /// A new worker begins: it may take so many deliveries.
    pub(super) fn begin(&self, allowed: usize, dies: bool) {
        let sent = std::mem::take(&mut self.0.seen.lock().sent);
        *self.0.seen.lock() = Seen { sent, allowed, dies, ..Seen::default() };
    }

    pub(super) fn standing(&self) -> Standing {
        let seen = self.0.seen.lock();
        match () {
            () if seen.dead => Standing::Dead,
            () if !seen.held.is_empty() => Standing::Busy,
            () if seen.allowed == 0 => Standing::Done,
            () if seen.idle => Standing::Idle,
            () => Standing::Busy,
        }
    }

    /// Waits until something has happened since `changed` was made.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.0.changed.notified()
    }

    pub(super) fn sent(&self) -> Vec<Publication> {
        self.0.seen.lock().sent.clone()
    }

    pub(super) fn note_sent(&self, publications: impl IntoIterator<Item = Publication>) {
        self.change(|seen| seen.sent.extend(publications));
    }

    pub(super) fn may_take(&self) -> bool {
        self.0.seen.lock().allowed > 0
    }

    pub(super) fn note_taken(&self, deliveries: &[Delivery]) {
        self.change(|seen| {
            seen.allowed = seen.allowed.saturating_sub(deliveries.len());
            seen.held.extend(deliveries.iter().map(|delivery| delivery.tag.clone()));
            seen.idle = false;
        });
    }

    pub(super) fn note_idle(&self) {
        self.change(|seen| seen.idle = true);
    }

    /// What the worker has in hand is about to be settled: an error when it dies first.
    pub(super) fn before_settling(&self) -> Result<()> {
        self.change(|seen| seen.dead |= seen.dies);
        if self.0.seen.lock().dead {
            return Err(Error::new(ErrorKind::Unavailable, "settle a delivery: the test made the worker die"));
        }
        Ok(())
    }

    pub(super) fn is_dead(&self) -> bool {
        self.0.seen.lock().dead
    }

    pub(super) fn note_settled(&self, tags: &[DeliveryTag]) {
        self.change(|seen| {
            for tag in tags {
                seen.held.remove(tag);
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.0.seen.lock());
        self.0.changed.notify_waiters();
    }
}
