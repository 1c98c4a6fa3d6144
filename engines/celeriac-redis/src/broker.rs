//! The broker: publishing, and everything about queues that is not one consumer's.

use std::sync::Arc;

use celeriac_core::{
    Accepted, Broker, Capabilities, ConsumerInfo, Cursor, DeadEntry, DeadQuery, DeadReason, Error, ErrorKind, Message,
    Notice, Peek, Peeked, Publication, QueueDepth, QueueName, Result, Revocation, Subscription, TaskId, Topology,
};
use redis::{Pipeline, Value};

use crate::{
    RedisConsumer, RedisListener, channel,
    engine::{Shared, capabilities, micros},
    envelope::{self, Of},
    listing,
    values::{Arguments, count, instant, number, text},
};

/// How many messages, and about how many bytes, one script publishes.
const PUBLISH_STEP: usize = 500;
const PUBLISH_STEP_BYTES: usize = 8 << 20;
/// How many queues one consumer serves.
const CONSUMER_QUEUES_MAX: usize = 1_000;
/// The longest unique key, in bytes.
const UNIQUE_BYTES_MAX: usize = 255;

/// See [`Broker`] and the crate's documentation.
pub struct RedisBroker(Arc<Shared>);

impl RedisBroker {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }
}

impl Broker for RedisBroker {
    type Consumer = RedisConsumer;
    type Listener = RedisListener;

    fn capabilities(&self) -> Capabilities {
        capabilities(&self.0.layout)
    }

    async fn declare(&self, topology: &Topology) -> Result<()> {
        declare(&self.0, &topology.queues).await
    }

    async fn publish(&self, batch: Vec<Publication>) -> Result<Vec<Accepted>> {
        check(&self.0, &batch)?;
        let mut answers = Vec::with_capacity(batch.len());
        let (mut step, mut step_bytes, now) = (Arguments::default(), 0, self.0.now());
        let mut waiting = batch.iter().peekable();
        while let Some(publication) = waiting.next() {
            if step.0.is_empty() {
                step.number(now);
            }
            step_bytes += publication.message.len_bytes();
            append(&self.0, &mut step, publication, now);
            let full = step.0.len() > PUBLISH_STEP * 7 || step_bytes > PUBLISH_STEP_BYTES;
            if full || waiting.peek().is_none() {
                let arguments = std::mem::take(&mut step).0;
                step_bytes = 0;
                let holders: Vec<String> =
                    self.0.link.call("publish messages", &self.0.scripts.publish, &arguments).await?;
                for holder in holders {
                    answers.push(match &*holder {
                        "" => Accepted::Queued,
                        id => Accepted::Duplicate(TaskId::new(id)?),
                    });
                }
            }
        }
        Ok(answers)
    }

    async fn consume(&self, from: Subscription) -> Result<RedisConsumer> {
        check_queues(from.queues.len(), 1)?;
        declare(&self.0, &from.queues).await?;
        RedisConsumer::start(&self.0, from).await
    }

    async fn depth(&self, queues: &[QueueName]) -> Result<Vec<QueueDepth>> {
        let mut arguments = Arguments::default();
        arguments.number(self.0.now()).texts(queues);
        let answer: Vec<Value> = self.0.link.call("count the queues", &self.0.scripts.depth, &arguments.0).await?;
        answer.chunks(6).map(queue_depth).collect()
    }

    async fn peek(&self, peek: Peek) -> Result<Vec<Peeked>> {
        listing::peek(&self.0, peek).await
    }

    async fn purge(&self, queue: &QueueName) -> Result<u64> {
        let mut arguments = Arguments::default();
        arguments.number(self.0.now()).text(queue.as_str());
        self.0.link.call(&format!("purge queue `{queue}`"), &self.0.scripts.purge, &arguments.0).await
    }

    async fn consumers(&self) -> Result<Vec<ConsumerInfo>> {
        listing::consumers(&self.0).await
    }

    async fn bury(&self, entry: Publication, reason: DeadReason, detail: &str) -> Result<()> {
        check(&self.0, std::slice::from_ref(&entry))?;
        let mut arguments = Arguments::default();
        arguments
            .number(self.0.now())
            .text(entry.queue.as_str())
            .number(self.0.layout.step(entry.priority.0))
            .text(reason.as_str())
            .text(detail)
            .text(rest_of(&entry, &fresh_tag()));
        self.0.link.call("bury a message", &self.0.scripts.bury, &arguments.0).await
    }

    async fn dead(&self, query: DeadQuery) -> Result<Vec<DeadEntry>> {
        listing::dead(&self.0, query).await
    }

    async fn replay(&self, entries: &[u64], edited: Option<Message>) -> Result<u64> {
        let rest = match edited {
            None => Vec::new(),
            Some(edited) => {
                let [entry] = entries else {
                    return Err(Error::new(
                        ErrorKind::Invalid,
                        format!("replay {} messages with the bytes of one: edit them one by one", entries.len()),
                    ));
                };
                check_size(&self.0, &edited)?;
                let Some(dead) = listing::dead_of(&self.0, *entry).await? else { return Ok(0) };
                let known = envelope::decode(&dead.envelope, &format!("dead-{entry}"));
                let task = known.task;
                let of = Of {
                    task_id: &known.task_id,
                    task: &task,
                    queue: &dead.queue,
                    priority: known.priority,
                    tag: &fresh_tag(),
                };
                envelope::encode(&edited, &of)
            }
        };
        raise(&self.0, "replay dead messages", true, rest, entries).await
    }

    async fn drop_dead(&self, entries: &[u64]) -> Result<u64> {
        raise(&self.0, "drop dead messages", false, Vec::new(), entries).await
    }

