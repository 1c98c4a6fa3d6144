//! Task messages: headers, properties and bodies, of both protocols.

use celeriac_protocol::{
    Body, Headers, Properties, ProtocolError,
    body::encode_body,
    content,
    json::{self, Value},
    protocol1, repr,
};
use jiff::tz::TimeZone;

use crate::support::{Case, case, cases, shown, sorted};

const JSON: &str = "application/json";

/// Messages of protocol 2: single tasks and what workflows are made of.
fn protocol_2() -> Vec<Case> {
    let mut all = cases("messages.json", 60);
    all.retain(|case| !case.name.starts_with("protocol 1") && case.name != "hybrid");
    all.extend(cases("canvas.json", 25));
    all
}

#[test]
fn headers_are_written_as_they_were_read() {
    for case in protocol_2() {
        let headers = Headers::parse(case.raw("headers")).unwrap();
        let (again, was) = (headers.encode(), case.raw("headers"));
        match case.name.as_str() {
            // Ours are sorted by name; Celery has them in the order in which the sender said them.
            "several custom headers" => assert_eq!(sorted(&again), sorted(was)),
            // `2.0` and `2` are the same number of seconds; we write the shorter one.
            "time limits in fractions" => assert_eq!(shown(&again), shown(was).replace("2.0]", "2]")),
            name => assert_eq!(shown(&again), shown(was), "{name}"),
        }
    }
}

