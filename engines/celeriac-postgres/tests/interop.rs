//! Results shared with the real Celery: its rows read by us, ours by it, in the form of 5.7 and in that of 5.6.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use celeriac_core::{ErrorKind, ResultsHandle, State, TaskId, Written};
use celeriac_protocol::{State as ProtocolState, TaskMeta};
use celeriac_testbed::Postgres;
use serde_json::{Map, Value, json};
use support::{celery, meta, open, run};

const CELERY_57: &str = "celery57-database";
const CELERY_56: &str = "celery56-database";

/// As Celery users write it, for SQLAlchemy 2.1 and psycopg 3.
fn celery_url(url: &str) -> String {
    format!("db+{url}")
}

async fn fetch(results: &ResultsHandle, id: &str) -> TaskMeta {
    let found = results.fetch(&[TaskId::new(id).unwrap()]).await.unwrap();
    TaskMeta::parse(found[0].as_deref().unwrap_or_else(|| panic!("nothing of {id}"))).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Everything that a real Celery of this version stores is read as what it is.
fn what_celery_wrote_is_read(environment: &str) {
    let database = Postgres::shared().database();
    let ids = celery(environment, &["write", &celery_url(&database.url())], "");
    run(async {
        let engine = open(&celery_url(&database.url())).await;
        let results = engine.results();
        let id = |name: &str| ids[name].as_str().unwrap().to_owned();
        for (kind, expected) in [
            ("number", "42".to_owned()),
            ("text", r#""\u017elu\u0165ou\u010dk\u00fd k\u016f\u0148 \ud83d\udc0e""#.to_owned()),
            ("nothing", "null".to_owned()),
            ("nested", r#"{"a": [1, 2.5, null, true], "b": {"c": "d"}}"#.to_owned()),
            ("big", "1180591620717411303424".to_owned()),
            ("negative", "-9223372036854775808".to_owned()),
            ("infinity", "Infinity".to_owned()),
            ("datetime", r#"{"__type__": "datetime", "__value__": "2026-11-26T12:00:00.000005+00:00"}"#.to_owned()),
            ("naive", r#"{"__type__": "datetime", "__value__": "2026-11-26T12:00:00"}"#.to_owned()),
            ("decimal", r#"{"__type__": "decimal", "__value__": "3.140"}"#.to_owned()),
            ("large", format!("\"{}\"", "x".repeat(100_000))),
        ] {
            let found = fetch(&results, &id(kind)).await;
            assert_eq!((found.status, text(&found.result)), (ProtocolState::Success, expected), "{kind}");
            assert!(found.date_done.is_some());
            let extended = found.extended.expect("result_extended");
            assert_eq!(extended.name.as_deref(), Some("interop.value"));
            assert_eq!(text(&extended.args.unwrap()), format!("[\"{kind}\"]"));
            assert_eq!(text(&extended.kwargs.unwrap()), r#"{"note": "\u017e"}"#);
        }
        let found = fetch(&results, &id("uuid")).await;
        assert!(text(&found.result).contains("00000000000000000000000000000007"), "{}", text(&found.result));
        let failure = fetch(&results, &id("failure")).await;
        let exception = failure.exception().expect("an exception");
        assert_eq!((failure.status, exception.exc_type.as_str()), (ProtocolState::Failure, "KeyError"));
        assert_eq!(exception.exc_message, ["bad", "2"]);
        assert!(failure.traceback.is_some_and(|traceback| traceback.contains("raise KeyError(message, 2)")));
        let own = fetch(&results, &id("own_failure")).await.exception().expect("an exception");
        assert_eq!((own.exc_type.as_str(), own.exc_message), ("OwnError", vec!["mine".to_owned()]));
        let progress = fetch(&results, &id("progress")).await;
        assert_eq!((progress.status.as_str(), text(&progress.result)), ("PROGRESS", r#"{"done": 1}"#.to_owned()));
        assert_eq!(progress.date_done, None);
        assert_eq!(fetch(&results, &id("started")).await.status, ProtocolState::Started);

        // Who waits for what is over is told; a success of a Celery is not written over, a progress is.
        assert!(results.wait(&TaskId::new(id("number")).unwrap()).await.is_ok());
        let over = results.store(vec![meta(&id("number"), State::Failure, "{}")]).await.unwrap();
        assert_eq!(over, [Written::Stale]);
        let document = format!(r#"{{"status": "SUCCESS", "result": 7, "task_id": "{}"}}"#, id("progress"));
        assert_eq!(
            results.store(vec![meta(&id("progress"), State::Success, document)]).await.unwrap(),
            [Written::Stored]
        );
        engine.close().await.unwrap();
    });
}

#[test]
fn what_celery_5_7_wrote_is_read() {
    what_celery_wrote_is_read(CELERY_57);
}

#[test]
fn what_celery_5_6_pickled_is_read() {
    what_celery_wrote_is_read(CELERY_56);
}

/// The documents that our worker stores, by name.
fn documents() -> Vec<(&'static str, State, String)> {
    let done = r#""date_done": "2026-11-23T13:03:36.675888+00:00""#;
    let plain = |status: &str, result: &str, traceback: &str, children: &str, more: &str| {
        format!(
            r#"{{"status": "{status}", "result": {result}, "traceback": {traceback}, "children": {children}, {done}{more}, "task_id": "ID"}}"#
        )
    };
    let extended = r#", "group_id": "g", "parent_id": "p", "name": "shop.bill", "args": [1, "two"], "kwargs": {"c": null}, "worker": "w1@here", "retries": 2, "queue": "mail""#;
    let failure = r#"{"exc_type": "KeyError", "exc_message": ["bad"], "exc_module": "builtins"}"#;
    let strange = r#"{"exc_type": "OutOfPaper", "exc_message": ["tray", 2], "exc_module": "shop.printing"}"#;
    vec![
        ("number", State::Success, plain("SUCCESS", "42", "null", "[]", "")),
        ("nested", State::Success, plain("SUCCESS", r#"{"a": [1, 2.5, null, true]}"#, "null", "[]", extended)),
        ("big", State::Success, plain("SUCCESS", "1180591620717411303424", "null", "[]", "")),
        (
            "text",
            State::Success,
            plain("SUCCESS", r#""\u017e \ud83d\udc0e""#, "null", r#"[[["child", null], null]]"#, ""),
        ),
        ("failure", State::Failure, plain("FAILURE", failure, r#""Traceback\n  here""#, "[]", "")),
        ("strange", State::Failure, plain("FAILURE", strange, "null", "[]", "")),
        ("progress", State::Custom("PROGRESS".into()), plain("PROGRESS", r#"{"done": 1}"#, "null", "[]", "")),
    ]
}

/// Stores our documents and lets a real Celery read them. `children` says whether that version keeps them.
fn what_we_wrote_is_read(environment: &str, options: &str, children: bool) {
    let database = Postgres::shared().database();
    let url = database.url();
    // The real Celery was here first, and its tables are as it made them.
    celery(environment, &["write", &celery_url(&url)], "");
    let mut ids = Map::new();
    run(async {
        let engine = open(&format!("{}{options}", celery_url(&url))).await;
        let results = engine.results();
        let mut batch = Vec::new();
        for (name, state, document) in documents() {
            let id = format!("ours-{name}");
            batch.push(meta(&id, state, document.replace("ID", &id)));
            ids.insert(name.to_owned(), id.into());
        }
        let documents: Vec<_> = batch.iter().map(|write| (write.task_id.clone(), write.document.clone())).collect();
        assert!(results.store(batch).await.unwrap().iter().all(|written| *written == Written::Stored));
        for (id, document) in documents {
            assert_eq!(results.fetch(std::slice::from_ref(&id)).await.unwrap(), [Some(document)], "{id}");
        }
        engine.close().await.unwrap();
    });
    let told = celery(environment, &["read", &celery_url(&url)], &Value::Object(ids).to_string());
    let check = |name: &str, state: &str, kind: &str, value: &str| {
        let told = &told[name];
        assert_eq!((&told["state"], &told["type"], &told["value"]), (&json!(state), &json!(kind), &json!(value)));
    };
    check("number", "SUCCESS", "int", "42");
    check("nested", "SUCCESS", "dict", "{'a': [1, 2.5, None, True]}");
    check("big", "SUCCESS", "int", "1180591620717411303424");
    check("text", "SUCCESS", "str", "'ž 🐎'");
    check("failure", "FAILURE", "KeyError", "KeyError('bad')");
    check("strange", "FAILURE", "OutOfPaper", "OutOfPaper('tray', 2)");
    check("progress", "PROGRESS", "dict", "{'done': 1}");
    assert_eq!(told["failure"]["traceback"], "Traceback\n  here");
    assert_eq!(told["number"]["done"], true);
    let nested = &told["nested"];
    let extended =
        [&nested["name"], &nested["args"], &nested["kwargs"], &nested["worker"], &nested["retries"], &nested["queue"]];
    let expected =
        [json!("shop.bill"), json!([1, "two"]), json!({"c": null}), json!("w1@here"), json!(2), json!("mail")];
    assert_eq!(extended.map(Clone::clone), expected);
    let expected = if children { json!(["child"]) } else { json!([]) };
    assert_eq!(told["text"]["children"], expected);
}

#[test]
fn celery_5_7_reads_what_we_wrote() {
    what_we_wrote_is_read(CELERY_57, "", true);
}

#[test]
fn celery_5_6_reads_what_we_pickled() {
    what_we_wrote_is_read(CELERY_56, "?result_format=pickle", false);
}

#[test]
fn celery_5_7_reads_what_we_pickled_too() {
    what_we_wrote_is_read(CELERY_57, "?result_format=pickle", true);
}

#[test]
fn a_row_that_celery_wrote_later_is_the_one_that_counts() {
    let database = Postgres::shared().database();
    run(async {
        let engine = open(&database.url()).await;
        let results = engine.results();
        let ours = r#"{"status": "STARTED", "result": null, "odd": true, "task_id": "a"}"#;
        results.store(vec![meta("a", State::Started, ours)]).await.unwrap();
        assert_eq!(results.fetch(&[TaskId::new("a").unwrap()]).await.unwrap()[0].as_deref(), Some(ours.as_bytes()));
        database.sql("UPDATE celery_taskmeta SET status = 'FAILURE', result = 'null' WHERE task_id = 'a'");
        assert_eq!(fetch(&results, "a").await.status, ProtocolState::Failure);
        // `AsyncResult.forget()` of a Celery knows nothing of our rows.
        database.sql("DELETE FROM celery_taskmeta WHERE task_id = 'a'");
        let again = meta("a", State::Success, r#"{"status": "SUCCESS", "result": 1, "task_id": "a"}"#);
        assert_eq!(results.store(vec![again]).await.unwrap(), [Written::Stored]);
        assert_eq!(fetch(&results, "a").await.status, ProtocolState::Success);
        engine.close().await.unwrap();
    });
}

#[test]
fn what_only_python_can_unpickle_is_refused_by_name() {
    let database = Postgres::shared().database();
    run(async {
        let engine = open(&database.url()).await;
        let results = engine.results();
        results
            .store(vec![meta("a", State::Started, r#"{"status": "STARTED", "result": 1, "task_id": "a"}"#)])
            .await
            .unwrap();
        // pickle.dumps(os.system, 4) applied to a command.
        database.sql(
            r"UPDATE celery_taskmeta SET status = 'SUCCESS',
              result = '\x80048c026f738c0673797374656d938c02696485522e'::bytea",
        );
        let error = results.fetch(&[TaskId::new("a").unwrap()]).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert!(error.to_string().contains("os.system") && error.to_string().contains("`a`"), "{error}");
        engine.close().await.unwrap();
    });
}

#[test]
fn a_user_named_as_our_schema_keeps_the_tables_that_celery_made() {
    // `"$user"` stands first in the search path: with our schema there, a name without a schema means another table.
    let database = Postgres::shared().database();
    let user = format!("celeriac_{}", database.name());
    database.sql(&format!("CREATE ROLE {user} LOGIN SUPERUSER"));
    let url = database.url().replace("tester@", &format!("{user}@"));
    let ids = celery(CELERY_56, &["write", &celery_url(&url)], "");
    run(async {
        let engine = open(&format!("{url}?schema={user}")).await;
        let number = fetch(&engine.results(), ids["number"].as_str().unwrap()).await;
        assert_eq!(text(&number.result), "42");
        assert_eq!(database.sql("SELECT schemaname FROM pg_tables WHERE tablename = 'celery_taskmeta'"), "public");
        engine.close().await.unwrap();
    });
    database.sql(&format!("REASSIGN OWNED BY {user} TO tester; DROP OWNED BY {user}; DROP ROLE {user}"));
}
