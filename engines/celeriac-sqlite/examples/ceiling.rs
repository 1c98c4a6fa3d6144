//! How near does the engine come to what SQLite itself can do?
//!
//! The ceiling is the same rows in the same tables, inserted, claimed and deleted in equal batches at equal durability
//! by a plain loop over a bare connection: no queue, no threads, no handles. Both run on fresh files, one after the
//! other.
//!
//! ```text
//! cargo run --release -p celeriac-sqlite --example ceiling -- [--rows 100000] [--backlog 1000000] [--dir .]
//! ```

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use celeriac_core::{
    BrokerHandle, Clock, Message, Notice, Peek, PeekState, Priority, Publication, QueueName, Settlement, Subscription,
    TaskName, Timestamp, WorkerName,
};
use celeriac_sqlite::{Config, SqliteEngine};
use rusqlite::{Connection, params};

const BODY: &[u8] = br#"[["reader@example.org", "The subject of the letter", "Dear reader, here are the news."], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]"#;
const HEADERS: &[u8] = br#"{"lang": "rust", "task": "newsletter.send_email", "id": "0193a5b0-1111-7000-8000-000000000000", "shadow": null, "eta": null, "expires": null, "group": null, "group_index": null, "retries": 0, "timelimit": [null, null], "root_id": "0193a5b0-1111-7000-8000-000000000000", "parent_id": null, "argsrepr": "('reader@example.org', ...)", "kwargsrepr": "{}", "origin": "gen1@host", "ignore_result": false, "replaced_task_nesting": 0, "stamped_headers": null, "stamps": {}}"#;
const PROPERTIES: &[u8] = br#"{"content_type": "application/json", "content_encoding": "utf-8", "correlation_id": "0193a5b0-1111-7000-8000-000000000000", "reply_to": "a", "delivery_mode": 2, "priority": 0}"#;

struct Options {
    rows: usize,
    backlog: usize,
    dir: PathBuf,
}

fn main() {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some("--receive") => return receive(Path::new(&words.next().expect("a file"))),
        Some("--load") => return load(Path::new(&words.next().expect("a file"))),
        _ => {}
    }
    let options = options();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    println!(
        "{} rows of {} bytes, files in {}",
        options.rows,
        BODY.len() + HEADERS.len() + PROPERTIES.len(),
        options.dir.display()
    );
    for batch in [1_000, 100] {
        let bare = bare_enqueue(&options, batch);
        let ours = runtime.block_on(enqueue(&options, batch));
        report(&format!("enqueue, batches of {batch}"), options.rows, bare, ours);
    }
    for backlog in [10_000, options.backlog] {
        let drained = options.rows.min(backlog);
        let bare = bare_drain(&options, backlog, drained);
        let ours = runtime.block_on(drain(&options, backlog, drained));
        report(&format!("drain {drained} of {backlog}, 100 at a time"), drained, bare, ours);
    }
    runtime.block_on(parked(&options));
    runtime.block_on(beside_a_bulk_load(&options));
    runtime.block_on(latency(&options));
    runtime.block_on(latency_across(&options));
}

fn options() -> Options {
    let mut options = Options { rows: 100_000, backlog: 1_000_000, dir: ".".into() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().expect("a value after each option");
        match word.as_str() {
            "--rows" => options.rows = value.parse().expect("a number"),
            "--backlog" => options.backlog = value.parse().expect("a number"),
            "--dir" => options.dir = value.into(),
            other => panic!("no option {other}"),
        }
    }
    options
}

fn report(what: &str, rows: usize, bare: Duration, ours: Duration) {
    #[expect(clippy::cast_precision_loss, reason = "rates for people")]
    let rate = |took: Duration| rows as f64 / took.as_secs_f64();
    println!(
        "{what:40} ceiling {:9.0}/s   engine {:9.0}/s   {:3.0} %",
        rate(bare),
        rate(ours),
        100.0 * rate(ours) / rate(bare)
    );
}

fn publications(count: usize) -> Vec<Publication> {
    let (task, queue) =
        (TaskName::new("newsletter.send_email").expect("a name"), QueueName::new("mail").expect("a name"));
    let ids = celeriac_core::Ids::system();
    let message = Message { headers: HEADERS.into(), properties: PROPERTIES.into(), body: BODY.into() };
    (0..count)
        .map(|_| Publication {
            task_id: ids.task_id(),
            task: task.clone(),
            queue: queue.clone(),
            priority: Priority(0),
            due: None,
            unique: None,
            message: message.clone(),
        })
        .collect()
}

