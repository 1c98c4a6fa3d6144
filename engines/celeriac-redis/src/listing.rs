//! Looking without taking: waiting messages, consumers, the dead.

use celeriac_core::{
    ConsumerInfo, DeadEntry, DeadQuery, DeadReason, Peek, PeekState, Peeked, QueueName, Result, WorkerName,
};
use redis::{Pipeline, Value};

use crate::{
    engine::Shared,
    envelope::{self, Envelope},
    values::{bytes, count, instant, number, text},
};

/// A listing has so many entries at the most.
const PAGE_MAX: usize = 1_000;
/// How many messages of one list, one index or one consumer a listing looks at, from the front on.
const LOOK_MAX: usize = 10_000;
/// How many are fetched at once.
const FETCH: usize = 200;
/// How many dead messages a listing looks at, the newest first.
const DEAD_LOOK_MAX: usize = 100_000;
/// The listing's keys of messages without a number, published by Celery and not seen by us yet, lie beyond all others.
const UNNUMBERED: u64 = 1 << 53;

pub(crate) async fn peek(shared: &Shared, peek: Peek) -> Result<Vec<Peeked>> {
    let limit = peek.limit.clamp(1, PAGE_MAX);
    let queues: Vec<String> = if let Some(queue) = &peek.queue {
        vec![queue.to_string()]
    } else {
        let mut command = redis::cmd("SMEMBERS");
        command.arg(shared.layout.own("queues"));
        shared.link.command("list the queues", &command).await?
    };
    let mut found = Vec::new();
    for queue in &queues {
        let Ok(queue) = QueueName::new(queue) else { continue };
        if peek.state != Some(PeekState::Held) {
            waiting(shared, &peek, &queue, limit, &mut found).await?;
            parked(shared, &peek, &queue, limit, &mut found).await?;
        }
    }
    if peek.state.is_none_or(|state| state == PeekState::Held) {
        held(shared, &peek, &mut found).await?;
    }
    found.sort_by_key(|seen| seen.key);
    found.truncate(limit);
    Ok(found)
}

/// What lies in a queue's lists.
async fn waiting(shared: &Shared, peek: &Peek, queue: &QueueName, limit: usize, found: &mut Vec<Peeked>) -> Result<()> {
    let steps: Vec<u8> = if let Some(steps) = shared.layout.fixed_steps() {
        steps.to_vec()
    } else {
        let mut command = redis::cmd("ZREVRANGE");
        command.arg(shared.layout.own(&format!("priorities:{queue}"))).arg(0).arg(-1);
        shared.link.command("list priorities", &command).await?
    };
    for step in steps {
        let (list, before) = (shared.layout.list(queue.as_str(), step), found.len());
        let mut seen = 0;
        while seen < LOOK_MAX && found.len() - before < limit {
            let mut command = redis::cmd("LRANGE");
            let (from, to) = (seen + FETCH, seen + 1);
            command.arg(&list).arg(format!("-{from}")).arg(format!("-{to}"));
            let envelopes: Vec<Vec<u8>> = shared.link.command("look into a queue", &command).await?;
            seen += FETCH;
            let end = envelopes.len() < FETCH;
            for text in envelopes.iter().rev() {
                let envelope = envelope::decode(text, "stray");
                let state = if envelope.due > shared.now() { PeekState::Parked } else { PeekState::Ready };
                keep(peek, queue, envelope, state, None, found);
            }
            if end {
                break;
            }
        }
    }
    Ok(())
}

/// What waits for its instant.
async fn parked(shared: &Shared, peek: &Peek, queue: &QueueName, limit: usize, found: &mut Vec<Peeked>) -> Result<()> {
    let (before, mut seen) = (found.len(), 0);
    while seen < LOOK_MAX && found.len() - before < limit {
        let mut command = redis::cmd("ZRANGE");
        command.arg(shared.layout.own(&format!("due:{queue}"))).arg(seen).arg(seen + FETCH - 1);
        let members: Vec<String> = shared.link.command("look at what is parked", &command).await?;
        seen += FETCH;
        if members.is_empty() {
            break;
        }
        let mut command = redis::cmd("HMGET");
        command.arg(shared.layout.own(&format!("parked:{queue}"))).arg(&members);
        let envelopes: Vec<Option<Vec<u8>>> = shared.link.command("look at what is parked", &command).await?;
        for text in envelopes.iter().flatten() {
            let envelope = envelope::decode(text, "stray");
            let state = if envelope.due > shared.now() { PeekState::Parked } else { PeekState::Ready };
            keep(peek, queue, envelope, state, None, found);
        }
    }
    Ok(())
}

