//! Events: what workers and clients say happens to tasks and to themselves.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::{
    body::elements,
    error::{ProtocolError, Result},
    headers::{ObjectWriter, field},
    json::{
        self,
        scan::{Kind, Scanner},
    },
};

/// One event. The six fields that every event has are typed; the others stay JSON text by name.
///
/// Source: Celery 5.7, `celery/events/event.py` and `celery/worker/request.py`.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its type, such as `task-started` or `worker-heartbeat`.
    pub kind: String,
    /// Seconds since 1970, UTC.
    pub timestamp: f64,
    /// The node name of whoever says so.
    pub hostname: String,
    /// Its process id.
    pub pid: i64,
    /// Its offset from UTC in hours, positive to the west.
    pub utcoffset: f64,
    /// Its Lamport clock.
    pub clock: u64,
    /// The other fields.
    pub fields: BTreeMap<String, Bytes>,
}

impl Event {
    /// An event without further fields.
    pub fn new(kind: impl Into<String>, timestamp: f64, hostname: impl Into<String>, pid: u32, clock: u64) -> Self {
        Self {
            kind: kind.into(),
            timestamp,
            hostname: hostname.into(),
            pid: i64::from(pid),
            utcoffset: 0.0,
            clock,
            fields: BTreeMap::new(),
        }
    }

    /// The same with one more field that is text, or null.
    pub fn text(mut self, name: &str, value: Option<&str>) -> Self {
        let mut out = Vec::new();
        match value {
            Some(text) => json::to_ascii(text, &mut out),
            None => out.extend_from_slice(b"null"),
        }
        self.fields.insert(name.to_owned(), out.into());
        self
    }

    /// The same with one more field: anything that JSON shows as a plain value.
    pub fn value(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.fields.insert(name.to_owned(), value.to_string().into());
        self
    }

    /// A field read as `T`; none when it is absent, null or something else.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice::<Option<T>>(self.fields.get(name)?).ok()?
    }

    /// The id of the task it is about.
    pub fn task_id(&self) -> Option<String> {
        self.get("uuid")
    }

    /// Reads what one broadcast carries: an event, or an array of them.
    ///
    /// # Errors
    /// `Malformed` unless each is an object with a `type`.
    pub fn parse_all(text: &[u8]) -> Result<Vec<Self>> {
        json::scan::check(text, "event")?;
        match Scanner::new(text, "event").kind()? {
            Kind::Array => elements(text)?.into_iter().map(Self::parse).collect(),
            _ => Ok(vec![Self::parse(text)?]),
        }
    }

    fn parse(text: &[u8]) -> Result<Self> {
        let mut event = Self::new("", 0.0, "", 0, 0);
        Scanner::new(text, "event").members(|scanner, key| {
            let value = scanner.slice()?;
            match &*key {
                "type" => event.kind = field(&key, value)?,
                "timestamp" => event.timestamp = field(&key, value)?,
                "hostname" => event.hostname = field::<Option<String>>(&key, value)?.unwrap_or_default(),
                "pid" => event.pid = field::<Option<i64>>(&key, value)?.unwrap_or_default(),
                "utcoffset" => event.utcoffset = field::<Option<f64>>(&key, value)?.unwrap_or_default(),
                "clock" => event.clock = field::<Option<u64>>(&key, value)?.unwrap_or_default(),
                _ => {
                    event.fields.insert(key.into_owned(), Bytes::copy_from_slice(value));
                }
            }
            Ok(())
        })?;
        if event.kind.is_empty() {
            return Err(ProtocolError::Field { what: "event", name: "type".into(), detail: "is missing".into() });
        }
        Ok(event)
    }

    /// Writes one event.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut object = ObjectWriter::new(out);
        object.text("hostname", Some(&self.hostname));
        object.raw("utcoffset", json::float_text(self.utcoffset).as_bytes());
        object.number("pid", Some(self.pid));
        object.raw("clock", self.clock.to_string().as_bytes());
        for (name, value) in &self.fields {
            object.raw(name, value);
        }
        object.raw("timestamp", json::float_text(self.timestamp).as_bytes());
        object.text("type", Some(&self.kind));
        object.end();
    }

    /// Writes events as one array, as a worker's task events travel.
    pub fn encode_all(events: &[Self]) -> Bytes {
        let mut out = Vec::new();
        json::write_list(events, &mut out, Self::write);
        out.into()
    }
}