fn subscription() -> Subscription {
    Subscription {
        worker: WorkerName::new("w@bench").expect("a name"),
        queues: vec![QueueName::new("mail").expect("a name")],
        lease: Duration::from_secs(30),
    }
}

fn file(options: &Options) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir_in(&options.dir).expect("a folder");
    let path = folder.path().join("tasks.db");
    (folder, path)
}

fn open(path: &Path) -> SqliteEngine {
    SqliteEngine::open(Config::new(path), Clock::system()).expect("opens")
}

async fn fill(broker: &BrokerHandle, count: usize, batch: usize) -> Duration {
    let mut took = Duration::ZERO;
    let mut left = count;
    while left > 0 {
        let publications = publications(left.min(batch));
        left -= publications.len();
        let start = Instant::now();
        broker.publish(publications).await.expect("published");
        took += start.elapsed();
    }
    took
}

async fn enqueue(options: &Options, batch: usize) -> Duration {
    let (_folder, path) = file(options);
    let engine = open(&path);
    let took = fill(&engine.broker(), options.rows, batch).await;
    engine.close().await.expect("closes");
    took
}

async fn drain(options: &Options, backlog: usize, drained: usize) -> Duration {
    let (_folder, path) = file(options);
    let engine = open(&path);
    let broker = engine.broker();
    fill(&broker, backlog, 1_000).await;
    let consumer = broker.consume(subscription()).await.expect("consumes");
    let start = Instant::now();
    let mut done = 0;
    while done < drained {
        let deliveries = consumer.recv(100).await.expect("received");
        done += deliveries.len();
        consumer
            .settle(deliveries.into_iter().map(|delivery| Settlement::Ack(delivery.tag)).collect())
            .await
            .expect("settled");
    }
    let took = start.elapsed();
    let wal = std::fs::metadata(path.with_extension("db-wal")).map_or(0, |file| file.len());
    let looked = Instant::now();
    let depth = broker.depth(&[]).await.expect("counted");
    let (counted, looked) = (looked.elapsed(), Instant::now());
    let peek = Peek { state: Some(PeekState::Ready), limit: 100, ..Peek::default() };
    broker.peek(peek).await.expect("looked");
    println!(
        "with {} ready: depth {counted:?}, peek at 100 {:?}, log of {} MiB",
        depth[0].ready,
        looked.elapsed(),
        wal >> 20
    );
    engine.close().await.expect("closes");
    took
}

/// A backlog of parked messages, all due at different times: published, then all due at once and drained.
async fn parked(options: &Options) {
    let (_folder, path) = file(options);
    let (clock, hand) = Clock::manual(Timestamp::now());
    let engine = SqliteEngine::open(Config::new(&path), clock).expect("opens");
    let broker = engine.broker();
    let mut took = Duration::ZERO;
    let mut number = 0_u64;
    while number < options.backlog as u64 {
        let mut batch = publications(1_000);
        for publication in &mut batch {
            number += 1;
            // Scattered over an hour.
            publication.due = Some(hand.now() + Duration::from_millis(1 + number * 7_919 % 3_600_000));
        }
        let start = Instant::now();
        broker.publish(batch).await.expect("published");
        took += start.elapsed();
    }
    let parked = took;
    let memory = resident_mib();
    hand.advance(Duration::from_hours(1));
    let consumer = broker.consume(subscription()).await.expect("consumes");
    let start = Instant::now();
    let mut done = 0;
    while done < options.rows {
        let deliveries = consumer.recv(100).await.expect("received");
        done += deliveries.len();
        let acks = deliveries.into_iter().map(|delivery| Settlement::Ack(delivery.tag)).collect();
        consumer.settle(acks).await.expect("settled");
    }
    #[expect(clippy::cast_precision_loss, reason = "rates for people")]
    let rate = |rows: usize, took: Duration| rows as f64 / took.as_secs_f64();
    println!(
        "{} parked: published {:.0}/s, promoted and drained {:.0}/s, {memory} MiB resident before and {} after",
        options.backlog,
        rate(options.backlog, parked),
        rate(done, start.elapsed()),
        resident_mib()
    );
    engine.close().await.expect("closes");
}

