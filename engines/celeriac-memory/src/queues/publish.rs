//! Puts messages into their queues.

use celeriac_core::{Accepted, Publication, Result, Timestamp};

use super::{Place, Queues, Turn, Waiting};
use crate::config::{check_room, check_size};

impl Queues {
    /// Publishes all of the batch or, on an error, nothing of it.
    pub(crate) fn publish(&mut self, batch: Vec<Publication>, now: Timestamp) -> Result<Vec<Accepted>> {
        self.unique.forget_expired(now);
        self.check(&batch)?;
        batch.into_iter().map(|publication| self.accept(publication, now)).collect()
    }

    /// Refuses a message that is too large.
    pub(crate) fn check_message(&self, publication: &Publication) -> Result<()> {
        let unique_bytes = publication.unique.as_ref().map_or(0, |unique| unique.key.len());
        check_size("a unique key", unique_bytes, "KEY_BYTES_MAX", crate::config::KEY_BYTES_MAX)?;
        self.check_message_size(publication.message.len_bytes())
    }

    pub(super) fn check_message_size(&self, bytes: usize) -> Result<()> {
        check_size("a message", bytes, "message_bytes_max", self.limits.message_bytes_max)
    }

    fn check(&mut self, batch: &[Publication]) -> Result<()> {
        let mut bytes = 0;
        let mut keys = 0;
        for publication in batch {
            self.check_message(publication)?;
            bytes += publication.message.len_bytes();
            keys += usize::from(publication.unique.is_some());
        }
        // Counted before duplicates are known: a batch that may not fit is refused as a whole.
        self.check_messages_room(batch.len(), bytes)?;
        let facts_max = self.limits.facts_max;
        check_room("unique keys", self.unique.len() + keys <= facts_max, "facts_max", facts_max)?;
        batch.iter().try_for_each(|publication| self.index(&publication.queue).map(|_| ()))
    }

    fn accept(&mut self, publication: Publication, now: Timestamp) -> Result<Accepted> {
        if let Some(unique) = publication.unique {
            if let Some(holder) = self.unique.get(&unique.key, now) {
                return Ok(Accepted::Duplicate(holder.clone()));
            }
            let until = now.saturating_add(unique.window).unwrap_or(Timestamp::MAX);
            self.unique.insert(unique.key, publication.task_id.clone(), until);
        }
        let key = self.next_key();
        let place = match publication.due {
            Some(due) if due > now => Place::Parked { due },
            _ => Place::Ready(Turn { position: key, since: now }),
        };
        let waiting = Waiting {
            task_id: publication.task_id,
            task: publication.task,
            queue: self.index(&publication.queue)?,
            priority: publication.priority,
            published_at: now,
            attempt: 0,
            losses: 0,
            redelivered: false,
            place,
            message: publication.message,
        };
        self.put(key, waiting);
        Ok(Accepted::Queued)
    }
}
