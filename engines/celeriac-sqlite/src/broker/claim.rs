//! Claims messages: one atomic step from `waiting` to `held`.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use celeriac_core::{Delivery, DeliveryTag, Message, Priority, QueueName, TaskId, TaskName};
use rusqlite::{Connection, Row};

use super::{
    leases::{Registration, renew},
    place::Waiting,
    revocations::Revocations,
};
use crate::{
    errors::{Failure, Outcome},
    layout::{key_out, name, small, timestamp},
    tx::Tx,
};

/// How many parked messages of a queue one claim promotes at least. The rest is the next claim's.
const PROMOTE_MIN: usize = 1_000;

/// What a claim gave.
pub(super) struct Claimed {
    pub(super) deliveries: Vec<Delivery>,
    /// When nothing was there: the instant to look again, if nobody wakes us before.
    pub(super) next: Option<i64>,
}

/// Promotes what is due, and claims up to `limit` messages for `consumer`.
pub(super) fn claim(tx: &mut Tx<'_>, consumer: &Registration, turn: usize, limit: usize, now: i64) -> Outcome<Claimed> {
    let queues = &consumer.names;
    for queue in &consumer.queues {
        promote(tx, queue, limit.max(PROMOTE_MIN), now)?;
    }
    let mut deliveries = Vec::new();
    // Every queue has its share first, beginning with another one each time; then whoever has more fills up.
    let share = limit.div_ceil(queues.len().max(1));
    for quota in [share, limit] {
        for number in 0..queues.len() {
            let queue = &queues[(turn + number) % queues.len()];
            let wanted = quota.min(limit - deliveries.len());
            if wanted > 0 {
                claim_from(tx, consumer, queue, wanted, now, &mut deliveries)?;
            }
        }
        if share == limit {
            break;
        }
    }
    if deliveries.is_empty() {
        // An idle consumer whose lease lapsed held nothing: it is still there.
        let (next, present) = next_instant(tx.conn(), consumer)?;
        if !present {
            renew(tx, consumer, now)?;
        }
        return Ok(Claimed { deliveries, next });
    }
    // The new deliveries have their full lease; the old ones share it.
    renew(tx, consumer, now)?;
    Ok(Claimed { deliveries, next: None })
}

