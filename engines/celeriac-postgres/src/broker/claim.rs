//! Claims messages: one atomic statement from `waiting` to `held`.

use bytes::{BufMut, BytesMut};
use celeriac_core::{Delivery, DeliveryTag, Message, Priority, QueueName, Revocation, TaskId, TaskName};
use tokio_postgres::{Row, types::Type};

use super::leases::Registration;
use crate::{
    connections::{Connection, Session},
    errors::Outcome,
    layout::{in_schema, key_out, name, small, timestamp},
};

/// How many parked messages of all queues one claim promotes at least. The rest is the next claim's.
const PROMOTE_MIN: usize = 1_000;

/// Claims up to `$3` messages, an equal share of each queue that has any, whichever comes first in `$2` having the odd
/// ones. What others are just claiming is passed over.
///
/// Nothing is claimed while a lease has lapsed or something parked is due (unless `$7`): both come first. `next` says
/// when that will be so.
///
/// The consumer's row is renewed with whatever is claimed, and made anew if somebody has just taken it for dead: what is
/// held always has an owner whose lease can lapse.
const CLAIM: &str = "\
WITH coming AS MATERIALIZED ( \
    SELECT least((SELECT min(lease_until) FROM {s}.consumers), \
                 (SELECT min(p.due) FROM unnest($2) AS q(name) CROSS JOIN LATERAL ( \
                      SELECT due FROM {s}.parked WHERE queue = q.name ORDER BY due LIMIT 1) AS p)) AS next, \
           set_config('synchronous_commit', 'off', true) AS quickly \
), busy AS MATERIALIZED ( \
    SELECT q.name, row_number() OVER (ORDER BY q.turn) AS number, count(*) OVER () AS total \
    FROM coming CROSS JOIN unnest($2) WITH ORDINALITY AS q(name, turn) \
    WHERE ($7 OR coming.next IS NULL OR coming.next > $4) \
      AND EXISTS (SELECT FROM {s}.waiting w WHERE w.queue = q.name) \
), picked AS MATERIALIZED ( \
    SELECT b.number, w.* FROM busy b CROSS JOIN LATERAL ( \
        SELECT w.ctid AS place, w.queue, w.priority, w.position, w.key FROM {s}.waiting w WHERE w.queue = b.name \
        ORDER BY w.priority DESC, w.position \
        LIMIT $3 / b.total + (b.number <= $3 % b.total)::int FOR UPDATE SKIP LOCKED) AS w \
), gone AS ( \
    DELETE FROM {s}.waiting WHERE ctid = ANY (ARRAY(SELECT place FROM picked)) \
), taken AS MATERIALIZED ( \
    SELECT p.number, p.position, p.queue, p.priority, p.key, m.task_id, m.task, m.published_at, m.attempts + 1 AS attempt, \
           m.losses, m.redelivered, m.headers, m.properties, m.body \
    FROM picked p JOIN {s}.messages m ON m.key = p.key \
), hold AS ( \
    INSERT INTO {s}.held (consumer, key, attempt, queue, priority, position, claim, claimed_at) \
    SELECT $1, key, attempt, queue, priority, position, $5, $4 FROM taken \
), lease AS ( \
    INSERT INTO {s}.consumers AS c (id, worker, start_id, queues, started_at, lease_until) \
    SELECT $1, $8, $9, $2, $10, $6 WHERE EXISTS (SELECT FROM taken) \
    ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until WHERE c.lease_until < $11 \
    RETURNING lease_until \
) \
SELECT coming.next, (SELECT count(*) FROM busy), (SELECT lease_until FROM lease), \
       t.key, t.task_id, t.task, t.queue, t.priority, t.attempt, t.losses, t.redelivered, t.published_at, \
       r.terminate, r.attempt, r.expires, t.headers, t.properties, t.body \
FROM coming LEFT JOIN taken t ON true \
LEFT JOIN {s}.revocations r ON r.task_id = t.task_id AND r.expires > $4 AND (r.attempt IS NULL OR r.attempt = t.attempt) \
ORDER BY t.number, t.priority DESC, t.position";

/// Moves parked messages that are due into `waiting`, in the order of their due times.
const PROMOTE: &str = "\
WITH due AS ( \
    DELETE FROM {s}.parked WHERE ctid = ANY (ARRAY( \
        SELECT p.ctid FROM unnest($1) AS q(name) CROSS JOIN LATERAL ( \
            SELECT ctid FROM {s}.parked WHERE queue = q.name AND due <= $2 \
            ORDER BY due, key LIMIT $3 FOR UPDATE SKIP LOCKED) AS p)) \
    RETURNING queue, due, key, priority \
) \
INSERT INTO {s}.waiting (queue, priority, position, key, since) \
SELECT queue, priority, nextval('{s}.tickets'), key, due \
FROM (SELECT queue, priority, key, due FROM due ORDER BY due, key) AS in_order";

