//! One consumer: a mailbox that claims fill and `recv` empties.
//!
//! A claim puts its deliveries into the mailbox within the writer's thread. A `recv` whose future is dropped in the
//! middle therefore loses nothing: the next one finds them. At most one claim is on its way at a time, so that
//! impatient callers cannot hoard.

use std::{path::PathBuf, sync::Arc};

use celeriac_core::{
    Consumer, Delivery, DeliveryTag, Error, ErrorKind, LeaseReport, QueueName, Result, Revocation, Settled, Settlement,
    Subscription,
};
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::Notify;

use super::{
    claim::{Claimed, claim, news, queue_texts},
    leases::{Registration, Release, begin, release, renew, resubscribe, sweep},
    queues::Known,
    revocations, settle,
};
use crate::{
    engine::Shared,
    errors::{Failure, Outcome},
    hub::Sleeper,
    layout::{check_size, key_in, timestamp},
    tx::{Touched, Tx},
    writer::{Command, Durability},
};

/// The most that one claim takes.
const CLAIM_MAX: usize = 4_096;
/// How many settlements go into one command, so that others get in between.
const SETTLE_CHUNK: usize = 1_000;
/// How many queues one consumer serves.
const QUEUES_MAX: usize = 1_000;

const CLAIM: &str = "claim messages";

/// Takes deliveries from tables. See [`Consumer`].
pub struct SqliteConsumer {
    shared: Arc<Shared>,
    consumption: Arc<Consumption>,
}

impl SqliteConsumer {
    pub(super) async fn start(shared: Arc<Shared>, from: Subscription) -> Result<Self> {
        check_queues(&from.queues, 1)?;
        shared.waker.listen()?;
        let now = shared.now();
        let lease_micros = i64::try_from(from.lease.as_micros()).unwrap_or(i64::MAX).max(1);
        let Subscription { worker, queues, .. } = from;
        let registration = shared
            .writer
            .run("register a consumer", Durability::Relaxed, 1, move |tx| {
                let (texts, queues_json) = queue_texts(&queues)?;
                let mut known = Known::prepare(tx)?;
                queues.iter().try_for_each(|queue| known.put(queue, now))?;
                let id = tx.ticket()?;
                let registration = Registration {
                    id,
                    worker,
                    start_id: format!("{:x}-{id:x}", std::process::id()),
                    names: queues,
                    queues: texts,
                    queues_json,
                    lease_micros,
                };
                sweep(tx, now)?;
                renew(tx, &registration, now)?;
                Ok(registration)
            })
            .await?;
        let lease_until = now.saturating_add(lease_micros);
        let consumption = Arc::new(Consumption {
            id: registration.id,
            lease_micros,
            registration: Mutex::new(Arc::new(registration)),
            path: shared.config.path.clone(),
            mailbox: Mutex::new(Mailbox { lease_until, ..Mailbox::default() }),
            changed: Notify::new(),
        });
        let sleeper: Arc<dyn Sleeper> = consumption.clone();
        shared.hub.register(Arc::downgrade(&sleeper));
        shared.remember(&consumption);
        Ok(Self { shared, consumption })
    }
}

impl Consumer for SqliteConsumer {
    async fn recv(&self, limit: usize) -> Result<Vec<Delivery>> {
        let limit = limit.clamp(1, CLAIM_MAX);
        let consumption = &self.consumption;
        loop {
            let changed = consumption.changed.notified();
            tokio::pin!(changed);
            // From here on no change slips through, whatever happens before the future is polled.
            changed.as_mut().enable();
            let look = consumption.mailbox.lock().look(limit, self.shared.now());
            match look {
                Look::Take(outcome) => return outcome,
                Look::Claim => {
                    let place = self.shared.writer.reserve().await?;
                    // Another recv may have begun a claim while this one waited for a place.
                    let turn = consumption.mailbox.lock().begin();
                    if let Some(turn) = turn {
                        let now = self.shared.now();
                        let consumption = consumption.clone();
                        place.send(Box::new(Claim { consumption, limit, turn, now, claimed: None, finished: false }));
                    }
                    changed.await;
                }
                Look::Wait(None) => changed.await,
                Look::Wait(Some(next)) => {
                    tokio::select! {
                        () = changed => {}
                        () = self.shared.clock.sleep_until(timestamp(next)) => {
                            consumption.mailbox.lock().wanted = true;
                        }
                    }
                }
            }
        }
    }

