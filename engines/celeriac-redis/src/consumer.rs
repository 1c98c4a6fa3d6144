//! One start of one worker: claims, keeps its lease, settles.
//!
//! A task of the connection's thread claims; `recv` only takes what it has brought. So dropping a `recv` loses nothing:
//! what was claimed for it waits for the next one, under the lease.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use celeriac_core::{
    Consumer, Delivery, DeliveryTag, Error, ErrorKind, LeaseReport, Priority, QueueName, Result, Settled, Settlement,
    Subscription, TaskId, TaskName, WorkerName,
};
use parking_lot::Mutex;
use redis::Value;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    broker::{check_queues, check_size, declare, fresh_tag, read_revocation, revoked},
    ear::Sleeper,
    engine::{Shared, micros},
    envelope::{self, Of},
    layout::MARK_SECONDS,
    link::closed,
    values::{Arguments, bytes, instant, number, text},
};

/// How many messages, and about how many bytes, one claim brings.
const CLAIM_MAX: usize = 1_000;
const CLAIM_BYTES_MAX: usize = 8 << 20;
/// How many deliveries one script settles or asks about.
const SETTLE_STEP: usize = 2_000;
/// How long to wait when the server cannot (busy, loading, full), at first and at the longest.
const TROUBLE_MIN: Duration = Duration::from_millis(50);
const TROUBLE_MAX: Duration = Duration::from_secs(1);

/// See [`Consumer`].
pub struct RedisConsumer(Arc<Consumption>);

/// A consumer's state, which its broker keeps too, to close it.
pub(crate) struct Consumption {
    shared: Arc<Shared>,
    start: String,
    worker: WorkerName,
    started_at: i64,
    lease_us: i64,
    /// Replaced by `subscribe`.
    served: Mutex<Arc<Served>>,
    /// Somebody wants something, or the end has come.
    demand: Notify,
    /// There is something in the buffer, or the end has come.
    supply: Notify,
    buffer: Mutex<Buffer>,
    held: Mutex<HashMap<u64, Held>>,
    next_key: AtomicU64,
    /// Which queue comes first next time.
    turn: AtomicUsize,
    /// The connection over which every claim so far was answered; zero when that is not certain.
    certain: AtomicU64,
    /// When our entries of Celery's index were renewed, in µs.
    marked: AtomicI64,
    stop: CancellationToken,
    closing: AtomicBool,
    /// Resolves when the claiming task has ended.
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

/// The queues that are served, and what goes with them.
struct Served {
    queues: Vec<QueueName>,
    /// What `consumers` shows, as JSON.
    description: String,
    /// What is watched while there is nothing.
    keys: Vec<String>,
    sleeper: Arc<Sleeper>,
}

impl Served {
    fn new(shared: &Shared, worker: &WorkerName, started_at: i64, mut queues: Vec<QueueName>) -> Self {
        queues.sort();
        queues.dedup();
        let names: Vec<&str> = queues.iter().map(QueueName::as_str).collect();
        let description =
            serde_json::json!({ "worker": worker.as_str(), "queues": names, "started_at": started_at }).to_string();
        let keys = shared.layout.watched(&names);
        let sleeper = shared.link.ear.sleeper(keys.clone());
        Self { queues, description, keys, sleeper }
    }
}

/// What was claimed and not yet received, and what is wished for.
#[derive(Default)]
struct Buffer {
    /// How many deliveries the waiting `recv`s want. Changed together with what they take: nothing is claimed for one
    /// that has just got what it wanted.
    wanted: usize,
    deliveries: VecDeque<Delivery>,
    trouble: Option<Error>,
}

/// One delivery in our hands.
#[derive(Clone)]
struct Held {
    tag: String,
    attempt: u32,
    task_id: TaskId,
    task: TaskName,
    queue: QueueName,
    priority: Priority,
}

/// One `recv`'s wish, as long as it waits.
struct Wish<'a> {
    of: &'a Consumption,
    limit: usize,
    fulfilled: bool,
}

impl<'a> Wish<'a> {
    fn new(of: &'a Consumption, limit: usize) -> Self {
        of.buffer.lock().wanted += limit;
        of.demand.notify_one();
        Self { of, limit, fulfilled: false }
    }

