//! Publications, records and parts in one line each.

use std::time::Duration;

use bytes::Bytes;
use celeriac_core::{
    ChordPart, Message, MetaWrite, Priority, Publication, QueueName, State, TaskId, TaskName, Timestamp, Unique,
};

/// A publication of `tests.task` to the queue `mail`, whose id is its body too.
pub fn task(id: impl AsRef<str>) -> Publication {
    let id = id.as_ref();
    Publication {
        task_id: task_id(id),
        task: TaskName::new("tests.task").expect("a short name"),
        queue: queue("mail"),
        priority: Priority(0),
        due: None,
        unique: None,
        message: message(id.to_owned()),
    }
}

/// A message with this body.
pub(crate) fn message(body: impl Into<Bytes>) -> Message {
    Message { headers: Bytes::from_static(b"{}"), properties: Bytes::from_static(b"{}"), body: body.into() }
}

pub(crate) fn task_id(id: &str) -> TaskId {
    TaskId::new(id).expect("a test's task id is a name")
}

pub(crate) fn queue(name: &str) -> QueueName {
    QueueName::new(name).expect("a test's queue is a name")
}

/// Changes a publication on its way.
pub trait Draft: Sized {
    /// To another queue.
    fn to(self, queue: &str) -> Self;
    /// Of another task.
    fn named(self, task: &str) -> Self;
    /// With a priority.
    fn priority(self, priority: u8) -> Self;
    /// Not before an instant.
    fn due(self, due: Timestamp) -> Self;
    /// With a unique key.
    fn unique(self, key: &str, window: Duration) -> Self;
    /// With other bytes.
    fn body(self, body: impl Into<Bytes>) -> Self;
}

impl Draft for Publication {
    fn to(self, name: &str) -> Self {
        Self { queue: queue(name), ..self }
    }

    fn named(self, task: &str) -> Self {
        Self { task: TaskName::new(task).expect("a test's task is a name"), ..self }
    }

    fn priority(self, priority: u8) -> Self {
        Self { priority: Priority(priority), ..self }
    }

    fn due(self, due: Timestamp) -> Self {
        Self { due: Some(due), ..self }
    }

    fn unique(self, key: &str, window: Duration) -> Self {
        Self { unique: Some(Unique { key: key.to_owned(), window }), ..self }
    }

    fn body(self, body: impl Into<Bytes>) -> Self {
        Self { message: message(body), ..self }
    }
}

/// A record of the first attempt whose document names its state and attempt.
pub fn meta(id: &str, state: State) -> MetaWrite {
    meta_of(id, state, 1)
}

/// A record of one attempt.
pub(crate) fn meta_of(id: &str, state: State, attempt: u32) -> MetaWrite {
    let document = format!(r#"{{"status": "{state}", "attempt": {attempt}}}"#).into();
    MetaWrite { task_id: task_id(id), state, attempt, document, expires: None }
}

/// A chord's successful part whose value is its member's id.
pub fn part(group: &str, id: &str, index: Option<u32>) -> ChordPart {
    ChordPart {
        group: group.to_owned(),
        index,
        task_id: task_id(id),
        state: State::Success,
        value: id.to_owned().into(),
    }
}
