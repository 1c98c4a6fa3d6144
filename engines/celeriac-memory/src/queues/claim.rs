//! Who holds what, and for how long.

use std::{cmp::Reverse, collections::BTreeSet, sync::Arc, time::Duration};

use celeriac_core::{
    ConsumerInfo, Delivery, DeliveryTag, LeaseReport, QueueName, Result, Revocation, TaskId, Timestamp, WorkerName,
};

use super::{Place, QueueIndex, Queues, Waiting};
use crate::config::check_room;

/// A consumer as it registered.
pub(crate) struct Registration {
    /// Its identity, and a part of its `start_id`.
    pub(crate) id: u64,
    /// The connection it goes down with.
    pub(crate) connection: u64,
    worker: WorkerName,
    queues: Vec<QueueName>,
    indexes: Vec<QueueIndex>,
    lease: Duration,
    started_at: Timestamp,
}

/// A consumer whose lease has not lapsed.
pub(super) struct Holder {
    registration: Arc<Registration>,
    lease_until: Timestamp,
    pub(super) held: BTreeSet<u64>,
    /// Which queue comes first at the next claim.
    turn: usize,
}

/// Why a consumer lets go of what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Its lease lapsed: counts as a loss.
    Lapsed,
    /// It handed back: counts nothing.
    Closed,
}

