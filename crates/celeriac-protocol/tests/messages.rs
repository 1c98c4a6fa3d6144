//! Messages as Celery 5.7 sends them go in and come out with nothing lost; garbage is refused, never a panic.

use bytes::Bytes;
use celeriac_protocol::{
    Body, Embed, Event, ExceptionInfo, Headers, Kind, Properties, ProtocolError, Signature, State, TaskMeta,
    body::{encode_body, prepend},
    compression, content, isoformat,
    json::{self, Value},
    repr,
};
use jiff::{Timestamp, tz::TimeZone};
use proptest::prelude::*;

const HEADERS: &str = r#"{"lang": "py", "task": "proj.add", "id": "<a>", "shadow": "shad",
 "eta": "2026-11-23T13:04:06.389509+00:00", "expires": "2026-11-23T13:05:06.389509+00:00",
 "group": null, "group_index": null, "retries": 0, "timelimit": [10, 5], "root_id": "<a>", "parent_id": null,
 "argsrepr": "(3,)", "kwargsrepr": "{'y': 4}", "origin": "gen12671@vm", "ignore_result": true,
 "replaced_task_nesting": 0, "stamped_headers": null, "stamps": {}, "custom": {"big": 1180591620717411303424},
 "compression": "application/x-gzip"}"#;

#[test]
fn every_header_survives_a_round_trip() {
    let headers = Headers::parse(HEADERS.as_bytes()).unwrap();
    assert_eq!((headers.task.as_str(), headers.timelimit), ("proj.add", (Some(10.0), Some(5.0))));
    assert_eq!(&headers.custom["custom"][..], br#"{"big": 1180591620717411303424}"#);
    let again = headers.encode();
    let squeeze = |text: &[u8]| String::from_utf8_lossy(text).replace([' ', '\n'], "");
    assert_eq!(squeeze(&again), squeeze(HEADERS.as_bytes()));
}

#[test]
fn a_header_of_the_wrong_type_is_named() {
    let error = Headers::parse(br#"{"task": "t", "id": "i", "retries": "many"}"#).unwrap_err();
    assert!(matches!(&error, ProtocolError::Field { name, .. } if name == "retries"), "{error}");
}

#[test]
fn times_are_read_with_offset_with_z_and_in_the_zone_of_the_application() {
    let zone = TimeZone::fixed(jiff::tz::offset(2));
    let at = |eta: &str| Headers { eta: Some(eta.into()), ..Headers::default() }.eta_at(&zone);
    let noon: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
    for text in
        ["2026-11-23T12:00:00+00:00", "2026-11-23T12:00:00Z", "2026-11-23T14:00:00", "2026-11-23T17:30:00.000000+05:30"]
    {
        assert_eq!(at(text).unwrap(), Some(noon), "{text}");
    }
    assert!(at("tomorrow").is_err());
    assert_eq!(isoformat(noon), "2026-11-23T12:00:00+00:00");
    assert_eq!(isoformat("2026-11-23T12:00:00.5Z".parse().unwrap()), "2026-11-23T12:00:00.500000+00:00");
}

#[test]
fn a_body_is_split_without_touching_numbers_that_json_does_not_know() {
    let text =
        br#"[[NaN, -Infinity, 123456789012345678901234567890, "a]"], {"k": [1]}, {"callbacks": null, "chain": []}]"#;
    let body = Body::split(text).unwrap();
    assert_eq!(body.positional().unwrap()[2], b"123456789012345678901234567890");
    assert_eq!(body.keywords().unwrap(), vec![("k".to_owned(), &b"[1]"[..])]);
    let embed = Embed::parse(body.embed).unwrap();
    assert!(embed.is_empty());
    assert!(encode_body(body.args, body.kwargs, &embed).starts_with(b"[[NaN, -Infinity, 1234567"));
}

#[test]
fn a_result_becomes_the_first_argument() {
    assert_eq!(prepend(b"NaN", b"[1, 2]"), b"[NaN, 1, 2]");
    assert_eq!(prepend(b"3", b"[ ]"), b"[3]");
}

#[test]
fn bodies_of_the_wrong_shape_are_refused_with_their_place() {
    for text in [
        "",
        "[",
        "[[], {}]",
        "[{}, {}, {}]",
        "[[], [], {}]",
        "[[], {}, {}] x",
        "[[], {}, {}",
        "{\"args\": []}",
        "[[1,], {}, {}]",
    ] {
        assert!(matches!(Body::split(text.as_bytes()), Err(ProtocolError::Malformed { .. })), "{text}");
    }
    let deep = format!("[{}{}, {{}}, null]", "[".repeat(10_000), "]".repeat(10_000));
    assert!(matches!(Body::split(deep.as_bytes()), Err(ProtocolError::TooDeep { .. })));
}

#[test]
fn signatures_keep_what_they_do_not_know() {
    let text = br#"{"task": "celery.chord", "args": [], "kwargs": {"kwargs": {}, "header": {"task": "celery.group", "args": [],
        "kwargs": {"tasks": [{"task": "proj.add", "args": [1, NaN], "kwargs": {}, "options": {"task_id": "<h>"}}]}},
        "body": {"task": "proj.sum"}}, "options": {"mtask_id": "abc"}, "subtask_type": "chord", "immutable": false, "chord_size": 1}"#;
    let signature = Signature::parse(text).unwrap();
    assert_eq!(&signature.unknown["chord_size"][..], b"1");
    let Kind::Chord { header, body } = signature.kind().unwrap() else { panic!("a chord") };
    let Kind::Group(tasks) = header.kind().unwrap() else { panic!("a group") };
    assert_eq!((&tasks[0].args[..], tasks[0].option_text("task_id").unwrap()), (&b"[1, NaN]"[..], "<h>".to_owned()));
    assert_eq!(body.task, "proj.sum");
    let mut again = Vec::new();
    signature.write(&mut again);
    assert_eq!(Signature::parse(&again).unwrap(), signature);
}

