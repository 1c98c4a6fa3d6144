//! The broker's seam: carries messages from producers to workers.
//!
//! Every method of the data plane takes a batch, so that boxing, round trips and commits are paid once a batch.

use bytes::Bytes;
use celeriac_protocol::Message;
use jiff::Timestamp;
use std::time::Duration;

use crate::{
    Capabilities, Consumer, DeadEntry, DeadQuery, DeadReason, Priority, QueueName, Result, Revocation, TaskId,
    TaskName, WorkerName,
};

/// A message on its way into a queue, with what the engine must know of it without reading it.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The task's id.
    pub task_id: TaskId,
    /// The task's name, for people who look into the store.
    pub task: TaskName,
    /// Where it goes.
    pub queue: QueueName,
    /// How urgent it is.
    pub priority: Priority,
    /// Not to be delivered before this instant.
    pub due: Option<Timestamp>,
    /// Refuse it while another one holds the same key.
    pub unique: Option<Unique>,
    /// The bytes.
    pub message: Message,
}

/// Keeps a second publication of the same key out for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unique {
    /// What must be unique, up to 255 bytes.
    pub key: String,
    /// For how long from the publication on, whether the task is done or not.
    pub window: Duration,
}

/// What became of one publication of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is in its queue, durably where the engine is durable.
    Queued,
    /// Its unique key is taken by this task; nothing was queued.
    Duplicate(TaskId),
}

/// The queues that an application uses. Declaring is idempotent and never destroys anything.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    /// The queues.
    pub queues: Vec<QueueName>,
}

/// Who wants deliveries from where.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// The worker's name. The engine adds a fresh identity to it at each `consume`.
    pub worker: WorkerName,
    /// The queues, all served; a busy one does not starve another.
    pub queues: Vec<QueueName>,
    /// How long deliveries stay with a consumer that does not renew. The engine may have its own minimum.
    pub lease: Duration,
}

/// The numbers of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueDepth {
    /// The queue.
    pub queue: QueueName,
    /// Waiting and due.
    pub ready: u64,
    /// In a consumer's hands.
    pub held: u64,
    /// Waiting for their due time.
    pub parked: u64,
    /// In the dead set.
    pub dead: u64,
    /// When the oldest one that is ready became so.
    pub oldest_ready: Option<Timestamp>,
}

/// The state of a waiting message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeekState {
    /// Waiting and due.
    Ready,
    /// In a consumer's hands.
    Held,
    /// Waiting for its due time.
    Parked,
}

/// Which waiting messages to list.
#[derive(Clone, Debug, Default)]
pub struct Peek {
    /// Only those of this queue.
    pub queue: Option<QueueName>,
    /// Only those in this state.
    pub state: Option<PeekState>,
    /// Only this task.
    pub task_id: Option<TaskId>,
    /// Only tasks of this name.
    pub task: Option<TaskName>,
    /// Only those after this key (see [`Peeked::key`]): the page's beginning.
    pub after: Option<u64>,
    /// How many at the most, from 1 to 1,000.
    pub limit: usize,
}

/// One waiting message, seen without taking it.
#[derive(Clone, Debug)]
pub struct Peeked {
    /// Its place in the listing.
    pub key: u64,
    /// The task's id.
    pub task_id: TaskId,
    /// The task's name.
    pub task: TaskName,
    /// Its queue.
    pub queue: QueueName,
    /// Its priority.
    pub priority: Priority,
    /// Its state.
    pub state: PeekState,
    /// When it is due, if parked.
    pub due: Option<Timestamp>,
    /// When it was published.
    pub published_at: Timestamp,
    /// How often it was claimed.
    pub attempt: u32,
    /// The worker that holds it.
    pub holder: Option<WorkerName>,
    /// The bytes.
    pub message: Message,
}

/// A consumer as the store knows it.
#[derive(Clone, Debug)]
pub struct ConsumerInfo {
    /// The worker's name.
    pub worker: WorkerName,
    /// Distinguishes this start of the worker from every other.
    pub start_id: String,
    /// The queues it serves.
    pub queues: Vec<QueueName>,
    /// How many deliveries it holds.
    pub held: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// When its lease lapses unless it renews.
    pub lease_until: Timestamp,
}

/// A place in a broadcast channel's history. Grows with time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(pub u64);

/// What is said to everybody who listens to a channel: an event, a command, the answer to one.
///
/// A channel is named as Celery names its exchange (`celeryev`, `celery.pidbox`, `reply.celery.pidbox`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// What it is about, as in AMQP: `worker.heartbeat`, `task.multi`, the mailbox of an answer. Up to 255 bytes; may be
    /// empty.
    pub routing_key: String,
    /// A JSON object of headers, or nothing.
    pub headers: Bytes,
    /// The bytes, JSON as Celery's tools send it.
    pub body: Bytes,
}