impl Queues {
    /// Registers a consumer with a fresh identity.
    pub(crate) fn register(
        &mut self,
        connection: u64,
        worker: WorkerName,
        queues: Vec<QueueName>,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Arc<Registration>> {
        let max = self.limits.consumers_max;
        check_room("consumers", self.holders.len() < max, "consumers_max", max)?;
        let indexes = queues.iter().map(|queue| self.index(queue)).collect::<Result<_>>()?;
        let id = self.next_key();
        let registration = Arc::new(Registration { id, connection, worker, queues, indexes, lease, started_at: now });
        self.renew(&registration, now);
        Ok(registration)
    }

    /// The same consumer, serving other queues from now on.
    pub(crate) fn subscribe(
        &mut self,
        consumer: &Arc<Registration>,
        queues: Vec<QueueName>,
        now: Timestamp,
    ) -> Result<Arc<Registration>> {
        let indexes = queues.iter().map(|queue| self.index(queue)).collect::<Result<_>>()?;
        let changed = Arc::new(Registration { worker: consumer.worker.clone(), queues, indexes, ..**consumer });
        self.renew(&changed, now).registration = changed.clone();
        self.news = true;
        Ok(changed)
    }

    /// Claims up to `limit` messages. The consumer's queues take turns, one message each.
    pub(crate) fn claim(&mut self, consumer: &Arc<Registration>, limit: usize, now: Timestamp) -> Vec<Delivery> {
        let indexes = &consumer.indexes;
        let mut turn = self.holders.get(&consumer.id).map_or(0, |holder| holder.turn);
        let mut deliveries = Vec::new();
        let mut empty_in_a_row = 0;
        while deliveries.len() < limit && empty_in_a_row < indexes.len() {
            match self.claim_first(indexes[turn % indexes.len()], consumer.id, now) {
                Some(delivery) => {
                    deliveries.push(delivery);
                    empty_in_a_row = 0;
                }
                None => empty_in_a_row += 1,
            }
            turn = turn.wrapping_add(1);
        }
        if deliveries.is_empty() {
            return deliveries;
        }
        // The new deliveries have their full lease; the old ones share it.
        let holder = self.renew(consumer, now);
        holder.turn = turn;
        holder.held.extend(deliveries.iter().map(|delivery| delivery.tag.key));
        deliveries
    }

    /// Renews a lease, and tells which of these deliveries are lost or revoked.
    pub(crate) fn extend(&mut self, consumer: &Arc<Registration>, tags: &[DeliveryTag], now: Timestamp) -> LeaseReport {
        self.renew(consumer, now);
        let mut report = LeaseReport::default();
        for tag in tags {
            if !self.holds(consumer.id, tag) {
                report.lost.push(tag.clone());
            } else if let Some(fact) = self.concerning(&self.messages[&tag.key].task_id, tag.attempt, now) {
                report.revoked.push((tag.clone(), fact));
            }
        }
        report
    }

    /// Notes that deliveries begin to run that were lost before.
    pub(crate) fn begin(&mut self, consumer: u64, tags: &[DeliveryTag]) {
        for tag in tags {
            if self.holds(consumer, tag)
                && let Some(Waiting { place: Place::Held { begun, .. }, .. }) = self.messages.get_mut(&tag.key)
            {
                *begun = true;
            }
        }
    }

    /// Gives up a consumer: what it holds goes back, uncounted.
    pub(crate) fn unregister(&mut self, consumer: u64) {
        self.let_go(consumer, Why::Closed);
    }

    /// Gives up every consumer of a connection.
    pub(crate) fn unregister_all(&mut self, connection: u64) {
        let consumers: Vec<u64> = self
            .holders
            .iter()
            .filter(|(_, holder)| holder.registration.connection == connection)
            .map(|(id, _)| *id)
            .collect();
        for consumer in consumers {
            self.unregister(consumer);
        }
    }

    pub(crate) fn consumers(&self) -> Vec<ConsumerInfo> {
        self.holders
            .values()
            .map(|Holder { registration, lease_until, held, .. }| ConsumerInfo {
                worker: registration.worker.clone(),
                start_id: format!("{:x}", registration.id),
                queues: registration.queues.clone(),
                held: held.len() as u64,
                started_at: registration.started_at,
                lease_until: *lease_until,
            })
            .collect()
    }

    pub(super) fn holder_name(&self, consumer: u64) -> Option<WorkerName> {
        self.holders.get(&consumer).map(|holder| holder.registration.worker.clone())
    }

    /// True when this consumer holds this very attempt.
    pub(super) fn holds(&self, consumer: u64, tag: &DeliveryTag) -> bool {
        self.messages.get(&tag.key).is_some_and(|waiting| {
            waiting.attempt == tag.attempt && matches!(waiting.place, Place::Held { by, .. } if by == consumer)
        })
    }

    /// Puts back what a consumer holds, each message to its old place in line, and forgets the consumer.
    pub(super) fn let_go(&mut self, consumer: u64, why: Why) {
        let Some(holder) = self.holders.remove(&consumer) else { return };
        self.lapses.remove(&(holder.lease_until, consumer));
        for key in holder.held {
            let waiting = self.messages.get_mut(&key).expect("what is held is a message");
            let begun = matches!(waiting.place, Place::Held { begun: true, .. });
            // The first loss makes it a suspect; whoever only waited in a lost worker's hands is not convicted by more.
            waiting.losses += u32::from(why == Why::Lapsed && (begun || waiting.losses == 0));
            waiting.redelivered = true;
            self.put_back(key);
        }
    }

    /// Moves a held message, already out of its holder's hands, to its old place in line.
    pub(super) fn put_back(&mut self, key: u64) {
        let waiting = self.messages.get_mut(&key).expect("what is held is a message");
        let Place::Held { turn, .. } = waiting.place else { unreachable!("only what is held is put back") };
        waiting.place = Place::Ready(turn);
        let queue = &mut self.lines[waiting.queue];
        queue.held -= 1;
        queue.ready.insert((Reverse(waiting.priority), turn.position), key);
        self.news = true;
    }

    /// Lets the consumer's lease begin anew, also when it had lapsed.
    fn renew(&mut self, consumer: &Arc<Registration>, now: Timestamp) -> &mut Holder {
        let lease_until = now.saturating_add(consumer.lease).unwrap_or(Timestamp::MAX);
        let holder = self.holders.entry(consumer.id).or_insert_with(|| Holder {
            registration: consumer.clone(),
            lease_until,
            held: BTreeSet::new(),
            turn: 0,
        });
        self.lapses.remove(&(holder.lease_until, consumer.id));
        holder.lease_until = lease_until;
        self.lapses.insert((lease_until, consumer.id));
        holder
    }

    fn claim_first(&mut self, index: QueueIndex, consumer: u64, now: Timestamp) -> Option<Delivery> {
        let queue = &mut self.lines[index];
        let (_, key) = queue.ready.pop_first()?;
        queue.held += 1;
        let waiting = self.messages.get_mut(&key).expect("a ready key names a message");
        let Place::Ready(turn) = waiting.place else { unreachable!("what is in line is ready") };
        waiting.place = Place::Held { by: consumer, turn, begun: false };
        waiting.attempt += 1;
        let mut delivery = Delivery {
            tag: DeliveryTag { key, attempt: waiting.attempt },
            task_id: waiting.task_id.clone(),
            task: waiting.task.clone(),
            queue: queue.name.clone(),
            priority: waiting.priority,
            redelivered: waiting.redelivered,
            losses: waiting.losses,
            published_at: waiting.published_at,
            revoked: None,
            message: waiting.message.clone(),
        };
        delivery.revoked = self.concerning(&delivery.task_id, delivery.tag.attempt, now);
        Some(delivery)
    }

    /// The revocation that means this attempt of a task.
    fn concerning(&self, id: &TaskId, attempt: u32, now: Timestamp) -> Option<Revocation> {
        self.revocation(id, now).filter(|fact| fact.attempt.is_none_or(|meant| meant == attempt))
    }
}