    async fn subscribe(&self, queues: Vec<QueueName>) -> Result<()> {
        check_queues(&queues, 0)?;
        if self.consumption.mailbox.lock().closed {
            return Err(Error::new(ErrorKind::Invalid, "subscribe to queues: the consumer is closed"));
        }
        let (consumption, now) = (self.consumption.clone(), self.shared.now());
        self.shared
            .writer
            .run("subscribe to queues", Durability::Relaxed, 1, move |tx| {
                let mut known = Known::prepare(tx)?;
                queues.iter().try_for_each(|queue| known.put(queue, now))?;
                drop(known);
                let (texts, queues_json) = queue_texts(&queues)?;
                // One writer: of two subscriptions at once the later one stands, in the file and here.
                let mut registration = consumption.registration.lock();
                let changed =
                    Registration { names: queues, queues: texts, queues_json, ..Registration::clone(&registration) };
                resubscribe(tx, &changed, now)?;
                *registration = Arc::new(changed);
                Ok(())
            })
            .await?;
        self.consumption.wake();
        Ok(())
    }

    async fn begin(&self, suspects: &[DeliveryTag]) -> Result<()> {
        let (consumer, tags) = (self.consumption.id, suspects.to_vec());
        self.shared
            .writer
            .run("say that deliveries begin", Durability::Relaxed, tags.len(), move |tx| begin(tx, consumer, &tags))
            .await
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Result<Vec<Settled>> {
        for settlement in &batch {
            if let Settlement::Park { message: Some(message), .. } = settlement {
                check_size("a message", message.len_bytes(), self.shared.config.message_bytes_max, "message_max")?;
            }
        }
        let consumer = self.consumption.id;
        let mut settled = Vec::with_capacity(batch.len());
        let mut rest = batch;
        while !rest.is_empty() {
            let tail = rest.split_off(rest.len().min(SETTLE_CHUNK));
            let chunk = std::mem::replace(&mut rest, tail);
            let now = self.shared.now();
            let mut answers = self
                .shared
                .writer
                .run("settle deliveries", Durability::Durable, chunk.len(), move |tx| {
                    settle::settle(tx, consumer, chunk, now)
                })
                .await?;
            settled.append(&mut answers);
        }
        Ok(settled)
    }

    async fn extend(&self, held: &[DeliveryTag]) -> Result<LeaseReport> {
        if self.consumption.mailbox.lock().closed {
            return Ok(LeaseReport { lost: held.to_vec(), revoked: Vec::new() });
        }
        let (consumption, named, now) = (self.consumption.clone(), held.to_vec(), self.shared.now());
        let (report, revoked) = self
            .shared
            .writer
            .run("renew a lease", Durability::Relaxed, 1, move |tx| consumption.extend(tx, &named, now))
            .await?;
        let mut mailbox = self.consumption.mailbox.lock();
        mailbox.lease_until = now.saturating_add(self.consumption.lease_micros);
        revocations::mark(&mut mailbox.deliveries, &revoked);
        Ok(report)
    }

    async fn close(&self) -> Result<()> {
        self.consumption.close(&self.shared).await
    }
}

/// What a consumer is in this process.
///
/// Never holds the engine: a command that does might be the last to hold it, and the writer's thread would have to wait
/// for its own end.
pub(crate) struct Consumption {
    id: i64,
    lease_micros: i64,
    /// Replaced by `subscribe`, on the writer's thread.
    registration: Mutex<Arc<Registration>>,
    path: PathBuf,
    mailbox: Mutex<Mailbox>,
    changed: Notify,
}

impl Sleeper for Consumption {
    fn serves(&self, touched: &Touched) -> bool {
        self.registration().queues.iter().any(|queue| touched.queues.contains(queue))
    }