/// What our consumers hold.
async fn held(shared: &Shared, peek: &Peek, found: &mut Vec<Peeked>) -> Result<()> {
    for consumer in consumers(shared).await? {
        let mut command = redis::cmd("HGETALL");
        command.arg(shared.layout.own(&format!("held:{}", consumer.start_id)));
        let records: Vec<(String, String)> = shared.link.command("look at what is held", &command).await?;
        for records in records.chunks(FETCH).take(LOOK_MAX / FETCH) {
            let tags: Vec<&str> = records.iter().map(|(tag, _)| &**tag).collect();
            let mut command = redis::cmd("HMGET");
            command.arg(shared.layout.unacked()).arg(tags);
            let values: Vec<Option<Vec<u8>>> = shared.link.command("look at what is held", &command).await?;
            for ((tag, record), value) in records.iter().zip(values) {
                let queue = record.splitn(3, ' ').nth(2).and_then(|queue| QueueName::new(queue).ok());
                let (Some(queue), Some(value)) = (queue, value) else { continue };
                // `[envelope, exchange, routing key]`
                let text = value.get(1..).unwrap_or_default();
                let end = celeriac_protocol::json::scan::Scanner::new(text, "an envelope").value();
                let envelope = envelope::decode(end.map_or(text, |range| &text[range]), tag);
                keep(peek, &queue, envelope, PeekState::Held, Some(consumer.worker.clone()), found);
            }
        }
    }
    Ok(())
}

fn keep(
    peek: &Peek,
    queue: &QueueName,
    envelope: Envelope,
    state: PeekState,
    holder: Option<WorkerName>,
    found: &mut Vec<Peeked>,
) {
    let key = if envelope.number > 0 { envelope.number } else { UNNUMBERED + (digest(&envelope.tag) >> 11) };
    let asked = peek.state.is_none_or(|asked| asked == state)
        && peek.queue.as_ref().is_none_or(|asked| asked == queue)
        && peek.task_id.as_ref().is_none_or(|asked| *asked == envelope.task_id)
        && peek.task.as_ref().is_none_or(|asked| *asked == envelope.task)
        && peek.after.is_none_or(|after| key > after);
    if asked {
        found.push(Peeked {
            key,
            task_id: envelope.task_id,
            task: envelope.task,
            queue: queue.clone(),
            priority: envelope.priority,
            state,
            due: (state == PeekState::Parked).then(|| instant(envelope.due)),
            published_at: instant(envelope.published),
            attempt: envelope.attempt,
            holder,
            message: envelope.message,
        });
    }
}

/// FNV-1a.
fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

pub(crate) async fn consumers(shared: &Shared) -> Result<Vec<ConsumerInfo>> {
    let mut command = redis::cmd("ZRANGEBYSCORE");
    command.arg(shared.layout.own("consumers")).arg(format!("({}", shared.now())).arg("+inf").arg("WITHSCORES");
    let starts: Vec<(String, f64)> = shared.link.command("list the consumers", &command).await?;
    if starts.is_empty() {
        return Ok(Vec::new());
    }
    let mut pipeline = Pipeline::new();
    for (start, _) in &starts {
        pipeline.cmd("GET").arg(shared.layout.own(&format!("consumer:{start}")));
        pipeline.cmd("HLEN").arg(shared.layout.own(&format!("held:{start}")));
    }
    let answers: Vec<Value> = shared.link.pipeline("list the consumers", &pipeline).await?;
    let mut found = Vec::with_capacity(starts.len());
    for ((start_id, lease_until), answer) in starts.into_iter().zip(answers.chunks(2)) {
        // One that has just ended is no consumer.
        let Ok(description) = bytes(answer.first()) else { continue };
        let Ok(description) = serde_json::from_slice::<Description>(description) else { continue };
        found.push(ConsumerInfo {
            worker: WorkerName::new(description.worker)?,
            start_id,
            queues: description.queues.iter().map(QueueName::new).collect::<Result<_>>()?,
            held: count(answer.get(1))?,
            started_at: instant(description.started_at),
            lease_until: instant(number(Some(&Value::Double(lease_until)))?),
        });
    }
    Ok(found)
}

