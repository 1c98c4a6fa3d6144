//! What was sent, as a test reads it.

use std::fmt;

use celeriac_app::{Param, body_text};
use celeriac_core::{Publication, TaskId, Timestamp};
use celeriac_protocol::{Body, Headers};
use serde_json::Value;

/// One task that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The task's name.
    pub task: String,
    /// Its id.
    pub id: TaskId,
    /// The queue it went to.
    pub queue: String,
    /// How urgent it is.
    pub priority: u8,
    /// When it may start at the earliest, if not at once.
    pub due: Option<Timestamp>,
    /// The task that sent it, if one did.
    pub parent: Option<String>,
    /// Its arguments in order: by name where the task is known, else by number.
    pub arguments: Vec<(String, Value)>,
}

impl Sent {
    /// The argument of this name.
    pub fn argument(&self, name: &str) -> Option<&Value> {
        self.arguments.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    pub(super) fn read(publication: &Publication, params: &[Param]) -> Self {
        let headers = Headers::parse(&publication.message.headers).unwrap_or_default();
        Self {
            task: publication.task.to_string(),
            id: publication.task_id.clone(),
            queue: publication.queue.to_string(),
            priority: publication.priority.0,
            due: publication.due,
            arguments: arguments(publication, &headers, params).unwrap_or_default(),
            parent: headers.parent_id,
        }
    }
}

/// None when the body is none that a worker could read either: the worker will say so.
fn arguments(publication: &Publication, headers: &Headers, params: &[Param]) -> Option<Vec<(String, Value)>> {
    let text = body_text(&publication.message, headers).ok()?;
    let body = Body::split(&text).ok()?;
    let value = |text: &[u8]| {
        // What is no standard JSON (NaN, Infinity) is shown as its text.
        serde_json::from_slice(text).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(text).into_owned()))
    };
    let mut arguments: Vec<_> = body
        .positional()
        .ok()?
        .into_iter()
        .enumerate()
        .map(|(index, text)| {
            (params.get(index).map_or_else(|| (index + 1).to_string(), |param| param.name.to_owned()), value(text))
        })
        .collect();
    arguments.extend(body.keywords().ok()?.into_iter().map(|(name, text)| (name, value(text))));
    Some(arguments)
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arguments: Vec<_> = self.arguments.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        write!(f, "{}({}), queue {}", self.task, arguments.join(", "), self.queue)?;
        if self.priority != 0 {
            write!(f, ", priority {}", self.priority)?;
        }
        if let Some(due) = self.due {
            write!(f, ", due {due}")?;
        }
        Ok(())
    }
}
