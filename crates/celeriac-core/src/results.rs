//! The result backend's seam: what became of tasks, and the counting of chords.

use std::time::Duration;

use bytes::Bytes;
use celeriac_protocol::State;
use jiff::Timestamp;

use crate::{Capabilities, Result, TaskId};

/// One record to be stored.
#[derive(Clone, Debug)]
pub struct MetaWrite {
    /// The task.
    pub task_id: TaskId,
    /// The state within `document`, for the engine to act on.
    pub state: State,
    /// Which run of the task writes, as [`fence`] orders them: a lower one than stored changes nothing.
    pub attempt: u32,
    /// The result document in Celery's form (JSON).
    pub document: Bytes,
    /// When the record may go.
    pub expires: Option<Timestamp>,
}

/// What became of one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Stored.
    Stored,
    /// A newer attempt, or a success, is there already; nothing changed.
    Stale,
}

/// A member of a chord that has ended.
#[derive(Clone, Debug)]
pub struct ChordPart {
    /// The chord's group id.
    pub group: String,
    /// Its place in the header, if it has one.
    pub index: Option<u32>,
    /// The member.
    pub task_id: TaskId,
    /// `SUCCESS`, `FAILURE` or `REVOKED`.
    pub state: State,
    /// Its encoded value, or exception.
    pub value: Bytes,
}

/// What counting a part gave.
#[derive(Clone, Debug)]
pub enum Joined {
    /// Others are still out.
    Waiting,
    /// All are in, and this member's caller may send the body: every part in order of its index. Whoever gets this calls
    /// [`ResultBackend::finish_chord`] once the body is sent. Until then the same member gets it again whenever it is
    /// counted again, after a crash or an answer that was lost, and any other one once the claim (30 s) is over.
    Complete(Vec<ChordPart>),
    /// The body was sent, or the caller of another member is about to. That one's delivery is not settled before the
    /// body is sent, so that this one's may be.
    Claimed,
}

/// Orders the runs of one task: by its retries, then by the claims of its message. A retry may be a new message, whose
/// claims begin anew.
pub fn fence(retries: u32, attempt: u32) -> u32 {
    const ATTEMPTS_MAX: u32 = 0xffff;
    retries.min(ATTEMPTS_MAX) << 16 | attempt.min(ATTEMPTS_MAX)
}

/// Remembers what became of tasks.
pub trait ResultBackend: Send + Sync + 'static {
    /// What the engine does natively.
    fn capabilities(&self) -> Capabilities;

    /// Stores a batch, durably, with one answer for each, in order. Once `SUCCESS` is stored, later writes to that id
    /// are stale.
    fn store(&self, batch: Vec<MetaWrite>) -> impl Future<Output = Result<Vec<Written>>> + Send;

    /// Reads documents, in order; none where nothing is recorded or the record has expired.
    fn fetch(&self, ids: &[TaskId]) -> impl Future<Output = Result<Vec<Option<Bytes>>>> + Send;

    /// Waits until the task's state is ready and returns its document. Cancel-safe.
    fn wait(&self, id: &TaskId) -> impl Future<Output = Result<Bytes>> + Send;

    /// Removes records. Waiting for a forgotten task goes on.
    fn forget(&self, ids: &[TaskId]) -> impl Future<Output = Result<()>> + Send;

    /// Removes what has expired, in bounded steps, and tells how many records that were.
    fn expire(&self) -> impl Future<Output = Result<u64>> + Send;

    /// Says how many parts a chord has, before its last member is sent. The record goes at `expires`.
    fn begin_chord(
        &self,
        group: &str,
        size: u32,
        expires: Option<Timestamp>,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Counts a part, once for each member however often it is called, and claims the body for one member when all
    /// are in.
    fn join(&self, part: ChordPart) -> impl Future<Output = Result<Joined>> + Send;

    /// Says that the body was sent: removes the parts, keeps the fact.
    fn finish_chord(&self, group: &str) -> impl Future<Output = Result<()>> + Send;

    /// Puts everything down. Idempotent.
    fn close(&self) -> impl Future<Output = Result<()>> + Send;
}

/// How long a [`Joined::Complete`] is one caller's alone.
pub const CHORD_CLAIM: Duration = Duration::from_secs(30);
