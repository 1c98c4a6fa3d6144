//! Whatever is written is read as the same: values, headers, signatures, records, events and control messages of any shape.

use std::{collections::BTreeMap, io::Write as _};

use bytes::Bytes;
use celeriac_protocol::{
    Body, Embed, Event, ExceptionInfo, Extended, Headers, Properties, ProtocolError, Signature, State, TaskMeta,
    body::{encode_body, prepend},
    compression, content,
    control::{Reply, ReplyTo, Request, Target},
    json::{self, Value, scan},
    limits::{BODY_BYTES_MAX, DEPTH_MAX, HEADERS_BYTES_MAX},
};
use proptest::{collection::vec, option, prelude::*};

/// Anything that JSON as Celery means it can say. Not NaN: it is not equal to itself.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        "[1-9][0-9]{19,60}".prop_map(Value::BigInt),
        any::<f64>().prop_filter("equal to itself", |float| !float.is_nan()).prop_map(Value::Float),
        any::<String>().prop_map(Value::String),
        vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
        "20[0-9]{2}-0[1-9]-[12][0-8]".prop_map(Value::Date),
        "20[0-9]{2}-0[1-9]-[12][0-8]T1[0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{5}[1-9])?(\\+0[0-9]:[0-5][0-9])?"
            .prop_map(Value::DateTime),
        "1[0-9]:[0-5][0-9]:[0-5][0-9]".prop_map(Value::Time),
        "[0-9a-f]{32}".prop_map(Value::Uuid),
        "-?[0-9]{1,9}\\.[0-9]{2}".prop_map(Value::Decimal),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::Array),
            // A key of our own keeps it from being a typed object by chance.
            proptest::collection::btree_map(any::<String>(), inner, 0..6).prop_map(|members| {
                Value::Object(members.into_iter().map(|(key, value)| (format!("k{key}"), value)).collect())
            }),
        ]
    })
}

fn written(value: &Value) -> Bytes {
    let mut out = Vec::new();
    json::value_to_vec(value, &mut out);
    out.into()
}

fn json_text() -> impl Strategy<Value = Bytes> {
    value().prop_map(|value| written(&value))
}

fn array() -> impl Strategy<Value = Bytes> {
    vec(value(), 0..4).prop_map(|elements| written(&Value::Array(elements)))
}

fn object() -> impl Strategy<Value = Bytes> {
    proptest::collection::btree_map("k.*", value(), 0..4)
        .prop_map(|members| written(&Value::Object(members.into_iter().collect())))
}

/// Names that mean nothing to us.
fn unknown() -> impl Strategy<Value = BTreeMap<String, Bytes>> {
    proptest::collection::btree_map("x-.*", json_text(), 0..4)
}

fn text() -> impl Strategy<Value = Option<String>> {
    option::of(any::<String>())
}

fn seconds() -> impl Strategy<Value = Option<f64>> {
    option::of(prop_oneof![any::<f64>().prop_filter("finite", |float| float.is_finite()), Just(10.0)])
}

prop_compose! {
    fn headers()(
        (task, id, lang, shadow) in (any::<String>(), any::<String>(), text(), text()),
        (eta, expires, group, group_index) in (text(), text(), text(), any::<Option<i64>>()),
        (retries, hard, soft) in (any::<u32>(), seconds(), seconds()),
        (root_id, parent_id, argsrepr, kwargsrepr, origin) in (text(), text(), text(), text(), text()),
        (ignore_result, replaced_task_nesting, compression) in (any::<Option<bool>>(), any::<u32>(), text()),
        (stamped_headers, stamps) in option::of((array(), "k.*", json_text())).prop_map(|stamps| stamps.map_or((None, None), |(names, name, value)| {
            let value = Value::parse(&value, "stamp").expect("it was written");
            (Some(names), Some(written(&Value::Object(vec![(name, value)]))))
        })),
        custom in unknown(),
    ) -> Headers {
        Headers {
            task, id, lang, shadow, eta, expires, group, group_index, retries, timelimit: (hard, soft), root_id, parent_id,
            argsrepr, kwargsrepr, origin, ignore_result, replaced_task_nesting, stamped_headers, stamps, compression, custom,
        }
    }
}

fn signature() -> impl Strategy<Value = Signature> {
    ("t.*", array(), object(), unknown(), text(), any::<bool>(), unknown()).prop_map(
        |(task, args, kwargs, options, subtask_type, immutable, unknown)| Signature {
            task,
            args,
            kwargs,
            options,
            subtask_type,
            immutable,
            unknown,
        },
    )
}

fn compressed(name: &str, plain: &[u8]) -> Vec<u8> {
    match name {
        "zlib" => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(plain).and_then(|()| encoder.finish())
        }
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(plain).and_then(|()| encoder.finish())
        }
        "bzip2" => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(plain).and_then(|()| encoder.finish())
        }
        "xz" => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(plain).and_then(|()| encoder.finish())
        }
        "brotli" => {
            let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 1, 22);
            encoder.write_all(plain).map(|()| encoder.into_inner())
        }
        _ => zstd::stream::encode_all(plain, 1),
    }
    .expect("memory takes everything")
}

