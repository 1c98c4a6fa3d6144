//! What lies in Redis, byte by byte as far as Celery looks at it, and what is left there: nothing.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use celeriac_core::{
    BrokerHandle, Clock, ConsumerHandle, DeadQuery, DeadReason, Delivery, ErrorKind, ManualClock, Message, Notice,
    Priority, Publication, QueueName, Result, Settlement, Subscription, TaskId, TaskName, Timestamp, WorkerName,
};
use celeriac_redis::{Config, RedisEngine};
use celeriac_testbed::RedisServer;
use redis::{Connection, FromRedisValue};

const LEASE: Duration = Duration::from_secs(30);
static TASKS: AtomicU32 = AtomicU32::new(0);

/// A server, an engine on it, and somebody else's connection.
struct Bench {
    server: RedisServer,
    engine: RedisEngine,
    clock: ManualClock,
    raw: Connection,
}

impl Bench {
    async fn new() -> Result<Self> {
        let server = RedisServer::start();
        // Now, since Celery's scores are compared with it.
        let (clock, manual) = Clock::manual(Timestamp::now());
        let engine = RedisEngine::open(Config::from_url(&server.url())?, clock).await?;
        let client = redis::Client::open(server.url()).expect("a URL");
        Ok(Self { engine, clock: manual, raw: client.get_connection().expect("the server answers"), server })
    }

    fn broker(&self) -> BrokerHandle {
        self.engine.broker()
    }

    async fn consume(&self) -> Result<ConsumerHandle> {
        let subscription =
            Subscription { worker: WorkerName::new("w1@here")?, queues: vec![QueueName::new("mail")?], lease: LEASE };
        self.broker().consume(subscription).await
    }

    fn raw<T: FromRedisValue>(&mut self, command: &[&str]) -> T {
        redis::cmd(command[0]).arg(&command[1..]).query(&mut self.raw).expect("an answer")
    }

    fn keys(&mut self) -> Vec<String> {
        let mut keys: Vec<String> = self.raw(&["KEYS", "*"]);
        keys.sort_unstable();
        keys
    }

    /// Publishes as kombu does.
    fn publish_as_celery(&mut self, id: &str, tag: &str, redelivered: bool) {
        let mark = if redelivered { r#", "redelivered": true"# } else { "" };
        let envelope = format!(
            r#"{{"body": "W1tdLCB7fSwge31d", "content-encoding": "utf-8", "content-type": "application/json", "headers": {{"lang": "py", "task": "proj.add", "id": "{id}"{mark}}}, "properties": {{"correlation_id": "{id}", "delivery_mode": 2, "delivery_info": {{"exchange": "", "routing_key": "mail"{mark}}}, "priority": 0, "body_encoding": "base64", "delivery_tag": "{tag}"}}}}"#
        );
        self.raw::<()>(&["LPUSH", "mail", &envelope]);
    }
}

fn task(priority: u8) -> Publication {
    let number = TASKS.fetch_add(1, Ordering::Relaxed);
    let id = format!("task-{number}");
    Publication {
        task: TaskName::new("shop.bill").expect("a name"),
        queue: QueueName::new("mail").expect("a name"),
        priority: Priority(priority),
        due: None,
        unique: None,
        message: Message {
            headers: format!(r#"{{"task": "shop.bill", "id": "{id}"}}"#).into(),
            properties: r#"{"content_type": "application/json", "content_encoding": "utf-8"}"#.into(),
            body: "[[], {}, {}]".into(),
        },
        task_id: TaskId::new(id).expect("a name"),
    }
}

async fn take(consumer: &ConsumerHandle, count: usize) -> Result<Vec<Delivery>> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.extend(consumer.recv(count - taken.len()).await?);
    }
    Ok(taken)
}

fn acks(deliveries: &[Delivery]) -> Vec<Settlement> {
    deliveries.iter().map(|delivery| Settlement::Ack(delivery.tag.clone())).collect()
}

#[tokio::test]
async fn lower_priorities_come_first_as_in_celery() -> Result<()> {
    let mut bench = Bench::new().await?;
    bench.broker().publish([9, 4, 0, 7, 3].map(task).to_vec()).await?;
    let lists = bench.raw::<Vec<String>>(&["KEYS", "mail*"]).len();
    assert_eq!(lists, 4, "one list a step: 0, 3, 6 and 9");
    let consumer = bench.consume().await?;
    let priorities: Vec<u8> = take(&consumer, 5).await?.iter().map(|delivery| delivery.priority.0).collect();
    assert_eq!(priorities, [0, 4, 3, 7, 9], "steps in order, arrival within one");
    Ok(())
}

