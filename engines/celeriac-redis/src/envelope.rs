//! kombu's envelope: a message as it lies in a list.
//!
//! ```text
//! {"celeriac": [attempt, losses, published, number, due],      ours, written by the scripts
//!  "celeriac_of": {…},                                         ours, only where the rest does not tell it
//!  "body": "base64…", "content-encoding": …, "content-type": …,
//!  "headers": {…}, "properties": {…, "delivery_info": {…}, "body_encoding": "base64", "delivery_tag": "…"}}
//! ```
//!
//! What we publish comes out byte by byte as it went in. What Celery publishes comes out as the same headers, and
//! properties without what belongs to the transport.
//!
//! Source: kombu 5.7, `kombu/transport/virtual/base.py`, `Channel.prepare_message` and `Message`.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use celeriac_core::{Message, Notice, Priority, QueueName, TaskId, TaskName};
use celeriac_protocol::json::{
    scan::{Kind, Scanner, check},
    to_ascii,
};

type Scan<T> = celeriac_protocol::Result<T>;

/// The largest priority that Celery knows.
const CELERY_PRIORITY_MAX: u8 = 9;
/// What a message is called that does not tell its task.
const UNKNOWN_TASK: &str = "unknown";
/// How the scripts mark a message that comes back.
const REDELIVERED: &[u8] = br#""redelivered": true"#;

/// A message with what the envelope says about it.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    /// How often it had been claimed.
    pub(crate) attempt: u32,
    /// How many holders were lost with it.
    pub(crate) losses: u32,
    /// When it was published first, in µs; zero when Celery published it and does not say so.
    pub(crate) published: i64,
    /// Its number; zero before we have seen it.
    pub(crate) number: u64,
    /// When it is due, in µs; zero when it is.
    pub(crate) due: i64,
    pub(crate) tag: String,
    pub(crate) task_id: TaskId,
    pub(crate) task: TaskName,
    pub(crate) priority: Priority,
    /// kombu has brought it back.
    pub(crate) redelivered: bool,
    pub(crate) message: Message,
}

/// What is published, without the message's own bytes.
pub(crate) struct Of<'a> {
    pub(crate) task_id: &'a TaskId,
    pub(crate) task: &'a TaskName,
    pub(crate) queue: &'a QueueName,
    pub(crate) priority: Priority,
    pub(crate) tag: &'a str,
}

/// What an encoder must know of the properties.
#[derive(Default)]
struct Noted<'a> {
    content_type: Option<&'a [u8]>,
    content_encoding: Option<&'a [u8]>,
    priority: Option<&'a [u8]>,
    empty: bool,
}