const COMPRESSIONS: [&str; 6] = ["zlib", "gzip", "bzip2", "xz", "brotli", "zstd"];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn values_survive_json(value in value()) {
        let text = written(&value);
        prop_assert!(text.is_ascii());
        prop_assert_eq!(Value::parse(&text, "value").unwrap(), value);
    }

    #[test]
    fn values_survive_yaml(value in value()) {
        let text = written(&value);
        let (yaml, ..) = content::from_json("yaml", text).unwrap();
        let again = content::to_json("yaml", None, &yaml).unwrap();
        // Times, UUIDs and decimals are texts there, and infinities what they were.
        prop_assert_eq!(Value::parse(&again, "value").unwrap(), as_texts(value, false));
    }

    #[test]
    fn values_survive_msgpack(value in value()) {
        let (packed, ..) = content::from_json("msgpack", written(&value)).unwrap();
        let again = content::to_json("msgpack", None, &packed).unwrap();
        prop_assert_eq!(Value::parse(&again, "value").unwrap(), as_texts(value, true));
    }

    #[test]
    fn headers_survive(headers in headers()) {
        prop_assert_eq!(Headers::parse(&headers.encode()).unwrap(), headers);
    }

    #[test]
    fn properties_survive(
        (content_type, content_encoding, correlation_id, reply_to) in (text(), text(), text(), text()),
        (delivery_mode, priority, expiration, custom) in (any::<Option<u8>>(), any::<Option<u8>>(), text(), unknown()),
    ) {
        let properties = Properties {
            content_type, content_encoding, correlation_id, reply_to, delivery_mode, priority, expiration, custom,
        };
        prop_assert_eq!(Properties::parse(&properties.encode()).unwrap(), properties);
    }

    #[test]
    fn bodies_and_what_follows_survive(
        args in array(), kwargs in object(), callbacks in vec(signature(), 0..2), errbacks in vec(signature(), 0..2),
        chain in vec(signature(), 0..2), chord in option::of(signature().prop_map(Box::new)), first in json_text(),
    ) {
        let embed = Embed { callbacks, errbacks, chain, chord };
        let text = encode_body(&args, &kwargs, &embed);
        let (body, again) = content::split(&text).unwrap();
        prop_assert_eq!((body.args, body.kwargs, again), (&args[..], &kwargs[..], embed));
        let before = body.positional().unwrap();
        let more = prepend(&first, &args);
        let after = Body { args: &more, ..body }.positional().unwrap();
        prop_assert_eq!((after[0], &after[1..]), (&first[..], &before[..]));
    }

    #[test]
    fn signatures_survive(signature in signature()) {
        let mut text = Vec::new();
        signature.write(&mut text);
        prop_assert_eq!(Signature::parse(&text).unwrap(), signature);
    }

    #[test]
    fn records_survive(
        (task_id, state, result, traceback, children) in (any::<String>(), any::<String>(), json_text(), text(), array()),
        (date_done, group_id, parent_id, unknown) in (text(), text(), text(), unknown()),
        extended in option::of((text(), option::of(array()), option::of(object()), text(), any::<Option<u32>>(), text())),
        exception in ("x.*", vec(any::<String>(), 0..3), text()),
    ) {
        let extended = extended.map(|(name, args, kwargs, worker, retries, queue)| Extended {
            name, args, kwargs, worker, retries, queue,
        });
        let meta = TaskMeta {
            task_id, status: State::parse(&state), result, traceback, children, date_done, group_id, parent_id, extended, unknown,
        };
        prop_assert_eq!(TaskMeta::parse(&meta.encode()).unwrap(), meta);
        let (exc_type, exc_message, exc_module) = exception;
        let info = ExceptionInfo { exc_type, exc_message, exc_module };
        prop_assert_eq!(ExceptionInfo::parse(&info.encode()), Some(info));
    }

    #[test]
    fn events_survive(
        kind in "k.*", timestamp in 0.0..1e12_f64, hostname in any::<String>(), pid in any::<i64>(), utcoffset in -12.0..12.0_f64,
        clock in any::<u64>(), fields in unknown(), more in 0..3_usize,
    ) {
        let event = Event { kind, timestamp, hostname, pid, utcoffset, clock, fields };
        let events = vec![event; more + 1];
        prop_assert_eq!(Event::parse_all(&Event::encode_all(&events)).unwrap(), events);
    }

    #[test]
    fn control_messages_survive(
        method in "m.*", arguments in object(), clock in any::<u64>(), expires in option::of(1.0..1e12_f64),
        target in prop_oneof![
            Just(Target::Everyone), vec(any::<String>(), 1..4).prop_map(Target::Nodes), any::<String>().prop_map(Target::Glob),
            any::<String>().prop_map(Target::Regex),
        ],
        reply_to in option::of((any::<String>(), any::<String>(), any::<String>())), value in json_text(),
    ) {
        let reply_to = reply_to.map(|(ticket, exchange, routing_key)| ReplyTo { ticket, exchange, routing_key });
        let request = Request { method: method.clone(), arguments, target, reply_to, clock, expires };
        prop_assert_eq!(Request::parse(&request.encode()).unwrap(), request);
        let reply = Reply { ticket: method.clone(), node: method, value, clock };
        prop_assert_eq!(Reply::parse(&reply.encode()).unwrap(), reply);
    }

    #[test]
    fn compressed_bodies_come_out_again(plain in vec(any::<u8>(), 0..2_000), which in 0..COMPRESSIONS.len(), cut in any::<prop::sample::Index>()) {
        let name = COMPRESSIONS[which];
        let bytes = compressed(name, &plain);
        prop_assert_eq!(&compression::decompress(name, &bytes).unwrap()[..], &plain[..], "{}", name);
        // What is cut off is refused, or at least no more than what was there.
        if let Ok(less) = compression::decompress(name, &bytes[..cut.index(bytes.len())]) {
            prop_assert!(plain.starts_with(&less), "{}", name);
        }
    }
}