#[tokio::test]
async fn what_is_held_lies_in_unacked_as_kombu_has_it_and_out_of_its_reach() -> Result<()> {
    let mut bench = Bench::new().await?;
    bench.broker().publish(vec![task(0)]).await?;
    let consumer = bench.consume().await?;
    take(&consumer, 1).await?;
    let (tag, value): (String, String) = bench.raw::<Vec<(String, String)>>(&["HGETALL", "unacked"]).remove(0);
    let value: serde_json::Value = serde_json::from_str(&value).expect("JSON");
    assert_eq!(value[0]["properties"]["delivery_tag"], tag);
    assert_eq!((&value[1], &value[2]), (&serde_json::json!(""), &serde_json::json!("mail")));
    assert_eq!(value[0]["properties"]["body_encoding"], "base64");
    assert_eq!(value[0]["content-type"], "application/json");
    let score: f64 = bench.raw(&["ZSCORE", "unacked_index", &tag]);
    let ahead = score - bench.clock.now().duration_since(Timestamp::UNIX_EPOCH).as_secs_f64();
    assert!((3_599.0..=3_601.0).contains(&ahead), "{ahead} s ahead of the time");
    Ok(())
}

#[tokio::test]
async fn nothing_is_left_after_a_drain() -> Result<()> {
    let mut bench = Bench::new().await?;
    let consumer = bench.consume().await?;
    let later = bench.clock.now().saturating_add(Duration::from_secs(5)).expect("a time");
    bench.broker().publish(vec![task(0), task(9), Publication { due: Some(later), ..task(3) }]).await?;
    bench.publish_as_celery("a", "tag-a", false);
    bench.publish_as_celery("b", "tag-b", true);
    bench.raw::<()>(&["LPUSH", "mail", "no envelope"]);
    let held = take(&consumer, 5).await?;
    consumer.settle(vec![Settlement::Requeue(held[0].tag.clone())]).await?;
    consumer.settle(vec![Settlement::Park { tag: held[1].tag.clone(), until: later, message: None }]).await?;
    let dead = Settlement::Dead { tag: held[2].tag.clone(), reason: DeadReason::Failed, detail: String::new() };
    consumer.settle(vec![dead]).await?;
    consumer.settle(acks(&held[3..])).await?;
    bench.clock.advance(Duration::from_secs(5));
    let rest = take(&consumer, 3).await?;
    consumer.settle(acks(&rest)).await?;
    let entries = bench.broker().dead(DeadQuery { limit: 10, ..DeadQuery::default() }).await?;
    bench.broker().drop_dead(&[entries[0].entry]).await?;
    consumer.close().await?;
    assert_eq!(bench.keys(), ["_kombu.binding.mail", "celeriac:queues", "celeriac:seq"]);
    Ok(())
}

#[tokio::test]
async fn nothing_is_left_of_a_lost_worker() -> Result<()> {
    let mut bench = Bench::new().await?;
    bench.broker().publish(vec![task(0), task(0)]).await?;
    let lost = bench.consume().await?;
    take(&lost, 2).await?;
    drop(lost);
    bench.clock.advance(LEASE + Duration::from_millis(1));
    let heir = bench.consume().await?;
    let again = take(&heir, 2).await?;
    assert!(again.iter().all(|delivery| delivery.losses == 1));
    heir.settle(acks(&again)).await?;
    heir.close().await?;
    assert_eq!(bench.keys(), ["_kombu.binding.mail", "celeriac:queues", "celeriac:seq"]);
    Ok(())
}

