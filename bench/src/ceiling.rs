//! What SQLite itself can do: our tables, our rows, our pragmas, and nothing else. No queue, no threads, no handles.

use celeriac::{
    App,
    core::Publication,
    protocol::{State, TaskMeta},
};
use rusqlite::{Connection, params};

use crate::{
    args::{Args, Durability},
    cost::{Cost, Mark},
    store::Store,
    tasks::publications,
};

const AT: i64 = 1_763_900_000_000_000;

/// A bare connection to a file with our tables, set up as the engine sets up its own.
pub(crate) struct Bare {
    conn: Connection,
    durability: Durability,
    key: i64,
    _store: Store,
}

impl Bare {
    pub(crate) async fn open(args: &Args) -> anyhow::Result<Self> {
        let store = Store::fresh(args)?;
        // The engine makes the tables.
        store.app(args).await?.close().await?;
        let conn = Connection::open(&store.path)?;
        conn.set_prepared_statement_cache_capacity(64);
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 4096; \
             PRAGMA journal_size_limit = 67108864; PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = OFF",
        )?;
        let bare = Self { conn, durability: args.durability, key: 0, _store: store };
        bare.durable(true)?;
        Ok(bare)
    }

    /// Inserts rows, so many in a transaction.
    pub(crate) fn insert(&mut self, rows: &[Publication], batch: usize) -> anyhow::Result<Cost> {
        let begun = Mark::now();
        for chunk in rows.chunks(batch) {
            let tx = self.conn.transaction()?;
            {
                let mut message = tx.prepare_cached(
                    "INSERT INTO messages (key, task_id, task, queue, priority, published_at, due, headers, properties, \
                     body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                )?;
                let mut waiting = tx.prepare_cached(
                    "INSERT INTO waiting (queue, priority, position, key, since) VALUES (?, ?, ?, ?, ?)",
                )?;
                for row in chunk {
                    self.key += 1;
                    message.execute(params![
                        self.key,
                        row.task_id.as_str(),
                        row.task.as_str(),
                        row.queue.as_str(),
                        0,
                        AT,
                        None::<i64>,
                        &*row.message.headers,
                        &*row.message.properties,
                        &*row.message.body
                    ])?;
                    waiting.execute((row.queue.as_str(), 0, self.key, self.key, AT))?;
                }
            }
            tx.commit()?;
        }
        Ok(Mark::now().since(&begun, rows.len()))
    }

    /// Inserts so many of the messages that `app` makes.
    pub(crate) fn fill(&mut self, app: &App, count: usize) -> anyhow::Result<()> {
        let mut left = count;
        while left > 0 {
            let rows = publications(app, left.min(10_000))?;
            self.insert(&rows, 1_000)?;
            left -= rows.len();
        }
        Ok(())
    }

    /// Claims and deletes, so many in a transaction each; in between stores as many results, if so wanted.
    pub(crate) fn drain(&mut self, count: usize, batch: usize, results: bool) -> anyhow::Result<Cost> {
        let begun = Mark::now();
        let mut done = 0;
        while done < count {
            let claimed = self.claim(batch)?;
            if claimed.is_empty() {
                anyhow::bail!("the backlog is too small for this window");
            }
            if results {
                self.store(&claimed)?;
            }
            self.delete(&claimed)?;
            done += claimed.len();
        }
        Ok(Mark::now().since(&begun, done))
    }

    /// One transaction, which need not be durable: a lost claim is a message given back.
    pub(crate) fn claim(&mut self, batch: usize) -> anyhow::Result<Vec<(i64, String)>> {
        self.durable(false)?;
        let mut claimed = Vec::with_capacity(batch);
        let tx = self.conn.transaction()?;
        {
            let mut select = tx.prepare_cached(
                "SELECT w.position, w.key, m.task_id, m.task, m.published_at, m.headers, m.properties, m.body \
                 FROM waiting w CROSS JOIN messages m ON m.key = w.key \
                 WHERE w.queue = 'celery' ORDER BY w.priority DESC, w.position LIMIT ?",
            )?;
            let mut hold = tx.prepare_cached(
                "INSERT INTO held (consumer, key, attempt, queue, priority, position, claimed_at) \
                 VALUES (1, ?, 1, 'celery', 0, ?, ?)",
            )?;
            let mut last = 0_i64;
            let mut rows = select.query([i64::try_from(batch)?])?;
            while let Some(row) = rows.next()? {
                last = row.get(0)?;
                let key = row.get(1)?;
                // Read as a queue must read them.
                for column in [5, 6, 7] {
                    std::hint::black_box(row.get_ref(column)?.as_blob()?.to_vec());
                }
                hold.execute((key, last, AT))?;
                claimed.push((key, row.get(2)?));
            }
            drop(rows);
            tx.prepare_cached("DELETE FROM waiting WHERE queue = 'celery' AND priority = 0 AND position <= ?")?
                .execute([last])?;
        }
        tx.commit()?;
        self.durable(true)?;
        Ok(claimed)
    }

    fn store(&mut self, claimed: &[(i64, String)]) -> anyhow::Result<()> {
        let tx = self.conn.transaction()?;
        {
            let mut result = tx.prepare_cached(
                "INSERT INTO results (task_id, state, attempt, stored_at, expires, document) VALUES (?, ?, 1, ?, ?, ?) \
                 ON CONFLICT (task_id) DO UPDATE SET document = excluded.document",
            )?;
            for (_, id) in claimed {
                let mut meta = TaskMeta::new(id.as_str(), State::Success, &b"74"[..]);
                meta.date_done = Some("2025-11-23T12:00:00.123456+00:00".into());
                result.execute((id, "SUCCESS", AT, AT, &*meta.encode()))?;
            }
        }
        Ok(tx.commit()?)
    }

    pub(crate) fn delete(&mut self, claimed: &[(i64, String)]) -> anyhow::Result<()> {
        let tx = self.conn.transaction()?;
        {
            let mut held = tx.prepare_cached("DELETE FROM held WHERE consumer = 1 AND key = ?")?;
            let mut message = tx.prepare_cached("DELETE FROM messages WHERE key = ?")?;
            for (key, _) in claimed {
                held.execute([key])?;
                message.execute([key])?;
            }
        }
        Ok(tx.commit()?)
    }

    fn durable(&self, durable: bool) -> anyhow::Result<()> {
        let word = if durable { self.durability.word() } else { "NORMAL" };
        Ok(self.conn.pragma_update(None, "synchronous", word)?)
    }
}
