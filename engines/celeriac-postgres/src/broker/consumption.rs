//! One consumer: a mailbox that claims fill and `recv` empties.
//!
//! A claim runs on the driver's thread and puts its deliveries into the mailbox. A `recv` whose future is dropped in the
//! middle therefore loses nothing: the next one finds them. At most one claim is on its way at a time, so that impatient
//! callers cannot hoard.

use std::sync::Arc;

use celeriac_core::{DeliveryTag, QueueName, Result, Revocation};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    claim::{Claimed, Request, claim, promote},
    leases::{self, Registration, held, renew, resubscribe, sweep},
    mailbox::{Look, Mailbox},
    revocations,
    settle::requeue,
};
use crate::{
    connections::Connection,
    engine::Shared,
    errors::Outcome,
    layout::queue_topic,
    wake::{self, Sleeper},
};

/// How often a claim is repeated at once when everything it found was just being claimed by others.
const CROWDED_MAX: u32 = 10;

/// What a consumer is in this process.
pub(crate) struct Consumption {
    pub(super) id: i64,
    pub(super) lease_micros: i64,
    serving: Mutex<Arc<Serving>>,
    pub(super) mailbox: Mutex<Mailbox>,
    pub(super) changed: Notify,
}

/// Which queues it serves, and what wakes it for them.
struct Serving {
    registration: Registration,
    sleeper: Arc<Sleeper>,
}

impl Serving {
    fn new(shared: &Shared, registration: Registration) -> Arc<Self> {
        let topics = registration.queues.iter().map(|queue| queue_topic(queue.as_str())).collect();
        Arc::new(Self { sleeper: shared.sleeper(topics), registration })
    }
}

impl Consumption {
    pub(super) fn new(shared: &Shared, registration: Registration) -> Self {
        let lease_until = registration.started_at.saturating_add(registration.lease_micros);
        Self {
            id: registration.id,
            lease_micros: registration.lease_micros,
            serving: Mutex::new(Serving::new(shared, registration)),
            mailbox: Mutex::new(Mailbox::new(lease_until)),
            changed: Notify::new(),
        }
    }

    fn serving(&self) -> Arc<Serving> {
        self.serving.lock().clone()
    }

    /// Serves other queues from now on.
    pub(super) async fn subscribe(&self, shared: &Shared, queues: Vec<QueueName>) -> Result<()> {
        let registration = Registration { queues, ..self.serving().registration.clone() };
        resubscribe(shared, &registration).await?;
        *self.serving.lock() = Serving::new(shared, registration);
        self.mailbox.lock().look_again();
        self.changed.notify_waiters();
        Ok(())
    }

    /// What a `recv` does next, what would wake it, and how often that had happened before.
    pub(super) fn look(&self, shared: &Shared, limit: usize) -> (Look, Arc<Sleeper>, u64) {
        let sleeper = self.serving().sleeper.clone();
        let wakes = sleeper.wakes();
        (self.mailbox.lock().look(limit, shared.now(), wakes), sleeper, wakes)
    }

