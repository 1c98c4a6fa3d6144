//! The queues: every message is in one place, and each step moves it from one to another.
//!
//! ```text
//!  publish ──► ready ──claim──► held ──settle──► gone | dead
//!     │          ▲               │ │                    │
//!     └► parked ─┘ due           │ └─ park ──► parked   └─ replay ──► ready
//!                ▲── requeue, lapse, close ┘
//! ```
//!
//! Everything here is synchronous and takes the time as a value; [`Store::queues`](crate::store::Store::queues) gives
//! the lock and the instant, and wakes the sleepers. A claim costs O(log n).

mod claim;
mod dead;
mod listing;
mod publish;
mod settle;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    mem,
};

use celeriac_core::{Message, Priority, QueueName, Result, Revocation, TaskId, TaskName, Timestamp};

pub(crate) use self::claim::Registration;
use self::{claim::Holder, dead::Dead};
use crate::{Limits, config::check_room, expiring::Expiring};

/// All queues of a store, and what belongs to them.
pub(crate) struct Queues {
    limits: Limits,
    names: BTreeMap<QueueName, QueueIndex>,
    lines: Vec<Queue>,
    /// Ready, held and parked ones. A key is never used again.
    messages: BTreeMap<u64, Waiting>,
    parked: BTreeSet<(Timestamp, u64)>,
    /// Those whose lease has not lapsed.
    holders: BTreeMap<u64, Holder>,
    lapses: BTreeSet<(Timestamp, u64)>,
    dead: BTreeMap<u64, Dead>,
    unique: Expiring<String, TaskId>,
    revocations: Expiring<TaskId, Revocation>,
    bytes: usize,
    last_key: u64,
    news: bool,
}

type QueueIndex = usize;

/// One queue. What is dead or held is only counted here.
struct Queue {
    name: QueueName,
    /// Highest priority first, then by position.
    ready: BTreeMap<(Reverse<Priority>, u64), u64>,
    held: u64,
    parked: u64,
    dead: u64,
}

/// A message that waits or is held.
struct Waiting {
    task_id: TaskId,
    task: TaskName,
    queue: QueueIndex,
    priority: Priority,
    published_at: Timestamp,
    attempt: u32,
    losses: u32,
    redelivered: bool,
    place: Place,
    message: Message,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Ready(Turn),
    Held { by: u64, turn: Turn, begun: bool },
    Parked { due: Timestamp },
}

/// A place in line. It is kept while the message is held, so that what comes back comes before all that arrived later.
#[derive(Clone, Copy, Debug)]
struct Turn {
    position: u64,
    since: Timestamp,
}

impl Queues {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            names: BTreeMap::new(),
            lines: Vec::new(),
            messages: BTreeMap::new(),
            parked: BTreeSet::new(),
            holders: BTreeMap::new(),
            lapses: BTreeSet::new(),
            dead: BTreeMap::new(),
            unique: Expiring::new(),
            revocations: Expiring::new(),
            bytes: 0,
            last_key: 0,
            news: false,
        }
    }

    /// When something will happen by itself: a due time, or the lapse of a lease under which something is held.
    pub(crate) fn next_instant(&self) -> Option<Timestamp> {
        let due = self.parked.first().map(|(due, _)| *due);
        let holding = |id: &u64| self.holders.get(id).is_some_and(|holder| !holder.held.is_empty());
        let lapse = self.lapses.iter().find(|(_, id)| holding(id)).map(|(until, _)| *until);
        due.into_iter().chain(lapse).min()
    }

    /// Lets happen what was to happen until now.
    pub(crate) fn catch_up(&mut self, now: Timestamp) {
        while let Some(&(until, holder)) = self.lapses.first()
            && until <= now
        {
            self.let_go(holder, claim::Why::Lapsed);
        }
        while let Some(&(due, key)) = self.parked.first()
            && due <= now
        {
            self.parked.pop_first();
            self.make_ready(key, due);
        }
    }

    /// True when something became ready since the last time.
    pub(crate) fn take_news(&mut self) -> bool {
        mem::take(&mut self.news)
    }

    pub(crate) fn declare(&mut self, queues: &[QueueName]) -> Result<()> {
        queues.iter().try_for_each(|queue| self.index(queue).map(|_| ()))
    }

    /// Stores that tasks shall not run.
    pub(crate) fn revoke(&mut self, batch: Vec<Revocation>, now: Timestamp) -> Result<()> {
        self.revocations.forget_expired(now);
        let max = self.limits.facts_max;
        check_room("revocations", self.revocations.len() + batch.len() <= max, "facts_max", max)?;
        for fact in batch {
            let expires = fact.expires;
            self.revocations.insert(fact.task_id.clone(), fact, expires);
        }
        Ok(())
    }

    pub(crate) fn revocation(&self, id: &TaskId, now: Timestamp) -> Option<Revocation> {
        self.revocations.get(id, now).cloned()
    }

    /// The queue of this name, made where there is none.
    fn index(&mut self, name: &QueueName) -> Result<QueueIndex> {
        if let Some(index) = self.names.get(name) {
            return Ok(*index);
        }
        let index = self.lines.len();
        check_room("queues", index < self.limits.queues_max, "queues_max", self.limits.queues_max)?;
        self.names.insert(name.clone(), index);
        self.lines.push(Queue { name: name.clone(), ready: BTreeMap::new(), held: 0, parked: 0, dead: 0 });
        Ok(index)
    }

    fn next_key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }

    /// Puts a parked message, already out of `parked`, at the end of the line.
    fn make_ready(&mut self, key: u64, since: Timestamp) {
        let turn = Turn { position: self.next_key(), since };
        let waiting = self.messages.get_mut(&key).expect("a parked key names a message");
        waiting.place = Place::Ready(turn);
        let queue = &mut self.lines[waiting.queue];
        queue.parked -= 1;
        queue.ready.insert((Reverse(waiting.priority), turn.position), key);
        self.news = true;
    }

    /// Adds a message in its place. There must be room.
    fn put(&mut self, key: u64, waiting: Waiting) {
        self.bytes += waiting.message.len_bytes();
        let queue = &mut self.lines[waiting.queue];
        match waiting.place {
            Place::Ready(turn) => {
                queue.ready.insert((Reverse(waiting.priority), turn.position), key);
                self.news = true;
            }
            Place::Parked { due } => {
                queue.parked += 1;
                self.parked.insert((due, key));
            }
            Place::Held { .. } => unreachable!("a message is held only after it was ready"),
        }
        self.messages.insert(key, waiting);
    }

    /// Checks that so many more messages and bytes have room, dead ones counted.
    fn check_messages_room(&self, more: usize, bytes: usize) -> Result<()> {
        let Limits { messages_max, messages_bytes_max, .. } = self.limits;
        let messages = self.messages.len() + self.dead.len() + more;
        check_room("messages", messages <= messages_max, "messages_max", messages_max)?;
        let room = self.bytes.saturating_add(bytes) <= messages_bytes_max;
        check_room("bytes of messages", room, "messages_bytes_max", messages_bytes_max)
    }
}