    fn wake(&self) {
        self.mailbox.lock().wanted = true;
        self.changed.notify_waiters();
    }

    fn has_reason(&self, conn: &Connection) -> bool {
        let known = {
            let mailbox = self.mailbox.lock();
            if mailbox.wanted || mailbox.claiming || !mailbox.deliveries.is_empty() {
                return true;
            }
            mailbox.next
        };
        // What cannot be read now is the claim's to tell.
        news(conn, &self.registration(), known).unwrap_or(true)
    }
}

fn check_queues(queues: &[QueueName], least: usize) -> Result<()> {
    if (least..=QUEUES_MAX).contains(&queues.len()) {
        return Ok(());
    }
    let count = queues.len();
    Err(Error::new(ErrorKind::Invalid, format!("consume from {count} queues: name {least} to {QUEUES_MAX}")))
}

impl Consumption {
    fn registration(&self) -> Arc<Registration> {
        self.registration.lock().clone()
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
        let (id, now) = (self.id, shared.now());
        // A claim that is on its way runs before this, and what it claims goes back too.
        shared
            .writer
            .run("close a consumer", Durability::Durable, 1, move |tx| release(tx, id, Release::Closed, now))
            .await
            .map(|_| ())
    }

    fn extend(
        &self,
        tx: &mut Tx<'_>,
        named: &[DeliveryTag],
        now: i64,
    ) -> Outcome<(LeaseReport, Vec<(DeliveryTag, Revocation)>)> {
        renew(tx, &self.registration(), now)?;
        self.drop_lost(tx)?;
        let lost = self.lost(tx, named)?;
        let of_held = revocations::of_held(tx, self.id, now)?;
        let revoked = of_held.iter().filter(|(tag, _)| named.contains(tag)).cloned().collect();
        Ok((LeaseReport { lost, revoked }, of_held))
    }

    /// Which of these are not held by this consumer any more.
    fn lost(&self, tx: &Tx<'_>, tags: &[DeliveryTag]) -> Outcome<Vec<DeliveryTag>> {
        let mut find =
            tx.statement("SELECT EXISTS (SELECT 1 FROM held WHERE consumer = ? AND key = ? AND attempt = ?)")?;
        let mut lost = Vec::new();
        for tag in tags {
            let held: bool = find.query_row((self.id, key_in(tag.key), tag.attempt), |row| row.get(0))?;
            if !held {
                lost.push(tag.clone());
            }
        }
        Ok(lost)
    }

    /// Drops what was claimed, never received, and swept away meanwhile. True when something is left to be received.
    fn drop_lost(&self, tx: &Tx<'_>) -> Outcome<bool> {
        let tags: Vec<DeliveryTag> =
            self.mailbox.lock().deliveries.iter().map(|delivery| delivery.tag.clone()).collect();
        let lost = self.lost(tx, &tags)?;
        let mut mailbox = self.mailbox.lock();
        mailbox.deliveries.retain(|delivery| !lost.contains(&delivery.tag));
        Ok(!mailbox.deliveries.is_empty())
    }
}

/// What waits for a `recv`, and what is known of the file.
struct Mailbox {
    deliveries: Vec<Delivery>,
    /// Why the last claim failed, for one `recv` to tell.
    failure: Option<Error>,
    /// There may be something to claim.
    wanted: bool,
    claiming: bool,
    closed: bool,
    /// When to look again by ourselves.
    next: Option<i64>,
    /// Until when what is held is surely ours.
    lease_until: i64,
    /// Which queue comes first at the next claim.
    turn: usize,
}

impl Default for Mailbox {
    fn default() -> Self {
        Self {
            deliveries: Vec::new(),
            failure: None,
            wanted: true,
            claiming: false,
            closed: false,
            next: None,
            lease_until: 0,
            turn: 0,
        }
    }
}

/// What a `recv` does next.
enum Look {
    Take(Result<Vec<Delivery>>),
    Claim,
    /// For a change, and until an instant if there is one.
    Wait(Option<i64>),
}

impl Mailbox {
    fn look(&mut self, limit: usize, now: i64) -> Look {
        if self.closed {
            return Look::Take(Ok(Vec::new()));
        }
        // Where nobody renewed, what lies here may be somebody else's by now: a claim finds out.
        let lapsed = now >= self.lease_until;
        if !lapsed && !self.deliveries.is_empty() {
            let rest = self.deliveries.split_off(limit.min(self.deliveries.len()));
            return Look::Take(Ok(std::mem::replace(&mut self.deliveries, rest)));
        }
        if let Some(failure) = self.failure.take() {
            return Look::Take(Err(failure));
        }
        match () {
            () if self.claiming => Look::Wait(None),
            () if self.wanted || !self.deliveries.is_empty() => Look::Claim,
            () => Look::Wait(self.next),
        }
    }

