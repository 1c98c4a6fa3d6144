//! The headers of a task message, protocol 2.
//!
//! Known ones are typed; everything else is kept as it came and goes along with retries.

use std::{collections::BTreeMap, fmt::Write as _};

use bytes::Bytes;
use jiff::{Timestamp, civil, tz::TimeZone};

use crate::{
    error::{ProtocolError, Result},
    json::{self, scan::Scanner},
    limits::HEADERS_BYTES_MAX,
};

/// The headers of one task message.
///
/// Source: Celery 5.7, `celery/app/amqp.py`, `AMQP.as_task_v2`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headers {
    /// The registered name of the task. Never empty in a message of protocol 2.
    pub task: String,
    /// The task's id. Celery workers loop for ever on a message without one; we refuse it.
    pub id: String,
    /// The language of the sender; never checked.
    pub lang: Option<String>,
    /// A name to show instead of `task`.
    pub shadow: Option<String>,
    /// Earliest start, ISO 8601 as sent. See [`Headers::eta_at`].
    pub eta: Option<String>,
    /// Deadline, ISO 8601 as sent. See [`Headers::expires_at`].
    pub expires: Option<String>,
    /// The group's id.
    pub group: Option<String>,
    /// The place in the group.
    pub group_index: Option<i64>,
    /// How often it was retried before.
    pub retries: u32,
    /// Hard and soft time limit in seconds, hard first.
    pub timelimit: (Option<f64>, Option<f64>),
    /// The first task of the workflow.
    pub root_id: Option<String>,
    /// The task that sent this one.
    pub parent_id: Option<String>,
    /// Positional arguments for people.
    pub argsrepr: Option<String>,
    /// Keyword arguments for people.
    pub kwargsrepr: Option<String>,
    /// `gen<pid>@<host>` of the sender.
    pub origin: Option<String>,
    /// Overrides the task's own setting where given.
    pub ignore_result: Option<bool>,
    /// How often the task replaced itself.
    pub replaced_task_nesting: u32,
    /// Names of stamps, as JSON text.
    pub stamped_headers: Option<Bytes>,
    /// Stamps, as JSON text.
    pub stamps: Option<Bytes>,
    /// The content type of the body's compression.
    pub compression: Option<String>,
    /// Every other header: JSON text, as it came.
    pub custom: BTreeMap<String, Bytes>,
}

impl Headers {
    /// Headers of a first send: its own root, no retries.
    pub fn new(task: impl Into<String>, id: impl Into<String>) -> Self {
        let id = id.into();
        Self { task: task.into(), lang: Some("rust".into()), root_id: Some(id.clone()), id, ..Self::default() }
    }

    /// Reads the headers of a message of protocol 2.
    ///
    /// # Errors
    /// `TooLarge`; `Malformed` when it is no JSON object; `Field` when a known header has the wrong type.
    pub fn parse(text: &[u8]) -> Result<Self> {
        if text.len() > HEADERS_BYTES_MAX {
            return Err(ProtocolError::TooLarge { what: "headers", limit: HEADERS_BYTES_MAX });
        }
        json::scan::check_utf8(text, "headers")?;
        let mut headers = Self::default();
        let mut scanner = Scanner::new(text, "headers");
        scanner.members(|scanner, name| {
            let value = scanner.slice()?;
            headers.set(&name, value)
        })?;
        scanner.end()?;
        Ok(headers)
    }

    pub(crate) fn set(&mut self, name: &str, value: &[u8]) -> Result<()> {
        match name {
            "task" => self.task = text(name, value)?.unwrap_or_default(),
            "id" => self.id = text(name, value)?.unwrap_or_default(),
            "lang" => self.lang = text(name, value)?,
            "shadow" => self.shadow = text(name, value)?,
            "eta" => self.eta = text(name, value)?,
            "expires" => self.expires = text(name, value)?,
            "group" => self.group = text(name, value)?,
            "group_index" => self.group_index = field(name, value)?,
            "retries" => self.retries = field::<Option<u32>>(name, value)?.unwrap_or_default(),
            "timelimit" => self.timelimit = field::<Option<_>>(name, value)?.unwrap_or_default(),
            "root_id" => self.root_id = text(name, value)?,
            "parent_id" => self.parent_id = text(name, value)?,
            "argsrepr" => self.argsrepr = text(name, value)?,
            "kwargsrepr" => self.kwargsrepr = text(name, value)?,
            "origin" => self.origin = text(name, value)?,
            "ignore_result" => self.ignore_result = field(name, value)?,
            "replaced_task_nesting" => {
                self.replaced_task_nesting = field::<Option<u32>>(name, value)?.unwrap_or_default();
            }
            "compression" => self.compression = text(name, value)?,
            // Without stamps these say null and `{}`.
            "stamped_headers" => {
                self.stamped_headers = (value != b"null").then(|| Bytes::copy_from_slice(value));
            }
            "stamps" => {
                self.stamps = (!matches!(value, b"null" | b"{}")).then(|| Bytes::copy_from_slice(value));
            }
            _ => {
                self.custom.insert(name.to_owned(), Bytes::copy_from_slice(value));
            }
        }
        Ok(())
    }

