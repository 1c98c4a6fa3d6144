//! Where a message is: the narrow rows.

use rusqlite::CachedStatement;

use crate::{errors::Outcome, tx::Tx};

/// Puts messages into `waiting`. Prepared once, used for each message of a batch.
pub(super) struct Waiting<'conn>(CachedStatement<'conn>);

impl<'conn> Waiting<'conn> {
    pub(super) fn prepare(tx: &Tx<'conn>) -> Outcome<Self> {
        tx.statement("INSERT INTO waiting (queue, priority, position, key, since) VALUES (?, ?, ?, ?, ?)").map(Self)
    }

    /// `position` decides among messages of the same priority: the lowest comes first.
    pub(super) fn put(&mut self, queue: &str, priority: i64, position: i64, key: i64, since: i64) -> Outcome<()> {
        self.0.execute((queue, priority, position, key, since))?;
        Ok(())
    }
}

/// Puts messages into `parked`.
pub(super) struct Parked<'conn>(CachedStatement<'conn>);

impl<'conn> Parked<'conn> {
    pub(super) fn prepare(tx: &Tx<'conn>) -> Outcome<Self> {
        tx.statement("INSERT INTO parked (queue, due, key, priority) VALUES (?, ?, ?, ?)").map(Self)
    }

    pub(super) fn put(&mut self, queue: &str, due: i64, key: i64, priority: i64) -> Outcome<()> {
        self.0.execute((queue, due, key, priority))?;
        Ok(())
    }
}
