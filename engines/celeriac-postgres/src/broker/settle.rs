//! Settles deliveries: each kind of settlement in one statement, a mixed batch in one transaction.

use std::collections::{BTreeSet, HashSet};

use celeriac_core::{DeliveryTag, Result, Settled, Settlement};
use tokio_postgres::{Row, types::Type};

use crate::{
    connections::{Connection, Param, Session},
    engine::Shared,
    errors::Outcome,
    layout::{attempt_in, key_in, key_out, legible, micros, queue_topic, small},
};

/// How many settlements go into one transaction.
const CHUNK: usize = 2_000;
/// The longest detail that is kept, in characters.
pub(super) const DETAIL_CHARS_MAX: usize = 10_000;

/// What is held under its tag, let go. The macro's argument is what becomes of it.
macro_rules! let_go {
    ($given:literal, $returning:literal, $then:literal) => {
        concat!(
            "WITH given AS MATERIALIZED (SELECT * FROM ",
            $given,
            "), let_go AS ( \
                DELETE FROM {s}.held h USING given g WHERE h.consumer = $1 AND h.key = g.key AND h.attempt = g.attempt \
                RETURNING h.*, ",
            $returning,
            ") ",
            $then,
            " SELECT key, attempt, queue FROM let_go"
        )
    };
}

const ACK: &str = let_go!(
    "unnest($2, $3) AS t(key, attempt)",
    "0",
    ", gone AS (DELETE FROM {s}.messages m USING let_go l WHERE m.key = l.key)"
);

/// Its old position is in front of all that were not claimed before it.
const REQUEUE: &str = let_go!(
    "unnest($2, $3) AS t(key, attempt)",
    "0",
    ", counted AS (UPDATE {s}.messages m SET attempts = l.attempt FROM let_go l WHERE m.key = l.key), \
     back AS (INSERT INTO {s}.waiting (queue, priority, position, key, since) \
              SELECT queue, priority, position, key, $4 FROM let_go)"
);

/// Whatever ran it is gone: a loss.
const LOST: &str = let_go!(
    "unnest($2, $3) AS t(key, attempt)",
    "0",
    ", counted AS (UPDATE {s}.messages m SET attempts = l.attempt, redelivered = true, losses = m.losses + 1 \
                  FROM let_go l WHERE m.key = l.key), \
     back AS (INSERT INTO {s}.waiting (queue, priority, position, key, since) \
              SELECT queue, priority, position, key, $4 FROM let_go)"
);

const PARK: &str = let_go!(
    "unnest($2, $3, $4, $5, $6, $7) AS t(key, attempt, due, headers, properties, body)",
    "g.due, g.headers, g.properties, g.body",
    ", counted AS (UPDATE {s}.messages m SET attempts = l.attempt, redelivered = false, due = l.due, \
         headers = coalesce(l.headers, m.headers), properties = coalesce(l.properties, m.properties), \
         body = coalesce(l.body, m.body) FROM let_go l WHERE m.key = l.key), \
     back AS (INSERT INTO {s}.parked (queue, due, key, priority) SELECT queue, due, key, priority FROM let_go)"
);

const DEAD: &str = let_go!(
    "unnest($2, $3, $4, $5) AS t(key, attempt, reason, detail)",
    "g.reason, g.detail",
    ", gone AS (DELETE FROM {s}.messages m USING let_go l WHERE m.key = l.key RETURNING m.*), \
     buried AS (INSERT INTO {s}.dead (entry, task_id, task, queue, priority, reason, detail, published_at, died_at, \
                    attempts, headers, properties, body) \
                SELECT nextval('{s}.tickets'), m.task_id, m.task, m.queue, m.priority, l.reason, l.detail, m.published_at, \
                    $6, l.attempt, m.headers, m.properties, m.body FROM let_go l JOIN gone m ON m.key = l.key)"
);

/// Settles a consumer's batch. What is not held under its tag any more is stale and stays as it is.
pub(super) async fn settle(shared: &Shared, consumer: i64, batch: &[Settlement]) -> Result<Vec<Settled>> {
    let mut settled = Vec::with_capacity(batch.len());
    // A second settlement of the same delivery is stale, within a batch too.
    let mut seen = HashSet::new();
    for chunk in batch.chunks(CHUNK) {
        let kinds = Kinds::sort(chunk.iter().filter(|it| seen.insert(it.tag().clone())));
        let (kinds, now) = (&kinds, shared.now());
        let done = shared
            .run("settle deliveries", |connection| async move {
                let done = kinds.settle(shared, &connection, consumer, now).await?;
                let topics: BTreeSet<String> = done.iter().filter(|done| done.returns).map(Done::topic).collect();
                shared.wake(&connection, &Vec::from_iter(topics)).await;
                Ok(done)
            })
            .await?;
        let mut done: HashSet<DeliveryTag> = done.into_iter().map(|done| done.tag).collect();
        let settle = |it: &Settlement| if done.remove(it.tag()) { Settled::Done } else { Settled::Stale };
        settled.extend(chunk.iter().map(settle));
    }
    Ok(settled)
}