    /// Takes what was claimed, if there is anything.
    fn take(&mut self) -> Result<Option<Vec<Delivery>>> {
        let mut buffer = self.of.buffer.lock();
        if let Some(trouble) = buffer.trouble.take() {
            return Err(trouble);
        }
        let count = buffer.deliveries.len().min(self.limit);
        if count == 0 {
            return Ok(None);
        }
        let deliveries = buffer.deliveries.drain(..count).collect();
        buffer.wanted -= self.limit;
        self.fulfilled = true;
        if buffer.deliveries.is_empty() {
            self.of.demand.notify_one();
        } else {
            self.of.supply.notify_waiters();
        }
        Ok(Some(deliveries))
    }
}

impl Drop for Wish<'_> {
    fn drop(&mut self) {
        if !self.fulfilled {
            self.of.buffer.lock().wanted -= self.limit;
        }
    }
}

impl RedisConsumer {
    pub(crate) async fn start(shared: &Arc<Shared>, from: Subscription) -> Result<Self> {
        let start = uuid::Uuid::new_v4().simple().to_string();
        let started_at = shared.now();
        let served = Served::new(shared, &from.worker, started_at, from.queues);
        let (ends, ended) = oneshot::channel();
        let consumption = Arc::new(Consumption {
            shared: shared.clone(),
            start,
            worker: from.worker,
            started_at,
            lease_us: i64::try_from(from.lease.as_micros()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4),
            served: Mutex::new(Arc::new(served)),
            demand: Notify::new(),
            supply: Notify::new(),
            buffer: Mutex::new(Buffer::default()),
            held: Mutex::new(HashMap::new()),
            // Keys of other consumers are elsewhere, so that a tag settles nothing at the wrong one.
            next_key: AtomicU64::new(rand::random()),
            turn: AtomicUsize::new(0),
            certain: AtomicU64::new(shared.link.epoch().unwrap_or(0)),
            marked: AtomicI64::new(shared.now()),
            stop: CancellationToken::new(),
            closing: AtomicBool::new(false),
            ended: Mutex::new(Some(ended)),
        });
        consumption.renew(&[]).await?;
        shared.remember(&consumption);
        let claiming = consumption.clone();
        shared.link.spawn(async move {
            claiming.claim_while_wanted().await;
            // Nobody may wait for it any more.
            let _ = ends.send(());
        });
        Ok(Self(consumption))
    }
}

impl Drop for RedisConsumer {
    fn drop(&mut self) {
        self.0.stop.cancel();
    }
}

impl Consumer for RedisConsumer {
    async fn recv(&self, limit: usize) -> Result<Vec<Delivery>> {
        let state = &*self.0;
        let mut wish = Wish::new(state, limit.max(1));
        loop {
            let supply = state.supply.notified();
            tokio::pin!(supply);
            supply.as_mut().enable();
            if state.closing.load(Ordering::Acquire) || state.shared.link.closed.is_cancelled() {
                return Ok(Vec::new());
            }
            if let Some(deliveries) = wish.take()? {
                return Ok(deliveries);
            }
            supply.await;
        }
    }

    async fn subscribe(&self, queues: Vec<QueueName>) -> Result<()> {
        self.0.subscribe(queues).await
    }