/// What one message at a time costs while another process loads thousands.
async fn beside_a_bulk_load(options: &Options) {
    let (_folder, path) = file(options);
    let engine = open(&path);
    let broker = engine.broker();
    let mut child = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--load".as_ref(), path.as_os_str()])
        .spawn()
        .expect("starts");
    while broker.depth(&[]).await.expect("counted").is_empty() {
        tokio::task::yield_now().await;
    }
    let mut took = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        let publications = publications(1);
        let start = Instant::now();
        broker.publish(publications).await.expect("published");
        took.push(start.elapsed());
    }
    child.kill().expect("ends");
    child.wait().expect("ended");
    let loaded = broker.depth(&[]).await.expect("counted")[0].ready;
    took.sort();
    println!(
        "beside a bulk load of {}/s in another process: {} single messages/s, p50 {:?}, p99 {:?}, max {:?}",
        loaded / 5,
        took.len() / 5,
        took[took.len() / 2],
        took[took.len() * 99 / 100],
        took[took.len() - 1]
    );
    engine.close().await.expect("closes");
}

/// The other process of [`beside_a_bulk_load`].
fn load(path: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let broker = open(path).broker();
        loop {
            broker.publish(publications(1_000)).await.expect("published");
        }
    });
}

/// The memory of this process, as Linux tells it.
fn resident_mib() -> u64 {
    let line = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    line.split(' ').nth(1).expect("fields").parse::<u64>().expect("a number") / 256
}

/// From just before the publishing to the delivery in an idle consumer's hands, in one process.
async fn latency(options: &Options) {
    let (_folder, path) = file(options);
    let engine = open(&path);
    let broker = engine.broker();
    let consumer = broker.consume(subscription()).await.expect("consumes");
    let mut took = Vec::new();
    for _ in 0..2_000 {
        let publications = publications(1);
        let start = Instant::now();
        let (delivered, _) = tokio::join!(
            async {
                let deliveries = consumer.recv(1).await.expect("received");
                (deliveries, start.elapsed())
            },
            broker.publish(publications)
        );
        took.push(delivered.1);
        consumer
            .settle(delivered.0.into_iter().map(|delivery| Settlement::Ack(delivery.tag)).collect())
            .await
            .expect("settled");
    }
    took.sort();
    println!("send to start, one process: p50 {:?}, p99 {:?}", took[1_000], took[1_980]);
    engine.close().await.expect("closes");
}

/// The same with the consumer in another process, which tells by a broadcast when it had each message in hand. Then what
/// that process costs while it waits for nothing.
async fn latency_across(options: &Options) {
    let (_folder, path) = file(options);
    let engine = open(&path);
    let (broker, listener) = (engine.broker(), engine.broker().listen("received", None, None).await.expect("listens"));
    let mut child = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--receive".as_ref(), path.as_os_str()])
        .spawn()
        .expect("starts");
    listener.recv(1).await.expect("the child is ready");
    let mut took = Vec::new();
    for _ in 0..1_000 {
        let publications = publications(1);
        let start = Timestamp::now();
        broker.publish(publications).await.expect("published");
        let heard = listener.recv(1).await.expect("heard");
        let received: i64 = std::str::from_utf8(&heard[0].notice.body).expect("text").parse().expect("a number");
        took.push(Duration::from_nanos(
            u64::try_from(received - i64::try_from(start.as_nanosecond()).expect("now")).unwrap_or(0),
        ));
    }
    took.sort();
    println!("send to start, two processes: p50 {:?}, p99 {:?}", took[500], took[990]);
    let before = cpu_ticks(child.id());
    tokio::time::sleep(Duration::from_secs(10)).await;
    println!("an idle consumer's process: {} ms of CPU in 10 s", (cpu_ticks(child.id()) - before) * 10);
    child.kill().expect("ends");
    child.wait().expect("ended");
    engine.close().await.expect("closes");
}

/// The other process of [`latency_across`].
fn receive(path: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let engine = open(path);
        let broker = engine.broker();
        let consumer = broker.consume(subscription()).await.expect("consumes");
        broker.broadcast("received", vec![Notice::new("", "ready")]).await.expect("broadcasts");
        loop {
            for delivery in consumer.recv(1).await.expect("received") {
                let now = Timestamp::now().as_nanosecond().to_string();
                consumer.settle(vec![Settlement::Ack(delivery.tag)]).await.expect("settled");
                broker.broadcast("received", vec![Notice::new("", now)]).await.expect("broadcasts");
            }
        }
    });
}

/// CPU time of a process in hundredths of a second, as Linux tells it.
fn cpu_ticks(process: u32) -> u64 {
    let line = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("Linux");
    let fields: Vec<&str> = line.rsplit(") ").next().expect("fields").split(' ').collect();
    fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number")
}