/// Moves parked messages that are due into `waiting`, in the order of their due times.
fn promote(tx: &mut Tx<'_>, queue: &str, limit: usize, now: i64) -> Outcome<()> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let due: Vec<(i64, i64, i64)> = tx
        .statement("SELECT due, key, priority FROM parked WHERE queue = ? AND due <= ? ORDER BY due, key LIMIT ?")?
        .query_map((queue, now, limit), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    let Some(&(last_due, last_key, _)) = due.last() else { return Ok(()) };
    let mut waiting = Waiting::prepare(tx)?;
    for (due, key, priority) in due {
        let position = tx.ticket()?;
        waiting.put(queue, priority, position, key, due)?;
    }
    tx.statement("DELETE FROM parked WHERE queue = ? AND (due, key) <= (?, ?)")?
        .execute((queue, last_due, last_key))?;
    // Others may want some of them.
    tx.touch_queue(queue);
    Ok(())
}

fn claim_from(
    tx: &mut Tx<'_>,
    consumer: &Registration,
    queue: &QueueName,
    wanted: usize,
    now: i64,
    deliveries: &mut Vec<Delivery>,
) -> Outcome<()> {
    let wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
    let mut revocations = Revocations::look(tx, now)?;
    let mut select = tx.statement(
        "SELECT w.priority, w.position, w.key, m.task_id, m.task, m.published_at, m.attempts, m.losses, m.redelivered, \
         m.headers, m.properties, m.body \
         FROM waiting w CROSS JOIN messages m ON m.key = w.key \
         WHERE w.queue = ? ORDER BY w.priority DESC, w.position LIMIT ?",
    )?;
    let mut hold = tx.statement(
        "INSERT INTO held (consumer, key, attempt, queue, priority, position, claimed_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )?;
    // Claimed rows are the first ones of their priorities: one range of each goes.
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    let mut rows = select.query((queue.as_str(), wanted))?;
    while let Some(row) = rows.next()? {
        let (priority, position, key): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let mut delivery = delivery(row, queue, key, priority, deliveries.last())?;
        let attempt = i64::from(delivery.tag.attempt);
        delivery.revoked = revocations.find(&delivery.task_id, delivery.tag.attempt)?;
        hold.execute((consumer.id, key, attempt, queue.as_str(), priority, position, now))?;
        deliveries.push(delivery);
        match ranges.last_mut() {
            Some(range) if range.0 == priority => range.1 = position,
            _ => ranges.push((priority, position)),
        }
    }
    drop(rows);
    let mut remove = tx.statement("DELETE FROM waiting WHERE queue = ? AND priority = ? AND position <= ?")?;
    for (priority, position) in ranges {
        remove.execute((queue.as_str(), priority, position))?;
    }
    Ok(())
}

fn delivery(
    row: &Row<'_>,
    queue: &QueueName,
    key: i64,
    priority: i64,
    previous: Option<&Delivery>,
) -> Outcome<Delivery> {
    let text = |index: usize| row.get_ref(index)?.as_str().map_err(rusqlite::Error::from);
    let task = text(4)?;
    // Neighbours are often of one task: share its name.
    let task = match previous {
        Some(previous) if previous.task.as_str() == task => previous.task.clone(),
        _ => name(TaskName::new(task), "a message's task")?,
    };
    Ok(Delivery {
        tag: DeliveryTag { key: key_out(key), attempt: small(row.get(6)?).saturating_add(1) },
        task_id: name(TaskId::new(text(3)?), "a message's task id")?,
        task,
        queue: queue.clone(),
        priority: Priority(u8::try_from(priority).unwrap_or(u8::MAX)),
        redelivered: row.get(8)?,
        losses: small(row.get(7)?),
        published_at: timestamp(row.get(5)?),
        revoked: None,
        message: message(row, 9)?,
    })
}

/// Reads headers, properties and body from three columns into one allocation.
pub(super) fn message(row: &Row<'_>, first: usize) -> Outcome<Message> {
    let blob = |index: usize| row.get_ref(index)?.as_blob().map_err(rusqlite::Error::from);
    let (headers, properties, body) = (blob(first)?, blob(first + 1)?, blob(first + 2)?);
    let mut bytes = BytesMut::with_capacity(headers.len() + properties.len() + body.len());
    bytes.put_slice(headers);
    bytes.put_slice(properties);
    bytes.put_slice(body);
    let mut bytes: Bytes = bytes.freeze();
    let headers = bytes.split_to(headers.len());
    let properties = bytes.split_to(properties.len());
    Ok(Message { headers, properties, body: bytes })
}

/// The next due time of the consumer's queues or end of a lease, and whether the consumer itself is in the table.
fn next_instant(conn: &Connection, consumer: &Registration) -> Outcome<(Option<i64>, bool)> {
    let (mut next, present): (Option<i64>, bool) = conn
        .prepare_cached("SELECT min(lease_until), ifnull(max(id = ?), 0) FROM consumers")?
        .query_row([consumer.id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut due = conn.prepare_cached("SELECT min(due) FROM parked WHERE queue = ?")?;
    for queue in &consumer.queues {
        let due: Option<i64> = due.query_row([&**queue], |row| row.get(0))?;
        next = [next, due].into_iter().flatten().min();
    }
    Ok((next, present))
}

/// Whether a claim would find or change anything that a consumer does not know, which next looks by itself at `known`.
pub(super) fn news(conn: &Connection, consumer: &Registration, known: Option<i64>) -> Outcome<bool> {
    let (next, present) = next_instant(conn, consumer)?;
    let earlier = next.is_some_and(|next| known.is_none_or(|known| next < known));
    if earlier || !present {
        return Ok(true);
    }
    let mut waiting = conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM waiting WHERE queue = ?)")?;
    for queue in &consumer.queues {
        if waiting.query_row([&**queue], |row| row.get(0))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A consumer's queues as text, for the file and for waking.
pub(super) fn queue_texts(queues: &[QueueName]) -> Outcome<(Vec<Arc<str>>, String)> {
    let texts = queues.iter().map(|queue| queue.as_str().into()).collect();
    let json = serde_json::to_string(queues).map_err(|_| Failure::corrupt("the queues of a subscription"))?;
    Ok((texts, json))
}
