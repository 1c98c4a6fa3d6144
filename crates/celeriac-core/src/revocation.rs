//! A task that shall not run, as a stored fact.

use jiff::Timestamp;

use crate::TaskId;

/// Says that a task shall not run, or shall stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The task.
    pub task_id: TaskId,
    /// Stop it even if it is running.
    pub terminate: bool,
    /// The attempt meant, when only that one shall stop; any when none.
    pub attempt: Option<u32>,
    /// When the fact may be forgotten.
    pub expires: Timestamp,
}