#[test]
fn kombu_types_are_read_and_written() {
    let text = br#"[{"__type__": "datetime", "__value__": "2020-01-02T03:04:05.000006"}, {"__type__": "uuid", "__value__": {"hex": "00000000000000000000000000000005"}}, {"__type__": "base64", "__value__": "//4="}, {"__type__": "bytes", "__value__": "abc"}, {"__type__": "decimal", "__value__": "1.50"}, NaN, 1e3]"#;
    let value = Value::parse(text, "value").unwrap();
    let Value::Array(elements) = &value else { panic!("an array") };
    assert_eq!(elements[2], Value::Bytes(vec![0xff, 0xfe]));
    let mut again = Vec::new();
    json::value_to_vec(&value, &mut again);
    assert_eq!(String::from_utf8(again).unwrap(), String::from_utf8_lossy(text).replace("1e3", "1000.0"));
    assert!(Value::parse(br#"{"__type__": "nobody", "__value__": 1}"#, "value").is_err());
    let typed: (String, f64) =
        json::from_slice(br#"[{"__type__": "date", "__value__": "2020-01-02"}, NaN]"#, "value").unwrap();
    assert!(typed.0 == "2020-01-02" && typed.1.is_nan());
}

#[test]
fn msgpack_and_yaml_become_json_and_back() {
    let json: Bytes = Bytes::from_static(br#"[["ann", 5, 1.5, null, true], {"k": {"a": [1]}}, null]"#);
    for serializer in ["msgpack", "yaml"] {
        let (bytes, content_type, _) = content::from_json(serializer, json.clone()).unwrap();
        assert_eq!(content::to_json(content_type, None, &bytes).unwrap(), json, "{serializer}");
    }
    let pickle = content::to_json("application/x-python-serialize", None, &Bytes::from_static(b"\x80\x04"));
    assert!(matches!(pickle, Err(ProtocolError::Refused { .. })));
}

#[test]
fn yaml_keeps_texts_texts_and_refuses_what_a_safe_loader_refuses() {
    let json: Bytes = Bytes::from_static(
        br#"[["1e3", "12:30:45", "2020-01-02", "yes", "\ud83e\udd8a\n", 1e+16, NaN, 12345678901234567890123, {"__type__": "bytes", "__value__": "a"}], {"1": {}}, null]"#,
    );
    let (yaml, ..) = content::from_json("yaml", json.clone()).unwrap();
    assert_eq!(
        content::to_json("application/x-yaml", None, &yaml).unwrap(),
        json,
        "{}",
        String::from_utf8_lossy(&yaml)
    );
    for refused in [
        "!!python/object/apply:os.system ['ls']",
        "[1",
        "a: b\n---\nc: d",
        "{? [1] : 2}",
        "&a [*a]",
        "{<<: {a: 1}}",
        "",
    ] {
        let outcome = content::to_json("yaml", None, &Bytes::from_static(refused.as_bytes()));
        assert!(matches!(outcome, Err(ProtocolError::Malformed { .. })), "{refused}: {outcome:?}");
    }
    let bomb: Vec<_> =
        (1..12).map(|level| format!("- &a{level} [{}]", vec![format!("*a{}", level - 1); 10].join(", "))).collect();
    let bomb = format!("- &a0 [x, x, x, x, x, x]\n{}\n", bomb.join("\n"));
    assert!(matches!(content::to_json("yaml", None, &bomb.into()), Err(ProtocolError::TooLarge { .. })));
    let deep: Bytes = "[".repeat(100_000).into();
    assert!(matches!(
        content::to_json("yaml", None, &deep),
        Err(ProtocolError::TooDeep { .. } | ProtocolError::Malformed { .. })
    ));
}

#[test]
fn a_compression_that_nobody_knows_is_named() {
    assert!(matches!(compression::decompress("rot13", b"x"), Err(ProtocolError::Compression(name)) if name == "rot13"));
}

#[test]
fn result_documents_are_celerys() {
    let document = br#"{"status": "FAILURE", "result": {"exc_type": "KeyError", "exc_message": ["bad", 1], "exc_module": "builtins"}, "traceback": "Traceback", "children": [], "date_done": "2026-11-23T13:03:36.675888+00:00", "group_id": "<g>", "task_id": "<a>"}"#;
    let meta = TaskMeta::parse(document).unwrap();
    assert_eq!(meta.status, State::Failure);
    assert_eq!(meta.exception().unwrap().message(), "bad, 1");
    assert_eq!(TaskMeta::parse(&meta.encode()).unwrap(), meta);
    let info = ExceptionInfo::new("RuntimeError", "no\nluck", "builtins");
    assert_eq!(ExceptionInfo::parse(&info.encode()), Some(info));
}

#[test]
fn events_come_alone_and_in_arrays() {
    let event =
        Event::new("task-started", 1_795_439_016.89, "w1@host", 12, 8).text("uuid", Some("<a>")).value("retries", 1);
    assert_eq!(Event::parse_all(&Event::encode_all(std::slice::from_ref(&event))).unwrap(), vec![event.clone()]);
    let mut alone = Vec::new();
    event.write(&mut alone);
    assert_eq!(Event::parse_all(&alone).unwrap()[0].task_id().unwrap(), "<a>");
}

#[test]
fn arguments_read_as_python_prints_them() {
    assert_eq!(repr::args(br#"["it's", null, true, {"a": [1]}]"#), r#"("it's", None, True, {'a': [1]})"#);
    assert_eq!(repr::args(b"[3]"), "(3,)");
    let long = repr::args(format!("[\"{}\"]", "x".repeat(5_000)).as_bytes());
    assert!(long.len() == 1_024 && long.ends_with("..."));
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Headers::parse(&bytes);
        let _ = Properties::parse(&bytes);
        let _ = Body::split(&bytes).map(|body| (body.positional(), body.keywords(), Embed::parse(body.embed)));
        let _ = Signature::parse(&bytes).and_then(|signature| signature.kind());
        let _ = TaskMeta::parse(&bytes);
        let _ = Event::parse_all(&bytes);
        let _ = repr::args(&bytes);
        let bytes = Bytes::from(bytes);
        for kind in ["application/json", "application/x-msgpack", "application/x-yaml"] {
            let _ = content::to_json(kind, None, &bytes);
        }
        for kind in ["gzip", "bzip2", "xz", "brotli", "zstd"] {
            let _ = compression::decompress(kind, &bytes);
        }
    }

    #[test]
    fn nearly_json_does_not_make_the_scanner_panic(text in r#"[\[\]{}",:0-9a-zN\\ -]{0,60}"#) {
        let _ = Value::parse(text.as_bytes(), "value");
        let _ = Body::split(text.as_bytes());
    }

    #[test]
    fn strings_survive(text in any::<String>()) {
        let written = json::to_vec(&text).unwrap();
        prop_assert!(written.is_ascii());
        prop_assert_eq!(json::from_slice::<String>(&written, "text").unwrap(), text.clone());
        prop_assert_eq!(Value::parse(&written, "text").unwrap(), Value::String(text));
    }
}
