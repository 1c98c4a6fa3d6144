//! What a command sees of the transaction it runs in.

use std::{collections::BTreeSet, sync::Arc};

use rusqlite::{CachedStatement, Connection};

use crate::errors::Outcome;

/// What somebody may be waiting for, and now has happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    /// Queues with something to claim, or with a new due time.
    pub(crate) queues: BTreeSet<Arc<str>>,
    /// Tasks with a new result.
    pub(crate) results: BTreeSet<Arc<str>>,
    /// There are new broadcasts.
    pub(crate) broadcasts: bool,
    /// Anything may have happened.
    pub(crate) everything: bool,
}

impl Touched {
    /// All at once, when nobody knows better.
    pub(crate) fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn merge(&mut self, mut other: Self) {
        self.queues.append(&mut other.queues);
        self.results.append(&mut other.results);
        self.broadcasts |= other.broadcasts;
        self.everything |= other.everything;
    }
}

/// The numbers given out in this transaction, see the table `counters`.
struct Counters {
    ticket: i64,
    broadcast: i64,
    changed: bool,
}

/// A transaction that has the file's write lock, shared by the commands of a group.
pub(crate) struct Tx<'conn> {
    conn: &'conn Connection,
    counters: Option<Counters>,
    touched: Touched,
}

impl<'conn> Tx<'conn> {
    pub(crate) fn new(conn: &'conn Connection) -> Self {
        Self { conn, counters: None, touched: Touched::default() }
    }

    /// The connection, for what only reads.
    pub(crate) fn conn(&self) -> &'conn Connection {
        self.conn
    }

    /// A statement, prepared once for the life of the connection.
    pub(crate) fn statement(&self, sql: &str) -> Outcome<CachedStatement<'conn>> {
        Ok(self.conn.prepare_cached(sql)?)
    }

    /// A number that was never given out before in this file, and is larger than all that were.
    pub(crate) fn ticket(&mut self) -> Outcome<i64> {
        let counters = self.counters()?;
        counters.ticket += 1;
        counters.changed = true;
        Ok(counters.ticket)
    }

    /// The next broadcast's place.
    pub(crate) fn broadcast_cursor(&mut self) -> Outcome<i64> {
        let counters = self.counters()?;
        counters.broadcast += 1;
        counters.changed = true;
        Ok(counters.broadcast)
    }

    /// Wakes whoever waits for this queue once the transaction is in the file.
    pub(crate) fn touch_queue(&mut self, queue: &str) {
        if !self.touched.queues.contains(queue) {
            self.touched.queues.insert(queue.into());
        }
    }

    /// Wakes whoever waits for this task's result.
    pub(crate) fn touch_result(&mut self, task_id: &str) {
        self.touched.results.insert(task_id.into());
    }

    /// Wakes all listeners.
    pub(crate) fn touch_broadcasts(&mut self) {
        self.touched.broadcasts = true;
    }

    /// Takes what the last command touched, whether it counts or not.
    pub(crate) fn take_touched(&mut self) -> Touched {
        std::mem::take(&mut self.touched)
    }

    /// Writes the numbers back, once for the whole group.
    pub(crate) fn finish(self) -> Outcome<()> {
        if let Some(counters) = self.counters.filter(|counters| counters.changed) {
            self.conn
                .prepare_cached("UPDATE counters SET ticket = ?, broadcast = ? WHERE only = 1")?
                .execute((counters.ticket, counters.broadcast))?;
        }
        Ok(())
    }

    fn counters(&mut self) -> Outcome<&mut Counters> {
        let counters = match self.counters.take() {
            Some(counters) => counters,
            None => self
                .conn
                .prepare_cached("SELECT ticket, broadcast FROM counters WHERE only = 1")?
                .query_row([], |row| Ok(Counters { ticket: row.get(0)?, broadcast: row.get(1)?, changed: false }))?,
        };
        Ok(self.counters.insert(counters))
    }
}
