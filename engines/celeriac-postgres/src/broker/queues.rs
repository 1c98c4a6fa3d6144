//! Queues: made known and counted.

use std::sync::Arc;

use celeriac_core::{QueueDepth, QueueName, Result, Topology};
use tokio_postgres::{Row, types::Type};

use crate::{
    connections::Session,
    engine::Shared,
    errors::Outcome,
    layout::{count, name, timestamp},
};

const DECLARE: &str = "INSERT INTO {s}.queues (name, declared_at) SELECT name, $2 FROM unnest($1) AS q(name) \
                       ORDER BY name ON CONFLICT DO NOTHING";

/// What is due and not yet promoted is ready all the same. Every queue that was ever declared, published to or consumed
/// from is known.
const DEPTH: &str = "\
SELECT q.name, w.count + p.due, h.count, p.later, d.count, least(w.since, p.since) \
FROM (SELECT name, turn FROM unnest($1) WITH ORDINALITY AS q(name, turn) \
      UNION ALL SELECT name, row_number() OVER (ORDER BY name) FROM {s}.queues WHERE cardinality($1) = 0) AS q \
CROSS JOIN LATERAL (SELECT count(*), min(since) AS since FROM {s}.waiting WHERE queue = q.name) AS w \
CROSS JOIN LATERAL (SELECT count(*) FROM {s}.held WHERE queue = q.name) AS h \
CROSS JOIN LATERAL (SELECT count(*) FROM {s}.dead WHERE queue = q.name) AS d \
CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE due <= $2) AS due, count(*) FILTER (WHERE due > $2) AS later, \
                    min(due) FILTER (WHERE due <= $2) AS since FROM {s}.parked WHERE queue = q.name) AS p \
ORDER BY q.turn";

pub(super) async fn declare(shared: &Arc<Shared>, topology: &Topology) -> Result<()> {
    shared.broker.check("declare queues")?;
    let queues: &Vec<&str> = &topology.queues.iter().map(QueueName::as_str).collect();
    let now = shared.now();
    shared
        .run("declare queues", |connection| async move {
            let params = [(queues as _, Type::TEXT_ARRAY), (&now as _, Type::INT8)];
            connection.rows(&shared.sql(DECLARE), &params).await.map(drop)
        })
        .await
}

pub(super) async fn depth(shared: &Arc<Shared>, queues: &[QueueName]) -> Result<Vec<QueueDepth>> {
    shared.broker.check("count the messages of queues")?;
    let queues: &Vec<&str> = &queues.iter().map(QueueName::as_str).collect();
    let now = shared.now();
    shared
        .run("count the messages of queues", |connection| async move {
            let params = [(queues as _, Type::TEXT_ARRAY), (&now as _, Type::INT8)];
            connection.rows(&shared.sql(DEPTH), &params).await?.iter().map(queue_depth).collect()
        })
        .await
}

fn queue_depth(row: &Row) -> Outcome<QueueDepth> {
    Ok(QueueDepth {
        queue: name(QueueName::new(row.try_get::<_, &str>(0)?), "a queue's name")?,
        ready: count(row.try_get(1)?),
        held: count(row.try_get(2)?),
        parked: count(row.try_get(3)?),
        dead: count(row.try_get(4)?),
        oldest_ready: row.try_get::<_, Option<i64>>(5)?.map(timestamp),
    })
}
