//! Messages of protocol 1, and of the hybrid: made protocol 2 at the door, so that nobody else knows of them.
//!
//! Protocol 1 has no headers: the body is an object that holds everything. The hybrid has headers of protocol 2 and such a
//! body; where both say something the headers win.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    Headers, Message, Properties,
    compression::prefix,
    content::to_json,
    error::{ProtocolError, Result},
    headers::ObjectWriter,
    json::scan::{self, Kind, Scanner},
    repr,
};

/// The body's members that are no headers.
const BODY: [&str; 8] = ["args", "kwargs", "callbacks", "errbacks", "chord", "chain", "utc", "taskset"];

/// Makes a message protocol 2, and its headers; none when it is already, which costs a look at one byte.
///
/// The arguments stay the sender's own text where the body is JSON. Members that are not known become custom headers.
/// A time without offset stays one: it is read in the application's zone, as in protocol 2.
///
/// # Errors
/// As `content::to_json`; `Malformed` or `Field` when the body is neither protocol.
///
/// Source: Celery 5.7, `celery/worker/strategy.py`, `proto1_to_proto2` and `hybrid_to_proto2`.
pub fn upgrade(message: &Message, headers: &Headers) -> Result<Option<(Message, Headers)>> {
    let hybrid = !headers.task.is_empty();
    if hybrid && headers.compression.is_none() && message.body.first() == Some(&b'[') {
        return Ok(None);
    }
    let properties = Properties::parse(&message.properties)?;
    let content_type = properties.content_type.as_deref().unwrap_or("application/json");
    if hybrid && !begins_an_object(content_type, headers, &message.body) {
        return Ok(None);
    }
    let text = to_json(content_type, headers.compression.as_deref(), &message.body)?;
    scan::check(&text, "body")?;
    if Scanner::new(&text, "body").kind()? != Kind::Object {
        // In protocol 2 the body may be anything: whoever reads it says what is wrong.
        return if hybrid { Ok(None) } else { Err(missing("task", "is in neither the headers nor the body")) };
    }
    let body = scan::members(&text, "body")?;
    if !hybrid && !body.contains_key("task") {
        return Err(missing("task", "is in neither the headers nor the body"));
    }

    let args = part(&body, "args", Kind::Array, b"[]")?;
    let kwargs = part(&body, "kwargs", Kind::Object, b"{}")?;
    let mut upgraded = merged(message, &body)?;
    if !hybrid {
        upgraded.argsrepr = Some(repr::args(args));
        upgraded.kwargsrepr = Some(repr::value(kwargs));
        if let Some(group) = body.get("taskset") {
            upgraded.set("group", group)?;
        }
    }
    upgraded.root_id.get_or_insert_with(|| upgraded.id.clone());
    // What was compressed is written plain again.
    upgraded.compression = None;

    let mut out = Vec::with_capacity(text.len());
    out.push(b'[');
    out.extend_from_slice(args);
    out.extend_from_slice(b", ");
    out.extend_from_slice(kwargs);
    out.extend_from_slice(b", ");
    let mut embed = ObjectWriter::new(&mut out);
    for name in ["callbacks", "errbacks"] {
        embed.raw(name, body.get(name).copied().unwrap_or(b"null"));
    }
    embed.raw("chain", b"null");
    embed.raw("chord", body.get("chord").copied().unwrap_or(b"null"));
    embed.end();
    out.push(b']');

    let properties = Properties {
        content_type: Some("application/json".into()),
        content_encoding: Some("utf-8".into()),
        ..properties
    };
    let message = Message { headers: upgraded.encode(), properties: properties.encode(), body: out.into() };
    Ok(Some((message, upgraded)))
}

/// The body's members, and the headers over them: also a null wins, as long as it is there.
fn merged(message: &Message, body: &BTreeMap<String, &[u8]>) -> Result<Headers> {
    let mut merged = Headers::default();
    for (name, value) in body.iter().filter(|(name, _)| !BODY.contains(&name.as_str())) {
        merged.set(name, value)?;
    }
    for (name, value) in scan::members(&message.headers, "headers")? {
        merged.set(&name, value)?;
    }
    Ok(merged)
}

fn part<'a>(body: &BTreeMap<String, &'a [u8]>, name: &str, wanted: Kind, nothing: &'a [u8]) -> Result<&'a [u8]> {
    let Some(text) = body.get(name) else { return Ok(nothing) };
    match Scanner::new(text, "body").kind()? {
        kind if kind == wanted => Ok(text),
        Kind::Null => Ok(nothing),
        _ => Err(missing(name, if wanted == Kind::Array { "is not an array" } else { "is not an object" })),
    }
}

/// True when the body may be an object, by its first bytes; a look at what is compressed takes no more than that.
fn begins_an_object(content_type: &str, headers: &Headers, body: &Bytes) -> bool {
    let first = match headers.compression.as_deref() {
        Some(name) if !name.is_empty() => prefix(name, body, 64),
        _ => body.slice(..body.len().min(64)),
    };
    match content_type {
        // A map of MessagePack.
        "application/x-msgpack" | "msgpack" => matches!(first.first(), Some(0x80..=0x8f | 0xde | 0xdf)),
        // In YAML only lists begin so.
        "application/x-yaml" | "yaml" | "text/x-yaml" => !matches!(first.trim_ascii_start().first(), Some(b'[' | b'-')),
        _ => first.trim_ascii_start().first() == Some(&b'{'),
    }
}

fn missing(name: &str, detail: &str) -> ProtocolError {
    ProtocolError::Field { what: "body's member", name: name.into(), detail: detail.into() }
}
