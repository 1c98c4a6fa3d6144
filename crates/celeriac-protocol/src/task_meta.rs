//! The record of what became of a task, as every Celery result backend stores it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    State,
    error::Result,
    headers::ObjectWriter,
    json::{self, scan::Scanner},
};

/// What became of a task.
///
/// Source: Celery 5.7, `celery/backends/base.py`, `Backend._get_result_meta`.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskMeta {
    /// The task's id.
    pub task_id: String,
    /// Its state.
    pub status: State,
    /// Its value or [`ExceptionInfo`], as JSON text.
    pub result: Bytes,
    /// Where it failed.
    pub traceback: Option<String>,
    /// Result tuples of the tasks it sent, as JSON text.
    pub children: Bytes,
    /// When it was done, ISO 8601; none for states that are not ready.
    pub date_done: Option<String>,
    /// Its group.
    pub group_id: Option<String>,
    /// The task that sent it.
    pub parent_id: Option<String>,
    /// What `result_extended` adds.
    pub extended: Option<Extended>,
    /// Every other field: JSON text, as it came. `result_extended` adds one for each stamp.
    pub unknown: BTreeMap<String, Bytes>,
}

/// What `result_extended` adds to a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extended {
    /// The task's name.
    pub name: Option<String>,
    /// Its arguments, as JSON text.
    pub args: Option<Bytes>,
    /// Its keyword arguments, as JSON text.
    pub kwargs: Option<Bytes>,
    /// The worker's name.
    pub worker: Option<String>,
    /// How often it was retried.
    pub retries: Option<u32>,
    /// Its queue.
    pub queue: Option<String>,
}

/// The fields of [`Extended`].
const EXTENDED: [&str; 6] = ["name", "args", "kwargs", "worker", "retries", "queue"];

/// An exception as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExceptionInfo {
    /// The class's name.
    pub exc_type: String,
    /// The constructor's arguments: texts are themselves, everything else its JSON text.
    pub exc_message: Vec<String>,
    /// Where Python finds the class.
    pub exc_module: Option<String>,
}

impl TaskMeta {
    /// A record without anything optional.
    pub fn new(task_id: impl Into<String>, status: State, result: impl Into<Bytes>) -> Self {
        Self {
            task_id: task_id.into(),
            status,
            result: result.into(),
            traceback: None,
            children: Bytes::from_static(b"[]"),
            date_done: None,
            group_id: None,
            parent_id: None,
            extended: None,
            unknown: BTreeMap::new(),
        }
    }

    /// Reads a record. Only `status`, `result` and `task_id` must be there.
    ///
    /// # Errors
    /// `Malformed` unless it is an object with fields of the right types.
    pub fn parse(document: &[u8]) -> Result<Self> {
        use crate::headers::field;
        json::scan::check(document, "result document")?;
        let mut meta = Self::new("", State::Pending, &b"null"[..]);
        let (mut extended, mut is_extended) = (Extended::default(), false);
        Scanner::new(document, "result document").members(|scanner, key| {
            let value = scanner.slice()?;
            is_extended |= EXTENDED.contains(&&*key);
            match &*key {
                "task_id" => meta.task_id = field(&key, value)?,
                "status" => meta.status = State::parse(&field::<String>(&key, value)?),
                "result" => meta.result = Bytes::copy_from_slice(value),
                "traceback" => meta.traceback = field(&key, value)?,
                "children" => meta.children = Bytes::copy_from_slice(value),
                "date_done" => meta.date_done = field(&key, value)?,
                "group_id" => meta.group_id = field(&key, value)?,
                "parent_id" => meta.parent_id = field(&key, value)?,
                "name" => extended.name = field(&key, value)?,
                "args" => extended.args = (value != b"null").then(|| Bytes::copy_from_slice(value)),
                "kwargs" => extended.kwargs = (value != b"null").then(|| Bytes::copy_from_slice(value)),
                "worker" => extended.worker = field(&key, value)?,
                "retries" => extended.retries = field(&key, value)?,
                "queue" => extended.queue = field(&key, value)?,
                _ => {
                    meta.unknown.insert(key.into_owned(), Bytes::copy_from_slice(value));
                }
            }
            Ok(())
        })?;
        // Celery writes them as nulls for a task that it does not know.
        meta.extended = is_extended.then_some(extended);
        Ok(meta)
    }

    /// Writes the record.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(256 + self.result.len());
        let mut object = ObjectWriter::new(&mut out);
        object.text("status", Some(self.status.as_str()));
        object.raw("result", &self.result);
        object.text("traceback", self.traceback.as_deref());
        object.raw("children", &self.children);
        object.text("date_done", self.date_done.as_deref());
        for (name, value) in [("group_id", &self.group_id), ("parent_id", &self.parent_id)] {
            if value.is_some() {
                object.text(name, value.as_deref());
            }
        }
        if let Some(extended) = &self.extended {
            object.text("name", extended.name.as_deref());
            object.raw("args", extended.args.as_deref().unwrap_or(b"null"));
            object.raw("kwargs", extended.kwargs.as_deref().unwrap_or(b"null"));
            object.text("worker", extended.worker.as_deref());
            object.number("retries", extended.retries.map(i64::from));
            object.text("queue", extended.queue.as_deref());
        }
        for (name, value) in &self.unknown {
            object.raw(name, value);
        }
        object.text("task_id", Some(&self.task_id));
        object.end();
        out.into()
    }

    /// The exception of a FAILURE, RETRY or REVOKED.
    pub fn exception(&self) -> Option<ExceptionInfo> {
        ExceptionInfo::parse(&self.result)
    }
}

impl ExceptionInfo {
    /// An exception with one argument that a Python reader finds in `module`.
    pub fn new(exc_type: impl Into<String>, message: impl Into<String>, module: impl Into<String>) -> Self {
        Self { exc_type: exc_type.into(), exc_message: vec![message.into()], exc_module: Some(module.into()) }
    }

    /// Reads one; none when it has not the shape.
    pub fn parse(text: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        #[expect(clippy::struct_field_names, reason = "the names on the wire")]
        struct Wire {
            exc_type: String,
            #[serde(default)]
            exc_message: Option<Box<RawValue>>,
            #[serde(default)]
            exc_module: Option<String>,
        }
        let wire: Wire = serde_json::from_slice(text).ok()?;
        let plain = |raw: &RawValue| serde_json::from_str::<String>(raw.get()).unwrap_or_else(|_| raw.get().to_owned());
        let exc_message = match wire.exc_message {
            None => Vec::new(),
            Some(raw) => match serde_json::from_str::<Vec<Box<RawValue>>>(raw.get()) {
                Ok(list) => list.iter().map(|raw| plain(raw)).collect(),
                Err(_) => vec![plain(&raw)],
            },
        };
        Some(Self { exc_type: wire.exc_type, exc_message, exc_module: wire.exc_module })
    }

    /// Writes it.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(96);
        let mut object = ObjectWriter::new(&mut out);
        object.text("exc_type", Some(&self.exc_type));
        json::write_list(&self.exc_message, object.key("exc_message"), |text, out| json::to_ascii(text, out));
        object.text("exc_module", self.exc_module.as_deref());
        object.end();
        out.into()
    }

    /// What a person reads: the arguments, separated by commas.
    pub fn message(&self) -> String {
        self.exc_message.join(", ")
    }
}
