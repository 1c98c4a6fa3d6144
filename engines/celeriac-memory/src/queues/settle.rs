//! Settles deliveries.

use std::mem;

use celeriac_core::{DeliveryTag, Message, Result, Settled, Settlement, Timestamp};

use super::{Place, Queues, Waiting};

impl Queues {
    /// Settles a batch. Never fails for want of room: what is held has its place already.
    ///
    /// # Errors
    /// `TooLarge` when a message to be parked is; nothing was settled then.
    pub(crate) fn settle(&mut self, consumer: u64, batch: Vec<Settlement>, now: Timestamp) -> Result<Vec<Settled>> {
        for settlement in &batch {
            if let Settlement::Park { message: Some(message), .. } = settlement {
                self.check_message_size(message.len_bytes())?;
            }
        }
        Ok(batch.into_iter().map(|settlement| self.settle_one(consumer, settlement, now)).collect())
    }

    fn settle_one(&mut self, consumer: u64, settlement: Settlement, now: Timestamp) -> Settled {
        if !self.take_back(consumer, settlement.tag()) {
            return Settled::Stale;
        }
        match settlement {
            Settlement::Ack(tag) => {
                self.remove_held(tag.key);
            }
            Settlement::Requeue(tag) => self.put_back(tag.key),
            Settlement::Lost(tag) => {
                let waiting = self.messages.get_mut(&tag.key).expect("what is held is a message");
                waiting.losses += 1;
                waiting.redelivered = true;
                self.put_back(tag.key);
            }
            Settlement::Park { tag, until, message } => self.park(tag.key, until, message, now),
            Settlement::Dead { tag, reason, detail } => {
                let waiting = self.remove_held(tag.key);
                self.die(waiting, reason, &detail, now);
            }
        }
        Settled::Done
    }

    /// Takes a delivery out of its holder's hands; false when it is not there.
    fn take_back(&mut self, consumer: u64, tag: &DeliveryTag) -> bool {
        let held = self.holds(consumer, tag);
        if held {
            let holder = self.holders.get_mut(&consumer).expect("who holds something is registered");
            holder.held.remove(&tag.key);
        }
        held
    }

    fn remove_held(&mut self, key: u64) -> Waiting {
        let waiting = self.messages.remove(&key).expect("what is held is a message");
        self.lines[waiting.queue].held -= 1;
        self.bytes -= waiting.message.len_bytes();
        waiting
    }

    fn park(&mut self, key: u64, until: Timestamp, message: Option<Message>, now: Timestamp) {
        let waiting = self.messages.get_mut(&key).expect("what is held is a message");
        if let Some(message) = message {
            self.bytes += message.len_bytes();
            let before = mem::replace(&mut waiting.message, message);
            self.bytes -= before.len_bytes();
        }
        // This holder has settled it: whatever happened before is over.
        waiting.redelivered = false;
        waiting.place = Place::Parked { due: until };
        let queue = &mut self.lines[waiting.queue];
        queue.held -= 1;
        queue.parked += 1;
        if until <= now {
            self.make_ready(key, now);
        } else {
            self.parked.insert((until, key));
        }
    }
}