    /// Waits for something to look at: a wake-up, an instant, or the time to look anyway. Cancel-safe.
    pub(super) async fn sleep(&self, shared: &Shared, sleeper: &Sleeper, wakes: u64, next: Option<i64>) {
        let due = async {
            match next {
                Some(next) => shared.sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleeper.woken_after(wakes) => {}
            () = due => self.mailbox.lock().look_again(),
            () = shared.clock.sleep(shared.config.look_every) => self.mailbox.lock().look_again(),
        }
    }

    /// Sends a claim on its way, unless one is already.
    pub(super) fn begin_claim(self: &Arc<Self>, shared: &Arc<Shared>, limit: usize) {
        let Some(number) = self.mailbox.lock().begin() else { return };
        let (this, shared) = (self.clone(), shared.clone());
        let handle = shared.clone();
        handle.driver.spawn(async move {
            // Should the driver end in the middle, nobody must wait for ever.
            let finishing = Finishing { consumption: &this };
            let serving = &this.serving();
            let wakes = serving.sleeper.wakes();
            let (this, shared) = (&this, &shared);
            let claimed = shared
                .run("claim messages", |connection| async move {
                    this.claim(shared, &connection, serving, limit, number).await
                })
                .await;
            this.mailbox.lock().finish(claimed, wakes);
            drop(finishing);
        });
    }

    async fn claim(
        &self,
        shared: &Shared,
        connection: &Connection,
        serving: &Serving,
        limit: usize,
        number: i64,
    ) -> Outcome<Claimed> {
        let now = shared.now();
        let (suspect, lapsed) = {
            let mailbox = self.mailbox.lock();
            (mailbox.suspect, now >= mailbox.lease_until && !mailbox.deliveries.is_empty())
        };
        if suspect || lapsed {
            sweep(shared, connection, now).await?;
            self.compare(shared, connection, now).await?;
            self.mailbox.lock().suspect = false;
            if !self.mailbox.lock().deliveries.is_empty() {
                // Still ours after all, and not received yet: no more before these are.
                renew(shared, connection, &serving.registration, now).await?;
                let lease_until = Some(now.saturating_add(self.lease_micros));
                return Ok(Claimed { deliveries: Vec::new(), next: None, lease_until, busy: true });
            }
        }
        let Serving { registration, sleeper } = serving;
        let claimed = claim_what_is_there(shared, connection, registration, limit, number).await?;
        if !claimed.deliveries.is_empty() || sleeper.is_armed() {
            return Ok(claimed);
        }
        // Say that we sleep, then look once more: what came in between is found, what comes later wakes us.
        let wakes = sleeper.wakes();
        wake::arm(connection, &shared.config.schema, sleeper.topics()).await?;
        sleeper.set_armed(wakes);
        claim_what_is_there(shared, connection, registration, limit, number).await
    }

    /// Renews the lease, and tells what is held and which of it is revoked.
    pub(super) async fn extend(
        &self,
        shared: &Shared,
        connection: &Connection,
        now: i64,
    ) -> Outcome<(Vec<DeliveryTag>, Vec<(DeliveryTag, Revocation)>)> {
        renew(shared, connection, &self.serving().registration, now).await?;
        let held = self.compare(shared, connection, now).await?;
        let revoked = revocations::of_held(shared, connection, self.id, now).await?;
        Ok((held, revoked))
    }

    /// Brings the mailbox and the database together, and tells what is held.
    async fn compare(&self, shared: &Shared, connection: &Connection, now: i64) -> Outcome<Vec<DeliveryTag>> {
        let held = held(shared, connection, self.id).await?;
        let unanswered = self.mailbox.lock().compare(&held);
        if !unanswered.is_empty() {
            tracing::debug!(messages = unanswered.len(), "a claim without an answer is given back");
            requeue(shared, connection, self.id, &unanswered, now).await?;
            shared.wake(connection, self.serving().sleeper.topics()).await;
        }
        Ok(held.into_iter().map(|held| held.tag).filter(|tag| !unanswered.contains(tag)).collect())
    }

    /// Gives everything back. Idempotent.
    pub(crate) async fn close(&self, shared: &Shared) -> Result<()> {
        {
            let mut mailbox = self.mailbox.lock();
            if mailbox.closed {
                return Ok(());
            }
            mailbox.closed = true;
            mailbox.deliveries.clear();
        }
        self.changed.notify_waiters();
        // What a claim on its way brings has to go back too: wait for it, which ends at the latest with its time.
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.mailbox.lock().is_claiming() {
                break;
            }
            changed.await;
        }
        leases::release(shared, self.id).await
    }
}

/// Sees to what is due, and claims; at once again when everything was just being claimed by others.
async fn claim_what_is_there(
    shared: &Shared,
    connection: &Connection,
    registration: &Registration,
    limit: usize,
    number: i64,
) -> Outcome<Claimed> {
    let schema = &shared.config.schema;
    let mut request = Request {
        consumer: registration,
        queues: registration.queues.iter().map(QueueName::as_str).collect(),
        limit,
        claim: number,
        now: shared.now(),
        anyway: false,
    };
    let turns = request.queues.len();
    if turns == 0 {
        return Ok(Claimed { deliveries: Vec::new(), next: None, lease_until: None, busy: false });
    }
    request.queues.rotate_left(usize::try_from(number).unwrap_or(0) % turns);
    for crowd in 0.. {
        let mut claimed = claim(connection, schema, &request).await?;
        if claimed.next.is_some_and(|next| next <= request.now) {
            // What has lapsed or is due comes before what came later.
            sweep(shared, connection, request.now).await?;
            promote(connection, schema, &request.queues, limit, request.now).await?;
            request.anyway = true;
            claimed = claim(connection, schema, &request).await?;
        }
        if !claimed.deliveries.is_empty() || !claimed.busy || crowd == CROWDED_MAX {
            return Ok(claimed);
        }
        request.queues.rotate_left(1 % turns);
        tokio::task::yield_now().await;
    }
    unreachable!("the loop ends when it is too crowded")
}

/// Tells everybody that a claim has ended, however it did.
struct Finishing<'a> {
    consumption: &'a Consumption,
}

impl Drop for Finishing<'_> {
    fn drop(&mut self) {
        {
            let mut mailbox = self.consumption.mailbox.lock();
            if mailbox.is_claiming() {
                let closed =
                    celeriac_core::Error::new(celeriac_core::ErrorKind::Invalid, "claim messages: the store is closed");
                mailbox.finish(Err(closed), 0);
            }
        }
        self.consumption.changed.notify_waiters();
    }
}
