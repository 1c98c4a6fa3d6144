//! Tasks that shall not run.

use std::sync::Arc;

use celeriac_core::{Delivery, DeliveryTag, Result, Revocation, TaskId};
use rusqlite::{CachedStatement, OptionalExtension, Row};

use crate::{
    engine::Shared,
    errors::Outcome,
    layout::{key_out, micros, name, small, timestamp},
    tx::Tx,
    writer::Durability,
};

/// How many expired facts one command forgets.
const FORGET_MAX: usize = 1_000;

const FIND: &str = "SELECT task_id, terminate, attempt, expires FROM revocations WHERE task_id = ? AND expires > ?";

pub(super) async fn revoke(shared: &Arc<Shared>, batch: Vec<Revocation>) -> Result<()> {
    let now = shared.now();
    shared
        .writer
        .run("revoke tasks", Durability::Durable, batch.len(), move |tx| {
            tx.statement(&format!(
                "DELETE FROM revocations WHERE task_id IN \
                 (SELECT task_id FROM revocations WHERE expires <= ? LIMIT {FORGET_MAX})"
            ))?
            .execute([now])?;
            let mut insert = tx.statement(
                "INSERT OR REPLACE INTO revocations (task_id, terminate, attempt, expires) VALUES (?, ?, ?, ?)",
            )?;
            for fact in &batch {
                insert.execute((fact.task_id.as_str(), fact.terminate, fact.attempt, micros(fact.expires)))?;
            }
            Ok(())
        })
        .await
}

pub(super) async fn revoked(shared: &Arc<Shared>, ids: &[TaskId]) -> Result<Vec<Option<Revocation>>> {
    let (now, ids) = (shared.now(), ids.to_vec());
    shared
        .readers
        .run("look up revoked tasks", move |conn| {
            let mut find = conn.prepare_cached(FIND)?;
            ids.iter()
                .map(|id| {
                    let stored = find.query_row((id.as_str(), now), read).optional()?;
                    stored.map(Stored::check).transpose()
                })
                .collect()
        })
        .await
}

/// Looks revocations up for the deliveries of one claim. Costs one look when there is none.
pub(super) struct Revocations<'conn> {
    find: Option<CachedStatement<'conn>>,
    now: i64,
}

impl<'conn> Revocations<'conn> {
    pub(super) fn look(tx: &Tx<'conn>, now: i64) -> Outcome<Self> {
        let any: bool = tx.statement("SELECT EXISTS (SELECT 1 FROM revocations)")?.query_row([], |row| row.get(0))?;
        let find = if any { Some(tx.statement(FIND)?) } else { None };
        Ok(Self { find, now })
    }

    /// The fact that concerns this attempt, if there is one.
    pub(super) fn find(&mut self, id: &TaskId, attempt: u32) -> Outcome<Option<Revocation>> {
        let Some(find) = &mut self.find else { return Ok(None) };
        let Some(stored) = find.query_row((id.as_str(), self.now), read).optional()? else { return Ok(None) };
        Ok(Some(stored.check()?).filter(|fact| concerns(fact, attempt)))
    }
}

/// What a consumer holds and shall not run.
pub(super) fn of_held(tx: &Tx<'_>, consumer: i64, now: i64) -> Outcome<Vec<(DeliveryTag, Revocation)>> {
    let any: bool = tx.statement("SELECT EXISTS (SELECT 1 FROM revocations)")?.query_row([], |row| row.get(0))?;
    if !any {
        return Ok(Vec::new());
    }
    let mut statement = tx.statement(
        "SELECT r.task_id, r.terminate, r.attempt, r.expires, h.key, h.attempt \
         FROM held h CROSS JOIN messages m ON m.key = h.key CROSS JOIN revocations r ON r.task_id = m.task_id \
         WHERE h.consumer = ? AND r.expires > ?",
    )?;
    let mut rows = statement.query((consumer, now))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let fact = read(row)?.check()?;
        let tag = DeliveryTag { key: key_out(row.get(4)?), attempt: small(row.get(5)?) };
        if concerns(&fact, tag.attempt) {
            found.push((tag, fact));
        }
    }
    Ok(found)
}

/// Whether a stored fact is about this attempt.
fn concerns(fact: &Revocation, attempt: u32) -> bool {
    fact.attempt.is_none_or(|meant| meant == attempt)
}

/// Marks deliveries that were claimed a while ago and are handed out only now.
pub(super) fn mark(deliveries: &mut [Delivery], found: &[(DeliveryTag, Revocation)]) {
    for delivery in deliveries {
        if let Some((_, fact)) = found.iter().find(|(tag, _)| *tag == delivery.tag) {
            delivery.revoked = Some(fact.clone());
        }
    }
}

struct Stored {
    task_id: String,
    terminate: bool,
    attempt: Option<i64>,
    expires: i64,
}

impl Stored {
    fn check(self) -> Outcome<Revocation> {
        Ok(Revocation {
            task_id: name(TaskId::new(self.task_id), "a revoked task's id")?,
            terminate: self.terminate,
            attempt: self.attempt.map(small),
            expires: timestamp(self.expires),
        })
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored { task_id: row.get(0)?, terminate: row.get(1)?, attempt: row.get(2)?, expires: row.get(3)? })
}
