//! The history's seam: events of tasks folded into records that survive every restart.
//!
//! The monitor reads events from a broadcast channel and folds them here. How an event changes a record is written
//! once, in `celeriac-monitor`; a store only keeps records and finds them again.

use celeriac_protocol::State;
use jiff::Timestamp;

use crate::{Cursor, Result, TaskId};

/// What is known of one task. Texts are as the events have them: Python-like and cut for people.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskRecord {
    /// The task's id; empty only in a default value.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// Its state, see [`State::parse`].
    pub state: String,
    /// Its queue.
    pub queue: Option<String>,
    /// The worker that had it last.
    pub worker: Option<String>,
    /// Positional arguments.
    pub args: Option<String>,
    /// Keyword arguments.
    pub kwargs: Option<String>,
    /// What it returned.
    pub result: Option<String>,
    /// What it raised.
    pub exception: Option<String>,
    /// Where it raised it.
    pub traceback: Option<String>,
    /// How often it was retried.
    pub retries: u32,
    /// The first task of its workflow.
    pub root_id: Option<String>,
    /// The task that sent it.
    pub parent_id: Option<String>,
    /// The group it belongs to.
    pub group_id: Option<String>,
    /// Earliest start.
    pub eta: Option<String>,
    /// Deadline.
    pub expires: Option<String>,
    /// When it was sent.
    pub sent_at: Option<Timestamp>,
    /// When a worker got it.
    pub received_at: Option<Timestamp>,
    /// When it began to run.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How long it ran, in seconds.
    pub runtime_seconds: Option<f64>,
    /// When anything was heard of it last.
    pub updated_at: Timestamp,
}

/// One thing that happened to a task.
#[derive(Clone, Debug, PartialEq)]
pub struct TimelineEntry {
    /// When.
    pub at: Timestamp,
    /// The event's type, such as `task-started`.
    pub kind: String,
    /// The worker or producer that said so.
    pub source: String,
    /// A line for a person; empty when the type says it all.
    pub detail: String,
}

/// Which records to list: newest first.
#[derive(Clone, Debug, Default)]
pub struct TaskQuery {
    /// Only those in this state.
    pub state: Option<State>,
    /// Only those of this name.
    pub name: Option<String>,
    /// Only those of this queue.
    pub queue: Option<String>,
    /// Only those of this worker.
    pub worker: Option<String>,
    /// Only those of this group or workflow (group id or root id).
    pub workflow: Option<String>,
    /// Only those whose id, name, arguments, result or exception hold this text (any case).
    pub search: Option<String>,
    /// Skip so many.
    pub offset: usize,
    /// How many at the most, from 1 to 1,000.
    pub limit: usize,
}

/// How many tasks are in a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateCount {
    /// The state.
    pub state: String,
    /// How many.
    pub tasks: u64,
}

/// Keeps the records of tasks, and finds them.
pub trait History: Send + Sync + 'static {
    /// How far events have been folded; none before the first time.
    fn cursor(&self) -> impl Future<Output = Result<Option<Cursor>>> + Send;

    /// Stores changed records and new timeline entries, and moves the cursor from `from` to `to`, in one step. False
    /// when the cursor is not at `from` any more (another monitor was first): nothing changed then.
    fn fold(
        &self,
        from: Option<Cursor>,
        to: Cursor,
        records: Vec<TaskRecord>,
        timeline: Vec<(TaskId, TimelineEntry)>,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// Reads records, in order.
    fn records(&self, ids: &[TaskId]) -> impl Future<Output = Result<Vec<Option<TaskRecord>>>> + Send;

    /// What happened to one task, oldest first, the last 1,000 entries.
    fn timeline(&self, id: &TaskId) -> impl Future<Output = Result<Vec<TimelineEntry>>> + Send;

    /// Lists records.
    fn tasks(&self, query: TaskQuery) -> impl Future<Output = Result<Vec<TaskRecord>>> + Send;

    /// Counts records by state, of one name or of all.
    fn counts(&self, name: Option<&str>) -> impl Future<Output = Result<Vec<StateCount>>> + Send;

    /// Removes records last heard of before an instant, in bounded steps, and tells how many.
    fn prune(&self, before: Timestamp) -> impl Future<Output = Result<u64>> + Send;
}
