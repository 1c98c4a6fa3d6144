//! Who consumes, for how long, and what happens to what a lost consumer held.

use std::sync::Arc;

use celeriac_core::{ConsumerInfo, DeliveryTag, QueueName, Result, WorkerName};

use crate::{
    engine::Shared,
    errors::{Failure, Outcome},
    layout::{count, key_in, name, timestamp},
    tx::Tx,
};

/// A consumer as it stands in the file.
#[derive(Clone, Debug)]
pub(super) struct Registration {
    pub(super) id: i64,
    pub(super) worker: WorkerName,
    pub(super) start_id: String,
    pub(super) names: Vec<QueueName>,
    /// The same, for waking.
    pub(super) queues: Vec<Arc<str>>,
    /// The same, for the file.
    pub(super) queues_json: String,
    pub(super) lease_micros: i64,
}

/// Why a consumer lets go of what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// Its lease lapsed: counts as a loss.
    Lapsed,
    /// It hands back: counts nothing.
    Closed,
}

/// Renews a consumer's lease, and puts it back into the table if somebody has taken it for dead.
pub(super) fn renew(tx: &Tx<'_>, consumer: &Registration, now: i64) -> Outcome<()> {
    let until = now.saturating_add(consumer.lease_micros);
    let renewed = tx.statement("UPDATE consumers SET lease_until = ? WHERE id = ?")?.execute((until, consumer.id))?;
    if renewed == 0 {
        tx.statement(
            "INSERT INTO consumers (id, worker, start_id, queues, started_at, lease_until) VALUES (?, ?, ?, ?, ?, ?)",
        )?
        .execute((
            consumer.id,
            consumer.worker.as_str(),
            &consumer.start_id,
            &consumer.queues_json,
            now,
            until,
        ))?;
    }
    Ok(())
}

/// Writes that a consumer serves other queues than before.
pub(super) fn resubscribe(tx: &Tx<'_>, consumer: &Registration, now: i64) -> Outcome<()> {
    renew(tx, consumer, now)?;
    tx.statement("UPDATE consumers SET queues = ? WHERE id = ?")?.execute((&consumer.queues_json, consumer.id))?;
    Ok(())
}

/// Gives up every consumer whose lease has lapsed. One look at a short table when there is none.
pub(super) fn sweep(tx: &mut Tx<'_>, now: i64) -> Outcome<()> {
    let lapsed: Vec<i64> = tx
        .statement("SELECT id FROM consumers WHERE lease_until <= ?")?
        .query_map([now], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for consumer in lapsed {
        let released = release(tx, consumer, Release::Lapsed, now)?;
        if released > 0 {
            tracing::warn!(consumer, released, "a consumer's lease lapsed; what it held is back in its queues");
        }
    }
    Ok(())
}

/// Puts what a consumer holds back to its places, and takes the consumer out of the table.
pub(super) fn release(tx: &mut Tx<'_>, consumer: i64, why: Release, now: i64) -> Outcome<usize> {
    let queues: Vec<String> = tx
        .statement("SELECT DISTINCT queue FROM held WHERE consumer = ?")?
        .query_map([consumer], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut released = 0;
    if !queues.is_empty() {
        // The first loss makes it a suspect; whoever only waited in a lost worker's hands is not convicted by more.
        tx.statement(
            "UPDATE messages SET attempts = held.attempt, redelivered = 1, \
             losses = losses + (?1 AND (losses = 0 OR held.begun)) \
             FROM held WHERE held.consumer = ?2 AND messages.key = held.key",
        )?
        .execute((why == Release::Lapsed, consumer))?;
        tx.statement(
            "INSERT INTO waiting (queue, priority, position, key, since) \
             SELECT queue, priority, position, key, ? FROM held WHERE consumer = ?",
        )?
        .execute((now, consumer))?;
        released = tx.statement("DELETE FROM held WHERE consumer = ?")?.execute([consumer])?;
    }
    tx.statement("DELETE FROM consumers WHERE id = ?")?.execute([consumer])?;
    for queue in queues {
        tx.touch_queue(&queue);
    }
    Ok(released)
}

/// Notes that deliveries begin to run that were lost before.
pub(super) fn begin(tx: &mut Tx<'_>, consumer: i64, tags: &[DeliveryTag]) -> Outcome<()> {
    let mut begin = tx.statement("UPDATE held SET begun = 1 WHERE consumer = ? AND key = ? AND attempt = ?")?;
    for tag in tags {
        begin.execute((consumer, key_in(tag.key), tag.attempt))?;
    }
    Ok(())
}

/// Lists the consumers whose lease has not lapsed.
pub(super) async fn consumers(shared: &Arc<Shared>) -> Result<Vec<ConsumerInfo>> {
    let now = shared.now();
    shared
        .readers
        .run("list the consumers", move |conn| {
            let mut statement = conn.prepare_cached(
                "SELECT worker, start_id, queues, started_at, lease_until, \
                 (SELECT count(*) FROM held WHERE held.consumer = consumers.id) \
                 FROM consumers WHERE lease_until > ? ORDER BY id",
            )?;
            let mut rows = statement.query([now])?;
            let mut consumers = Vec::new();
            while let Some(row) = rows.next()? {
                let queues: Vec<QueueName> = serde_json::from_str(row.get_ref(2)?.as_str().map_err(wrong)?)
                    .map_err(|_| Failure::corrupt("a consumer's queues"))?;
                consumers.push(ConsumerInfo {
                    worker: name(WorkerName::new(row.get_ref(0)?.as_str().map_err(wrong)?), "a consumer's name")?,
                    start_id: row.get(1)?,
                    queues,
                    held: count(row.get(5)?),
                    started_at: timestamp(row.get(3)?),
                    lease_until: timestamp(row.get(4)?),
                });
            }
            Ok(consumers)
        })
        .await
}

fn wrong(_: rusqlite::types::FromSqlError) -> Failure {
    Failure::corrupt("a consumer")
}
