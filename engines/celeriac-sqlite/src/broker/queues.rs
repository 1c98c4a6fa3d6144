//! Queues as a whole: declared, counted, purged.

use std::{collections::BTreeMap, sync::Arc};

use celeriac_core::{QueueDepth, QueueName, Result, Topology};
use rusqlite::CachedStatement;

use crate::{
    engine::Shared,
    errors::Outcome,
    layout::{count, name, timestamp},
    tx::Tx,
    writer::Durability,
};

/// How many messages one command removes, so that others get in between.
const PURGE_STEP: i64 = 5_000;

pub(super) async fn declare(shared: &Arc<Shared>, topology: &Topology) -> Result<()> {
    let (now, queues) = (shared.now(), topology.queues.clone());
    shared
        .writer
        .run("declare queues", Durability::Durable, queues.len(), move |tx| {
            let mut known = Known::prepare(tx)?;
            queues.iter().try_for_each(|queue| known.put(queue, now))
        })
        .await
}

pub(super) async fn depth(shared: &Arc<Shared>, queues: &[QueueName]) -> Result<Vec<QueueDepth>> {
    let (now, wanted) = (shared.now(), queues.to_vec());
    shared.readers.run("count the messages of queues", move |conn| depths(conn, &wanted, now)).await
}

fn depths(conn: &rusqlite::Connection, wanted: &[QueueName], now: i64) -> Outcome<Vec<QueueDepth>> {
    let names: Vec<QueueName> = if wanted.is_empty() { known(conn)? } else { wanted.to_vec() };
    // Held messages are few (as many as there are slots); there is no index for them by queue.
    let held: BTreeMap<String, i64> = conn
        .prepare_cached("SELECT queue, count(*) FROM held GROUP BY queue")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let dead: BTreeMap<String, i64> = conn
        .prepare_cached("SELECT queue, count(*) FROM dead GROUP BY queue")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut waiting = conn.prepare_cached("SELECT count(*), min(since) FROM waiting WHERE queue = ?")?;
    // What is due and not yet promoted is ready all the same.
    let mut parked = conn.prepare_cached(
        "SELECT count(*) FILTER (WHERE due > ?2), count(*) FILTER (WHERE due <= ?2), min(due) FILTER (WHERE due <= ?2) \
         FROM parked WHERE queue = ?1",
    )?;
    names
        .into_iter()
        .map(|queue| {
            let text = queue.as_str();
            let (ready, since): (i64, Option<i64>) = waiting.query_row([text], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let (later, due, due_since): (i64, i64, Option<i64>) =
                parked.query_row((text, now), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            Ok(QueueDepth {
                ready: count(ready + due),
                held: count(held.get(text).copied().unwrap_or(0)),
                parked: count(later),
                dead: count(dead.get(text).copied().unwrap_or(0)),
                oldest_ready: [since, due_since].into_iter().flatten().min().map(timestamp),
                queue,
            })
        })
        .collect()
}

/// Every queue that was ever declared, published to or consumed from.
fn known(conn: &rusqlite::Connection) -> Outcome<Vec<QueueName>> {
    let mut statement = conn.prepare_cached("SELECT name FROM queues ORDER BY name")?;
    let names: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    names.into_iter().map(|queue| name(QueueName::new(queue), "a queue's name")).collect()
}

/// Makes queues known. Prepared once, used for each of a batch.
pub(super) struct Known<'conn> {
    insert: CachedStatement<'conn>,
    last: Option<QueueName>,
}

impl<'conn> Known<'conn> {
    pub(super) fn prepare(tx: &Tx<'conn>) -> Outcome<Self> {
        let insert = tx.statement("INSERT OR IGNORE INTO queues (name, declared_at) VALUES (?, ?)")?;
        Ok(Self { insert, last: None })
    }

    pub(super) fn put(&mut self, queue: &QueueName, now: i64) -> Outcome<()> {
        // A batch goes to one queue most of the time.
        if self.last.as_ref() != Some(queue) {
            self.insert.execute((queue.as_str(), now))?;
            self.last = Some(queue.clone());
        }
        Ok(())
    }
}

pub(super) async fn purge(shared: &Arc<Shared>, queue: &QueueName) -> Result<u64> {
    let mut removed = 0;
    // What is published from now on is not meant: without an end, a busy producer would keep us here for ever.
    let mut last = None;
    loop {
        let queue = queue.clone();
        let (step, newest) = shared
            .writer
            .run("purge a queue", Durability::Durable, usize::try_from(PURGE_STEP).unwrap_or(usize::MAX), move |tx| {
                let newest = match last {
                    Some(newest) => newest,
                    None => tx.ticket()?,
                };
                Ok((purge_step(tx, &queue, newest)?, newest))
            })
            .await?;
        if step == 0 {
            return Ok(removed);
        }
        removed += step;
        last = Some(newest);
    }
}

/// Removes up to a step's worth of the messages that were there before `newest`.
fn purge_step(tx: &mut Tx<'_>, queue: &QueueName, newest: i64) -> Outcome<u64> {
    let mut remove = tx.statement("DELETE FROM messages WHERE key = ?")?;
    let mut removed = 0;
    for (find, leave) in [
        (
            "SELECT key, priority, position FROM waiting WHERE queue = ? AND key <= ? LIMIT ?",
            "DELETE FROM waiting WHERE queue = ? AND priority = ? AND position = ?",
        ),
        (
            "SELECT key, due, key FROM parked WHERE queue = ? AND key <= ? LIMIT ?",
            "DELETE FROM parked WHERE queue = ? AND due = ? AND key = ?",
        ),
    ] {
        let found: Vec<(i64, i64, i64)> = tx
            .statement(find)?
            .query_map((queue.as_str(), newest, PURGE_STEP), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<_, _>>()?;
        let mut leave = tx.statement(leave)?;
        for (key, first, second) in found {
            leave.execute((queue.as_str(), first, second))?;
            remove.execute([key])?;
            removed += 1;
        }
    }
    Ok(removed)
}
