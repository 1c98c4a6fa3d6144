//! The dead set.

use celeriac_core::{
    DeadEntry, DeadQuery, DeadReason, Error, ErrorKind, Message, Priority, Publication, Result, Timestamp,
};

use super::{Place, Queues, Turn, Waiting};
use crate::config::PAGE_MAX;

/// The longest detail that is kept, in characters.
const DETAIL_CHARS_MAX: usize = 10_000;

/// A dead message, with what it needs to live again.
pub(super) struct Dead {
    entry: DeadEntry,
    priority: Priority,
    published_at: Timestamp,
}

impl Queues {
    /// Puts a message that never was a delivery into the dead set.
    pub(crate) fn bury(
        &mut self,
        publication: Publication,
        reason: DeadReason,
        detail: &str,
        now: Timestamp,
    ) -> Result<()> {
        self.check_message(&publication)?;
        self.check_messages_room(1, publication.message.len_bytes())?;
        let waiting = Waiting {
            task_id: publication.task_id,
            task: publication.task,
            queue: self.index(&publication.queue)?,
            priority: publication.priority,
            published_at: now,
            attempt: 0,
            losses: 0,
            redelivered: false,
            place: Place::Parked { due: now },
            message: publication.message,
        };
        self.die(waiting, reason, detail, now);
        Ok(())
    }

    /// Puts a message, already out of its place, into the dead set.
    pub(super) fn die(&mut self, waiting: Waiting, reason: DeadReason, detail: &str, now: Timestamp) {
        let number = self.next_key();
        let queue = &mut self.lines[waiting.queue];
        queue.dead += 1;
        self.bytes += waiting.message.len_bytes();
        let entry = DeadEntry {
            entry: number,
            task_id: waiting.task_id,
            task: Some(waiting.task),
            queue: queue.name.clone(),
            reason,
            detail: detail.chars().take(DETAIL_CHARS_MAX).collect(),
            died_at: now,
            attempt: waiting.attempt,
            message: waiting.message,
        };
        self.dead.insert(number, Dead { entry, priority: waiting.priority, published_at: waiting.published_at });
    }

    /// Lists dead messages, newest first.
    pub(crate) fn dead(&self, query: &DeadQuery) -> Vec<DeadEntry> {
        self.dead
            .range(..query.before.unwrap_or(u64::MAX))
            .rev()
            .map(|(_, dead)| &dead.entry)
            .filter(|entry| query.queue.as_ref().is_none_or(|queue| *queue == entry.queue))
            .filter(|entry| query.task.is_none() || query.task == entry.task)
            .filter(|entry| query.task_id.as_ref().is_none_or(|id| *id == entry.task_id))
            .take(query.limit.clamp(1, PAGE_MAX))
            .cloned()
            .collect()
    }

    /// Puts dead messages back into their queues.
    pub(crate) fn replay(&mut self, entries: &[u64], edited: Option<&Message>, now: Timestamp) -> Result<u64> {
        if let Some(message) = edited {
            if entries.len() != 1 {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!("replay {} dead messages with one edited message: name one entry", entries.len()),
                ));
            }
            self.check_message_size(message.len_bytes())?;
            self.check_messages_room(0, message.len_bytes())?;
        }
        let mut found = 0;
        for number in entries {
            let Some(Dead { entry, priority, published_at }) = self.remove_dead(*number) else { continue };
            found += 1;
            let key = self.next_key();
            let waiting = Waiting {
                task_id: entry.task_id,
                task: entry.task.expect("the store knows every dead message's task"),
                queue: self.index(&entry.queue)?,
                priority,
                published_at,
                attempt: entry.attempt,
                losses: 0,
                redelivered: false,
                place: Place::Ready(Turn { position: key, since: now }),
                message: edited.cloned().unwrap_or(entry.message),
            };
            self.put(key, waiting);
        }
        Ok(found)
    }

    /// Removes dead messages for good.
    pub(crate) fn drop_dead(&mut self, entries: &[u64]) -> u64 {
        entries.iter().filter_map(|number| self.remove_dead(*number)).count() as u64
    }

    fn remove_dead(&mut self, number: u64) -> Option<Dead> {
        let dead = self.dead.remove(&number)?;
        self.bytes -= dead.entry.message.len_bytes();
        let index = self.names[&dead.entry.queue];
        self.lines[index].dead -= 1;
        Some(dead)
    }
}