#[tokio::test]
async fn a_former_holder_settles_nothing_of_ours() -> Result<()> {
    let mut bench = Bench::new().await?;
    // A worker of Celery was too slow for the visibility timeout: kombu put its message back, and we got it.
    bench.publish_as_celery("a", "tag-a", true);
    let consumer = bench.consume().await?;
    let held = take(&consumer, 1).await?;
    assert!(held[0].redelivered);
    // Now it acknowledges after all.
    assert_eq!(bench.raw::<usize>(&["HDEL", "unacked", "tag-a"]), 0);
    assert_eq!(bench.raw::<usize>(&["ZREM", "unacked_index", "tag-a"]), 0);
    drop(consumer);
    bench.clock.advance(LEASE + Duration::from_millis(1));
    let heir = bench.consume().await?;
    assert_eq!(take(&heir, 1).await?[0].task_id.as_str(), "a", "still there");
    Ok(())
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_given_back() -> Result<()> {
    let mut bench = Bench::new().await?;
    let consumer = bench.consume().await?;
    bench.broker().publish(vec![task(0), task(0)]).await?;
    let known = take(&consumer, 1).await?;
    // As if the second had been claimed too, and the connection had broken before the answer came.
    let start = bench.broker().consumers().await?.remove(0).start_id;
    let envelope: String = bench.raw(&["RPOP", "mail"]);
    bench.raw::<()>(&["HSET", "unacked", "lost", &format!("[{envelope}, \"\", \"mail\"]")]);
    bench.raw::<()>(&["HSET", &format!("celeriac:held:{start}"), "lost", "1 0 mail"]);
    bench.raw::<()>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    let second = take(&consumer, 1).await?;
    assert_ne!(second[0].task_id, known[0].task_id);
    let settled = consumer.settle(acks(&[known, second].concat())).await?;
    assert_eq!(settled, [celeriac_core::Settled::Done; 2], "what was known stayed in its hands");
    Ok(())
}

#[tokio::test]
async fn what_celery_holds_is_left_alone() -> Result<()> {
    let mut bench = Bench::new().await?;
    bench.raw::<()>(&["HSET", "unacked", "theirs", r#"[{"body": ""}, "", "mail"]"#]);
    bench.raw::<()>(&["ZADD", "unacked_index", "1", "theirs"]);
    let consumer = bench.consume().await?;
    bench.broker().publish(vec![task(0)]).await?;
    let held = take(&consumer, 1).await?;
    bench.clock.advance(LEASE * 3);
    consumer.extend(&[held[0].tag.clone()]).await?;
    consumer.settle(acks(&held)).await?;
    consumer.close().await?;
    assert_eq!(bench.raw::<Vec<String>>(&["HKEYS", "unacked"]), ["theirs"]);
    assert_eq!(bench.raw::<Vec<String>>(&["ZRANGE", "unacked_index", "0", "-1"]), ["theirs"]);
    Ok(())
}

#[tokio::test]
async fn what_celery_took_over_is_not_settled_by_us() -> Result<()> {
    let mut bench = Bench::new().await?;
    bench.broker().publish(vec![task(0)]).await?;
    let consumer = bench.consume().await?;
    let held = take(&consumer, 1).await?;
    // We were away for hours: Celery put it back, and one of its workers has it.
    let tag = bench.raw::<Vec<String>>(&["HKEYS", "unacked"]).remove(0);
    let now = bench.clock.now().as_second().to_string();
    bench.raw::<()>(&["ZADD", "unacked_index", &now, &tag]);
    assert_eq!(consumer.settle(acks(&held)).await?, [celeriac_core::Settled::Stale]);
    assert_eq!(bench.raw::<usize>(&["HLEN", "unacked"]), 1);
    Ok(())
}

#[tokio::test]
async fn bytes_that_are_no_envelope_come_with_these_very_bytes() -> Result<()> {
    let mut bench = Bench::new().await?;
    let consumer = bench.consume().await?;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let hostile = ["hello", "", "{}", r#"{"properties": {"delivery_tag": null}}"#, r#"{"body": 5"#, &deep];
    for bytes in hostile {
        bench.raw::<()>(&["LPUSH", "mail", bytes]);
    }
    bench.broker().publish(vec![task(0)]).await?;
    let held = take(&consumer, hostile.len() + 1).await?;
    for (delivery, bytes) in held.iter().zip(hostile) {
        assert!(delivery.message.headers.is_empty() || delivery.message.headers == "{}", "{delivery:?}");
        if delivery.message.headers.is_empty() {
            assert_eq!(delivery.message.body, bytes.as_bytes());
        }
        let detail = "no envelope".to_owned();
        consumer
            .settle(vec![Settlement::Dead { tag: delivery.tag.clone(), reason: DeadReason::Malformed, detail }])
            .await?;
    }
    consumer.settle(acks(&held[hostile.len()..])).await?;
    let dead = bench.broker().dead(DeadQuery { limit: 100, ..DeadQuery::default() }).await?;
    assert_eq!(dead.len(), hostile.len());
    assert_eq!(dead[hostile.len() - 1].message.body, hostile[0].as_bytes());
    Ok(())
}

#[tokio::test]
async fn what_is_due_later_lies_in_celerys_list_while_none_of_ours_is_there() -> Result<()> {
    let mut bench = Bench::new().await?;
    let later = bench.clock.now().saturating_add(Duration::from_secs(5)).expect("a time");
    bench.broker().publish(vec![Publication { due: Some(later), ..task(0) }]).await?;
    assert_eq!(bench.raw::<usize>(&["LLEN", "mail"]), 1);
    let depth = bench.broker().depth(&[QueueName::new("mail")?]).await?;
    assert_eq!((depth[0].ready, depth[0].parked), (0, 1));
    let consumer = bench.consume().await?;
    bench.broker().publish(vec![Publication { due: Some(later), ..task(0) }]).await?;
    assert_eq!(bench.raw::<usize>(&["LLEN", "mail"]), 1, "ours is here now, and parks");
    bench.clock.advance(Duration::from_secs(5));
    assert_eq!(take(&consumer, 2).await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn celerys_events_and_ours_are_heard_by_both() -> Result<()> {
    let mut bench = Bench::new().await?;
    let (one, two) =
        (bench.broker().listen("celeryev", None, None).await?, bench.broker().listen("celeryev", None, None).await?);
    let client = redis::Client::open(bench.server.url()).expect("a URL");
    let mut theirs = client.get_connection().expect("the server answers");
    let mut subscribed = theirs.as_pubsub();
    subscribed.psubscribe("/0.celeryev/*").expect("a subscription");
    let envelope = r#"{"body": "eyJ0eXBlIjogIngifQ==", "content-encoding": "utf-8", "content-type": "application/json", "headers": {"hostname": "c1"}, "properties": {"delivery_mode": 1, "delivery_info": {"exchange": "celeryev", "routing_key": "worker.x"}, "priority": 0, "body_encoding": "base64", "delivery_tag": "t-1"}}"#;
    bench.raw::<()>(&["PUBLISH", "/0.celeryev/worker.x", envelope]);
    for listener in [&one, &two] {
        let heard = listener.recv(10).await?;
        assert_eq!(heard.len(), 1, "once, however many listen");
        let notice = &heard[0].notice;
        assert_eq!((notice.routing_key.as_str(), &notice.body[..]), ("worker.x", &br#"{"type": "x"}"#[..]));
        assert_eq!(notice.headers, r#"{"hostname": "c1"}"#);
    }
    let own = Notice { headers: r#"{"hostname": "w1"}"#.into(), ..Notice::new("worker.heartbeat", "{}") };
    bench.broker().broadcast("celeryev", vec![own.clone()]).await?;
    assert_eq!(one.recv(10).await?[0].notice, own);
    let theirs = subscribed.get_message().and_then(|_| subscribed.get_message()).expect("a message");
    assert_eq!(theirs.get_channel_name(), "/0.celeryev/worker.heartbeat");
    let read: serde_json::Value = serde_json::from_slice(theirs.get_payload_bytes()).expect("JSON");
    assert_eq!((&read["headers"]["hostname"], &read["body"]), (&serde_json::json!("w1"), &serde_json::json!("e30=")));
    Ok(())
}

#[tokio::test]
async fn answers_go_to_the_mailbox_of_whoever_asked() -> Result<()> {
    let mut bench = Bench::new().await?;
    bench.raw::<()>(&[
        "SADD",
        "_kombu.binding.reply.celery.pidbox",
        "oid\u{6}\u{16}\u{6}\u{16}oid.reply.celery.pidbox",
    ]);
    let answer = Notice::new("oid", r#"{"w1@here": {"ok": "pong"}}"#);
    bench.broker().broadcast("reply.celery.pidbox", vec![answer]).await?;
    let sent: Vec<String> = bench.raw(&["LRANGE", "oid.reply.celery.pidbox", "0", "-1"]);
    assert_eq!(sent.len(), 1);
    let listener = bench.broker().listen("reply.celery.pidbox", Some("me"), None).await?;
    // As a worker of Celery answers us: by our binding, into our mailbox.
    assert_eq!(bench.raw::<usize>(&["SCARD", "_kombu.binding.reply.celery.pidbox"]), 2);
    bench.raw::<()>(&["LPUSH", "me.reply.celery.pidbox", &sent[0].replace("celeriac\": true", "other\": true")]);
    assert_eq!(listener.recv(10).await?[0].notice.body, r#"{"w1@here": {"ok": "pong"}}"#);
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_is_said_in_one_line_without_the_password() -> Result<()> {
    let server = RedisServer::start_with(&["--requirepass", "right"]);
    let check = async |url: String, kind: ErrorKind, says: &str| {
        let config = Config::from_url(&url).expect("a URL");
        let error = RedisEngine::open(config, Clock::system()).await.expect_err("refused");
        let text = error.to_string();
        assert_eq!(error.kind(), kind, "{text}");
        assert!(text.contains(says) && !text.contains('\n'), "{text}");
        assert!(!text.contains("secret") && !text.contains("right@"), "{text}");
    };
    let port = server.port();
    check(format!("redis://:secret@127.0.0.1:{port}/0"), ErrorKind::Denied, "refused the user or the password").await;
    check(format!("redis://127.0.0.1:{port}/0"), ErrorKind::Denied, "refused the user or the password").await;
    check(format!("redis://:right@127.0.0.1:{port}/99"), ErrorKind::Invalid, "no database of this number").await;
    let nowhere = celeriac_testbed::free_port();
    check(format!("redis://:secret@127.0.0.1:{nowhere}/0?timeout=200ms"), ErrorKind::Unavailable, "connection").await;
    Ok(())
}
