//! What the conformance suite cannot know: the file, its errors, several engines on one file.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::{
    fs::Permissions,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::Command,
    time::Duration,
};

use celeriac_core::{
    BrokerHandle, Clock, Cursor, ErrorKind, Message, Notice, Priority, Publication, QueueName, Settled, Settlement,
    Subscription, TaskId, TaskName, Timestamp, WorkerName,
};
use celeriac_sqlite::{Config, SqliteEngine};
use rusqlite::Connection;

fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

fn publication(id: &str, to: &str, body: &[u8]) -> Publication {
    Publication {
        task_id: TaskId::new(id).unwrap(),
        task: TaskName::new("tests.task").unwrap(),
        queue: queue(to),
        priority: Priority(0),
        due: None,
        unique: None,
        message: Message { headers: "{}".into(), properties: "{}".into(), body: body.to_vec().into() },
    }
}

fn subscription(queues: &[&str]) -> Subscription {
    Subscription {
        worker: WorkerName::new("w1@here").unwrap(),
        queues: queues.iter().map(|name| queue(name)).collect(),
        lease: Duration::from_secs(30),
    }
}

fn open(path: &Path) -> SqliteEngine {
    SqliteEngine::open(Config::new(path), Clock::system()).unwrap()
}

/// The error of opening `path`, as a person reads it.
fn refused(config: Config) -> (ErrorKind, String) {
    let error = SqliteEngine::open(config, Clock::system()).expect_err("refused");
    (error.kind(), error.to_string())
}

#[track_caller]
fn check_refused(path: &Path, kind: ErrorKind, advice: &str) {
    let (found, text) = refused(Config::new(path));
    assert_eq!(found, kind, "{text}");
    assert!(text.contains(advice), "{text}");
}

async fn publish_some(broker: &BrokerHandle, count: usize) {
    let batch = (0..count).map(|number| publication(&format!("id-{number}"), "mail", b"body")).collect();
    broker.publish(batch).await.unwrap();
}

#[test]
fn a_folder_is_not_a_store() {
    let folder = tempfile::tempdir().unwrap();
    check_refused(folder.path(), ErrorKind::Invalid, "it is a folder");
}

#[test]
fn a_missing_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    check_refused(&folder.path().join("no/tasks.db"), ErrorKind::NotFound, "make it first");
}

#[test]
fn garbage_is_no_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.db");
    std::fs::write(&path, vec![0xa5; 8192]).unwrap();
    check_refused(&path, ErrorKind::Corrupt, "not an SQLite database");
}

#[test]
fn a_file_of_another_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE orders (id INTEGER)").unwrap();
    check_refused(&path, ErrorKind::Corrupt, "belongs to another program");
    let tables: i64 =
        Connection::open(&path).unwrap().query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 1);
}

#[tokio::test]
async fn a_file_of_a_newer_version_asks_for_an_upgrade() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.db");
    open(&path).close().await.unwrap();
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 1_000).unwrap();
    check_refused(&path, ErrorKind::Unsupported, "must be upgraded");
}

#[tokio::test]
async fn a_file_of_an_older_version_is_brought_up_with_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(include_str!("../src/migrations/0001_initial.sql")).unwrap();
    old.execute_batch(
        "INSERT INTO celeriac_schema VALUES (1, 'as it was', '2026-01-01T00:00:00Z');
         INSERT INTO broadcasts (cursor, channel, sent_at, payload) VALUES (1, 'celeryev', 0, x'6f6c64');
         UPDATE counters SET broadcast = 1;
         PRAGMA user_version = 1; PRAGMA application_id = 0x43656c65;",
    )
    .unwrap();
    drop(old);
    let engine = open(&path);
    let listener = engine.broker().listen("celeryev", None, Some(Cursor(0))).await.unwrap();
    assert_eq!(listener.recv(10).await.unwrap()[0].notice, Notice::new("", "old"));
    engine.close().await.unwrap();
    let versions: i64 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT count(*) FROM celeriac_schema", [], |row| row.get(0))
        .unwrap();
    assert_eq!(versions, 3);
}

#[tokio::test]
async fn a_damaged_file_says_how_to_rescue_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.db");
    let engine = open(&path);
    publish_some(&engine.broker(), 2_000).await;
    engine.close().await.unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    // Everything but the first page, which says that it is a database.
    bytes[4096..].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let error = match SqliteEngine::open(Config::new(&path), Clock::system()) {
        Err(error) => error,
        Ok(engine) => engine.broker().publish(vec![publication("x", "mail", b"")]).await.expect_err("damaged"),
    };
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(".recover"), "{error}");
}