    /// Notes that a claim is on its way and gives its turn, unless one is already.
    fn begin(&mut self) -> Option<usize> {
        if self.claiming || self.closed {
            return None;
        }
        self.claiming = true;
        self.wanted = false;
        self.turn = self.turn.wrapping_add(1);
        Some(self.turn)
    }
}

/// A claim on its way through the writer.
struct Claim {
    consumption: Arc<Consumption>,
    limit: usize,
    turn: usize,
    now: i64,
    claimed: Option<Claimed>,
    finished: bool,
}

impl Command for Claim {
    fn durability(&self) -> Durability {
        Durability::Relaxed
    }

    fn rows(&self) -> usize {
        self.limit
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> Outcome<()> {
        let registration = self.consumption.registration();
        if self.consumption.mailbox.lock().closed {
            return Ok(());
        }
        sweep(tx, self.now)?;
        if self.consumption.drop_lost(tx)? {
            // Still ours after all, and not received yet: no more before these are.
            renew(tx, &registration, self.now)?;
            self.claimed = Some(Claimed { deliveries: Vec::new(), next: None });
            return Ok(());
        }
        self.claimed = Some(claim(tx, &registration, self.turn, self.limit, self.now)?);
        Ok(())
    }

    fn finish(mut self: Box<Self>, outcome: Result<(), Failure>) {
        self.finished = true;
        let claimed = self.claimed.take();
        {
            let mut mailbox = self.consumption.mailbox.lock();
            mailbox.claiming = false;
            match (outcome, claimed) {
                (Ok(()), Some(mut claimed)) if !mailbox.closed => {
                    if !claimed.deliveries.is_empty() || !mailbox.deliveries.is_empty() {
                        mailbox.wanted = true;
                        mailbox.lease_until = self.now.saturating_add(self.consumption.lease_micros);
                    }
                    mailbox.deliveries.append(&mut claimed.deliveries);
                    mailbox.next = claimed.next;
                }
                (Err(failure), _) => {
                    mailbox.wanted = true;
                    mailbox.failure = Some(failure.explain(CLAIM, &self.consumption.path));
                }
                // Closed meanwhile: what was claimed goes back with the closing, which is behind this in the queue.
                _ => {}
            }
        }
        self.consumption.changed.notify_waiters();
    }
}

impl Drop for Claim {
    /// A claim that the writer never got to (it has ended) must not leave a `recv` waiting for ever.
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        {
            let mut mailbox = self.consumption.mailbox.lock();
            mailbox.claiming = false;
            mailbox.wanted = true;
            let path = self.consumption.path.display();
            mailbox.failure = Some(Error::new(ErrorKind::Invalid, format!("{CLAIM} in {path}: the store is closed")));
        }
        self.consumption.changed.notify_waiters();
    }
}
