//! What must hold whatever the bytes are: one function for each parser. The fuzz targets call them, and so does the ordinary
//! test `tests/probes.rs`, over the goldens, over what a fuzzer once found, and over random bytes.

use bytes::Bytes;
use celeriac_protocol::{
    Body, Embed, Event, Headers, Message, Properties, ProtocolError, Signature, TaskMeta,
    body::encode_body,
    compression, content,
    control::{Reply, Request},
    json::{self, Value, scan},
    limits::BODY_BYTES_MAX,
    protocol1, repr,
};
use jiff::tz::TimeZone;

pub(crate) fn headers(bytes: &[u8]) {
    if let Ok(headers) = Headers::parse(bytes) {
        assert_eq!(Headers::parse(&headers.encode()).as_ref(), Ok(&headers));
        let _ = (headers.eta_at(&TimeZone::UTC), headers.expires_at(&TimeZone::UTC));
    }
    let text = String::from_utf8_lossy(bytes).into_owned();
    let _ = Headers { eta: Some(text), ..Headers::default() }.eta_at(&TimeZone::UTC);
}

pub(crate) fn properties(bytes: &[u8]) {
    if let Ok(properties) = Properties::parse(bytes) {
        assert_eq!(Properties::parse(&properties.encode()), Ok(properties));
    }
}

pub(crate) fn body(bytes: &[u8]) {
    let Ok(body) = Body::split(bytes) else { return };
    body.positional().expect("the arguments were scanned");
    body.keywords().expect("the arguments were scanned");
    if let Ok(embed) = Embed::parse(body.embed) {
        let again = encode_body(body.args, body.kwargs, &embed);
        let (split, followed) = content::split(&again).expect("what was written is read");
        assert_eq!((split.args, split.kwargs, followed), (body.args, body.kwargs, embed));
    }
}

pub(crate) fn signature(bytes: &[u8]) {
    let Ok(signature) = Signature::parse(bytes) else { return };
    let mut again = Vec::new();
    signature.write(&mut again);
    assert_eq!(Signature::parse(&again).as_ref(), Ok(&signature));
    let _ = signature.kind();
}

pub(crate) fn json(bytes: &[u8]) {
    let checked = scan::check(bytes, "value");
    // Whatever the standard allows is read; a nesting at the limit may be counted otherwise.
    let standard = std::str::from_utf8(bytes).ok().map(serde_json::from_str::<serde::de::IgnoredAny>);
    if let Some(Ok(_)) = standard {
        assert!(matches!(checked, Ok(()) | Err(ProtocolError::TooDeep { .. })), "{checked:?}");
    }
    if let Ok(value) = Value::parse(bytes, "value") {
        checked.expect("what parses was scanned");
        let mut text = Vec::new();
        json::value_to_vec(&value, &mut text);
        assert!(text.is_ascii());
        let mut again = Vec::new();
        json::value_to_vec(&Value::parse(&text, "value").expect("what was written is read"), &mut again);
        assert_eq!(text, again);
    }
    let _ = json::from_slice::<Vec<String>>(bytes, "value");
    let _ = json::from_slice::<(i64, f64, Option<bool>)>(bytes, "value");
}

pub(crate) fn content(bytes: &[u8]) {
    let read = |serializer: &str, bytes: &Bytes| content::to_json(serializer, None, bytes);
    for serializer in ["msgpack", "yaml"] {
        let given = Bytes::copy_from_slice(bytes);
        // Either what the serializer says, or what JSON says in it. Once it went through it is the same for ever: before,
        // a mapping may be one of kombu's typed values by chance, and times have no word in either.
        for text in [read(serializer, &given).unwrap_or_default(), given] {
            let Ok((once, ..)) = content::from_json(serializer, text) else { continue };
            let Some(text) = small(read(serializer, &once)) else { continue };
            let Ok((twice, ..)) = content::from_json(serializer, text.clone()) else { continue };
            assert_eq!(small(read(serializer, &twice)), Some(text), "{serializer}");
        }
    }
}

/// What was written is read, unless it has grown too large.
fn small(read: Result<Bytes, ProtocolError>) -> Option<Bytes> {
    match read {
        Ok(text) => Some(text),
        Err(ProtocolError::TooLarge { .. }) => None,
        Err(error) => panic!("what was written does not read: {error}"),
    }
}

pub(crate) fn task_meta(bytes: &[u8]) {
    if let Ok(meta) = TaskMeta::parse(bytes) {
        let _ = meta.exception();
        assert_eq!(TaskMeta::parse(&meta.encode()), Ok(meta));
    }
}

pub(crate) fn event(bytes: &[u8]) {
    if let Ok(events) = Event::parse_all(bytes) {
        assert_eq!(Event::parse_all(&Event::encode_all(&events)), Ok(events));
    }
}

pub(crate) fn control(bytes: &[u8]) {
    let (headers, body) = parts(bytes);
    let message = Message { headers, body, ..Message::default() };
    if let Ok(request) = Request::parse(&message) {
        assert_eq!(Request::parse(&request.encode()), Ok(request));
    }
    if let Ok(reply) = Reply::parse(&message) {
        assert_eq!(Reply::parse(&reply.encode()), Ok(reply));
    }
}

pub(crate) fn compression(bytes: &[u8]) {
    for name in ["zlib", "bzip2", "xz", "brotli", "zstd"] {
        if let Ok(plain) = compression::decompress(name, bytes) {
            assert!(plain.len() <= BODY_BYTES_MAX);
        }
    }
}

pub(crate) fn protocol1(bytes: &[u8]) {
    let (headers, body) = parts(bytes);
    for content_type in ["application/json", "application/x-msgpack", "application/x-yaml"] {
        let properties = Properties { content_type: Some(content_type.into()), ..Properties::default() }.encode();
        let message = Message { headers: headers.clone(), properties, body: body.clone() };
        let Ok(parsed) = Headers::parse(&message.headers) else { continue };
        let Ok(Some((upgraded, headers))) = protocol1::upgrade(&message, &parsed) else { continue };
        assert_eq!(Headers::parse(&upgraded.headers).as_ref(), Ok(&headers));
        Body::split(&upgraded.body).expect("it is a body of protocol 2");
        if !headers.task.is_empty() {
            assert_eq!(protocol1::upgrade(&upgraded, &headers), Ok(None), "once is enough");
        }
    }
}

pub(crate) fn repr(bytes: &[u8]) {
    for text in [repr::args(bytes), repr::value(bytes)] {
        assert!(text.chars().count() <= repr::CHARS_MAX);
    }
}

/// Headers and a body from one input: they are parted by a zero byte.
fn parts(bytes: &[u8]) -> (Bytes, Bytes) {
    let at = bytes.iter().position(|byte| *byte == 0).unwrap_or(0);
    let (headers, body) = bytes.split_at(at);
    let headers = if headers.is_empty() { b"{}" } else { headers };
    (Bytes::copy_from_slice(headers), Bytes::copy_from_slice(body.strip_prefix(b"\0").unwrap_or(body)))
}
