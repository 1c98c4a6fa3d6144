//! The real Celery reads what we write, and says what it made of it. `interop/read_back.py` is its side.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use base64::Engine as _;
use celeriac_protocol::{
    Embed, Event, ExceptionInfo, Extended, Headers, Message, Properties, Signature, State, TaskMeta,
    body::encode_body,
    content,
    control::{ReplyTo, Request, Target},
    repr,
};
use serde_json::{Map, Value, json};

/// Arguments of every kind that JSON carries, and what Python makes of them.
const ARGS: &str = r#"["Gr\u00fc\u00dfe \ud83e\udd8a", 1e+16, -7, null, true, NaN, 100000000000000000000000, {"__type__": "datetime", "__value__": "2020-01-02T03:04:05.000006+00:00"}, {"__type__": "uuid", "__value__": {"hex": "00000000000000000000000000000005"}}, {"__type__": "decimal", "__value__": "1.50"}, {"__type__": "base64", "__value__": "//4="}]"#;
const ARGS_IN_PYTHON: &str = "('Grüße 🦊', 1e+16, -7, None, True, nan, 100000000000000000000000, \
                              datetime.datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=datetime.timezone.utc), \
                              UUID('00000000-0000-0000-0000-000000000005'), Decimal('1.50'), b'\\xff\\xfe')";
/// What the other serializers carry too, with texts that YAML would take for something else.
const PLAIN: &str = r#"["1e3", "12:30:45", "2020-01-02", "yes", "\ud83e\udd8a\n", 1e+16, 0.1, null, true, 18446744073709551615, {"__type__": "base64", "__value__": "//4="}]"#;
const PLAIN_IN_PYTHON: &str = "('1e3', '12:30:45', '2020-01-02', 'yes', '🦊\\n', 1e+16, 0.1, None, True, \
                               18446744073709551615, b'\\xff\\xfe')";