/// Puts deliveries back to their places.
pub(super) async fn requeue(
    shared: &Shared,
    connection: &Connection,
    consumer: i64,
    tags: &[DeliveryTag],
    now: i64,
) -> Outcome<()> {
    let tags = Tags::of(tags.iter());
    tags.run(shared, connection, REQUEUE, consumer, &[(&now, Type::INT8)]).await.map(drop)
}

/// A settlement that was carried out.
struct Done {
    tag: DeliveryTag,
    queue: String,
    /// The message is back in its queue, now or later.
    returns: bool,
}

impl Done {
    fn read(row: &Row, returns: bool) -> Outcome<Self> {
        let tag = DeliveryTag { key: key_out(row.try_get(0)?), attempt: small(row.try_get(1)?) };
        Ok(Self { tag, queue: row.try_get(2)?, returns })
    }

    fn topic(&self) -> String {
        queue_topic(&self.queue)
    }
}

/// Tags as two arrays.
#[derive(Default)]
struct Tags {
    keys: Vec<i64>,
    attempts: Vec<i32>,
}

impl Tags {
    fn of<'a>(tags: impl Iterator<Item = &'a DeliveryTag>) -> Self {
        let mut sorted = Self::default();
        tags.for_each(|tag| sorted.push(tag));
        sorted
    }

    fn push(&mut self, tag: &DeliveryTag) {
        self.keys.push(key_in(tag.key));
        self.attempts.push(attempt_in(tag.attempt));
    }

    async fn run(
        &self,
        shared: &Shared,
        connection: &Connection,
        sql: &str,
        consumer: i64,
        more: &[Param<'_>],
    ) -> Outcome<Vec<Row>> {
        if self.keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut params: Vec<Param<'_>> =
            vec![(&consumer, Type::INT8), (&self.keys, Type::INT8_ARRAY), (&self.attempts, Type::INT4_ARRAY)];
        params.extend_from_slice(more);
        // Five of these wait side by side: boxed, the future that holds them stays small.
        Box::pin(connection.rows(&shared.sql(sql), &params)).await
    }
}

/// A batch, sorted by what is to be done.
#[derive(Default)]
struct Kinds<'a> {
    acks: Tags,
    requeues: Tags,
    lost: Tags,
    parks: Tags,
    until: Vec<i64>,
    headers: Vec<Option<&'a [u8]>>,
    properties: Vec<Option<&'a [u8]>>,
    bodies: Vec<Option<&'a [u8]>>,
    dead: Tags,
    reasons: Vec<String>,
    details: Vec<String>,
}

impl<'a> Kinds<'a> {
    fn sort(batch: impl Iterator<Item = &'a Settlement>) -> Self {
        let mut kinds = Self::default();
        for settlement in batch {
            match settlement {
                Settlement::Ack(tag) => kinds.acks.push(tag),
                Settlement::Requeue(tag) => kinds.requeues.push(tag),
                Settlement::Lost(tag) => kinds.lost.push(tag),
                Settlement::Park { tag, until, message } => {
                    kinds.parks.push(tag);
                    kinds.until.push(micros(*until));
                    kinds.headers.push(message.as_ref().map(|message| &*message.headers));
                    kinds.properties.push(message.as_ref().map(|message| &*message.properties));
                    kinds.bodies.push(message.as_ref().map(|message| &*message.body));
                }
                Settlement::Dead { tag, reason, detail } => {
                    kinds.dead.push(tag);
                    kinds.reasons.push(legible(reason.as_str(), DETAIL_CHARS_MAX));
                    kinds.details.push(legible(detail, DETAIL_CHARS_MAX));
                }
            }
        }
        kinds
    }

    async fn settle(&self, shared: &Shared, connection: &Connection, consumer: i64, now: i64) -> Outcome<Vec<Done>> {
        let kinds = [&self.acks, &self.requeues, &self.lost, &self.parks, &self.dead];
        let transaction = kinds.iter().filter(|tags| !tags.keys.is_empty()).count() > 1;
        if transaction {
            connection.begin().await?;
        }
        let requeue: [Param<'_>; 1] = [(&now, Type::INT8)];
        let park: [Param<'_>; 4] = [
            (&self.until, Type::INT8_ARRAY),
            (&self.headers, Type::BYTEA_ARRAY),
            (&self.properties, Type::BYTEA_ARRAY),
            (&self.bodies, Type::BYTEA_ARRAY),
        ];
        let dead: [Param<'_>; 3] =
            [(&self.reasons, Type::TEXT_ARRAY), (&self.details, Type::TEXT_ARRAY), (&now, Type::INT8)];
        // In one flight, one behind the other.
        let (acked, requeued, lost, parked, buried) = tokio::try_join!(
            self.acks.run(shared, connection, ACK, consumer, &[]),
            self.requeues.run(shared, connection, REQUEUE, consumer, &requeue),
            self.lost.run(shared, connection, LOST, consumer, &requeue),
            self.parks.run(shared, connection, PARK, consumer, &park),
            self.dead.run(shared, connection, DEAD, consumer, &dead),
        )?;
        if transaction {
            connection.commit().await?;
        }
        let returned = requeued.iter().chain(&lost).chain(&parked).map(|row| Done::read(row, true));
        acked.iter().chain(&buried).map(|row| Done::read(row, false)).chain(returned).collect()
    }
}
