//! What the worker has in hand: who asks, what must be renewed, what runs. Bounded by the credit.

use std::collections::{BTreeMap, HashMap};

use celeriac_core::{Delivery, DeliveryTag, Message, Priority, QueueName, TaskId, Timestamp};
use parking_lot::Mutex;

/// The deliveries in this worker's hands.
#[derive(Debug, Default)]
pub(crate) struct Roster(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    in_hand: HashMap<DeliveryTag, InHand>,
    /// Tasks begun since the start, by name.
    begun: BTreeMap<&'static str, u64>,
}

/// One delivery in hand.
#[derive(Clone, Debug)]
pub(crate) struct InHand {
    pub(crate) task_id: TaskId,
    pub(crate) queue: QueueName,
    pub(crate) priority: Priority,
    pub(crate) redelivered: bool,
    pub(crate) message: Message,
    /// Since when it runs.
    pub(crate) running_since: Option<Timestamp>,
    /// Settled before its run.
    pub(crate) acknowledged: bool,
}

impl Roster {
    /// Notes what was claimed.
    pub(crate) fn add(&self, batch: &[Delivery]) {
        self.0.lock().in_hand.extend(batch.iter().map(|it| {
            let in_hand = InHand {
                task_id: it.task_id.clone(),
                queue: it.queue.clone(),
                priority: it.priority,
                redelivered: it.redelivered,
                message: it.message.clone(),
                running_since: None,
                acknowledged: false,
            };
            (it.tag.clone(), in_hand)
        }));
    }

    /// Notes that one begins to run.
    pub(crate) fn begin(&self, tag: &DeliveryTag, task: &'static str, now: Timestamp) {
        let mut state = self.0.lock();
        *state.begun.entry(task).or_default() += 1;
        if let Some(it) = state.in_hand.get_mut(tag) {
            it.running_since = Some(now);
        }
    }

    /// Notes that one is settled before its run: it is not held any more, and still in hand.
    pub(crate) fn acknowledge(&self, tag: &DeliveryTag) {
        if let Some(it) = self.0.lock().in_hand.get_mut(tag) {
            it.acknowledged = true;
        }
    }

    /// Forgets what is settled.
    pub(crate) fn remove<'a>(&self, tags: impl IntoIterator<Item = &'a DeliveryTag>) {
        let mut state = self.0.lock();
        for tag in tags {
            state.in_hand.remove(tag);
        }
    }

    /// What is held under the lease.
    pub(crate) fn leased(&self) -> Vec<DeliveryTag> {
        self.pick(|tag, it| (!it.acknowledged).then(|| tag.clone()))
    }

    /// What was settled before its run: no lease tells of its revocation.
    pub(crate) fn early(&self) -> Vec<(TaskId, DeliveryTag)> {
        self.pick(|tag, it| it.acknowledged.then(|| (it.task_id.clone(), tag.clone())))
    }

    /// One delivery in hand.
    pub(crate) fn get(&self, tag: &DeliveryTag) -> Option<InHand> {
        self.0.lock().in_hand.get(tag).cloned()
    }

    /// Everything in hand.
    pub(crate) fn all(&self) -> Vec<(DeliveryTag, InHand)> {
        self.pick(|tag, it| Some((tag.clone(), it.clone())))
    }

    /// Something of each, in the order of the tags: a run with the same seed is the same run.
    fn pick<T>(&self, what: impl Fn(&DeliveryTag, &InHand) -> Option<T>) -> Vec<T> {
        let state = self.0.lock();
        let mut picked: Vec<_> = state.in_hand.iter().filter_map(|(tag, it)| Some((tag, what(tag, it)?))).collect();
        picked.sort_unstable_by_key(|(tag, _)| (tag.key, tag.attempt));
        picked.into_iter().map(|(_, it)| it).collect()
    }

    /// How many of each task were begun since the start.
    pub(crate) fn begun(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().begun.clone()
    }
}