#[derive(serde::Deserialize)]
struct Description {
    worker: String,
    queues: Vec<String>,
    started_at: i64,
}

/// One dead message as it is stored.
pub(crate) struct Dead {
    pub(crate) queue: QueueName,
    pub(crate) envelope: Vec<u8>,
    reason: String,
    detail: String,
    died_at: i64,
    stray: bool,
}

const DEAD_FIELDS: [&str; 6] = ["queue", "envelope", "reason", "detail", "died_at", "stray"];

pub(crate) async fn dead_of(shared: &Shared, entry: u64) -> Result<Option<Dead>> {
    let mut command = redis::cmd("HMGET");
    command.arg(shared.layout.own(&format!("dead:{entry}"))).arg(&DEAD_FIELDS);
    read_dead(&shared.link.command::<Vec<Value>>("look at a dead message", &command).await?)
}

fn read_dead(row: &[Value]) -> Result<Option<Dead>> {
    if matches!(row.first(), None | Some(Value::Nil)) {
        return Ok(None);
    }
    Ok(Some(Dead {
        queue: QueueName::new(text(row.first())?)?,
        envelope: bytes(row.get(1))?.to_vec(),
        reason: text(row.get(2))?,
        detail: text(row.get(3))?,
        died_at: number(row.get(4))?,
        stray: number(row.get(5))? == 1,
    }))
}

pub(crate) async fn dead(shared: &Shared, query: DeadQuery) -> Result<Vec<DeadEntry>> {
    let limit = query.limit.clamp(1, PAGE_MAX);
    let (mut found, mut seen) = (Vec::new(), 0);
    let mut below = query.before.map_or_else(|| "+inf".to_owned(), |before| format!("({before}"));
    while seen < DEAD_LOOK_MAX && found.len() < limit {
        let mut command = redis::cmd("ZREVRANGEBYSCORE");
        command.arg(shared.layout.own("dead")).arg(&below).arg("-inf").arg("LIMIT").arg(0).arg(FETCH);
        let entries: Vec<u64> = shared.link.command("list the dead", &command).await?;
        let Some(last) = entries.last() else { break };
        below = format!("({last}");
        seen += entries.len();
        let mut pipeline = Pipeline::new();
        for entry in &entries {
            pipeline.cmd("HMGET").arg(shared.layout.own(&format!("dead:{entry}"))).arg(&DEAD_FIELDS);
        }
        let rows: Vec<Vec<Value>> = shared.link.pipeline("list the dead", &pipeline).await?;
        for (entry, row) in entries.iter().zip(rows) {
            let Some(dead) = read_dead(&row)? else { continue };
            let shown = show(*entry, dead);
            let asked = query.queue.as_ref().is_none_or(|asked| *asked == shown.queue)
                && query.task.as_ref().is_none_or(|asked| Some(asked) == shown.task.as_ref())
                && query.task_id.as_ref().is_none_or(|asked| *asked == shown.task_id);
            if asked {
                found.push(shown);
            }
        }
    }
    found.truncate(limit);
    Ok(found)
}

fn show(entry: u64, dead: Dead) -> DeadEntry {
    let envelope = envelope::decode(&dead.envelope, &format!("stray-{entry}"));
    DeadEntry {
        entry,
        task_id: envelope.task_id,
        task: (!dead.stray).then_some(envelope.task),
        queue: dead.queue,
        reason: DeadReason::parse(&dead.reason),
        detail: dead.detail,
        died_at: instant(dead.died_at),
        attempt: if dead.stray { 1 } else { envelope.attempt },
        message: envelope.message,
    }
}