#[test]
fn headers_mean_what_the_sender_asked_for() {
    let all = protocol_2();
    let headers = |name: &str| Headers::parse(case(&all, name).raw("headers")).unwrap();
    let at = |text: &str| Some(text.parse::<jiff::Timestamp>().unwrap());
    let utc = TimeZone::UTC;
    assert_eq!(headers("countdown").eta_at(&utc).unwrap(), at("2030-01-02T03:05:05.006789Z"));
    assert_eq!(headers("countdown in fractions").eta_at(&utc).unwrap(), at("2030-01-02T03:04:06.506789Z"));
    assert_eq!(headers("eta with an offset").eta_at(&utc).unwrap(), at("2031-02-03T07:05:06Z"));
    let berlin = TimeZone::fixed(jiff::tz::offset(1));
    assert_eq!(headers("eta without an offset").eta_at(&berlin).unwrap(), at("2031-02-03T03:05:06.000007Z"));
    assert_eq!(headers("expires in seconds").expires_at(&utc).unwrap(), at("2030-01-02T03:06:05.006789Z"));
    assert_eq!(headers("time limits").timelimit, (Some(10.0), Some(5.0)));
    assert_eq!(headers("only a soft time limit").timelimit, (None, Some(5.0)));
    assert_eq!(headers("shadow").shadow.as_deref(), Some("shad"));
    assert_eq!(
        (headers("ignore_result").ignore_result, headers("ignore_result off").ignore_result),
        (Some(true), Some(false))
    );
    assert_eq!(headers("no arguments").ignore_result, None);
    assert_eq!(headers("retries").retries, 3);
    let member = headers("a group's member");
    assert_eq!((member.group.as_deref(), member.group_index), (Some("<g>"), Some(2)));
    assert_eq!((member.root_id.as_deref(), member.parent_id.as_deref()), (Some("<r>"), Some("<p>")));
    let stamped = headers("stamps");
    assert_eq!(shown(&stamped.stamps.unwrap()), r#"{"tenant": "acme", "trace": ["a", "b"]}"#);
    let custom = headers("several custom headers").custom;
    assert_eq!(
        custom.into_iter().map(|(name, value)| (name, shown(&value))).collect::<Vec<_>>(),
        [
            ("ant".to_owned(), "null".to_owned()),
            ("celery_beat_task".into(), "true".into()),
            ("zebra".into(), "1".into()),
        ]
    );
}

/// Kombu has the content type beside the properties, we among them, so the bytes differ. Nothing is lost.
#[test]
fn properties_lose_nothing() {
    for case in protocol_2() {
        let properties = case.properties();
        assert_eq!(Properties::parse(&properties.encode()).unwrap(), properties, "{}", case.name);
        let was = Value::parse(case.raw("properties"), "properties").unwrap();
        let again = Value::parse(&properties.encode(), "properties").unwrap();
        let Value::Object(members) = was else { panic!("properties are an object") };
        for (name, value) in members {
            assert_eq!(again.get(&name), Some(&value), "{}: {name}", case.name);
        }
    }
    let all = protocol_2();
    assert_eq!(case(&all, "priority").properties().priority, Some(5));
    assert_eq!(case(&all, "reply_to").properties().reply_to.as_deref(), Some("somewhere"));
    assert_eq!(case(&all, "expires in seconds").properties().expiration.as_deref(), Some("120000"));
    assert_eq!(case(&all, "expires before it is sent").properties().expiration.as_deref(), Some("0"));
}

#[test]
fn bodies_are_written_as_they_were_read() {
    for case in protocol_2().iter().filter(|case| case.text("content_type") == JSON) {
        let headers = Headers::parse(case.raw("headers")).unwrap();
        let text = content::to_json(JSON, headers.compression.as_deref(), &case.body()).unwrap();
        let (body, embed) = content::split(&text).unwrap();
        let again = encode_body(body.args, body.kwargs, &embed);
        if embed.is_empty() {
            assert_eq!(shown(&again), shown(&text), "{}", case.name);
        } else {
            // A signature's options are sorted by name here; Celery has them in the order in which they were set.
            assert_eq!(sorted(&again), sorted(&text), "{}", case.name);
        }
        let mut value = Vec::new();
        json::value_to_vec(&Value::parse(&text, "body").unwrap(), &mut value);
        assert_eq!(shown(&value), shown(&text), "{}: looking inside changes nothing", case.name);
    }
}

#[test]
fn typed_values_are_what_they_were_in_python() {
    let all = protocol_2();
    let body = case(&all, "typed values").body();
    let Value::Array(args) = Value::parse(Body::split(&body).unwrap().args, "args").unwrap() else {
        panic!("an array")
    };
    assert_eq!(
        args[..10],
        [
            Value::DateTime("2020-01-02T03:04:05.000006".into()),
            Value::DateTime("2020-01-02T03:04:05+05:30".into()),
            Value::Date("2020-01-02".into()),
            Value::Time("01:02:03".into()),
            Value::Time("01:02:03.000004".into()),
            Value::Uuid("00000000000000000000000000000005".into()),
            Value::Decimal("1.50".into()),
            Value::Decimal("NaN".into()),
            Value::Bytes(b"abc".to_vec()),
            Value::Bytes(b"\xff\xfe".to_vec()),
        ]
    );
}

#[test]
fn every_serializer_but_pickle_says_the_same() {
    let all = protocol_2();
    let json = case(&all, "serializer json").body();
    for name in ["msgpack", "yaml"] {
        let case = case(&all, &format!("serializer {name}"));
        let text = content::to_json(&case.text("content_type"), None, &case.body()).unwrap();
        // MessagePack and YAML have an order of their own.
        assert_eq!(sorted(&text), sorted(&json), "{name}");
    }
    let pickle = case(&all, "serializer pickle");
    let error = content::to_json(&pickle.text("content_type"), None, &pickle.body()).unwrap_err();
    assert!(
        matches!(&error, ProtocolError::Refused { content_type, .. } if content_type == "application/x-python-serialize")
    );
    assert!(error.to_string().contains("pickle"), "{error}");

    let args = |name: &str| {
        let case = case(&all, name);
        let text = content::to_json(&case.text("content_type"), None, &case.body()).unwrap();
        shown(Body::split(&text).unwrap().args)
    };
    // Texts stay texts, whatever they look like.
    let texts = args("serializer yaml with texts that look like something else");
    let printed = Headers::parse(case(&all, "serializer yaml with texts that look like something else").raw("headers"));
    let texts: Vec<String> = json::from_slice(texts.as_bytes(), "args").unwrap();
    assert!(printed.unwrap().argsrepr.unwrap().starts_with("('1e3', '0o17', '1_000', "));
    assert_eq!((texts.len(), texts[0].as_str(), texts[1].as_str(), texts[24].as_str()), (31, "1e3", "0o17", " "));
    assert_eq!(texts[28..], ["a\nb", "\u{7f}\u{85}\u{2028}", "\u{1f98a}"]);
    assert_eq!(
        args("serializer yaml with one list twice"),
        r#"[[1, {"two": 2.5e+20}], {"again": [1, {"two": 2.5e+20}]}]"#
    );
    let dates = r#"{"__type__": "datetime", "__value__": "2020-01-02T03:04:05.000006"}, {"__type__": "date", "__value__": "2020-01-02"}"#;
    assert_eq!(args("serializer yaml with dates"), format!(r#"[{dates}, "2020-01-02", "yes", "1"]"#));

    let bytes = case(&all, "serializer msgpack with bytes");
    let text = content::to_json(&bytes.text("content_type"), None, &bytes.body()).unwrap();
    assert!(shown(&text).starts_with(r#"[[{"__type__": "base64", "__value__": "//4="}, {"__type__": "bytes", "__value__": "abc"}, 9223372036854775808]"#), "{}", shown(&text));
}

#[test]
fn every_compression_is_read() {
    let all = protocol_2();
    for name in ["gzip", "zlib", "bzip2", "lzma", "brotli", "zstd"] {
        let case = case(&all, &format!("compression {name}"));
        let headers = Headers::parse(case.raw("headers")).unwrap();
        let text = content::to_json(JSON, headers.compression.as_deref(), &case.body()).unwrap();
        assert!(shown(&text).starts_with(&format!(r#"[[["{}", "#, "x".repeat(40))), "{name}: {}", shown(&text));
    }
    let both = case(&all, "msgpack compressed with zstd");
    let text = content::to_json(&both.text("content_type"), Some("application/zstd"), &both.body()).unwrap();
    assert!(text.starts_with(br#"[[1, "x"], {}, "#));
}

#[test]
fn arguments_read_as_python_prints_them() {
    // Tuples are lists on the wire. Celery prints control characters as they are, we escape them. What is no plain value prints as its text instead of as Python's constructor; keys were strings on the wire;
    // whatever is cut is cut by other rules.
    let others = [
        "text beyond ASCII",
        "typed values",
        "tuples, and keys that are no strings",
        "deep arguments are cut for people",
        "long arguments are cut for people",
    ];
    let mut seen = 0;
    for case in protocol_2().iter().filter(|case| case.text("content_type") == JSON) {
        let headers = Headers::parse(case.raw("headers")).unwrap();
        let text = content::to_json(JSON, headers.compression.as_deref(), &case.body()).unwrap();
        let (Ok(body), Some(was)) = (Body::split(&text), headers.argsrepr) else { panic!("{}", case.name) };
        if others.contains(&case.name.as_str())
            || case.name.starts_with("chunks")
            || case.name.starts_with("starmap")
            || was.contains("...")
        {
            continue;
        }
        seen += 1;
        assert_eq!(repr::args(body.args), was, "{}", case.name);
        assert_eq!(Some(repr::value(body.kwargs)), headers.kwargsrepr, "{}", case.name);
    }
    assert!(seen > 40, "only {seen} compared");
}

#[test]
fn protocol_1_becomes_protocol_2() {
    let all = cases("messages.json", 60);
    let mut seen = 0;
    for old in all.iter().filter(|case| case.name.starts_with("protocol 1: ") && !case.name.ends_with("pickle")) {
        let message = old.message();
        let headers = Headers::parse(&message.headers).unwrap();
        let (upgraded, headers) = protocol1::upgrade(&message, &headers).unwrap().expect("it is protocol 1");
        assert_eq!(Headers::parse(&upgraded.headers).unwrap(), headers, "{}", old.name);
        assert_eq!((headers.task.as_str(), headers.id.as_str()), ("proj.add", "<a>"), "{}", old.name);
        assert!(protocol1::upgrade(&upgraded, &headers).unwrap().is_none(), "{}: once is enough", old.name);
        let properties = Properties::parse(&upgraded.properties).unwrap();
        assert_eq!(
            (properties.content_type.as_deref(), properties.correlation_id.as_deref()),
            (Some(JSON), Some("<a>"))
        );
        content::split(&upgraded.body).unwrap();

        // The same call in protocol 2, where there is one, says the same.
        let Some(new) = all.iter().find(|case| Some(case.name.as_str()) == old.name.strip_prefix("protocol 1: "))
        else {
            continue;
        };
        if new.name.starts_with("serializer") || new.name.starts_with("compression") {
            continue;
        }
        seen += 1;
        assert_eq!(sorted(&upgraded.body), sorted(&new.body()), "{}", old.name);
        let mut wanted = Headers::parse(new.raw("headers")).unwrap();
        // These are not sent in protocol 1.
        (wanted.lang, wanted.origin) = (None, None);
        if new.name == "a group's member" {
            (wanted.root_id, wanted.parent_id) = (Some("<a>".into()), None);
        }
        // It has no offset in protocol 1: what is written is UTC, and read as such.
        let times =
            |headers: &Headers| (headers.eta_at(&TimeZone::UTC).unwrap(), headers.expires_at(&TimeZone::UTC).unwrap());
        assert_eq!(times(&headers), times(&wanted), "{}", old.name);
        (wanted.eta, wanted.expires) = (headers.eta.clone(), headers.expires.clone());
        assert_eq!(headers, wanted, "{}", old.name);
    }
    assert!(seen >= 9, "only {seen} compared");
    let pickle = case(&all, "protocol 1: serializer pickle").message();
    let refused = protocol1::upgrade(&pickle, &Headers::parse(&pickle.headers).unwrap());
    assert!(matches!(refused, Err(ProtocolError::Refused { .. })));
}

#[test]
fn the_headers_of_a_hybrid_win_over_its_body() {
    let all = cases("messages.json", 60);
    let message = case(&all, "hybrid").message();
    let (upgraded, headers) =
        protocol1::upgrade(&message, &Headers::parse(&message.headers).unwrap()).unwrap().expect("it is a hybrid");
    assert_eq!((headers.retries, headers.lang.as_deref(), headers.id.as_str()), (2, Some("py"), "<a>"));
    let (body, embed) = content::split(&upgraded.body).unwrap();
    assert_eq!((shown(body.args), embed.is_empty()), ("[1, 2]".into(), true));
}