/// Runs the real Celery over the cases.
fn understood(cases: &Value) -> Value {
    let interop = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../interop");
    let venv = Command::new(interop.join("venv")).arg("celery").output().expect("interop/venv runs");
    assert!(venv.status.success(), "no Celery: {}", String::from_utf8_lossy(&venv.stderr));
    let python = String::from_utf8(venv.stdout).expect("the path is UTF-8");
    let mut child = Command::new(python.trim())
        .arg(interop.join("read_back.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Python runs");
    let input = serde_json::to_vec(cases).expect("the cases are JSON");
    // It reads all before it writes.
    child.stdin.take().expect("it is piped").write_all(&input).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("it answers in JSON")
}

fn message_case(name: &str, message: &Message) -> Value {
    json!({
        "name": name,
        "headers": std::str::from_utf8(&message.headers).expect("headers are text"),
        "properties": std::str::from_utf8(&message.properties).expect("properties are text"),
        "body": base64::engine::general_purpose::STANDARD.encode(&message.body),
    })
}

fn message(headers: &Headers, args: &str, kwargs: &str, embed: &Embed, serializer: &str) -> Message {
    let body = encode_body(args.as_bytes(), kwargs.as_bytes(), embed);
    let (body, content_type, encoding) = content::from_json(serializer, body).expect("it can be written");
    let properties = Properties {
        content_type: Some(content_type.into()),
        content_encoding: Some(encoding.into()),
        correlation_id: Some(headers.id.clone()),
        delivery_mode: Some(2),
        priority: Some(3),
        ..Properties::default()
    };
    let headers = Headers {
        argsrepr: Some(repr::args(args.as_bytes())),
        kwargsrepr: Some(repr::value(kwargs.as_bytes())),
        ..headers.clone()
    };
    Message { headers: headers.encode(), properties: properties.encode(), body }
}

fn signature(name: &str, args: &str, id: &str) -> Signature {
    let mut signature = Signature::new(name, args.to_owned(), &b"{}"[..]);
    signature.set_option_text("task_id", id);
    signature
}

/// Compares some members of one case.
fn check(made: &Value, kind: &str, case: &str, wanted: &[(&str, Value)]) {
    let found: &Map<String, Value> = made[kind]
        .as_array()
        .and_then(|cases| cases.iter().find(|found| found["case"] == case))
        .and_then(Value::as_object)
        .unwrap_or_else(|| panic!("{kind} has no {case}"));
    for (name, value) in wanted {
        assert_eq!(&found[*name], value, "{kind}, {case}: {name}");
    }
}

fn messages() -> Vec<Value> {
    let nothing = Embed::default();
    let plain = Headers::new("proj.note", "plain");
    let full = Headers {
        eta: Some("2020-01-02T03:04:05.000006+00:00".into()),
        expires: Some("2090-01-02T03:04:05+00:00".into()),
        group: Some("<g>".into()),
        group_index: Some(2),
        retries: 1,
        timelimit: (Some(10.0), Some(5.5)),
        root_id: Some("<r>".into()),
        parent_id: Some("<p>".into()),
        shadow: Some("shad".into()),
        origin: Some("gen1@rust".into()),
        ignore_result: Some(false),
        stamped_headers: Some(r#"["tenant"]"#.into()),
        stamps: Some(r#"{"tenant": "acme"}"#.into()),
        custom: [("custom".to_owned(), r#"[1, "\u00fc"]"#.into())].into(),
        ..Headers::new("proj.note", "full")
    };
    let follows = Embed {
        callbacks: vec![signature("proj.add", "[1]", "callback")],
        chain: vec![signature("proj.echo", "[4]", "last"), signature("proj.echo", "[3]", "next")],
        ..Embed::default()
    };
    let then = Headers::new("proj.note", "then");
    vec![
        message_case("json", &message(&plain, ARGS, r#"{"y": [1, {"z": null}]}"#, &nothing, "json")),
        message_case("msgpack", &message(&plain, PLAIN, r#"{"y": {}}"#, &nothing, "msgpack")),
        message_case("yaml", &message(&plain, PLAIN, r#"{"y": {}}"#, &nothing, "yaml")),
        message_case("every header", &message(&full, "[]", "{}", &nothing, "json")),
        message_case("what follows", &message(&then, "[2]", "{}", &follows, "json")),
    ]
}

fn results() -> Vec<Value> {
    let done = Some("2026-11-23T13:03:36.675888+00:00".to_owned());
    let mut success = TaskMeta::new("success", State::Success, r#"{"a": [1, NaN]}"#);
    success.date_done.clone_from(&done);
    success.children = r#"[[["child", null], null]]"#.into();
    success.extended = Some(Extended {
        name: Some("proj.add".into()),
        args: Some("[1]".into()),
        kwargs: Some("{}".into()),
        worker: Some("w1@vm".into()),
        retries: Some(2),
        queue: Some("mail".into()),
    });
    let error = ExceptionInfo::new("ValueError", "no \"luck\"", "builtins");
    let mut failure = TaskMeta::new("failure", State::Failure, error.encode());
    failure.traceback = Some("Traceback …".into());
    let unknown = ExceptionInfo::new("MailboxFull", "gone", "newsletter::mail");
    let own = TaskMeta::new("own", State::Custom("PROGRESS".into()), r#"{"current": 1}"#);
    [success, failure, TaskMeta::new("unknown", State::Failure, unknown.encode()), own]
        .iter()
        .map(|meta| {
            let document = meta.encode();
            let document = std::str::from_utf8(&document).expect("a document is text");
            json!({"name": meta.task_id, "id": meta.task_id, "document": document})
        })
        .collect()
}

fn signatures() -> Vec<Value> {
    let add = |args: &str| Signature::new("proj.add", args.to_owned(), &b"{}"[..]);
    let mut mail = add("[1, 2]");
    mail.set_option_text("queue", "mail");
    let group = Signature::group(&[add("[1, 1]"), add("[2, 2]")]);
    [
        ("task", mail),
        ("chord", Signature::chord(&group, &add("[]"))),
        ("group", group),
        ("chain", Signature::chain(&[add("[1, 2]"), add("[3]")])),
    ]
    .into_iter()
    .map(|(name, signature)| {
        let mut text = Vec::new();
        signature.write(&mut text);
        json!({"name": name, "signature": String::from_utf8(text).expect("a signature is text")})
    })
    .collect()
}

fn events() -> Value {
    let event = |kind: &str, clock| Event::new(kind, 1_795_439_016.89, "w1@vm", 12, clock);
    let task = |kind, clock| event(kind, clock).text("uuid", Some("<a>"));
    let events = Event::encode_all(&[
        event("worker-heartbeat", 1).value("freq", "2.0").value("active", 1).text("sw_ident", Some("celeriac")),
        task("task-received", 2).text("name", Some("proj.add")).text("args", Some("(1,)")).value("retries", 0),
        task("task-started", 3),
        task("task-succeeded", 4).text("result", Some("'done'")).value("runtime", 0.25),
    ]);
    json!({"name": "events", "events": std::str::from_utf8(&events).expect("events are text")})
}

fn control() -> Vec<Value> {
    let asked = |target| {
        Request {
            target,
            clock: 7,
            reply_to: Some(ReplyTo { ticket: "t".into(), exchange: "reply".into(), routing_key: "me".into() }),
            ..Request::new("ping", &br#"{"a": [1]}"#[..])
        }
        .encode()
    };
    vec![
        message_case("everyone", &asked(Target::Everyone)),
        message_case("this one", &asked(Target::Nodes(vec!["w0@vm".into(), "w1@vm".into()]))),
        message_case("another", &asked(Target::Nodes(vec!["w2@vm".into()]))),
        message_case("glob", &asked(Target::Glob("w?@*".into()))),
        message_case("regex", &asked(Target::Regex("w[2-9]".into()))),
    ]
}

#[test]
fn the_real_celery_understands_what_we_write() {
    let made = understood(&json!({
        "messages": messages(), "results": results(), "signatures": signatures(), "events": [events()], "control": control(),
    }));

    check(
        &made,
        "messages",
        "json",
        &[
            ("id", "plain".into()),
            ("task", "proj.note".into()),
            ("args", ARGS_IN_PYTHON.into()),
            ("kwargs", "{'y': [1, {'z': None}]}".into()),
            ("correlation_id", "plain".into()),
            ("ids", "('plain', None, None, None)".into()),
            ("timelimit", "[None, None]".into()),
            ("request", "(0, None, None, {}, None, 'rust')".into()),
            ("then", "([], [])".into()),
        ],
    );
    for serializer in ["msgpack", "yaml"] {
        check(&made, "messages", serializer, &[("args", PLAIN_IN_PYTHON.into()), ("kwargs", "{'y': {}}".into())]);
    }
    check(
        &made,
        "messages",
        "every header",
        &[
            ("eta", "2020-01-02T03:04:05.000006+00:00".into()),
            ("expires", "2090-01-02T03:04:05+00:00".into()),
            ("timelimit", "[10, 5.5]".into()),
            ("ids", "('<r>', '<p>', '<g>', 2)".into()),
            ("shown", "() {}".into()),
            ("request", "(1, False, {'custom': [1, 'ü']}, {'tenant': 'acme'}, 'gen1@rust', 'rust')".into()),
        ],
    );
    // The callback and the next of the chain are sent; the last one travels along.
    let then = made["messages"][4]["then"].as_str().expect("it is text");
    assert!(then.starts_with("(['proj.add', 'proj.echo'], ['[[2, 1], {},"), "{then}");
    assert!(then.contains("'[[2, 3], {},") && then.contains(r#""task_id": "last""#), "{then}");

    check(
        &made,
        "results",
        "success",
        &[
            ("state", "SUCCESS".into()),
            ("result", "{'a': [1, nan]}".into()),
            ("children", "['child']".into()),
            ("extended", "('proj.add', [1], {}, 'w1@vm', 2, 'mail')".into()),
            ("date_done", "2026-11-23T13:03:36.675888+00:00".into()),
        ],
    );
    check(
        &made,
        "results",
        "failure",
        &[("result", "ValueError('no \"luck\"')".into()), ("traceback", "Traceback …".into())],
    );
    check(&made, "results", "unknown", &[("result", "MailboxFull('gone')".into())]);
    check(&made, "results", "own", &[("state", "PROGRESS".into()), ("result", "{'current': 1}".into())]);

    check(&made, "signatures", "task", &[("type", "Signature".into()), ("sent", json!([[1, 2]]))]);
    check(&made, "signatures", "group", &[("type", "group".into()), ("sent", json!([[1, 1], [2, 2]]))]);
    check(&made, "signatures", "chain", &[("type", "_chain".into()), ("sent", json!([[1, 2]]))]);
    check(&made, "signatures", "chord", &[("type", "_chord".into()), ("sent", json!([[1, 1], [2, 2]]))]);

    check(
        &made,
        "events",
        "events",
        &[
            ("tasks", r#"[('<a>', 'proj.add', 'SUCCESS', "'done'")]"#.into()),
            ("workers", "[('w1@vm', False, 1)]".into()),
        ],
    );

    let answered = "[(({'w1@vm': {'ok': 'pong'}},), {'exchange': 'reply', 'routing_key': 'me', 'ticket': 't'})]";
    for (case, sent) in
        [("everyone", answered), ("this one", answered), ("another", "[]"), ("glob", answered), ("regex", "[]")]
    {
        let asked = if sent == "[]" { "[]" } else { "[{'a': [1]}]" };
        check(&made, "control", case, &[("sent", sent.into()), ("asked", asked.into()), ("clock", 7.into())]);
    }
}