    /// Writes them as Celery does: known ones in its order, then the custom ones.
    pub fn encode(&self) -> Bytes {
        // What a first send has without its arguments is some 600 bytes: growing on the way would copy it all.
        let mut out = Vec::with_capacity(768);
        let mut object = ObjectWriter::new(&mut out);
        object.text("lang", self.lang.as_deref());
        object.text("task", Some(&self.task));
        object.text("id", Some(&self.id));
        object.text("shadow", self.shadow.as_deref());
        object.text("eta", self.eta.as_deref());
        object.text("expires", self.expires.as_deref());
        object.text("group", self.group.as_deref());
        object.number("group_index", self.group_index);
        object.number("retries", Some(i64::from(self.retries)));
        let (hard, soft) = self.timelimit;
        match (hard, soft) {
            (None, None) => object.raw("timelimit", b"[null, null]"),
            _ => object.raw("timelimit", format!("[{}, {}]", seconds(hard), seconds(soft)).as_bytes()),
        }
        object.text("root_id", self.root_id.as_deref());
        object.text("parent_id", self.parent_id.as_deref());
        object.text("argsrepr", self.argsrepr.as_deref());
        object.text("kwargsrepr", self.kwargsrepr.as_deref());
        object.text("origin", self.origin.as_deref());
        object.raw(
            "ignore_result",
            match self.ignore_result {
                None => b"null",
                Some(true) => b"true",
                Some(false) => b"false",
            },
        );
        object.number("replaced_task_nesting", Some(i64::from(self.replaced_task_nesting)));
        object.raw("stamped_headers", self.stamped_headers.as_deref().unwrap_or(b"null"));
        object.raw("stamps", self.stamps.as_deref().unwrap_or(b"{}"));
        for (name, value) in &self.custom {
            object.raw(name, value);
        }
        if let Some(compression) = &self.compression {
            object.text("compression", Some(compression));
        }
        object.end();
        out.into()
    }

    /// When it may start at the earliest; a time without offset is read in `zone`.
    ///
    /// # Errors
    /// `Field` when the header is not a time.
    pub fn eta_at(&self, zone: &TimeZone) -> Result<Option<Timestamp>> {
        self.eta.as_deref().map(|text| instant("eta", text, zone)).transpose()
    }

    /// When it may start at the latest; a time without offset is read in `zone`.
    ///
    /// # Errors
    /// `Field` when the header is not a time.
    pub fn expires_at(&self, zone: &TimeZone) -> Result<Option<Timestamp>> {
        self.expires.as_deref().map(|text| instant("expires", text, zone)).transpose()
    }
}

/// Writes an instant as Python's `isoformat` does: microseconds unless zero, `+00:00`.
pub fn isoformat(at: Timestamp) -> String {
    let civil = TimeZone::UTC.to_datetime(at);
    let (date, time, micros) = (civil.date(), civil.time(), civil.subsec_nanosecond() / 1_000);
    let mut out = String::with_capacity(32);
    // Writing to a string cannot fail.
    let _ = write!(out, "{:04}-{:02}-{:02}T", date.year(), date.month(), date.day());
    let _ = write!(out, "{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second());
    if micros != 0 {
        let _ = write!(out, ".{micros:06}");
    }
    out.push_str("+00:00");
    out
}

fn instant(name: &str, text: &str, zone: &TimeZone) -> Result<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let naive: civil::DateTime = text.parse().map_err(|_| ProtocolError::Field {
        what: "header",
        name: name.to_owned(),
        detail: format!("{text:?} is not a time in ISO 8601"),
    })?;
    zone.to_ambiguous_timestamp(naive).compatible().map_err(|error| ProtocolError::Field {
        what: "header",
        name: name.to_owned(),
        detail: error.to_string(),
    })
}

/// Python writes whole seconds without a fraction where it was given an int.
fn seconds(limit: Option<f64>) -> String {
    match limit {
        None => "null".into(),
        Some(limit) if limit.fract() == 0.0 && limit.abs() < 1e15 => format!("{limit:.0}"),
        Some(limit) => format!("{limit}"),
    }
}

pub(crate) fn field<T: serde::de::DeserializeOwned>(name: &str, value: &[u8]) -> Result<T> {
    serde_json::from_slice(value).map_err(|error| {
        let mut detail = error.to_string();
        if let Some(position) = detail.rfind(" at line ") {
            detail.truncate(position);
        }
        ProtocolError::Field { what: "header", name: name.to_owned(), detail }
    })
}

/// A text or `null`. Most are written without escapes, and are copied as they stand.
pub(crate) fn text(name: &str, value: &[u8]) -> Result<Option<String>> {
    if value == b"null" {
        return Ok(None);
    }
    if let [b'"', inner @ .., b'"'] = value
        && !inner.contains(&b'\\')
        && let Ok(inner) = std::str::from_utf8(inner)
    {
        return Ok(Some(inner.to_owned()));
    }
    field(name, value)
}

/// Writes one JSON object, member by member.
pub(crate) struct ObjectWriter<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> ObjectWriter<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    pub(crate) fn key(&mut self, name: &str) -> &mut Vec<u8> {
        if !self.first {
            self.out.extend_from_slice(b", ");
        }
        self.first = false;
        json::to_ascii(name, self.out);
        self.out.extend_from_slice(b": ");
        self.out
    }

    pub(crate) fn raw(&mut self, name: &str, value: &[u8]) {
        self.key(name).extend_from_slice(value);
    }

    pub(crate) fn text(&mut self, name: &str, value: Option<&str>) {
        let out = self.key(name);
        match value {
            Some(text) => json::to_ascii(text, out),
            None => out.extend_from_slice(b"null"),
        }
    }

    pub(crate) fn number(&mut self, name: &str, value: Option<i64>) {
        match value {
            None => self.raw(name, b"null"),
            Some(digit @ 0..=9) => self.key(name).extend(u8::try_from(digit).map(|digit| b'0' + digit)),
            Some(number) => self.raw(name, number.to_string().as_bytes()),
        }
    }

    pub(crate) fn end(self) {
        self.out.push(b'}');
    }
}
