//! The consumer's seam: deliveries under a lease, and how they are settled.
//!
//! ```text
//!            recv                     settle
//!   ready ─────────► held ──┬─ Ack ─────────► gone
//!     ▲               │     ├─ Requeue, Lost ► ready (the front)
//!     │ lease lapsed  │     ├─ Park(T) ─────► parked ──(T)──► ready
//!     └───────────────┘     └─ Dead(reason) ► dead set ──(replay)──► ready
//! ```

use celeriac_protocol::Message;
use jiff::Timestamp;

use crate::{DeadReason, Priority, QueueName, Result, Revocation, TaskId, TaskName};

/// Names one delivery of one message to one consumer: the message's key in the engine and the attempt.
///
/// A tag of an earlier attempt settles nothing, also at the consumer that holds the later one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeliveryTag {
    /// The engine's own key of the message.
    pub key: u64,
    /// The attempt, from 1: counts every claim of the message.
    pub attempt: u32,
}

/// A message in one consumer's hands.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Names it when it is settled.
    pub tag: DeliveryTag,
    /// The task's id, as the publication had it.
    pub task_id: TaskId,
    /// The task's name, as the publication had it.
    pub task: TaskName,
    /// The queue it came from.
    pub queue: QueueName,
    /// Its priority.
    pub priority: Priority,
    /// True when an earlier holder did not settle it.
    pub redelivered: bool,
    /// How many holders were lost with it: what tells poison. Handing it back does not count. The first loss counts whether
    /// it had begun to run or not; each further one only if that was said by [`Consumer::begin`].
    pub losses: u32,
    /// When it was published first.
    pub published_at: Timestamp,
    /// Set when the task is revoked.
    pub revoked: Option<Revocation>,
    /// The bytes.
    pub message: Message,
}

/// What shall become of one delivery.
#[derive(Clone, Debug)]
pub enum Settlement {
    /// It is done: remove it.
    Ack(DeliveryTag),
    /// Back to the front of its queue, at once. Does not count as a loss.
    Requeue(DeliveryTag),
    /// Whatever ran it is gone, though the worker is not: back to the front of its queue, and a loss.
    Lost(DeliveryTag),
    /// Back into the store until an instant, atomically; with other bytes where given (a retry's).
    Park {
        /// The delivery.
        tag: DeliveryTag,
        /// When it is due.
        until: Timestamp,
        /// The bytes it waits with, when they change.
        message: Option<Message>,
    },
    /// Into the dead set.
    Dead {
        /// The delivery.
        tag: DeliveryTag,
        /// Why.
        reason: DeadReason,
        /// A sentence for a person.
        detail: String,
    },
}

impl Settlement {
    /// The delivery that it settles.
    pub fn tag(&self) -> &DeliveryTag {
        match self {
            Self::Ack(tag) | Self::Requeue(tag) | Self::Lost(tag) | Self::Park { tag, .. } | Self::Dead { tag, .. } => {
                tag
            }
        }
    }
}

/// What became of one settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Done.
    Done,
    /// The delivery was not this consumer's any more; nothing changed.
    Stale,
}

/// What a lease renewal found.
#[derive(Clone, Debug, Default)]
pub struct LeaseReport {
    /// Deliveries that are not this consumer's any more: stop them, settle nothing.
    pub lost: Vec<DeliveryTag>,
    /// Deliveries whose task has been revoked.
    pub revoked: Vec<(DeliveryTag, Revocation)>,
}

/// Takes deliveries from queues and settles them. All methods may run at the same time.
pub trait Consumer: Send + Sync + 'static {
    /// Claims up to `limit` messages in one atomic step; waits until there is at least one. Higher priority first,
    /// then earlier first. Promotes parked messages that are due, in order of their due time.
    ///
    /// Cancel-safe: dropping the future loses no delivery; what was claimed for it comes with the next call.
    fn recv(&self, limit: usize) -> impl Future<Output = Result<Vec<Delivery>>> + Send;

    /// Serves these queues from now on, none to 1,000, in place of the earlier ones. What is held stays held, also from a
    /// queue that is not served any more. A claim under way may still be from the earlier ones.
    fn subscribe(&self, queues: Vec<QueueName>) -> impl Future<Output = Result<()>> + Send;

    /// Says that deliveries begin to run that were lost before, so that losing them again counts against them. Who was
    /// never lost need not say it: a run costs no step more. Tags of what is not held any more change nothing.
    fn begin(&self, suspects: &[DeliveryTag]) -> impl Future<Output = Result<()>> + Send;

    /// Settles a batch in one step and tells for each, in order, what became of it. Durable when it returns.
    fn settle(&self, batch: Vec<Settlement>) -> impl Future<Output = Result<Vec<Settled>>> + Send;

    /// Renews the lease of everything held, and reports on the deliveries named.
    fn extend(&self, held: &[DeliveryTag]) -> impl Future<Output = Result<LeaseReport>> + Send;

    /// Stops consuming: whatever is still held goes back to the front of its queue at once, counting no loss; waiting
    /// `recv`s end with an empty batch. Idempotent.
    fn close(&self) -> impl Future<Output = Result<()>> + Send;
}