impl Notice {
    /// A notice without headers.
    pub fn new(routing_key: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self { routing_key: routing_key.into(), headers: Bytes::new(), body: body.into() }
    }

    /// The size of all its parts, in bytes.
    pub fn len_bytes(&self) -> usize {
        self.routing_key.len() + self.headers.len() + self.body.len()
    }
}

/// One broadcast as a listener gets it.
#[derive(Clone, Debug)]
pub struct Broadcast {
    /// Its place.
    pub cursor: Cursor,
    /// What was sent.
    pub notice: Notice,
}

/// Carries messages from producers to workers.
///
/// The documentation of the methods is the contract; `celeriac-conformance` is the same contract, executable.
pub trait Broker: Send + Sync + 'static {
    /// What [`consume`](Self::consume) gives.
    type Consumer: Consumer;
    /// What [`listen`](Self::listen) gives.
    type Listener: Listener;

    /// What the engine does natively.
    fn capabilities(&self) -> Capabilities;

    /// Makes sure that the queues exist.
    fn declare(&self, topology: &Topology) -> impl Future<Output = Result<()>> + Send;

    /// Puts a batch into its queues and returns once every message is durable, with one answer for each, in order.
    /// Messages of the same queue and priority that are due at once are delivered in the order of the batches and
    /// within them.
    ///
    /// # Errors
    /// `TooLarge` when a message exceeds the engine's limit: nothing of the batch was queued then. On any other
    /// error, any part of the batch may have been accepted.
    fn publish(&self, batch: Vec<Publication>) -> impl Future<Output = Result<Vec<Accepted>>> + Send;

    /// Starts to consume with a fresh identity.
    fn consume(&self, from: Subscription) -> impl Future<Output = Result<Self::Consumer>> + Send;

    /// The numbers of these queues, or of all known ones when none is named.
    fn depth(&self, queues: &[QueueName]) -> impl Future<Output = Result<Vec<QueueDepth>>> + Send;

    /// Lists waiting messages without taking them, in the order of [`Peeked::key`].
    fn peek(&self, peek: Peek) -> impl Future<Output = Result<Vec<Peeked>>> + Send;

    /// Removes everything that waits in a queue (ready and parked, not held) and tells how many that were.
    fn purge(&self, queue: &QueueName) -> impl Future<Output = Result<u64>> + Send;

    /// Lists the consumers whose lease has not lapsed.
    fn consumers(&self) -> impl Future<Output = Result<Vec<ConsumerInfo>>> + Send;

    /// Puts a message that never was a delivery into the dead set (say, one refused by its sender's worker).
    fn bury(&self, entry: Publication, reason: DeadReason, detail: &str) -> impl Future<Output = Result<()>> + Send;

    /// Lists dead messages, newest first.
    fn dead(&self, query: DeadQuery) -> impl Future<Output = Result<Vec<DeadEntry>>> + Send;

    /// Puts dead messages back into their queues, due at once, as they were or with `edited` in their place (then
    /// `entries` has one element). Tells how many were found. Attempts go on counting; losses begin anew.
    fn replay(&self, entries: &[u64], edited: Option<Message>) -> impl Future<Output = Result<u64>> + Send;

    /// Removes dead messages for good and tells how many were found.
    fn drop_dead(&self, entries: &[u64]) -> impl Future<Output = Result<u64>> + Send;

    /// Stores that tasks shall not run. A waiting one is still delivered, with the fact; a held one hears of it at
    /// its next lease renewal.
    fn revoke(&self, batch: Vec<Revocation>) -> impl Future<Output = Result<()>> + Send;

    /// Tells which of these are revoked, in order.
    fn revoked(&self, ids: &[TaskId]) -> impl Future<Output = Result<Vec<Option<Revocation>>>> + Send;

    /// Sends notices to every present listener of a channel, in order. Kept for a while where the engine can
    /// replay; never a reason to wait.
    fn broadcast(&self, channel: &str, notices: Vec<Notice>) -> impl Future<Output = Result<()>> + Send;

    /// Listens to a channel from now on, or from just after `after` where the engine can replay; to notices with this
    /// very routing key alone where one is given.
    fn listen(
        &self,
        channel: &str,
        routing_key: Option<&str>,
        after: Option<Cursor>,
    ) -> impl Future<Output = Result<Self::Listener>> + Send;

    /// Puts everything down: threads joined, files closed, consumers' leases given up. Idempotent.
    fn close(&self) -> impl Future<Output = Result<()>> + Send;
}

/// Hears what is broadcast on a channel.
pub trait Listener: Send + Sync + 'static {
    /// Waits until there is something and returns at most `limit` broadcasts, in order. Cancel-safe: dropping the
    /// future loses nothing. A listener that is too slow for the engine's memory misses the oldest ones.
    fn recv(&self, limit: usize) -> impl Future<Output = Result<Vec<Broadcast>>> + Send;
}
