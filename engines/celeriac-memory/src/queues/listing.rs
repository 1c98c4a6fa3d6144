//! Looks at queues without taking anything, and empties them.

use std::{
    cmp::Reverse,
    ops::Bound::{Excluded, Unbounded},
};

use celeriac_core::{Peek, PeekState, Peeked, Priority, QueueDepth, QueueName, Timestamp};

use super::{Place, Queue, Queues, Waiting};
use crate::config::PAGE_MAX;

impl Queues {
    /// The numbers of these queues, or of all.
    pub(crate) fn depth(&self, queues: &[QueueName]) -> Vec<QueueDepth> {
        if queues.is_empty() {
            return self.names.values().map(|index| self.depth_of(&self.lines[*index])).collect();
        }
        let depth = |name: &QueueName| match self.names.get(name) {
            Some(index) => self.depth_of(&self.lines[*index]),
            None => QueueDepth { queue: name.clone(), ready: 0, held: 0, parked: 0, dead: 0, oldest_ready: None },
        };
        queues.iter().map(depth).collect()
    }

    /// Lists waiting messages by key. Goes through all of them from `after` on until the page is full.
    pub(crate) fn peek(&self, peek: &Peek) -> Vec<Peeked> {
        let queue = match &peek.queue {
            None => None,
            Some(name) => match self.names.get(name) {
                Some(index) => Some(*index),
                None => return Vec::new(),
            },
        };
        self.messages
            .range((Excluded(peek.after.unwrap_or(0)), Unbounded))
            .filter(|(_, waiting)| queue.is_none_or(|queue| queue == waiting.queue))
            .filter(|(_, waiting)| peek.state.is_none_or(|state| state == waiting.state()))
            .filter(|(_, waiting)| peek.task_id.as_ref().is_none_or(|id| *id == waiting.task_id))
            .filter(|(_, waiting)| peek.task.as_ref().is_none_or(|task| *task == waiting.task))
            .take(peek.limit.clamp(1, PAGE_MAX))
            .map(|(key, waiting)| self.peeked(*key, waiting))
            .collect()
    }

    /// Removes everything that is ready or parked in a queue.
    pub(crate) fn purge(&mut self, queue: &QueueName) -> u64 {
        let Some(&index) = self.names.get(queue) else { return 0 };
        let mut removed: Vec<u64> = std::mem::take(&mut self.lines[index].ready).into_values().collect();
        if self.lines[index].parked > 0 {
            self.lines[index].parked = 0;
            let Self { parked, messages, .. } = self;
            parked.retain(|(_, key)| {
                let stays = messages[key].queue != index;
                if !stays {
                    removed.push(*key);
                }
                stays
            });
        }
        for key in &removed {
            let waiting = self.messages.remove(key).expect("what waits is a message");
            self.bytes -= waiting.message.len_bytes();
        }
        removed.len() as u64
    }

    fn depth_of(&self, queue: &Queue) -> QueueDepth {
        QueueDepth {
            queue: queue.name.clone(),
            ready: queue.ready.len() as u64,
            held: queue.held,
            parked: queue.parked,
            dead: queue.dead,
            oldest_ready: self.oldest_ready(queue),
        }
    }

    /// The earliest among the first ones of each priority: within a priority, earlier positions are older.
    fn oldest_ready(&self, queue: &Queue) -> Option<Timestamp> {
        let mut oldest: Option<Timestamp> = None;
        let mut next = queue.ready.first_key_value();
        while let Some((&(Reverse(priority), _), key)) = next {
            if let Place::Ready(turn) = self.messages[key].place {
                oldest = Some(oldest.map_or(turn.since, |oldest| oldest.min(turn.since)));
            }
            let Some(lower) = priority.0.checked_sub(1) else { break };
            next = queue.ready.range((Reverse(Priority(lower)), 0)..).next();
        }
        oldest
    }

    fn peeked(&self, key: u64, waiting: &Waiting) -> Peeked {
        let (due, holder) = match waiting.place {
            Place::Ready(_) => (None, None),
            Place::Held { by, .. } => (None, self.holder_name(by)),
            Place::Parked { due } => (Some(due), None),
        };
        Peeked {
            key,
            task_id: waiting.task_id.clone(),
            task: waiting.task.clone(),
            queue: self.lines[waiting.queue].name.clone(),
            priority: waiting.priority,
            state: waiting.state(),
            due,
            published_at: waiting.published_at,
            attempt: waiting.attempt,
            holder,
            message: waiting.message.clone(),
        }
    }
}

impl Waiting {
    fn state(&self) -> PeekState {
        match self.place {
            Place::Ready(_) => PeekState::Ready,
            Place::Held { .. } => PeekState::Held,
            Place::Parked { .. } => PeekState::Parked,
        }
    }
}