/// What a claim asks for.
pub(super) struct Request<'a> {
    pub(super) consumer: &'a Registration,
    /// Its queues, whose turn it is first.
    pub(super) queues: Vec<&'a str>,
    pub(super) limit: usize,
    /// The claim's own number.
    pub(super) claim: i64,
    pub(super) now: i64,
    /// Whatever is due has been seen to.
    pub(super) anyway: bool,
}

/// What a claim gave.
pub(super) struct Claimed {
    pub(super) deliveries: Vec<Delivery>,
    /// The next due time or end of a lease.
    pub(super) next: Option<i64>,
    /// The consumer's new lease, unless the old one was still long.
    pub(super) lease_until: Option<i64>,
    /// Something waits, though it may be in somebody else's claim.
    pub(super) busy: bool,
}

pub(super) async fn claim(connection: &Connection, schema: &str, request: &Request<'_>) -> Outcome<Claimed> {
    let consumer = request.consumer;
    let limit = i64::try_from(request.limit).unwrap_or(i64::MAX);
    let until = request.now.saturating_add(consumer.lease_micros);
    // A lease of which nine tenths are left is as good as new, and costs no write.
    let renew_below = until.saturating_sub(consumer.lease_micros / 10);
    let rows = connection
        .rows(
            &in_schema(CLAIM, schema),
            &[
                (&consumer.id, Type::INT8),
                (&request.queues, Type::TEXT_ARRAY),
                (&limit, Type::INT8),
                (&request.now, Type::INT8),
                (&request.claim, Type::INT8),
                (&until, Type::INT8),
                (&request.anyway, Type::BOOL),
                (&consumer.worker.as_str(), Type::TEXT),
                (&consumer.start_id, Type::TEXT),
                (&consumer.started_at, Type::INT8),
                (&renew_below, Type::INT8),
            ],
        )
        .await?;
    let first = &rows[0];
    let mut claimed = Claimed {
        deliveries: Vec::new(),
        next: first.try_get(0)?,
        lease_until: first.try_get(2)?,
        busy: first.try_get::<_, i64>(1)? > 0,
    };
    if first.try_get::<_, Option<i64>>(3)?.is_some() {
        claimed.deliveries.reserve(rows.len());
        for row in &rows {
            let delivery = delivery(row, claimed.deliveries.last())?;
            claimed.deliveries.push(delivery);
        }
    }
    Ok(claimed)
}

/// Promotes what is due in these queues.
pub(super) async fn promote(
    connection: &Connection,
    schema: &str,
    queues: &[&str],
    limit: usize,
    now: i64,
) -> Outcome<()> {
    let limit = i64::try_from(limit.max(PROMOTE_MIN)).unwrap_or(i64::MAX);
    let params = [(&queues as _, Type::TEXT_ARRAY), (&now as _, Type::INT8), (&limit as _, Type::INT8)];
    connection.rows(&in_schema(PROMOTE, schema), &params).await.map(drop)
}

fn delivery(row: &Row, previous: Option<&Delivery>) -> Outcome<Delivery> {
    let (task, queue): (&str, &str) = (row.try_get(5)?, row.try_get(6)?);
    // Neighbours are often of one task and queue: share the names.
    let task = match previous {
        Some(previous) if previous.task.as_str() == task => previous.task.clone(),
        _ => name(TaskName::new(task), "a message's task")?,
    };
    let queue = match previous {
        Some(previous) if previous.queue.as_str() == queue => previous.queue.clone(),
        _ => name(QueueName::new(queue), "a message's queue")?,
    };
    let task_id = name(TaskId::new(row.try_get::<_, &str>(4)?), "a message's task id")?;
    let revoked = match row.try_get::<_, Option<i64>>(14)? {
        None => None,
        Some(expires) => Some(Revocation {
            task_id: task_id.clone(),
            terminate: row.try_get(12)?,
            attempt: row.try_get::<_, Option<i32>>(13)?.map(small),
            expires: timestamp(expires),
        }),
    };
    Ok(Delivery {
        tag: DeliveryTag { key: key_out(row.try_get(3)?), attempt: small(row.try_get(8)?) },
        task_id,
        task,
        queue,
        priority: priority(row.try_get(7)?),
        redelivered: row.try_get(10)?,
        losses: small(row.try_get(9)?),
        published_at: timestamp(row.try_get(11)?),
        revoked,
        message: message(row, 15)?,
    })
}

pub(super) fn priority(stored: i16) -> Priority {
    Priority(u8::try_from(stored).unwrap_or(u8::MAX))
}

/// Reads headers, properties and body from three columns into one allocation.
pub(super) fn message(row: &Row, first: usize) -> Outcome<Message> {
    let (headers, properties, body): (&[u8], &[u8], &[u8]) =
        (row.try_get(first)?, row.try_get(first + 1)?, row.try_get(first + 2)?);
    let mut bytes = BytesMut::with_capacity(headers.len() + properties.len() + body.len());
    bytes.put_slice(headers);
    bytes.put_slice(properties);
    bytes.put_slice(body);
    let mut bytes = bytes.freeze();
    let headers = bytes.split_to(headers.len());
    let properties = bytes.split_to(properties.len());
    Ok(Message { headers, properties, body: bytes })
}