#[tokio::test]
async fn a_full_file_says_so_and_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::new(folder.path().join("tasks.db"));
    config.file_bytes_max = Some(1 << 20);
    let engine = SqliteEngine::open(config, Clock::system()).unwrap();
    let broker = engine.broker();
    let mut stored = 0;
    let error = loop {
        match broker.publish(vec![publication(&format!("id-{stored}"), "mail", &[7; 50_000])]).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 100, "the limit is not kept");
    };
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert!(error.to_string().contains("file_max"), "{error}");
    assert_eq!(broker.depth(&[queue("mail")]).await.unwrap()[0].ready, stored);
    let consumer = broker.consume(subscription(&["mail"])).await.unwrap();
    assert_eq!(consumer.recv(1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_file_locked_for_too_long_names_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::new(folder.path().join("tasks.db"));
    config.busy_timeout = Duration::from_millis(50);
    let engine = SqliteEngine::open(config.clone(), Clock::system()).unwrap();
    let other = Connection::open(&config.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let broker = engine.broker();
    let error = broker.publish(vec![publication("x", "mail", b"")]).await.expect_err("locked");
    assert!(error.is_transient() && error.to_string().contains("busy_timeout"), "{error}");
    other.execute_batch("ROLLBACK").unwrap();
    broker.publish(vec![publication("x", "mail", b"")]).await.unwrap();
}

#[test]
fn a_file_that_may_only_be_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.db");
    drop(open(&path));
    std::fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
    if std::fs::OpenOptions::new().append(true).open(&path).is_err() {
        return check_read_only(&path);
    }
    // The superuser may write all the same: somebody else has to try, with a program that somebody else may start.
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("this-test");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let output = Command::new(&program)
        .args(["--exact", "somebody_else", "--ignored", "--nocapture"])
        .env(FILE, &path)
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

const FILE: &str = "CELERIAC_TEST_FILE";
/// The user that owns nothing.
const NOBODY: u32 = 65_534;

#[test]
#[ignore = "a role of the test above"]
fn somebody_else() {
    check_read_only(Path::new(&std::env::var_os(FILE).expect("started by the test")));
}

#[track_caller]
fn check_read_only(path: &Path) {
    check_refused(path, ErrorKind::Denied, "must be allowed to read and write it");
}

#[tokio::test]
async fn a_message_too_large_names_the_option() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(&folder.path().join("tasks.db"));
    let broker = engine.broker();
    let batch = vec![publication("small", "mail", b""), publication("big", "mail", &vec![0; 100_000_000])];
    let error = broker.publish(batch).await.expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.to_string().contains("message_max"), "{error}");
    assert_eq!(broker.depth(&[queue("mail")]).await.unwrap()[0].ready, 0);
}

#[tokio::test]
async fn another_engine_on_the_file_is_woken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.db");
    for wake in [true, false] {
        let mut config = Config::new(&path);
        config.wake = wake;
        let producer = SqliteEngine::open(config.clone(), Clock::system()).unwrap();
        let worker = SqliteEngine::open(config, Clock::system()).unwrap();
        let consumer = worker.broker().consume(subscription(&["mail"])).await.unwrap();
        let listener = worker.broker().listen("events", None, None).await.unwrap();
        let (delivered, heard, ()) = tokio::join!(consumer.recv(1), listener.recv(1), async {
            producer.broker().publish(vec![publication("x", "mail", b"hello")]).await.unwrap();
            producer.broker().broadcast("events", vec![Notice::new("", "news")]).await.unwrap();
        });
        let delivered = delivered.unwrap();
        assert_eq!((&*delivered[0].message.body, &*heard.unwrap()[0].notice.body), (&b"hello"[..], &b"news"[..]));
        assert_eq!(consumer.settle(vec![Settlement::Ack(delivered[0].tag.clone())]).await.unwrap(), [Settled::Done]);
        worker.close().await.unwrap();
        producer.close().await.unwrap();
    }
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.db");
    let engine = open(&path);
    publish_some(&engine.broker(), 3).await;
    engine.close().await.unwrap();
    let engine = open(&path);
    let consumer = engine.broker().consume(subscription(&["mail"])).await.unwrap();
    assert_eq!(consumer.recv(10).await.unwrap().len(), 3);
    engine.close().await.unwrap();
    // The closing gave them back.
    let engine = open(&path);
    assert_eq!(engine.broker().depth(&[queue("mail")]).await.unwrap()[0].ready, 3);
}

