//! Remote control of a running worker: what is asked, what is answered, what changes. The shapes are Celery's.

use std::{sync::Arc, time::Duration};

use celeriac::{
    core::{QueueName, State as TaskState},
    prelude::*,
};
use serde_json::{Value, json};
use tokio::{sync::Notify, task::JoinHandle};

/// Longer than anything here takes.
const SOON: Duration = Duration::from_mins(1);
const NAME: &str = "w1@here";

#[derive(Clone, Default)]
struct Seen {
    began: Arc<Notify>,
}

#[task]
async fn add(a: i64, b: i64) -> i64 {
    a + b
}

/// Runs until it is told to stop.
#[task(rate_limit = "100/s", time_limit = "1h")]
async fn holds(ctx: Context, seen: State<Seen>, what: String) -> Result<(), TaskError> {
    seen.began.notify_one();
    ctx.cancellation().cancelled().await;
    Err(TaskError::retryable(format!("{what} was told to stop")))
}

struct Bench {
    app: App,
    seen: Seen,
    stop: Shutdown,
    working: JoinHandle<celeriac::Result<celeriac::worker::Report>>,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let app = App::connect(&format!("sqlite://{}", folder.path().join("queue.db").display())).await?;
        let (seen, stop) = (Seen::default(), Shutdown::new());
        let worker = Worker::builder(app.clone())
            .tasks(tasks![add, holds])
            .state(seen.clone())
            .name(NAME)
            .concurrency(2)
            .lease(Duration::from_secs(3))
            .build()?;
        let working = tokio::spawn(worker.run(stop.clone()));
        let bench = Self { app, seen, stop, working, _folder: folder };
        // It hears from some moment on: the first one to be answered.
        while bench.app.control().to([NAME]).ask("ping", &json!({})).await?.is_empty() {}
        Ok(bench)
    }

    async fn ask(&self, method: &str, arguments: Value) -> anyhow::Result<Value> {
        let mut answers = self.app.control().to([NAME]).within(SOON).ask(method, &arguments).await?;
        answers.remove(NAME).ok_or_else(|| anyhow::anyhow!("no answer to {method}"))
    }

    async fn end(self) -> anyhow::Result<()> {
        self.stop.cold();
        self.working.await??;
        self.app.close().await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_tells_what_it_is() -> anyhow::Result<()> {
    let bench = Bench::new().await?;
    assert_eq!(bench.ask("ping", json!({})).await?, json!({"ok": "pong"}));
    assert_eq!(bench.ask("registered", json!({})).await?, json!(["control.add", "control.holds"]));
    let limits = json!({"taskinfoitems": ["rate_limit", "time_limit"]});
    assert_eq!(
        bench.ask("registered", limits).await?,
        json!(["control.add", "control.holds [rate_limit=100/s time_limit=3600]"])
    );
    let queues = bench.ask("active_queues", json!({})).await?;
    assert_eq!((&queues[0]["name"], &queues[0]["exchange"]["type"]), (&json!("celery"), &json!("direct")));
    bench.app.send(add(1, 2)).await?.get_within(SOON).await?;
    let stats = bench.ask("stats", json!({})).await?;
    assert_eq!(stats["total"], json!({"control.add": 1}));
    assert_eq!((&stats["pool"]["max-concurrency"], &stats["pid"]), (&json!(2), &json!(std::process::id())));
    assert!(stats["rusage"]["maxrss"].as_u64() > Some(0), "{stats}");
    assert!(bench.ask("report", json!({})).await?["ok"].as_str().is_some_and(|text| text.contains("celeriac:")));
    let one = bench.ask("clock", json!({})).await?["clock"].as_u64();
    assert!(bench.ask("clock", json!({})).await?["clock"].as_u64() > one, "the clock goes on");
    bench.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_tells_what_it_has_in_hand() -> anyhow::Result<()> {
    let bench = Bench::new().await?;
    let held = bench.app.send(holds("x".into())).await?;
    bench.seen.began.notified().await;
    let later = bench.app.send(add(1, 2).countdown(Duration::from_hours(1))).await?;
    let active = bench.ask("active", json!({})).await?;
    assert_eq!(active.as_array().map(Vec::len), Some(1), "{active}");
    let info = &active[0];
    assert_eq!((&info["id"], &info["name"]), (&json!(held.id().as_str()), &json!("control.holds")));
    assert_eq!((&info["args"], &info["kwargs"]), (&json!(["x"]), &json!({})));
    assert_eq!((&info["hostname"], &info["acknowledged"]), (&json!(NAME), &json!(false)));
    assert_eq!(info["delivery_info"]["routing_key"], json!("celery"));
    assert!(info["time_start"].as_f64() > Some(1e9));
    assert_eq!(bench.ask("active", json!({"safe": true})).await?[0]["args"], json!("('x',)"));
    let asked = bench.ask("query_task", json!({"ids": [held.id().as_str(), "nobody"]})).await?;
    assert_eq!(
        (asked.as_object().map(serde_json::Map::len), &asked[held.id().as_str()][0]),
        (Some(1), &json!("active"))
    );
    let scheduled = bench.ask("scheduled", json!({})).await?;
    assert_eq!(scheduled[0]["request"]["id"], json!(later.id().as_str()));
    assert_eq!(bench.ask("reserved", json!({})).await?, json!([]));
    bench.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_reaches_what_waits_and_what_runs() -> anyhow::Result<()> {
    let bench = Bench::new().await?;
    let later = bench.app.send(add(1, 2).countdown(Duration::from_hours(1))).await?;
    let id = later.id().as_str();
    let answer = bench.ask("revoke", json!({"task_id": id})).await?;
    assert_eq!(answer, json!({"ok": format!("tasks {{'{id}'}} flagged as revoked")}));
    // Whoever waits hears of it at once, an hour before it was due.
    assert!(matches!(later.get_within(SOON).await, Err(GetError::Revoked { .. })));
    assert_eq!(bench.ask("revoked", json!({})).await?, json!([id]));

    let held = bench.app.send(holds("x".into())).await?;
    bench.seen.began.notified().await;
    let answer = bench.ask("revoke", json!({"task_id": [held.id().as_str()], "terminate": true})).await?;
    assert_eq!(answer, json!({"ok": format!("terminate: {}", held.id())}));
    let error = held.get_within(SOON).await.unwrap_err();
    assert!(matches!(&error, GetError::Revoked { reason } if reason == "terminated"), "{error}");
    let answer = bench.ask("terminate", json!({"task_id": "nobody", "signal": "SIGKILL"})).await?;
    assert_eq!(answer, json!({"ok": "terminate: tasks unknown"}));
    bench.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn stamps_say_what_is_revoked() -> anyhow::Result<()> {
    let bench = Bench::new().await?;
    let held = bench.app.send(holds("x".into())).await?;
    bench.seen.began.notified().await;
    let answer = bench.ask("revoke_by_stamped_headers", json!({"headers": {"foo": ["bar"]}})).await?;
    assert_eq!(answer, json!({"ok": "headers {'foo': ['bar']} flagged as revoked, but not terminated"}));
    assert_eq!(held.status().await?, TaskState::Pending, "it has no such stamp");
    bench.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_come_and_go() -> anyhow::Result<()> {
    let bench = Bench::new().await?;
    let elsewhere = bench.app.send(add(1, 2).queue("other")).await?;
    assert_eq!(bench.ask("add_consumer", json!({"queue": "other"})).await?, json!({"ok": "add consumer other"}));
    assert_eq!(elsewhere.get_within(SOON).await?, 3);
    let answer = bench.ask("cancel_consumer", json!({"queue": "celery"})).await?;
    assert_eq!(answer, json!({"ok": "no longer consuming from celery"}));
    assert_eq!(bench.ask("active_queues", json!({})).await?[0]["name"], json!("other"));
    bench.app.send(add(1, 2)).await?;
    bench.app.send(add(1, 2).queue("other")).await?.get_within(SOON).await?;
    assert_eq!(bench.app.broker().depth(&[QueueName::new("celery")?]).await?[0].ready, 1);
    bench.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_come_and_go() -> anyhow::Result<()> {
    let bench = Bench::new().await?;
    for what in ["a", "b"] {
        bench.app.send(holds(what.into())).await?;
        bench.seen.began.notified().await;
    }
    assert_eq!(bench.ask("pool_grow", json!({"n": 1})).await?, json!({"ok": "pool will grow"}));
    assert_eq!(bench.app.send(add(1, 2)).await?.get_within(SOON).await?, 3, "the third slot");
    assert_eq!(bench.ask("pool_shrink", json!({"n": 2})).await?, json!({"ok": "pool will shrink"}));
    assert_eq!(bench.ask("stats", json!({})).await?["pool"]["max-concurrency"], json!(1));
    let refused = bench.ask("pool_shrink", json!({})).await?;
    assert!(refused["error"].as_str().is_some_and(|text| text.contains("one slot")), "{refused}");
    let refused = bench.ask("autoscale", json!({"max": 3, "min": 1})).await?;
    assert_eq!(refused, json!({"error": "ValueError('Autoscale not enabled')"}));
    bench.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_change_while_the_worker_runs() -> anyhow::Result<()> {
    let bench = Bench::new().await?;
    let answer = bench.ask("rate_limit", json!({"task_name": "control.add", "rate_limit": "1/h"})).await?;
    assert_eq!(answer, json!({"ok": "new rate limit set successfully"}));
    bench.app.send(add(1, 2)).await?.get_within(SOON).await?;
    let second = bench.app.send(add(1, 2)).await?;
    // The second one waits in the store for its turn.
    let shown = bench.ask("registered", json!({"taskinfoitems": "rate_limit"})).await?;
    assert!(shown[0].as_str().is_some_and(|text| text.starts_with("control.add [rate_limit=0.000")), "{shown}");
    let answer = bench.ask("rate_limit", json!({"task_name": "control.add", "rate_limit": 0})).await?;
    assert_eq!(answer, json!({"ok": "rate limit disabled successfully"}));
    assert_eq!(second.status().await?, TaskState::Pending);

    let answer = bench.ask("time_limit", json!({"task_name": "control.holds", "soft": 0.05})).await?;
    assert_eq!(answer, json!({"ok": "time limits set successfully"}));
    let held = bench.app.send(holds("x".into())).await?;
    bench.seen.began.notified().await;
    bench.seen.began.notified().await;
    assert_eq!(held.status().await?, TaskState::Retry, "the soft limit told it to stop, and it is tried again");
    let unknown = bench.ask("rate_limit", json!({"task_name": "nobody", "rate_limit": "1/s"})).await?;
    assert_eq!(unknown, json!({"error": "unknown task"}));
    let wrong = bench.ask("rate_limit", json!({"task_name": "control.add", "rate_limit": "fast"})).await?;
    assert!(wrong["error"].as_str().is_some_and(|text| text.starts_with("Invalid rate limit string")), "{wrong}");
    bench.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_who_are_meant_answer() -> anyhow::Result<()> {
    let bench = Bench::new().await?;
    let control = bench.app.control().within(Duration::from_millis(300));
    for (target, heard) in [("w*", true), ("*@there", false), ("w[0-9]@here", true)] {
        let answers = control.clone().matching(target).ask("ping", &json!({})).await?;
        assert_eq!(answers.contains_key(NAME), heard, "{target}");
    }
    assert!(control.clone().to(["w2@here"]).ask("ping", &json!({})).await?.is_empty());
    assert_eq!(control.ask("ping", &json!({})).await?[NAME], json!({"ok": "pong"}));
    bench.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_answered_and_breaks_nothing() -> anyhow::Result<()> {
    let bench = Bench::new().await?;
    assert_eq!(bench.ask("nosuch", json!({})).await?, json!({"error": "KeyError('nosuch')"}));
    let missing = bench.ask("rate_limit", json!({})).await?;
    let missing = missing["error"].as_str().unwrap_or_default();
    assert!(missing.starts_with("TypeError(\"rate_limit() missing 1 required argument: 'task_name'"), "{missing}");
    for (method, arguments) in [
        ("revoke", json!({"task_id": 5})),
        ("revoke", json!({"task_id": [""]})),
        ("pool_grow", json!({"n": -1})),
        ("pool_grow", json!({"n": 1e300})),
        ("pool_grow", json!({"n": u64::MAX})),
        ("time_limit", json!({"task_name": "control.add", "soft": -5})),
        ("add_consumer", json!({"queue": "x".repeat(1_000)})),
        ("query_task", json!({})),
        ("revoke_by_stamped_headers", json!({"headers": [1]})),
    ] {
        let answer = bench.ask(method, arguments.clone()).await?;
        assert!(answer["error"].is_string(), "{method} {arguments}: {answer}");
    }
    let garbage = [&b""[..], b"\xff", b"{", b"[]", b"{\"method\": 5}", b"{\"method\": \"ping\", \"arguments\": []}"];
    let garbage = garbage.map(|body| celeriac::core::Notice::new("", body)).to_vec();
    bench.app.broker().broadcast("celery.pidbox", garbage).await?;
    assert_eq!(bench.ask("ping", json!({})).await?, json!({"ok": "pong"}));
    bench.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_told_to_stop_stops() -> anyhow::Result<()> {
    let bench = Bench::new().await?;
    bench.app.control().to([NAME]).tell("shutdown", &json!({})).await?;
    bench.working.await??;
    bench.app.close().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_switched_on_and_off() -> anyhow::Result<()> {
    let bench = Bench::new().await?;
    let events = bench.app.broker().listen("celeryev", Some("task.multi"), None).await?;
    let beats = bench.app.broker().listen("celeryev", Some("worker.heartbeat"), None).await?;
    bench.app.send(add(1, 2)).await?.get_within(SOON).await?;
    assert_eq!(bench.ask("enable_events", json!({})).await?, json!({"ok": "task events enabled"}));
    assert_eq!(bench.ask("enable_events", json!({})).await?, json!({"ok": "task events already enabled"}));
    let heard = bench.app.send(add(3, 4)).await?;
    let first = String::from_utf8(events.recv(1).await?[0].notice.body.to_vec())?;
    assert!(first.contains(heard.id().as_str()), "the one before was not told: {first}");
    assert_eq!(bench.ask("disable_events", json!({})).await?, json!({"ok": "task events disabled"}));
    assert_eq!(bench.ask("disable_events", json!({})).await?, json!({"ok": "task events already disabled"}));
    let beat: Value = serde_json::from_slice(&beats.recv(1).await?[0].notice.body)?;
    assert_eq!((&beat["type"], &beat["hostname"]), (&json!("worker-heartbeat"), &json!(NAME)));
    assert_eq!(beat["loadavg"].as_array().map(Vec::len), Some(3));
    bench.end().await
}