    async fn revoke(&self, batch: Vec<Revocation>) -> Result<()> {
        let mut arguments = Arguments::default();
        arguments.number(self.0.now());
        for revocation in &batch {
            let until = micros(revocation.expires);
            arguments.text(revocation.task_id.as_str()).number(until).text(write_revocation(revocation));
        }
        self.0.link.call("revoke tasks", &self.0.scripts.revoke, &arguments.0).await
    }

    async fn revoked(&self, ids: &[TaskId]) -> Result<Vec<Option<Revocation>>> {
        revoked(&self.0, ids).await
    }

    async fn broadcast(&self, channel: &str, notices: Vec<Notice>) -> Result<()> {
        channel::broadcast(&self.0, channel, notices).await
    }

    async fn listen(&self, channel: &str, routing_key: Option<&str>, after: Option<Cursor>) -> Result<RedisListener> {
        RedisListener::start(&self.0, channel, routing_key, after).await
    }

    async fn close(&self) -> Result<()> {
        self.0.close_broker().await
    }
}

/// Refuses a consumer of too few or too many queues.
pub(crate) fn check_queues(count: usize, least: usize) -> Result<()> {
    if (least..=CONSUMER_QUEUES_MAX).contains(&count) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, format!("consume from {count} queues: name {least} to {CONSUMER_QUEUES_MAX}")))
}

pub(crate) async fn declare(shared: &Shared, queues: &[QueueName]) -> Result<()> {
    if queues.is_empty() {
        return Ok(());
    }
    let mut pipeline = Pipeline::new();
    for queue in queues {
        pipeline.cmd("SADD").arg(shared.layout.own("queues")).arg(queue.as_str()).ignore();
        let (key, member) = shared.layout.binding(queue.as_str());
        pipeline.cmd("SADD").arg(key).arg(member).ignore();
    }
    shared.link.pipeline("declare queues", &pipeline).await
}

fn check(shared: &Shared, batch: &[Publication]) -> Result<()> {
    for publication in batch {
        check_size(shared, &publication.message)?;
        if publication.unique.as_ref().is_some_and(|unique| unique.key.len() > UNIQUE_BYTES_MAX) {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("publish task {}: its unique key has more than {UNIQUE_BYTES_MAX} bytes", publication.task_id),
            ));
        }
    }
    Ok(())
}

pub(crate) fn check_size(shared: &Shared, message: &Message) -> Result<()> {
    let (bytes, limit) = (message.len_bytes(), shared.config.message_bytes_max);
    if bytes > limit {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!("take a message of {bytes} bytes: message_max allows {limit}"),
        ));
    }
    Ok(())
}

fn append(shared: &Shared, step: &mut Arguments, publication: &Publication, now: i64) {
    let due = publication.due.map_or(0, micros);
    step.text(publication.queue.as_str())
        .number(shared.layout.step(publication.priority.0))
        .number(if due <= now { 0 } else { due })
        .text(rest_of(publication, &fresh_tag()));
    match &publication.unique {
        Some(unique) => {
            let window = i64::try_from(unique.window.as_micros()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
            step.text(shared.layout.unique(&unique.key)).number(window)
        }
        None => step.text("").text("0"),
    };
    step.text(publication.task_id.as_str());
}

fn rest_of(publication: &Publication, tag: &str) -> Vec<u8> {
    let Publication { task_id, task, queue, priority, message, .. } = publication;
    envelope::encode(message, &Of { task_id, task, queue, priority: *priority, tag })
}

/// A delivery tag that nobody else has, as kombu makes them.
pub(crate) fn fresh_tag() -> String {
    uuid::Uuid::new_v4().to_string()
}

fn queue_depth(row: &[Value]) -> Result<QueueDepth> {
    let oldest = number(row.get(5))?;
    Ok(QueueDepth {
        queue: QueueName::new(text(row.first())?)?,
        ready: count(row.get(1))?,
        held: count(row.get(2))?,
        parked: count(row.get(3))?,
        dead: count(row.get(4))?,
        oldest_ready: (oldest > 0).then(|| instant(oldest)),
    })
}

async fn raise(shared: &Shared, what: &str, again: bool, rest: Vec<u8>, entries: &[u64]) -> Result<u64> {
    let mut found = 0;
    for step in entries.chunks(1_000) {
        let mut arguments = Arguments::default();
        arguments.text(if again { "1" } else { "0" }).text(rest.clone());
        for entry in step {
            arguments.number(entry);
        }
        found += shared.link.call::<u64>(what, &shared.scripts.raise, &arguments.0).await?;
    }
    Ok(found)
}

pub(crate) async fn revoked(shared: &Shared, ids: &[TaskId]) -> Result<Vec<Option<Revocation>>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = ids.iter().map(TaskId::as_str).collect();
    let mut command = redis::cmd("HMGET");
    command.arg(shared.layout.own("revoked")).arg(names);
    let facts: Vec<Option<String>> = shared.link.command("look up revocations", &command).await?;
    let now = shared.now();
    Ok(ids.iter().zip(facts).map(|(id, fact)| read_revocation(id, &fact.unwrap_or_default(), now)).collect())
}

fn write_revocation(revocation: &Revocation) -> String {
    let attempt = revocation.attempt.map_or_else(|| "-".to_owned(), |attempt| attempt.to_string());
    format!("{} {attempt} {}", u8::from(revocation.terminate), micros(revocation.expires))
}

/// Reads what [`write_revocation`] wrote, unless it has expired.
pub(crate) fn read_revocation(task_id: &TaskId, fact: &str, now: i64) -> Option<Revocation> {
    let mut words = fact.split(' ');
    let (terminate, attempt, expires) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
    (expires > now).then(|| Revocation {
        task_id: task_id.clone(),
        terminate: terminate == "1",
        attempt: attempt.parse().ok(),
        expires: instant(expires),
    })
}
