//! Who consumes, for how long, and what happens to what a lost consumer held.

use std::sync::Arc;

use celeriac_core::{ConsumerInfo, DeliveryTag, QueueName, Result, Subscription, WorkerName};
use tokio_postgres::types::Type;

use crate::{
    connections::{Connection, Session},
    engine::Shared,
    errors::Outcome,
    layout::{attempt_in, count, duration_micros, key_in, key_out, name, queue_topic, small, timestamp},
};

/// A consumer as it stands in the database.
#[derive(Clone, Debug)]
pub(super) struct Registration {
    pub(super) id: i64,
    pub(super) worker: WorkerName,
    pub(super) start_id: String,
    pub(super) queues: Vec<QueueName>,
    pub(super) started_at: i64,
    pub(super) lease_micros: i64,
}

/// Durable, so that no identity is given out twice, whatever crashes.
const REGISTER: &str = "\
WITH known AS ( \
    INSERT INTO {s}.queues (name, declared_at) SELECT name, $4 FROM unnest($3) AS q(name) ORDER BY name \
    ON CONFLICT DO NOTHING \
) \
INSERT INTO {s}.consumers (id, worker, start_id, queues, started_at, lease_until) \
SELECT ticket, $1, $2 || '-' || to_hex(ticket), $3, $4, $5 FROM nextval('{s}.tickets') AS ticket RETURNING id, start_id";

const RENEW: &str = "\
INSERT INTO {s}.consumers AS c (id, worker, start_id, queues, started_at, lease_until) \
SELECT $1, $2, $3, $4, $5, $6 FROM set_config('synchronous_commit', 'off', true) \
ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until";

const RESUBSCRIBE: &str = "\
WITH known AS ( \
    INSERT INTO {s}.queues (name, declared_at) SELECT name, $3 FROM unnest($2) AS q(name) ORDER BY name \
    ON CONFLICT DO NOTHING \
) UPDATE {s}.consumers SET queues = $2 WHERE id = $1";

const BEGIN: &str = "\
UPDATE {s}.held h SET began = true FROM unnest($2, $3) AS t(key, attempt) \
WHERE h.consumer = $1 AND h.key = t.key AND h.attempt = t.attempt AND NOT h.began";

const HELD: &str = "SELECT key, attempt, claim FROM {s}.held WHERE consumer = $1";

/// Lets go of what consumers held, and puts it back to its places.
macro_rules! release {
    ($which:literal, $losses:literal) => {
        concat!(
            "WITH lost AS ( ",
            $which,
            " RETURNING id \
            ), let_go AS ( \
                DELETE FROM {s}.held h USING lost WHERE h.consumer = lost.id \
                RETURNING h.key, h.attempt, h.queue, h.priority, h.position, h.began \
            ), counted AS ( \
                UPDATE {s}.messages m SET attempts = g.attempt, redelivered = true, losses = m.losses + ",
            $losses,
            " FROM let_go g WHERE m.key = g.key \
            ), back AS ( \
                INSERT INTO {s}.waiting (queue, priority, position, key, since) \
                SELECT queue, priority, position, key, $2 FROM let_go \
            ) \
            SELECT queue, count(*) FROM let_go GROUP BY queue"
        )
    };
}

/// The consumer has lapsed: counts as a loss, the first one in any case, a further one only of what had begun to run.
const SWEEP: &str = release!(
    "DELETE FROM {s}.consumers WHERE id = ANY (ARRAY( \
         SELECT id FROM {s}.consumers WHERE lease_until <= $1 FOR UPDATE SKIP LOCKED))",
    "(m.losses = 0 OR g.began)::int"
);

/// The consumer hands back: counts nothing.
const RELEASE: &str = release!("DELETE FROM {s}.consumers WHERE id = $1", "0");

pub(super) async fn register(shared: &Shared, from: Subscription) -> Result<Registration> {
    let (now, lease_micros) = (shared.now(), duration_micros(from.lease).max(1));
    let queues: &Vec<&str> = &from.queues.iter().map(QueueName::as_str).collect();
    let (worker, until) = (from.worker.as_str(), now.saturating_add(lease_micros));
    let (id, start_id) = shared
        .run("register a consumer", |connection| async move {
            sweep(shared, &connection, now).await?;
            let process = format!("{:x}", std::process::id());
            let rows = connection
                .rows(
                    &shared.sql(REGISTER),
                    &[
                        (&worker, Type::TEXT),
                        (&process, Type::TEXT),
                        (queues, Type::TEXT_ARRAY),
                        (&now, Type::INT8),
                        (&until, Type::INT8),
                    ],
                )
                .await?;
            Ok((rows[0].try_get(0)?, rows[0].try_get(1)?))
        })
        .await?;
    Ok(Registration { id, worker: from.worker, start_id, queues: from.queues, started_at: now, lease_micros })
}

