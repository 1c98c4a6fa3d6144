//! Settles deliveries.

use celeriac_core::{DeadReason, DeliveryTag, Message, Settled, Settlement};
use rusqlite::{CachedStatement, OptionalExtension, params};

use super::{
    dead,
    place::{Parked, Waiting},
};
use crate::{
    errors::Outcome,
    layout::{key_in, micros},
    tx::Tx,
};

/// Settles a consumer's batch. What is not held under its tag any more is stale and stays as it is.
pub(super) fn settle(tx: &mut Tx<'_>, consumer: i64, batch: Vec<Settlement>, now: i64) -> Outcome<Vec<Settled>> {
    let mut settling = Settling {
        consumer,
        now,
        let_go: tx.statement("DELETE FROM held WHERE consumer = ? AND key = ? AND attempt = ?")?,
        remove: tx.statement("DELETE FROM messages WHERE key = ?")?,
    };
    let mut settled = Vec::with_capacity(batch.len());
    for settlement in batch {
        let done = match settlement {
            Settlement::Ack(tag) => settling.ack(&tag)?,
            Settlement::Requeue(tag) => settling.put_back(tx, &tag, false)?,
            Settlement::Lost(tag) => settling.put_back(tx, &tag, true)?,
            Settlement::Park { tag, until, message } => settling.park(tx, &tag, micros(until), message.as_ref())?,
            Settlement::Dead { tag, reason, detail } => settling.bury(tx, &tag, &reason, &detail)?,
        };
        settled.push(if done { Settled::Done } else { Settled::Stale });
    }
    Ok(settled)
}

struct Settling<'conn> {
    consumer: i64,
    now: i64,
    let_go: CachedStatement<'conn>,
    remove: CachedStatement<'conn>,
}

/// The place of a held message.
struct Place {
    queue: String,
    priority: i64,
    position: i64,
}

impl Settling<'_> {
    fn ack(&mut self, tag: &DeliveryTag) -> Outcome<bool> {
        Ok(self.let_go(tag)? && self.remove.execute([key_in(tag.key)])? == 1)
    }

    fn put_back(&mut self, tx: &mut Tx<'_>, tag: &DeliveryTag, lost: bool) -> Outcome<bool> {
        let Some(place) = self.take(tx, tag)? else { return Ok(false) };
        let key = key_in(tag.key);
        tx.statement(
            "UPDATE messages SET attempts = ?1, losses = losses + ?2, redelivered = redelivered OR ?2 WHERE key = ?3",
        )?
        .execute((tag.attempt, lost, key))?;
        // Its old position is in front of all that were not claimed before it.
        Waiting::prepare(tx)?.put(&place.queue, place.priority, place.position, key, self.now)?;
        tx.touch_queue(&place.queue);
        Ok(true)
    }

    fn park(&mut self, tx: &mut Tx<'_>, tag: &DeliveryTag, until: i64, message: Option<&Message>) -> Outcome<bool> {
        let Some(place) = self.take(tx, tag)? else { return Ok(false) };
        let key = key_in(tag.key);
        match message {
            Some(message) => tx
                .statement(
                    "UPDATE messages SET attempts = ?, redelivered = 0, due = ?, headers = ?, properties = ?, body = ? \
                     WHERE key = ?",
                )?
                .execute(params![tag.attempt, until, &*message.headers, &*message.properties, &*message.body, key])?,
            None => tx
                .statement("UPDATE messages SET attempts = ?, redelivered = 0, due = ? WHERE key = ?")?
                .execute((tag.attempt, until, key))?,
        };
        Parked::prepare(tx)?.put(&place.queue, until, key, place.priority)?;
        tx.touch_queue(&place.queue);
        Ok(true)
    }

    fn bury(&mut self, tx: &mut Tx<'_>, tag: &DeliveryTag, reason: &DeadReason, detail: &str) -> Outcome<bool> {
        if !self.let_go(tag)? {
            return Ok(false);
        }
        let key = key_in(tag.key);
        dead::move_message(tx, key, tag.attempt, reason, detail, self.now)?;
        self.remove.execute([key])?;
        Ok(true)
    }

    fn let_go(&mut self, tag: &DeliveryTag) -> Outcome<bool> {
        Ok(self.let_go.execute((self.consumer, key_in(tag.key), tag.attempt))? == 1)
    }

    fn take(&mut self, tx: &Tx<'_>, tag: &DeliveryTag) -> Outcome<Option<Place>> {
        let place = tx
            .statement("SELECT queue, priority, position FROM held WHERE consumer = ? AND key = ? AND attempt = ?")?
            .query_row((self.consumer, key_in(tag.key), tag.attempt), |row| {
                Ok(Place { queue: row.get(0)?, priority: row.get(1)?, position: row.get(2)? })
            })
            .optional()?;
        if place.is_some() {
            self.let_go(tag)?;
        }
        Ok(place)
    }
}