    async fn begin(&self, suspects: &[DeliveryTag]) -> Result<()> {
        self.0.begin(suspects).await
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Result<Vec<Settled>> {
        self.0.settle(batch).await
    }

    async fn extend(&self, held: &[DeliveryTag]) -> Result<LeaseReport> {
        self.0.extend(held).await
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}

impl Consumption {
    fn served(&self) -> Arc<Served> {
        self.served.lock().clone()
    }

    async fn subscribe(&self, queues: Vec<QueueName>) -> Result<()> {
        check_queues(queues.len(), 0)?;
        if self.closing.load(Ordering::Acquire) || self.shared.link.closed.is_cancelled() {
            return Err(closed("serve other queues"));
        }
        declare(&self.shared, &queues).await?;
        let served = Arc::new(Served::new(&self.shared, &self.worker, self.started_at, queues));
        let before = std::mem::replace(&mut *self.served.lock(), served.clone());
        // Others who serve them say so again at their next claim or renewal.
        let left: Vec<&str> =
            before.queues.iter().filter(|queue| !served.queues.contains(queue)).map(QueueName::as_str).collect();
        if !left.is_empty() {
            let mut command = redis::cmd("ZREM");
            command.arg(self.shared.layout.own("served")).arg(left);
            self.shared.link.command::<()>("serve other queues", &command).await?;
        }
        self.renew(&[]).await?;
        before.sleeper.woken.notify_one();
        self.demand.notify_one();
        Ok(())
    }

    async fn begin(&self, suspects: &[DeliveryTag]) -> Result<()> {
        let known: Vec<Held> = suspects.iter().filter_map(|tag| self.held(tag)).collect();
        if known.is_empty() {
            return Ok(());
        }
        let mut arguments = Arguments::default();
        arguments.text(self.start.as_str());
        for held in &known {
            arguments.text(held.tag.as_str()).number(held.attempt);
        }
        self.shared.link.call("note what begins to run", &self.shared.scripts.begin, &arguments.0).await
    }

    /// Claims whenever somebody wants something and nothing is there.
    async fn claim_while_wanted(&self) {
        let mut trouble = TROUBLE_MIN;
        while !self.stop.is_cancelled() {
            let wanted = self.wanted();
            if wanted == 0 || self.served().queues.is_empty() {
                tokio::select! {
                    () = self.demand.notified() => {}
                    () = self.stop.cancelled() => {}
                }
                continue;
            }
            let outcome = self.claim_or_sleep(wanted.min(CLAIM_MAX)).await;
            if outcome.is_err() {
                self.certain.store(0, Ordering::Release);
            }
            match outcome {
                Ok(()) => trouble = TROUBLE_MIN,
                Err(error) if error.is_transient() || error.kind() == ErrorKind::Full => {
                    tracing::warn!(%error, "nothing was claimed; trying again");
                    tokio::select! {
                        () = tokio::time::sleep(trouble) => {}
                        () = self.stop.cancelled() => {}
                    }
                    trouble = (trouble * 2).min(TROUBLE_MAX);
                }
                Err(error) => {
                    // Whoever hears of it asks again, or does not.
                    self.buffer.lock().trouble = Some(error);
                    self.supply.notify_waiters();
                }
            }
        }
        self.supply.notify_waiters();
    }

    /// How many deliveries to claim.
    fn wanted(&self) -> usize {
        let buffer = self.buffer.lock();
        if buffer.deliveries.is_empty() && buffer.trouble.is_none() { buffer.wanted } else { 0 }
    }

    /// Gives back what was claimed and never came here, because the connection broke in between: it would be held, and
    /// its lease renewed, for ever.
    async fn make_certain(&self) -> Result<()> {
        let epoch = self.shared.link.live().await?.epoch;
        if self.certain.load(Ordering::Acquire) == epoch {
            return Ok(());
        }
        let mut arguments = Arguments::default();
        arguments.text(self.start.as_str());
        arguments.texts(self.held.lock().values().map(|held| held.tag.as_str()));
        self.shared.link.call::<()>("look after lost claims", &self.shared.scripts.release, &arguments.0).await?;
        self.certain.store(epoch, Ordering::Release);
        Ok(())
    }

    async fn claim_or_sleep(&self, limit: usize) -> Result<()> {
        self.make_certain().await?;
        let served = self.served();
        if self.claim(&served, limit, false).await?.is_none() {
            return Ok(());
        }
        // Nothing: ask to be told, and look once more, since something may have come in between.
        let Some(again) = self.claim(&served, limit, true).await? else { return Ok(()) };
        tokio::select! {
            () = served.sleeper.woken.notified() => {}
            () = self.shared.clock.sleep_until(instant(again)) => {}
            () = self.stop.cancelled() => {}
        }
        Ok(())
    }

    /// Claims into the buffer. When there was nothing: when to look again, in µs.
    async fn claim(&self, served: &Served, limit: usize, watch: bool) -> Result<Option<i64>> {
        let now = self.shared.now();
        let mut arguments = Arguments::default();
        arguments
            .number(now)
            .text(self.start.as_str())
            .number(now.saturating_add(self.lease_us))
            .number(limit)
            .number(CLAIM_BYTES_MAX)
            .number(self.turn.fetch_add(1, Ordering::Relaxed) % served.queues.len().max(1))
            .text(served.description.as_str())
            .texts(&served.queues);
        let (link, code) = (&self.shared.link, &self.shared.scripts.claim);
        let answer: Vec<Value> = if watch {
            link.watch_and_call("claim messages", &served.keys, code, &arguments.0).await?
        } else {
            link.call("claim messages", code, &arguments.0).await?
        };
        if answer.len() <= 2 {
            return Ok(Some(number(answer.get(1))?));
        }
        let mut deliveries = Vec::with_capacity(answer.len() / 4);
        for row in answer[2..].chunks(4) {
            deliveries.push(self.delivery(served, row, now)?);
        }
        if number(answer.first())? == 1 {
            let ids: Vec<TaskId> = deliveries.iter().map(|delivery| delivery.task_id.clone()).collect();
            // The deliveries are held: they are handed out whether that can be looked up or not, and the next renewal
            // looks again.
            match revoked(&self.shared, &ids).await {
                Ok(facts) => {
                    for (delivery, fact) in deliveries.iter_mut().zip(facts) {
                        let attempt = delivery.tag.attempt;
                        delivery.revoked = fact.filter(|fact| fact.attempt.is_none_or(|meant| meant == attempt));
                    }
                }
                Err(error) => tracing::warn!(%error, "deliveries were claimed without their revocations"),
            }
        }
        self.buffer.lock().deliveries.extend(deliveries);
        self.supply.notify_waiters();
        Ok(None)
    }

    fn delivery(&self, served: &Served, row: &[Value], now: i64) -> Result<Delivery> {
        let queue = usize::try_from(number(row.first())?).ok();
        let queue = queue.and_then(|queue| served.queues.get(queue.wrapping_sub(1))).cloned();
        let queue = queue.ok_or_else(|| Error::new(ErrorKind::Internal, "know a delivery's queue"))?;
        let tag = text(row.get(2))?;
        let envelope = envelope::decode(bytes(row.get(3))?, &tag);
        let attempt = envelope.attempt.saturating_add(1);
        let key = self.next_key.fetch_add(1, Ordering::Relaxed);
        let held = Held {
            tag,
            attempt,
            task_id: envelope.task_id.clone(),
            task: envelope.task.clone(),
            queue: queue.clone(),
            priority: envelope.priority,
        };
        self.held.lock().insert(key, held);
        Ok(Delivery {
            tag: DeliveryTag { key, attempt },
            task_id: envelope.task_id,
            task: envelope.task,
            queue,
            priority: envelope.priority,
            redelivered: envelope.losses > 0 || envelope.redelivered,
            losses: envelope.losses,
            // Celery does not say: its first claim by us must do.
            published_at: instant(if envelope.published > 0 { envelope.published } else { now }),
            revoked: None,
            message: envelope.message,
        })
    }

    fn held(&self, tag: &DeliveryTag) -> Option<Held> {
        self.held.lock().get(&tag.key).filter(|held| held.attempt == tag.attempt).cloned()
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Result<Vec<Settled>> {
        for settlement in &batch {
            if let Settlement::Park { message: Some(message), .. } = settlement {
                check_size(&self.shared, message)?;
            }
        }
        let mut settled = vec![Settled::Stale; batch.len()];
        let known: Vec<(usize, Held, Settlement)> = batch
            .into_iter()
            .enumerate()
            .filter_map(|(index, settlement)| Some((index, self.held(settlement.tag())?, settlement)))
            .collect();
        for step in known.chunks(SETTLE_STEP) {
            let mut arguments = Arguments::default();
            arguments.number(self.shared.now()).text(self.start.as_str());
            for (_, held, settlement) in step {
                write_settlement(&mut arguments, held, settlement);
            }
            let answers: Vec<u8> =
                self.shared.link.call("settle deliveries", &self.shared.scripts.settle, &arguments.0).await?;
            let mut all_held = self.held.lock();
            for ((index, _, settlement), answer) in step.iter().zip(answers) {
                if answer == 1 {
                    settled[*index] = Settled::Done;
                }
                // Settled or lost: it is not in our hands any more.
                all_held.remove(&settlement.tag().key);
            }
        }
        Ok(settled)
    }

    async fn extend(&self, tags: &[DeliveryTag]) -> Result<LeaseReport> {
        let mut report = LeaseReport::default();
        let mut known: Vec<(&DeliveryTag, Held)> = Vec::with_capacity(tags.len());
        for tag in tags {
            match self.held(tag) {
                Some(held) => known.push((tag, held)),
                None => report.lost.push(tag.clone()),
            }
        }
        if self.closing.load(Ordering::Acquire) {
            report.lost = tags.to_vec();
            return Ok(report);
        }
        let now = self.shared.now();
        let mut steps = known.chunks(SETTLE_STEP);
        // The lease is renewed also when nothing is asked about.
        let mut step = steps.next().unwrap_or_default();
        loop {
            let answers = self.renew(step).await?;
            for ((tag, held), answer) in step.iter().zip(answers.chunks(2)) {
                if number(answer.first())? == 0 {
                    report.lost.push((*tag).clone());
                    self.held.lock().remove(&tag.key);
                    continue;
                }
                let fact = read_revocation(&held.task_id, &text(answer.get(1))?, now);
                if let Some(fact) = fact.filter(|fact| fact.attempt.is_none_or(|meant| meant == tag.attempt)) {
                    report.revoked.push(((*tag).clone(), fact));
                }
            }
            let Some(next) = steps.next() else { return Ok(report) };
            step = next;
        }
    }

    async fn renew(&self, held: &[(&DeliveryTag, Held)]) -> Result<Vec<Value>> {
        let now = self.shared.now();
        let half = MARK_SECONDS * 1_000_000 / 2;
        let marked = self.marked.load(Ordering::Relaxed);
        let renew_marks = now.saturating_sub(marked) > half;
        let served = self.served();
        let mut arguments = Arguments::default();
        arguments
            .number(now)
            .text(self.start.as_str())
            .number(now.saturating_add(self.lease_us))
            .text(served.description.as_str())
            .text(if renew_marks { "1" } else { "0" })
            .number(served.queues.len())
            .texts(&served.queues);
        for (tag, held) in held {
            arguments.text(held.tag.as_str()).number(tag.attempt).text(held.task_id.as_str());
        }
        let answers = self.shared.link.call("renew the lease", &self.shared.scripts.extend, &arguments.0).await?;
        if renew_marks {
            self.marked.store(now, Ordering::Relaxed);
        }
        Ok(answers)
    }

    /// Gives everything back, once; a second call waits for nothing.
    pub(crate) async fn close(&self) -> Result<()> {
        if self.closing.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.stop.cancel();
        self.supply.notify_waiters();
        let ended = self.ended.lock().take();
        if let Some(ended) = ended {
            // An error says that the task is gone already.
            let _ = ended.await;
        }
        self.held.lock().clear();
        self.buffer.lock().deliveries.clear();
        if self.shared.link.closed.is_cancelled() {
            return Err(closed("give deliveries back"));
        }
        let mut arguments = Arguments::default();
        arguments.text(self.start.as_str()).texts(&self.served().queues);
        self.shared.link.call("give deliveries back", &self.shared.scripts.close, &arguments.0).await
    }
}

fn write_settlement(arguments: &mut Arguments, held: &Held, settlement: &Settlement) {
    let how = match settlement {
        Settlement::Ack(_) => "a",
        Settlement::Requeue(_) => "r",
        Settlement::Lost(_) => "l",
        Settlement::Park { .. } => "p",
        Settlement::Dead { .. } => "d",
    };
    arguments.text(how).text(held.tag.as_str()).number(held.attempt);
    match settlement {
        Settlement::Ack(_) | Settlement::Requeue(_) | Settlement::Lost(_) => arguments.text("").text(""),
        Settlement::Park { until, message, .. } => {
            let rest = message.as_ref().map(|message| {
                let Held { task_id, task, queue, priority, .. } = held;
                envelope::encode(message, &Of { task_id, task, queue, priority: *priority, tag: &fresh_tag() })
            });
            arguments.number(micros(*until)).text(rest.unwrap_or_default())
        }
        Settlement::Dead { reason, detail, .. } => arguments.text(reason.as_str()).text(detail.as_str()),
    };
}
