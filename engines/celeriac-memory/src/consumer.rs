//! One consumer: claims in single steps, so that a dropped `recv` has claimed nothing.

use std::{future, sync::Arc};

use celeriac_core::{Clock, Consumer, Delivery, DeliveryTag, LeaseReport, Result, Settled, Settlement, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::{config::PAGE_MAX, connection::Connection, queues::Registration};

/// Takes deliveries from memory. See [`Consumer`].
///
/// Dropping it without `close` is a crash: what it holds comes back when its lease has lapsed.
pub struct MemoryConsumer {
    connection: Arc<Connection>,
    registration: Arc<Registration>,
    closed: CancellationToken,
}

impl MemoryConsumer {
    pub(crate) fn new(connection: Arc<Connection>, registration: Arc<Registration>) -> Self {
        let closed = connection.closed.child_token();
        Self { connection, registration, closed }
    }
}

/// What one look at the queues gave.
enum Look {
    Closed,
    Claimed(Vec<Delivery>),
    /// Nothing until then, if nobody wakes us before.
    Wait(Option<Timestamp>),
}

impl MemoryConsumer {
    fn look(&self, limit: usize) -> Look {
        self.connection.store.queues(|queues, now| {
            if self.closed.is_cancelled() {
                return Look::Closed;
            }
            let deliveries = queues.claim(&self.registration, limit, now);
            if deliveries.is_empty() { Look::Wait(queues.next_instant()) } else { Look::Claimed(deliveries) }
        })
    }
}

impl Consumer for MemoryConsumer {
    async fn recv(&self, limit: usize) -> Result<Vec<Delivery>> {
        let limit = limit.clamp(1, PAGE_MAX);
        let store = &self.connection.store;
        loop {
            let work = store.work.notified();
            tokio::pin!(work);
            // From here on no wake-up slips through, whatever happens before the future is polled.
            work.as_mut().enable();
            let next = match self.look(limit) {
                Look::Closed => return Ok(Vec::new()),
                Look::Claimed(deliveries) => return Ok(deliveries),
                Look::Wait(next) => next,
            };
            tokio::select! {
                biased;
                () = self.closed.cancelled() => {}
                () = work => {}
                () = sleep_until(&store.clock, next) => {}
            }
        }
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Result<Vec<Settled>> {
        self.connection.store.queues(|queues, now| queues.settle(self.registration.id, batch, now))
    }

    async fn extend(&self, held: &[DeliveryTag]) -> Result<LeaseReport> {
        Ok(self.connection.store.queues(|queues, now| {
            if self.closed.is_cancelled() {
                return LeaseReport { lost: held.to_vec(), revoked: Vec::new() };
            }
            queues.extend(&self.registration, held, now)
        }))
    }

    async fn close(&self) -> Result<()> {
        self.closed.cancel();
        self.connection.store.queues(|queues, _| queues.unregister(self.registration.id));
        Ok(())
    }
}

async fn sleep_until(clock: &Clock, instant: Option<Timestamp>) {
    match instant {
        Some(instant) => clock.sleep_until(instant).await,
        None => future::pending().await,
    }
}
