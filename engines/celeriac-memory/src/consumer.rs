//! One consumer: claims in single steps, so that a dropped `recv` has claimed nothing.

use std::{future, sync::Arc};

use celeriac_core::{
    Clock, Consumer, Delivery, DeliveryTag, LeaseReport, QueueName, Result, Settled, Settlement, Timestamp,
};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{PAGE_MAX, check_consumer_queues},
    connection::{Connection, closed},
    queues::Registration,
};

/// Takes deliveries from memory. See [`Consumer`].
///
/// Dropping it without `close` is a crash: what it holds comes back when its lease has lapsed.
pub struct MemoryConsumer {
    connection: Arc<Connection>,
    /// Replaced by `subscribe`. Locked before the store where both are.
    registration: Mutex<Arc<Registration>>,
    closed: CancellationToken,
}

impl MemoryConsumer {
    pub(crate) fn new(connection: Arc<Connection>, registration: Arc<Registration>) -> Self {
        let closed = connection.closed.child_token();
        Self { connection, registration: Mutex::new(registration), closed }
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
    fn registration(&self) -> Arc<Registration> {
        self.registration.lock().clone()
    }

    fn look(&self, limit: usize) -> Look {
        let registration = self.registration();
        self.connection.store.queues(|queues, now| {
            if self.closed.is_cancelled() {
                return Look::Closed;
            }
            let deliveries = queues.claim(&registration, limit, now);
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

    async fn subscribe(&self, mut queues: Vec<QueueName>) -> Result<()> {
        queues.sort();
        queues.dedup();
        check_consumer_queues(queues.len(), 0)?;
        // Held over the step, so that of two subscriptions at once the later one stands.
        let mut registration = self.registration.lock();
        *registration = self.connection.store.queues(|all, now| {
            if self.closed.is_cancelled() {
                return Err(closed("subscribe to queues"));
            }
            all.subscribe(&registration, queues, now)
        })?;
        Ok(())
    }

    async fn begin(&self, suspects: &[DeliveryTag]) -> Result<()> {
        let registration = self.registration();
        self.connection.store.queues(|queues, _| queues.begin(registration.id, suspects));
        Ok(())
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Result<Vec<Settled>> {
        let registration = self.registration();
        self.connection.store.queues(|queues, now| queues.settle(registration.id, batch, now))
    }

    async fn extend(&self, held: &[DeliveryTag]) -> Result<LeaseReport> {
        let registration = self.registration();
        Ok(self.connection.store.queues(|queues, now| {
            if self.closed.is_cancelled() {
                return LeaseReport { lost: held.to_vec(), revoked: Vec::new() };
            }
            queues.extend(&registration, held, now)
        }))
    }

    async fn close(&self) -> Result<()> {
        self.closed.cancel();
        let registration = self.registration();
        self.connection.store.queues(|queues, _| queues.unregister(registration.id));
        Ok(())
    }
}

async fn sleep_until(clock: &Clock, instant: Option<Timestamp>) {
    match instant {
        Some(instant) => clock.sleep_until(instant).await,
        None => future::pending().await,
    }
}
