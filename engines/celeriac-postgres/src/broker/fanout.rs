//! Broadcasts: a short log of payloads that listeners follow.

use std::sync::Arc;

use bytes::Bytes;
use celeriac_core::{Broadcast, Cursor, Listener, Notice, Result};
use tokio::sync::Mutex;
use tokio_postgres::types::Type;

use crate::{
    connections::Session,
    engine::Shared,
    errors::Outcome,
    layout::{PAGE_MAX, channel_topic, check_name, check_size, duration_micros, key_in, key_out},
    wake::{self, Sleeper},
};

/// The log is trimmed whenever so many more broadcasts were sent.
const TRIM_EVERY: i64 = 256;
/// How many broadcasts one trim removes at the most: more than come in between two.
const TRIM_STEP: i64 = 10_000;
/// The longest name of a channel, and the longest routing key, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// Numbers are taken under the lock of the counter's row, so they become visible in their order.
const BROADCAST: &str = "\
WITH taken AS ( \
    UPDATE {s}.broadcast_counter SET last = last + cardinality($2) RETURNING last \
) \
INSERT INTO {s}.broadcasts (cursor, channel, sent_at, routing_key, headers, body) \
SELECT taken.last - cardinality($2) + g.number, $1, $3, g.routing_key, g.headers, g.body \
FROM taken, set_config('synchronous_commit', 'off', true), \
     unnest($2, $4, $5) WITH ORDINALITY AS g(routing_key, headers, body, number) \
RETURNING cursor";

/// From the log's beginning on. Whatever somebody else is just trimming is passed over.
const TRIM: &str = "\
DELETE FROM {s}.broadcasts WHERE ctid = ANY (ARRAY( \
    SELECT ctid FROM (SELECT ctid, cursor, sent_at FROM {s}.broadcasts ORDER BY cursor LIMIT $3 FOR UPDATE SKIP LOCKED) AS b \
    WHERE b.cursor <= $1 OR b.sent_at < $2))";

const READ: &str = "\
SELECT cursor, routing_key, headers, body FROM {s}.broadcasts \
WHERE channel = $1 AND cursor > $2 AND ($4::text IS NULL OR routing_key = $4) ORDER BY cursor LIMIT $3";

pub(super) async fn broadcast(shared: &Arc<Shared>, channel: &str, notices: Vec<Notice>) -> Result<()> {
    shared.broker.check("broadcast")?;
    check_name("a channel's name", channel, NAME_BYTES_MAX)?;
    for notice in &notices {
        check_size("a broadcast", notice.len_bytes(), shared.config.result_bytes_max, "result_max")?;
        if !notice.routing_key.is_empty() {
            check_name("a routing key", &notice.routing_key, NAME_BYTES_MAX)?;
        }
    }
    if notices.is_empty() {
        return Ok(());
    }
    let keys: &Vec<&str> = &notices.iter().map(|notice| notice.routing_key.as_str()).collect();
    let headers: &Vec<&[u8]> = &notices.iter().map(|notice| &*notice.headers).collect();
    let bodies: &Vec<&[u8]> = &notices.iter().map(|notice| &*notice.body).collect();
    let now = shared.now();
    let topics = &[channel_topic(channel)];
    shared
        .run("broadcast", |connection| async move {
            let sql = shared.sql(BROADCAST);
            let params = [
                (&channel as _, Type::TEXT),
                (keys as _, Type::TEXT_ARRAY),
                (&now as _, Type::INT8),
                (headers as _, Type::BYTEA_ARRAY),
                (bodies as _, Type::BYTEA_ARRAY),
            ];
            let (rows, ()) = tokio::join!(connection.rows(&sql, &params), shared.wake(&connection, topics));
            let rows = rows?;
            let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
            let (first, last): (i64, i64) = (first.try_get(0)?, last.try_get(0)?);
            if (first - 1) / TRIM_EVERY == last / TRIM_EVERY {
                return Ok(());
            }
            let kept_from = last.saturating_sub(i64::from(shared.config.broadcasts_kept));
            let oldest = now.saturating_sub(duration_micros(shared.config.broadcasts_kept_for));
            let params = [(&kept_from as _, Type::INT8), (&oldest as _, Type::INT8), (&TRIM_STEP as _, Type::INT8)];
            connection.rows(&shared.sql(TRIM), &params).await.map(drop)
        })
        .await
}