/// Writes everything that stands behind the scripts' part.
pub(crate) fn encode(message: &Message, of: &Of<'_>) -> Vec<u8> {
    let headers = named(&message.headers);
    let properties = noted(&message.properties);
    let readable = headers.is_some() && properties.is_some();
    // Bytes that cannot stand in the envelope as they are do not tell anything there either.
    let (id, task) = headers.filter(|_| readable).unwrap_or_default();
    let properties = properties.filter(|_| readable).unwrap_or(Noted { empty: true, ..Noted::default() });
    let said = properties.priority.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());

    let mut out = Vec::with_capacity(message.len_bytes() * 4 / 3 + 512);
    let mut own: Vec<u8> = Vec::new();
    if id.as_deref() != Some(of.task_id.as_str()) {
        text_member(&mut own, "id", of.task_id.as_str());
    }
    if task.as_deref() != Some(of.task.as_str()) {
        text_member(&mut own, "task", of.task.as_str());
    }
    let added = readable && properties.priority.is_none() && of.priority.0 > 0;
    if said.unwrap_or(0) != of.priority.0 || added {
        own.extend_from_slice(format!(r#""priority": {}, "#, of.priority.0).as_bytes());
    }
    if added {
        own.extend_from_slice(br#""added": true, "#);
    }
    if !readable {
        text_member(&mut own, "headers", &STANDARD.encode(&message.headers));
        text_member(&mut own, "properties", &STANDARD.encode(&message.properties));
    }
    if !own.is_empty() {
        own.truncate(own.len() - 2);
        out.extend_from_slice(br#""celeriac_of": {"#);
        out.append(&mut own);
        out.extend_from_slice(b"}, ");
    }
    out.extend_from_slice(br#""body": ""#);
    append_base64(&mut out, &message.body);
    out.extend_from_slice(br#"", "content-encoding": "#);
    out.extend_from_slice(properties.content_encoding.unwrap_or(b"null"));
    out.extend_from_slice(br#", "content-type": "#);
    out.extend_from_slice(properties.content_type.unwrap_or(b"null"));
    out.extend_from_slice(br#", "headers": "#);
    out.extend_from_slice(if readable { message.headers.trim_ascii() } else { b"{}" });
    out.extend_from_slice(br#", "properties": {"#);
    if !properties.empty {
        let text = message.properties.trim_ascii();
        out.extend_from_slice(&text[1..text.len() - 1]);
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(br#""delivery_info": {"exchange": "", "routing_key": "#);
    to_ascii(of.queue.as_str(), &mut out);
    out.extend_from_slice(b"}, ");
    if added {
        out.extend_from_slice(format!(r#""priority": {}, "#, of.priority.0.min(CELERY_PRIORITY_MAX)).as_bytes());
    }
    out.extend_from_slice(br#""body_encoding": "base64", "delivery_tag": "#);
    to_ascii(of.tag, &mut out);
    out.extend_from_slice(b"}}");
    out
}

/// Writes a broadcast as kombu publishes it. Ours are marked, since our listeners have them already.
pub(crate) fn encode_notice(channel: &str, notice: &Notice) -> Vec<u8> {
    let mut out = br#"{"celeriac": true, "body": ""#.to_vec();
    append_base64(&mut out, &notice.body);
    out.extend_from_slice(br#"", "content-encoding": "utf-8", "content-type": "application/json", "headers": "#);
    out.extend_from_slice(if named(&notice.headers).is_some() { notice.headers.trim_ascii() } else { b"{}" });
    out.extend_from_slice(br#", "properties": {"delivery_mode": 1, "delivery_info": {"exchange": "#);
    to_ascii(channel, &mut out);
    out.extend_from_slice(br#", "routing_key": "#);
    to_ascii(&notice.routing_key, &mut out);
    out.extend_from_slice(br#"}, "priority": 0, "body_encoding": "base64", "delivery_tag": "#);
    to_ascii(&uuid::Uuid::new_v4().to_string(), &mut out);
    out.extend_from_slice(b"}}");
    out
}

/// Reads what Celery broadcast, with its delivery tag; none when it is one of ours, or no envelope.
pub(crate) fn decode_notice(text: &[u8], routing_key: String) -> Option<(String, Notice)> {
    if text.starts_with(br#"{"celeriac": true, "#) {
        return None;
    }
    let Envelope { tag, message: Message { headers, body, .. }, .. } = parse(text, UNKNOWN_TASK).ok()?;
    (!tag.is_empty()).then_some((tag, Notice { routing_key, headers, body }))
}

/// Reads an envelope. Bytes that are none become the body of a message without headers, which no worker can run: it
/// ends in the dead set with these bytes.
pub(crate) fn decode(text: &[u8], fallback: &str) -> Envelope {
    parse(text, fallback).unwrap_or_else(|_| Envelope {
        attempt: 0,
        losses: 0,
        published: 0,
        number: 0,
        due: 0,
        tag: fallback.to_owned(),
        task_id: TaskId::new(fallback).expect("a tag of ours is a name"),
        task: TaskName::new(UNKNOWN_TASK).expect("a word is a name"),
        priority: Priority(0),
        redelivered: false,
        message: Message { headers: Bytes::new(), properties: Bytes::new(), body: Bytes::copy_from_slice(text) },
    })
}

/// The members of an envelope, unread.
#[derive(Default)]
struct Parts<'a> {
    head: Option<&'a [u8]>,
    own: Option<&'a [u8]>,
    body: Option<&'a [u8]>,
    content_encoding: Option<&'a [u8]>,
    content_type: Option<&'a [u8]>,
    headers: Option<&'a [u8]>,
    properties: Option<&'a [u8]>,
}

/// What our own member says.
#[derive(Default)]
struct Own {
    id: Option<String>,
    task: Option<String>,
    priority: Option<u8>,
    added: bool,
    headers: Option<Vec<u8>>,
    properties: Option<Vec<u8>>,
}

fn parse(text: &[u8], fallback: &str) -> Scan<Envelope> {
    let mut scanner = Scanner::new(text, "an envelope");
    let mut parts = Parts::default();
    scanner.members(|scanner, name| {
        let value = Some(scanner.slice()?);
        match &*name {
            "celeriac" => parts.head = value,
            "celeriac_of" => parts.own = value,
            "body" => parts.body = value,
            "content-encoding" => parts.content_encoding = value,
            "content-type" => parts.content_type = value,
            "headers" => parts.headers = value,
            "properties" => parts.properties = value,
            _ => {}
        }
        Ok(())
    })?;
    scanner.end()?;
    let head = parse_head(parts.head)?;
    let own = parse_own(parts.own)?;
    let transport = parse_properties(parts.properties.unwrap_or(b"{}"), own.added)?;
    let body = body(parts.body, transport.base64)?;
    let headers = object(parts.headers);
    let (headers, redelivered) = unmark(headers);
    let (id, task) = named(&headers).unwrap_or_default();
    let name = |own: Option<String>, said: Option<String>| own.or(said);
    let task_id = name(own.id, id).and_then(|id| TaskId::new(id).ok());
    let task = name(own.task, task).and_then(|task| TaskName::new(task).ok());
    let properties = match own.properties {
        Some(properties) => properties,
        None => with_content(transport.kept, parts.content_type, parts.content_encoding),
    };
    Ok(Envelope {
        attempt: u32::try_from(head[0]).unwrap_or(u32::MAX),
        losses: u32::try_from(head[1]).unwrap_or(u32::MAX),
        published: head[2],
        number: u64::try_from(head[3]).unwrap_or(0),
        due: head[4],
        task_id: task_id.map_or_else(|| TaskId::new(fallback), Ok).expect("a tag of ours is a name"),
        task: task.unwrap_or_else(|| TaskName::new(UNKNOWN_TASK).expect("a word is a name")),
        priority: Priority(own.priority.or(transport.priority).unwrap_or(0)),
        redelivered,
        tag: transport.tag,
        message: Message {
            headers: own.headers.map_or_else(|| Bytes::copy_from_slice(&headers), Bytes::from),
            properties: properties.into(),
            body,
        },
    })
}

fn parse_head(text: Option<&[u8]>) -> Scan<[i64; 5]> {
    let mut numbers = [0; 5];
    let Some(text) = text else { return Ok(numbers) };
    let mut scanner = Scanner::new(text, "an envelope's numbers");
    let mut index = 0;
    scanner.elements(|scanner| {
        let number = std::str::from_utf8(scanner.slice()?).ok().and_then(|text| text.parse().ok());
        if let (Some(number), Some(place)) = (number, numbers.get_mut(index)) {
            *place = number;
        }
        index += 1;
        Ok(())
    })?;
    Ok(numbers)
}

fn parse_own(text: Option<&[u8]>) -> Scan<Own> {
    let mut own = Own::default();
    let Some(text) = text else { return Ok(own) };
    Scanner::new(text, "an envelope's own member").members(|scanner, name| {
        match &*name {
            "id" => own.id = Some(scanner.decoded_string()?),
            "task" => own.task = Some(scanner.decoded_string()?),
            "priority" => own.priority = number(scanner.slice()?),
            "added" => own.added = scanner.slice()? == b"true",
            "headers" => own.headers = STANDARD.decode(scanner.decoded_string()?).ok(),
            "properties" => own.properties = STANDARD.decode(scanner.decoded_string()?).ok(),
            _ => drop(scanner.slice()?),
        }
        Ok(())
    })?;
    Ok(own)
}

/// The properties without those of the transport.
struct Transport {
    kept: Vec<u8>,
    base64: bool,
    priority: Option<u8>,
    tag: String,
}

fn parse_properties(text: &[u8], priority_added: bool) -> Scan<Transport> {
    let text = object(Some(text));
    let mut transport = Transport { kept: Vec::new(), base64: false, priority: None, tag: String::new() };
    let mut members: Vec<(String, &[u8])> = Vec::new();
    // Where the members end that are kept and follow one another from the beginning: their bytes stay as they are.
    let (mut verbatim, mut verbatim_end, mut broken) = (0, 0, false);
    Scanner::new(text, "properties").members(|scanner, name| {
        let range = scanner.value()?;
        let value = &text[range.clone()];
        let kept = match &*name {
            "delivery_info" => false,
            "body_encoding" => {
                transport.base64 = value == br#""base64""#;
                false
            }
            "delivery_tag" => {
                transport.tag = Scanner::new(value, "a delivery tag").decoded_string().unwrap_or_default();
                false
            }
            "priority" => {
                transport.priority = number(value);
                !priority_added
            }
            _ => true,
        };
        if kept {
            if !broken {
                verbatim += 1;
                verbatim_end = range.end;
            }
            members.push((name.into_owned(), value));
        } else {
            broken = true;
        }
        Ok(())
    })?;
    let kept = &mut transport.kept;
    kept.push(b'{');
    if verbatim > 0 {
        kept.extend_from_slice(&text[1..verbatim_end]);
    }
    for (name, value) in &members[verbatim..] {
        if kept.len() > 1 {
            kept.extend_from_slice(b", ");
        }
        to_ascii(name, kept);
        kept.extend_from_slice(b": ");
        kept.extend_from_slice(value);
    }
    kept.push(b'}');
    Ok(transport)
}

/// Adds the content's type and encoding, which stand outside of the properties on the wire, where they are missing.
fn with_content(properties: Vec<u8>, content_type: Option<&[u8]>, content_encoding: Option<&[u8]>) -> Vec<u8> {
    let known = noted(&properties).unwrap_or_default();
    let mut front = Vec::new();
    for (name, value, has) in [
        ("content_type", content_type, known.content_type.is_some()),
        ("content_encoding", content_encoding, known.content_encoding.is_some()),
    ] {
        if let Some(value) = value.filter(|&value| value != b"null" && !has) {
            front.extend_from_slice(format!(r#""{name}": "#).as_bytes());
            front.extend_from_slice(value);
            front.extend_from_slice(b", ");
        }
    }
    if front.is_empty() {
        return properties;
    }
    if properties == b"{}" {
        front.truncate(front.len() - 2);
    }
    let mut out = vec![b'{'];
    out.append(&mut front);
    out.extend_from_slice(&properties[1..]);
    out
}

fn body(text: Option<&[u8]>, base64: bool) -> Scan<Bytes> {
    let Some(text) = text.filter(|&text| text != b"null") else { return Ok(Bytes::new()) };
    let mut scanner = Scanner::new(text, "a body");
    if scanner.kind()? != Kind::String {
        // Nothing that Celery writes; a worker will say so.
        return Ok(Bytes::copy_from_slice(text));
    }
    let plain = &text[1..text.len() - 1];
    if !base64 {
        return Ok(scanner.decoded_string()?.into());
    }
    let decoded =
        if plain.contains(&b'\\') { STANDARD.decode(scanner.decoded_string()?) } else { STANDARD.decode(plain) };
    decoded.map(Bytes::from).map_err(|error| scanner.malformed(format!("its base64 is damaged: {error}")))
}

/// The headers without the mark that the scripts put in front, and whether kombu has put one of its own.
fn unmark(headers: &[u8]) -> (Cow<'_, [u8]>, bool) {
    if let Some(rest) = headers.strip_prefix(b"{").and_then(|rest| rest.strip_prefix(REDELIVERED)) {
        let rest = rest.strip_prefix(b", ").unwrap_or(rest);
        return (Cow::Owned([b"{", rest].concat()), false);
    }
    (Cow::Borrowed(headers), headers.windows(REDELIVERED.len()).any(|window| window == REDELIVERED))
}

/// An object's text, or an empty one.
fn object(text: Option<&[u8]>) -> &[u8] {
    text.filter(|text| text.starts_with(b"{")).unwrap_or(b"{}")
}

/// The task's id and name in headers that are a JSON object; none when they are not.
fn named(headers: &[u8]) -> Option<(Option<String>, Option<String>)> {
    let headers = headers.trim_ascii();
    check(headers, "headers").ok()?;
    std::str::from_utf8(headers).ok()?;
    let (mut id, mut task) = (None, None);
    Scanner::new(headers, "headers")
        .members(|scanner, name| {
            match (&*name, scanner.kind()?) {
                ("id", Kind::String) => id = Some(scanner.decoded_string()?),
                ("task", Kind::String) => task = Some(scanner.decoded_string()?),
                _ => drop(scanner.slice()?),
            }
            Ok(())
        })
        .ok()?;
    Some((id, task))
}

fn noted(properties: &[u8]) -> Option<Noted<'_>> {
    let properties = properties.trim_ascii();
    check(properties, "properties").ok()?;
    std::str::from_utf8(properties).ok()?;
    let mut noted = Noted { empty: true, ..Noted::default() };
    let mut transports_own = false;
    Scanner::new(properties, "properties")
        .members(|scanner, name| {
            let value = Some(scanner.slice()?);
            noted.empty = false;
            match &*name {
                "content_type" => noted.content_type = value,
                "content_encoding" => noted.content_encoding = value,
                "priority" => noted.priority = value,
                "delivery_info" | "body_encoding" | "delivery_tag" => transports_own = true,
                _ => {}
            }
            Ok(())
        })
        .ok()?;
    (!transports_own).then_some(noted)
}

fn number(text: &[u8]) -> Option<u8> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    u8::try_from(number.clamp(0, 255)).ok()
}

fn text_member(out: &mut Vec<u8>, name: &str, value: &str) {
    to_ascii(name, out);
    out.extend_from_slice(b": ");
    to_ascii(value, out);
    out.extend_from_slice(b", ");
}

fn append_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    STANDARD.encode_slice(bytes, &mut out[start..]).expect("the room was made for it");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_same(headers: &str, properties: &str, priority: u8) {
        let message = Message {
            headers: headers.to_owned().into(),
            properties: properties.to_owned().into(),
            body: "[[1], {}, {}]".into(),
        };
        let (task_id, task) = (TaskId::new("id-1").unwrap(), TaskName::new("shop.bill").unwrap());
        let queue = QueueName::new("mail \"1\"").unwrap();
        let of = Of { task_id: &task_id, task: &task, queue: &queue, priority: Priority(priority), tag: "tag-1" };
        let rest = encode(&message, &of);
        let text = [br#"{"celeriac": [3, 1, 1767225600000000, 17, 0], "#, &rest[..]].concat();
        check(&text, "an envelope").expect("JSON");
        let read = decode(&text, "fallback");
        assert_eq!(read.message, message, "{}", String::from_utf8_lossy(&text));
        assert_eq!((&read.task_id, &read.task, read.priority), (&task_id, &task, Priority(priority)));
        assert_eq!((read.attempt, read.losses, read.published, read.number), (3, 1, 1_767_225_600_000_000, 17));
        assert_eq!((&*read.tag, read.redelivered), ("tag-1", false));
    }

    #[test]
    fn what_is_published_comes_out_byte_by_byte() {
        for headers in [
            "{}",
            r#"{"id": "id-1", "task": "shop.bill"}"#,
            r#"{"id":"other", "x": [1, {}]}"#,
            "",
            "null",
            "{",
            "\u{0}",
        ] {
            for properties in [
                "{}",
                r#"{"priority": 5}"#,
                r#"{"content_type": "application/json", "a":1}"#,
                "",
                "[]",
                r#"{"delivery_tag": "x"}"#,
            ] {
                for priority in [0, 5, 9, 255] {
                    check_same(headers, properties, priority);
                }
            }
        }
    }

    #[test]
    fn celerys_envelope_is_read() {
        let text = br#"{"body": "W1sxXSwge30sIHt9XQ==", "content-encoding": "utf-8", "content-type": "application/json", "headers": {"lang": "py", "task": "proj.add", "id": "a", "redelivered": true}, "properties": {"correlation_id": "a", "delivery_mode": 2, "delivery_info": {"exchange": "", "routing_key": "celery"}, "priority": 3, "body_encoding": "base64", "delivery_tag": "137fe616"}}"#;
        let read = decode(text, "fallback");
        assert_eq!((read.task_id.as_str(), read.task.as_str(), read.priority.0), ("a", "proj.add", 3));
        assert_eq!(&read.message.body[..], b"[[1], {}, {}]");
        let properties = String::from_utf8_lossy(&read.message.properties);
        assert_eq!(
            properties,
            r#"{"content_type": "application/json", "content_encoding": "utf-8", "correlation_id": "a", "delivery_mode": 2, "priority": 3}"#
        );
        assert!(read.redelivered);
        assert_eq!((&*read.tag, read.attempt, read.published), ("137fe616", 0, 0));
    }

    #[test]
    fn what_is_no_envelope_becomes_a_body() {
        for text in [
            "",
            "hello",
            "[1]",
            "{\"body\": \"a",
            "{\"body\": \"!!\", \"properties\": {\"body_encoding\": \"base64\"}}",
        ] {
            let read = decode(text.as_bytes(), "stray-1");
            assert_eq!((read.task_id.as_str(), &read.message.body[..]), ("stray-1", text.as_bytes()));
            assert!(read.message.headers.is_empty());
        }
    }
}