/// A bare connection to a file with our tables, set up as the engine sets up its own.
fn bare(path: &Path) -> Connection {
    drop(open(path));
    let conn = Connection::open(path).expect("opens");
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -16384; \
         PRAGMA wal_autocheckpoint = 4096; PRAGMA journal_size_limit = 67108864",
    )
    .expect("set up");
    conn
}

fn bare_fill(conn: &mut Connection, count: usize, batch: usize) -> Duration {
    let mut took = Duration::ZERO;
    let mut key = 0_i64;
    while usize::try_from(key).expect("small") < count {
        let rows = publications(batch);
        let start = Instant::now();
        let tx = conn.transaction().expect("begins");
        {
            let mut message = tx
                .prepare_cached(
                    "INSERT INTO messages (key, task_id, task, queue, priority, published_at, due, headers, properties, body) \
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                )
                .expect("prepares");
            let mut waiting = tx
                .prepare_cached("INSERT INTO waiting (queue, priority, position, key, since) VALUES (?, ?, ?, ?, ?)")
                .expect("prepares");
            for row in &rows {
                key += 1;
                message
                    .execute(params![
                        key,
                        row.task_id.as_str(),
                        row.task.as_str(),
                        row.queue.as_str(),
                        0,
                        1_763_900_000_000_000_i64,
                        None::<i64>,
                        &*row.message.headers,
                        &*row.message.properties,
                        &*row.message.body
                    ])
                    .expect("inserts");
                waiting.execute((row.queue.as_str(), 0, key, key, 1_763_900_000_000_000_i64)).expect("inserts");
            }
        }
        tx.commit().expect("commits");
        took += start.elapsed();
    }
    took
}

fn bare_enqueue(options: &Options, batch: usize) -> Duration {
    let (_folder, path) = file(options);
    bare_fill(&mut bare(&path), options.rows, batch)
}

/// Claims 100 in one transaction, which need not be durable, and deletes them in another, which must.
fn bare_drain(options: &Options, backlog: usize, drained: usize) -> Duration {
    let (_folder, path) = file(options);
    let mut conn = bare(&path);
    bare_fill(&mut conn, backlog, 1_000);
    let start = Instant::now();
    let mut done = 0;
    let mut bytes = 0;
    while done < drained {
        let mut keys: Vec<i64> = Vec::with_capacity(100);
        conn.pragma_update(None, "synchronous", "NORMAL").expect("set");
        let tx = conn.transaction().expect("begins");
        {
            let mut select = tx
                .prepare_cached(
                    "SELECT w.position, w.key, m.task_id, m.task, m.published_at, m.headers, m.properties, m.body \
                     FROM waiting w CROSS JOIN messages m ON m.key = w.key \
                     WHERE w.queue = 'mail' ORDER BY w.priority DESC, w.position LIMIT 100",
                )
                .expect("prepares");
            let mut hold = tx
                .prepare_cached(
                    "INSERT INTO held (consumer, key, attempt, queue, priority, position, claimed_at) \
                     VALUES (1, ?, 1, 'mail', 0, ?, 1763900000000000)",
                )
                .expect("prepares");
            let mut rows = select.query([]).expect("selects");
            let mut last = 0_i64;
            while let Some(row) = rows.next().expect("a row") {
                last = row.get(0).expect("a position");
                let key = row.get(1).expect("a key");
                bytes += row.get_ref(7).expect("a body").as_blob().expect("a body").len();
                hold.execute((key, last)).expect("holds");
                keys.push(key);
            }
            drop(rows);
            tx.prepare_cached("DELETE FROM waiting WHERE queue = 'mail' AND priority = 0 AND position <= ?")
                .expect("prepares")
                .execute([last])
                .expect("deletes");
        }
        tx.commit().expect("commits");
        conn.pragma_update(None, "synchronous", "FULL").expect("set");
        let tx = conn.transaction().expect("begins");
        {
            let mut held = tx.prepare_cached("DELETE FROM held WHERE consumer = 1 AND key = ?").expect("prepares");
            let mut message = tx.prepare_cached("DELETE FROM messages WHERE key = ?").expect("prepares");
            for key in &keys {
                held.execute([key]).expect("deletes");
                message.execute([key]).expect("deletes");
            }
        }
        tx.commit().expect("commits");
        done += keys.len();
    }
    assert!(bytes > 0);
    start.elapsed()
}