/// Follows a channel. See [`Listener`].
pub struct PostgresListener {
    shared: Arc<Shared>,
    channel: Arc<str>,
    routing_key: Option<Arc<str>>,
    sleeper: Arc<Sleeper>,
    /// Up to where everything was handed out. Locked while one `recv` is at it, so that none hears a thing twice.
    position: Mutex<i64>,
}

impl PostgresListener {
    pub(super) async fn start(
        shared: Arc<Shared>,
        channel: &str,
        routing_key: Option<&str>,
        after: Option<Cursor>,
    ) -> Result<Self> {
        shared.broker.check("listen to a channel")?;
        check_name("a channel's name", channel, NAME_BYTES_MAX)?;
        let sleeper = shared.sleeper(vec![channel_topic(channel)]);
        let position = if let Some(cursor) = after { key_in(cursor.0) } else { last(&shared).await? };
        let (channel, routing_key) = (channel.into(), routing_key.map(Into::into));
        Ok(Self { shared, channel, routing_key, sleeper, position: Mutex::new(position) })
    }
}

/// The place of the last broadcast.
async fn last(shared: &Shared) -> Result<i64> {
    shared
        .run("listen to a channel", |connection| async move {
            let rows = connection.rows(&shared.sql("SELECT last FROM {s}.broadcast_counter"), &[]).await?;
            Ok(rows[0].try_get(0)?)
        })
        .await
}

/// Reads what came after a place. Before the last look it says that the listener sleeps.
async fn read(
    shared: Arc<Shared>,
    sleeper: Arc<Sleeper>,
    channel: Arc<str>,
    routing_key: Option<Arc<str>>,
    after: i64,
    limit: usize,
) -> Result<Vec<Broadcast>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let (shared, sleeper, channel, routing_key) = (&shared, &sleeper, &*channel, routing_key.as_deref());
    shared
        .run("read broadcasts", |connection| async move {
            let sql = shared.sql(READ);
            let params = [
                (&channel as _, Type::TEXT),
                (&after as _, Type::INT8),
                (&limit as _, Type::INT8),
                (&routing_key as _, Type::TEXT),
            ];
            let found = connection.rows(&sql, &params).await?;
            if !found.is_empty() || sleeper.is_armed() {
                return found.iter().map(heard).collect();
            }
            let wakes = sleeper.wakes();
            wake::arm(&*connection, &shared.config.schema, sleeper.topics()).await?;
            sleeper.set_armed(wakes);
            connection.rows(&sql, &params).await?.iter().map(heard).collect()
        })
        .await
}

impl Listener for PostgresListener {
    async fn recv(&self, limit: usize) -> Result<Vec<Broadcast>> {
        let limit = limit.clamp(1, PAGE_MAX);
        let mut position = self.position.lock().await;
        loop {
            let wakes = self.sleeper.wakes();
            let (shared, sleeper, channel) = (self.shared.clone(), self.sleeper.clone(), self.channel.clone());
            let reading = read(shared, sleeper, channel, self.routing_key.clone(), *position, limit);
            let found = self.shared.driver.detach("read broadcasts", reading).await?;
            if let Some(last) = found.last() {
                *position = key_in(last.cursor.0);
                return Ok(found);
            }
            let stop = self.shared.driver.stop();
            tokio::select! {
                () = self.sleeper.woken_after(wakes) => {}
                () = self.shared.clock.sleep(self.shared.config.look_every) => {}
                () = stop.cancelled() => {}
            }
        }
    }
}

fn heard(row: &tokio_postgres::Row) -> Outcome<Broadcast> {
    let bytes = |index: usize| row.try_get::<_, &[u8]>(index).map(Bytes::copy_from_slice);
    let notice = Notice { routing_key: row.try_get(1)?, headers: bytes(2)?, body: bytes(3)? };
    Ok(Broadcast { cursor: Cursor(key_out(row.try_get(0)?)), notice })
}