/// What other formats have no word for becomes a text there.
fn as_texts(value: Value, msgpack: bool) -> Value {
    match value {
        Value::Time(text) | Value::Uuid(text) | Value::Decimal(text) => Value::String(text),
        Value::DateTime(text) | Value::Date(text) if msgpack => Value::String(text),
        Value::BigInt(digits) if msgpack && digits.parse::<u64>().is_err() => Value::String(digits),
        Value::Array(elements) => Value::Array(elements.into_iter().map(|value| as_texts(value, msgpack)).collect()),
        Value::Object(members) => {
            Value::Object(members.into_iter().map(|(key, value)| (key, as_texts(value, msgpack))).collect())
        }
        other => other,
    }
}

#[test]
fn sizes_are_limited_everywhere() {
    let big = vec![b' '; BODY_BYTES_MAX + 1];
    let too_large =
        |error: Option<ProtocolError>| assert!(matches!(error, Some(ProtocolError::TooLarge { .. })), "{error:?}");
    too_large(Headers::parse(&big[..=HEADERS_BYTES_MAX]).err());
    too_large(Properties::parse(&big[..=HEADERS_BYTES_MAX]).err());
    too_large(Body::split(&big).err());
    too_large(Embed::parse(&big).err());
    too_large(Signature::parse(&big).err());
    too_large(TaskMeta::parse(&big).err());
    too_large(Event::parse_all(&big).err());
    too_large(Value::parse(&big, "value").err());
    too_large(json::from_slice::<u8>(&big, "value").err());
    let body = Bytes::from(big);
    for kind in ["json", "msgpack", "yaml"] {
        too_large(content::to_json(kind, None, &body).err());
    }
    let message = celeriac_protocol::Message { headers: "{}".into(), body, ..Default::default() };
    too_large(Request::parse(&message).err());
    too_large(Reply::parse(&message).err());
    too_large(celeriac_protocol::protocol1::upgrade(&message, &Headers::default()).err());
}

#[test]
fn a_bomb_is_refused_before_it_fills_the_memory_whatever_compressed_it() {
    let spaces = vec![b' '; BODY_BYTES_MAX + 1];
    for name in COMPRESSIONS {
        let bomb = compressed(name, &spaces);
        assert!(bomb.len() < BODY_BYTES_MAX / 100, "{name}");
        assert!(matches!(compression::decompress(name, &bomb), Err(ProtocolError::TooLarge { .. })), "{name}");
    }
}

#[test]
fn depth_is_limited_everywhere() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(scan::check(nested(DEPTH_MAX).as_bytes(), "value").is_ok());
    let deep = nested(DEPTH_MAX + 1);
    let too_deep =
        |error: Option<ProtocolError>| assert!(matches!(error, Some(ProtocolError::TooDeep { .. })), "{error:?}");
    too_deep(scan::check(deep.as_bytes(), "value").err());
    too_deep(Value::parse(deep.as_bytes(), "value").err());
    too_deep(Headers::parse(format!(r#"{{"custom": {deep}}}"#).as_bytes()).err());
    too_deep(Signature::parse(format!(r#"{{"task": "t", "args": {deep}}}"#).as_bytes()).err());
    too_deep(content::to_json("yaml", None, &Bytes::from(deep)).err());
    // A hundred thousand arrays of one element: refused, and no stack is used up.
    let packed = Bytes::from(vec![0x91; 100_000]);
    too_deep(content::to_json("msgpack", None, &packed).err());
}
