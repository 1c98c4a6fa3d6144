//! The dead set: messages that will not run by themselves any more, with the reason and their bytes.

use std::fmt;

use celeriac_protocol::Message;
use jiff::Timestamp;

use crate::{QueueName, TaskId, TaskName};

/// Why a message is dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadReason {
    /// Its bytes do not parse.
    Malformed,
    /// No task of this name is registered.
    UnknownTask,
    /// Its content type or compression is refused.
    RefusedContent,
    /// The arguments do not fit the task.
    BadArguments,
    /// It took its worker down too often.
    Poison,
    /// The task rejected it.
    Rejected,
    /// It failed, and its task keeps failures.
    Failed,
    /// Something else, in one word.
    Other(Box<str>),
}

impl DeadReason {
    /// One word, lower case, as stored and shown.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownTask => "unknown-task",
            Self::RefusedContent => "refused-content",
            Self::BadArguments => "bad-arguments",
            Self::Poison => "poison",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Other(word) => word,
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    pub fn parse(word: &str) -> Self {
        match word {
            "malformed" => Self::Malformed,
            "unknown-task" => Self::UnknownTask,
            "refused-content" => Self::RefusedContent,
            "bad-arguments" => Self::BadArguments,
            "poison" => Self::Poison,
            "rejected" => Self::Rejected,
            "failed" => Self::Failed,
            other => Self::Other(other.into()),
        }
    }
}

impl fmt::Display for DeadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One dead message.
#[derive(Clone, Debug)]
pub struct DeadEntry {
    /// Names the entry in `replay` and `drop_dead`. Grows with time.
    pub entry: u64,
    /// The task's id, as far as it is known.
    pub task_id: TaskId,
    /// The task's name, as far as it is known.
    pub task: Option<TaskName>,
    /// The queue it came from, and goes back to.
    pub queue: QueueName,
    /// Why it died.
    pub reason: DeadReason,
    /// A sentence for a person.
    pub detail: String,
    /// When it died.
    pub died_at: Timestamp,
    /// How often it had been claimed.
    pub attempt: u32,
    /// The bytes, untouched.
    pub message: Message,
}

/// Which dead messages to list.
#[derive(Clone, Debug, Default)]
pub struct DeadQuery {
    /// Only those of this queue.
    pub queue: Option<QueueName>,
    /// Only those of this task.
    pub task: Option<TaskName>,
    /// Only this task id.
    pub task_id: Option<TaskId>,
    /// Only those older than this entry (newest come first): the page's end.
    pub before: Option<u64>,
    /// How many at the most, from 1 to 1,000.
    pub limit: usize,
}
