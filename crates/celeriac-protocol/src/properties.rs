//! The properties of a message: what AMQP has beside the headers.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    error::{ProtocolError, Result},
    headers::{self, ObjectWriter, field},
    json::scan::{self, Scanner},
    limits::HEADERS_BYTES_MAX,
};

/// The properties of one message.
///
/// Source: Celery 5.7, `celery/app/amqp.py`, `AMQP.as_task_v2`; kombu 5.7, `kombu/message.py`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// How the body is serialized, such as `application/json`.
    pub content_type: Option<String>,
    /// `utf-8` or `binary`.
    pub content_encoding: Option<String>,
    /// The task's id.
    pub correlation_id: Option<String>,
    /// Where an RPC result goes.
    pub reply_to: Option<String>,
    /// 2 when it must survive the broker's restart, 1 otherwise.
    pub delivery_mode: Option<u8>,
    /// As AMQP: higher is more urgent.
    pub priority: Option<u8>,
    /// Milliseconds until it is worthless, as text.
    pub expiration: Option<String>,
    /// Every other property: JSON text, as it came.
    pub custom: BTreeMap<String, Bytes>,
}

impl Properties {
    /// Reads properties; an empty text has none.
    ///
    /// # Errors
    /// `TooLarge`; `Malformed` when it is no JSON object; `Field` when a known one has the wrong type.
    pub fn parse(text: &[u8]) -> Result<Self> {
        if text.len() > HEADERS_BYTES_MAX {
            return Err(ProtocolError::TooLarge { what: "properties", limit: HEADERS_BYTES_MAX });
        }
        let mut properties = Self::default();
        if text.is_empty() {
            return Ok(properties);
        }
        scan::check_utf8(text, "properties")?;
        let mut scanner = Scanner::new(text, "properties");
        scanner.members(|scanner, name| {
            let value = scanner.slice()?;
            match &*name {
                "content_type" => properties.content_type = headers::text(&name, value)?,
                "content_encoding" => properties.content_encoding = headers::text(&name, value)?,
                "correlation_id" => properties.correlation_id = headers::text(&name, value)?,
                "reply_to" => properties.reply_to = headers::text(&name, value)?,
                "delivery_mode" => properties.delivery_mode = field(&name, value)?,
                "priority" => properties.priority = field(&name, value)?,
                "expiration" => properties.expiration = headers::text(&name, value)?,
                _ => {
                    properties.custom.insert(name.into_owned(), Bytes::copy_from_slice(value));
                }
            }
            Ok(())
        })?;
        scanner.end()?;
        Ok(properties)
    }

    /// Writes those that are set.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(256);
        let mut object = ObjectWriter::new(&mut out);
        for (name, value) in [
            ("content_type", &self.content_type),
            ("content_encoding", &self.content_encoding),
            ("correlation_id", &self.correlation_id),
            ("reply_to", &self.reply_to),
            ("expiration", &self.expiration),
        ] {
            if value.is_some() {
                object.text(name, value.as_deref());
            }
        }
        for (name, value) in [("delivery_mode", self.delivery_mode), ("priority", self.priority)] {
            if value.is_some() {
                object.number(name, value.map(i64::from));
            }
        }
        for (name, value) in &self.custom {
            object.raw(name, value);
        }
        object.end();
        out.into()
    }
}