/// Renews a consumer's lease, and puts it back into the table if somebody has taken it for dead.
pub(super) async fn renew(shared: &Shared, connection: &Connection, consumer: &Registration, now: i64) -> Outcome<()> {
    let queues: Vec<&str> = consumer.queues.iter().map(QueueName::as_str).collect();
    let until = now.saturating_add(consumer.lease_micros);
    connection
        .rows(
            &shared.sql(RENEW),
            &[
                (&consumer.id, Type::INT8),
                (&consumer.worker.as_str(), Type::TEXT),
                (&consumer.start_id, Type::TEXT),
                (&queues, Type::TEXT_ARRAY),
                (&consumer.started_at, Type::INT8),
                (&until, Type::INT8),
            ],
        )
        .await
        .map(drop)
}

/// Writes that a consumer serves other queues than before.
pub(super) async fn resubscribe(shared: &Shared, consumer: &Registration) -> Result<()> {
    let now = shared.now();
    let queues: &Vec<&str> = &consumer.queues.iter().map(QueueName::as_str).collect();
    shared
        .run("subscribe to queues", |connection| async move {
            renew(shared, &connection, consumer, now).await?;
            let params = [(&consumer.id as _, Type::INT8), (queues as _, Type::TEXT_ARRAY), (&now as _, Type::INT8)];
            connection.rows(&shared.sql(RESUBSCRIBE), &params).await.map(drop)
        })
        .await
}

/// Notes that deliveries begin to run.
pub(super) async fn begin(shared: &Shared, consumer: i64, suspects: &[DeliveryTag]) -> Result<()> {
    if suspects.is_empty() {
        return Ok(());
    }
    let keys: &Vec<i64> = &suspects.iter().map(|tag| key_in(tag.key)).collect();
    let attempts: &Vec<i32> = &suspects.iter().map(|tag| attempt_in(tag.attempt)).collect();
    shared
        .run("note that tasks begin", |connection| async move {
            let params =
                [(&consumer as _, Type::INT8), (keys as _, Type::INT8_ARRAY), (attempts as _, Type::INT4_ARRAY)];
            connection.rows(&shared.sql(BEGIN), &params).await.map(drop)
        })
        .await
}

/// A delivery that the database has in a consumer's hands, and the number of the claim that put it there.
pub(super) struct Held {
    pub(super) tag: DeliveryTag,
    pub(super) claim: i64,
}

/// Everything a consumer holds.
pub(super) async fn held(shared: &Shared, connection: &Connection, consumer: i64) -> Outcome<Vec<Held>> {
    let rows = connection.rows(&shared.sql(HELD), &[(&consumer, Type::INT8)]).await?;
    rows.iter()
        .map(|row| {
            let tag = DeliveryTag { key: key_out(row.try_get(0)?), attempt: small(row.try_get(1)?) };
            Ok(Held { tag, claim: row.try_get(2)? })
        })
        .collect()
}

/// Gives up every consumer whose lease has lapsed.
pub(super) async fn sweep(shared: &Shared, connection: &Connection, now: i64) -> Outcome<()> {
    let rows = connection.rows(&shared.sql(SWEEP), &[(&now, Type::INT8), (&now, Type::INT8)]).await?;
    let mut topics = Vec::new();
    for row in &rows {
        let (queue, released): (&str, i64) = (row.try_get(0)?, row.try_get(1)?);
        tracing::warn!(queue, released, "a consumer's lease lapsed; what it held is back in its queue");
        topics.push(queue_topic(queue));
    }
    shared.wake(connection, &topics).await;
    Ok(())
}

/// Takes a consumer out of the table; what it holds goes back to its places.
pub(super) async fn release(shared: &Shared, consumer: i64) -> Result<()> {
    let now = shared.now();
    shared
        .run("close a consumer", |connection| async move {
            let rows = connection.rows(&shared.sql(RELEASE), &[(&consumer, Type::INT8), (&now, Type::INT8)]).await?;
            let topics: Outcome<Vec<String>> =
                rows.iter().map(|row| Ok(queue_topic(row.try_get::<_, &str>(0)?))).collect();
            shared.wake(&connection, &topics?).await;
            Ok(())
        })
        .await
}

/// Lists the consumers whose lease has not lapsed.
pub(super) async fn consumers(shared: &Arc<Shared>) -> Result<Vec<ConsumerInfo>> {
    shared.broker.check("list the consumers")?;
    let now = shared.now();
    let rows = shared
        .run("list the consumers", |connection| async move {
            let sql = "SELECT worker, start_id, queues, started_at, lease_until, \
                       (SELECT count(*) FROM {s}.held WHERE held.consumer = consumers.id) \
                       FROM {s}.consumers WHERE lease_until > $1 ORDER BY id";
            connection.rows(&shared.sql(sql), &[(&now, Type::INT8)]).await?.iter().map(consumer_info).collect()
        })
        .await?;
    Ok(rows)
}

fn consumer_info(row: &tokio_postgres::Row) -> Outcome<ConsumerInfo> {
    let queues: Vec<&str> = row.try_get(2)?;
    let queues: Result<_> = queues.into_iter().map(|queue| name(QueueName::new(queue), "a consumer's queue")).collect();
    Ok(ConsumerInfo {
        worker: name(WorkerName::new(row.try_get::<_, &str>(0)?), "a consumer's name")?,
        start_id: row.try_get(1)?,
        queues: queues?,
        held: count(row.try_get(5)?),
        started_at: timestamp(row.try_get(3)?),
        lease_until: timestamp(row.try_get(4)?),
    })
}