#[tokio::test]
async fn closing_leaves_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.db");
    let engine = open(&path);
    let consumer = engine.broker().consume(subscription(&["mail"])).await.unwrap();
    engine.close().await.unwrap();
    engine.close().await.unwrap();
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["tasks.db"]);
    assert_eq!(consumer.recv(1).await.unwrap().len(), 0);
    let error = engine.broker().publish(vec![publication("x", "mail", b"")]).await.expect_err("closed");
    assert!(error.to_string().contains("it is closed"), "{error}");
}

#[tokio::test]
async fn a_person_can_read_the_tables() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.db");
    let (clock, _) = Clock::manual("2026-11-23T10:00:00Z".parse::<Timestamp>().unwrap());
    let engine = SqliteEngine::open(Config::new(&path), clock).unwrap();
    let mut later = publication("later", "mail", b"{}");
    later.due = Some("2026-11-24T10:00:00Z".parse().unwrap());
    engine.broker().publish(vec![publication("now", "mail", b"[1]"), later]).await.unwrap();
    let conn = Connection::open(&path).unwrap();
    let line = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(
        line("SELECT queue || ' ' || task_id || ' ' || since || ' ' || body FROM tasks_waiting"),
        "mail now 2026-11-23T10:00:00.000Z [1]"
    );
    assert_eq!(line("SELECT task_id || ' ' || due FROM tasks_parked"), "later 2026-11-24T10:00:00.000Z");
    assert_eq!(line("SELECT version || ' ' || migrated_at FROM celeriac_schema"), "1 2026-11-23T10:00:00Z");
}

#[tokio::test]
async fn a_dropped_recv_keeps_what_it_claimed() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(&folder.path().join("tasks.db"));
    let broker = engine.broker();
    publish_some(&broker, 50).await;
    let consumer = broker.consume(subscription(&["mail"])).await.unwrap();
    let mut seen = Vec::new();
    let mut polls = 0;
    while seen.len() < 50 {
        // Polled a varying number of times, then dropped.
        let mut recv = std::pin::pin!(consumer.recv(3));
        polls = (polls + 1) % 4;
        for _ in 0..=polls {
            let polled = std::future::poll_fn(|ctx| std::task::Poll::Ready(recv.as_mut().poll(ctx))).await;
            if let std::task::Poll::Ready(deliveries) = polled {
                seen.extend(deliveries.unwrap().into_iter().map(|delivery| delivery.task_id.to_string()));
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(seen, (0..50).map(|number| format!("id-{number}")).collect::<Vec<_>>());
}

/// What was claimed for a `recv` that was dropped, and whose lease then lapsed, is delivered once more and not twice.
#[tokio::test]
async fn a_claim_that_nobody_received_lapses_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, hand) = Clock::manual(Timestamp::UNIX_EPOCH);
    let engine = SqliteEngine::open(Config::new(folder.path().join("tasks.db")), clock).unwrap();
    let broker = engine.broker();
    let (first, second) = (
        broker.consume(subscription(&["mail"])).await.unwrap(),
        broker.consume(subscription(&["mail"])).await.unwrap(),
    );
    publish_some(&broker, 1).await;
    // One poll sends the claim.
    let polled = {
        let mut recv = std::pin::pin!(first.recv(1));
        std::future::poll_fn(|ctx| std::task::Poll::Ready(recv.as_mut().poll(ctx).is_ready())).await
    };
    assert!(!polled);
    // The writer takes commands in order: once this one is through, the claim is too.
    broker.declare(&celeriac_core::Topology::default()).await.unwrap();
    hand.advance(Duration::from_secs(31));
    let again = second.recv(1).await.unwrap();
    assert_eq!((again[0].tag.attempt, again[0].losses, again[0].redelivered), (2, 1, true));
    let report = first.extend(&[]).await.unwrap();
    assert!(report.lost.is_empty());
    assert_eq!(second.settle(vec![Settlement::Ack(again[0].tag.clone())]).await.unwrap(), [Settled::Done]);
    publish_some(&broker, 1).await;
    assert_eq!(first.recv(1).await.unwrap()[0].tag.attempt, 1);
}

#[tokio::test]
async fn the_log_shrinks_once_an_old_reader_has_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.db");
    let engine = open(&path);
    let broker = engine.broker();
    let log = || std::fs::metadata(folder.path().join("tasks.db-wal")).unwrap().len();
    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM messages").unwrap();
    while log() < 140 << 20 {
        broker.publish(vec![publication("big", "mail", &[7; 4 << 20])]).await.unwrap();
    }
    drop(reader);
    let mut published = 0;
    while log() > 70 << 20 {
        broker.publish(vec![publication("small", "mail", b"")]).await.unwrap();
        published += 1;
        assert!(published < 100, "the log has still {} bytes", log());
    }
}
