//! Tasks from send to end, through the real worker on a real file: what each promise looks like from outside.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use celeriac::{
    core::{DeadQuery, DeadReason, Message, Priority, Publication, QueueName, State as TaskState, TaskId, TaskName},
    prelude::*,
    worker::Report,
};
use tokio::{sync::Notify, task::JoinHandle};

/// An application on a file of its own, and a worker that runs until the end of the test.
struct Bench {
    app: App,
    stop: Shutdown,
    working: JoinHandle<celeriac::Result<Report>>,
    seen: Seen,
    _folder: tempfile::TempDir,
}

/// What the tasks below note.
#[derive(Clone, Debug, Default)]
struct Seen {
    runs: Arc<AtomicU32>,
    began: Arc<Notify>,
}

const SOON: Duration = Duration::from_secs(30);

async fn bench() -> anyhow::Result<Bench> {
    let folder = tempfile::tempdir()?;
    let app = App::connect(&format!("sqlite://{}", folder.path().join("queue.db").display())).await?;
    let (seen, stop) = (Seen::default(), Shutdown::new());
    let worker = worker(&app, &seen)?;
    let working = tokio::spawn(worker.run(stop.clone()));
    Ok(Bench { app, stop, working, seen, _folder: folder })
}

fn worker(app: &App, seen: &Seen) -> anyhow::Result<Worker> {
    let tasks =
        tasks![add, twice, sum, fails, flaky, broken, hangs, told, note, noted_failure, counts, blocks, steps, picky];
    Ok(Worker::builder(app.clone())
        .tasks(tasks)
        .state(seen.clone())
        .concurrency(8)
        .grace(Duration::from_secs(5))
        .build()?)
}

impl Bench {
    async fn end(self) -> anyhow::Result<Report> {
        self.stop.graceful();
        let report = self.working.await??;
        let depth = self.app.broker().depth(&[]).await?;
        assert!(depth.iter().all(|queue| queue.held == 0), "nothing stays in hand: {depth:?}");
        self.app.close().await?;
        Ok(report)
    }

    /// Sends a message that no client of ours would make.
    async fn raw(&self, id: &str, headers: &str, properties: &str, body: &[u8]) -> anyhow::Result<TaskId> {
        let publication = Publication {
            task_id: TaskId::new(id)?,
            task: TaskName::new("raw")?,
            queue: QueueName::new("celery")?,
            priority: Priority(0),
            due: None,
            unique: None,
            message: Message {
                headers: headers.to_owned().into(),
                properties: properties.to_owned().into(),
                body: bytes::Bytes::copy_from_slice(body),
            },
        };
        self.app.broker().publish(vec![publication]).await?;
        Ok(TaskId::new(id)?)
    }
}

#[task]
async fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[task]
async fn twice(value: i64) -> i64 {
    value * 2
}

#[task]
async fn sum(values: Vec<i64>) -> i64 {
    values.iter().sum()
}

#[task(max_retries = 0)]
async fn fails(why: String) -> Result<i64, TaskError> {
    Err(TaskError::fatal(why).named("KeyError"))
}

/// Fails twice, then succeeds.
#[task(max_retries = 5, backoff = "1ms")]
async fn flaky(seen: State<Seen>, ctx: Context) -> Result<u32, std::io::Error> {
    let run = seen.runs.fetch_add(1, SeqCst) + 1;
    if run < 3 { Err(std::io::Error::other("the line is busy")) } else { Ok(ctx.retries()) }
}

#[task]
async fn broken() -> i64 {
    panic!("this task is broken")
}

#[task(time_limit = "50ms")]
async fn hangs() {
    std::future::pending::<()>().await;
}

/// Runs until it is told to stop by itself.
#[task(soft_time_limit = "50ms")]
async fn told(ctx: Context) -> String {
    ctx.cancellation().cancelled().await;
    "put down in order".into()
}

#[task]
async fn note(seen: State<Seen>, value: i64) -> i64 {
    seen.runs.fetch_add(u32::try_from(value).unwrap_or(0), SeqCst);
    seen.began.notify_one();
    value
}

#[task]
async fn noted_failure(seen: State<Seen>, id: TaskId) {
    assert!(!id.as_str().is_empty());
    seen.began.notify_one();
}

/// Begins, says so, and never ends.
#[task]
async fn blocks(seen: State<Seen>) {
    seen.runs.fetch_add(1, SeqCst);
    seen.began.notify_one();
    std::future::pending::<()>().await;
}

/// Not async: runs on a thread for blocking work.
#[task]
fn counts(words: BTreeMap<String, u32>, plus: Option<u32>) -> u32 {
    words.values().sum::<u32>() + plus.unwrap_or(0)
}

#[task]
async fn steps(ctx: Context, seen: State<Seen>) -> Result<(), TaskError> {
    ctx.progress(&("half", 50)).await?;
    seen.began.notify_one();
    ctx.cancellation().cancelled().await;
    Ok(())
}

#[task]
async fn picky() -> Result<(), TaskError> {
    Err(TaskError::reject("not for me"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_comes_back_as_its_type() -> anyhow::Result<()> {
    let bench = bench().await?;
    assert_eq!(bench.app.send(add(2, 3)).await?.get_within(SOON).await?, 5);
    let words = [("a".to_owned(), 2), ("ü".to_owned(), 3)].into();
    assert_eq!(bench.app.send(counts(words, Some(1))).await?.get_within(SOON).await?, 6);
    for serializer in ["msgpack", "yaml"] {
        let sent = bench.app.send(add(20, 3).serializer(serializer)).await?;
        assert_eq!(sent.get_within(SOON).await?, 23, "{serializer}");
    }
    assert_eq!(bench.end().await?.succeeded, 4);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_go_in_one_round_trip_and_each_runs_once() -> anyhow::Result<()> {
    let bench = bench().await?;
    let sent = bench.app.send_many((0..1_000).map(|n| add(n, 1))).await?;
    for (n, result) in (0_i64..).zip(&sent) {
        assert_eq!(result.get_within(SOON).await?, n + 1);
    }
    assert_eq!(bench.end().await?.succeeded, 1_000);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_comes_back_with_its_name_and_reason() -> anyhow::Result<()> {
    let bench = bench().await?;
    let failed = bench.app.send(fails("no such key".into())).await?.get_within(SOON).await.unwrap_err();
    let GetError::Failed { exc_type, message, .. } = failed else { panic!("{failed}") };
    assert_eq!((exc_type.as_str(), message.as_str()), ("KeyError", "no such key"));
    let panicked = bench.app.send(broken()).await?.get_within(SOON).await.unwrap_err();
    let GetError::Failed { message, traceback, .. } = panicked else { panic!("{panicked}") };
    assert!(message.contains("this task is broken"), "{message}");
    assert!(traceback.is_some_and(|text| text.contains("life.rs")), "a backtrace names the place");
    let late = bench.app.send(hangs()).await?.get_within(SOON).await.unwrap_err();
    assert!(late.to_string().contains("TimeLimitExceeded(0.05)"), "{late}");
    assert_eq!(bench.app.send(told()).await?.get_within(SOON).await?, "put down in order");
    assert_eq!(bench.end().await?.failed, 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_now_is_retried_until_it_succeeds() -> anyhow::Result<()> {
    let bench = bench().await?;
    assert_eq!(bench.app.send(flaky()).await?.get_within(SOON).await?, 2);
    let report = bench.end().await?;
    assert_eq!((report.succeeded, report.retried), (1, 2));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_step_returns_is_the_first_argument_of_the_next() -> anyhow::Result<()> {
    let bench = bench().await?;
    let chain = add(1, 2).then(add::partial(10)).then(twice::partial());
    assert_eq!(bench.app.send(chain).await?.get_within(SOON).await?, 26);
    let chord = group((1..=20).map(twice)).then(sum::partial());
    assert_eq!(bench.app.send(chord).await?.get_within(SOON).await?, 420);
    let chord_in_chain = group([add(1, 1), add(2, 2)]).then(sum::partial()).then(add::partial(100));
    assert_eq!(bench.app.send(chord_in_chain).await?.get_within(SOON).await?, 106);
    let chains_in_chord =
        group([add(1, 1).then(twice::partial()), add(2, 2).then(twice::partial())]).then(sum::partial());
    assert_eq!(bench.app.send(chains_in_chord).await?.get_within(SOON).await?, 12);
    bench.end().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_step_fails_the_chain_and_the_chord_and_calls_the_errbacks() -> anyhow::Result<()> {
    let bench = bench().await?;
    let chain = fails("first".into()).on_error(noted_failure::partial()).then(twice::partial());
    let error = bench.app.send(chain).await?.get_within(SOON).await.unwrap_err();
    assert!(error.to_string().contains("first"), "{error}");
    bench.seen.began.notified().await;
    let chord = group([add(1, 1), fails("a part".into())]).then(sum::partial());
    let error = bench.app.send(chord).await?.get_within(SOON).await.unwrap_err();
    assert!(error.to_string().contains("ChordError") && error.to_string().contains("a part"), "{error}");
    bench.end().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_gets_the_result() -> anyhow::Result<()> {
    let bench = bench().await?;
    bench.app.send(add(40, 2).link(note::partial())).await?.get_within(SOON).await?;
    bench.seen.began.notified().await;
    assert_eq!(bench.seen.runs.load(SeqCst), 42);
    bench.end().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_late_or_revoked_does_not_run() -> anyhow::Result<()> {
    let bench = bench().await?;
    let expired = bench.app.send(note(1).expires(Duration::ZERO)).await?;
    let error = expired.get_within(SOON).await.unwrap_err();
    assert!(matches!(&error, GetError::Revoked { reason } if reason == "expired"), "{error}");
    let waiting = bench.app.send(note(1).countdown(Duration::from_millis(300))).await?;
    waiting.revoke(false).await?;
    let error = waiting.get_within(SOON).await.unwrap_err();
    assert!(matches!(&error, GetError::Revoked { reason } if reason == "revoked"), "{error}");
    assert_eq!(bench.seen.runs.load(SeqCst), 0);
    assert_eq!(bench.end().await?.revoked, 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_seen_while_the_task_runs() -> anyhow::Result<()> {
    let bench = bench().await?;
    let sent = bench.app.send(steps()).await?;
    bench.seen.began.notified().await;
    assert_eq!(sent.progress::<(String, u32)>().await?, Some(("half".into(), 50)));
    assert_eq!(sent.status().await?, TaskState::Custom("PROGRESS".into()));
    bench.stop.cold();
    bench.working.await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_at_once_gives_the_task_back_and_the_next_worker_runs_it() -> anyhow::Result<()> {
    let bench = bench().await?;
    bench.app.send(blocks()).await?;
    bench.seen.began.notified().await;
    bench.stop.cold();
    let report = bench.working.await??;
    assert_eq!((report.handed_back, report.succeeded), (1, 0));
    let depth = &bench.app.broker().depth(&[QueueName::new("celery")?]).await?[0];
    assert_eq!((depth.ready, depth.held), (1, 0));

    let stop = Shutdown::new();
    let again = tokio::spawn(worker(&bench.app, &bench.seen)?.run(stop.clone()));
    bench.seen.began.notified().await;
    assert_eq!(bench.seen.runs.load(SeqCst), 2);
    stop.cold();
    again.await??;
    bench.app.close().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_ends_in_the_dead_set_with_its_reason_and_the_worker_goes_on() -> anyhow::Result<()> {
    let bench = bench().await?;
    let json = r#"{"content_type": "application/json"}"#;
    let body = b"[[1, 2], {}, null]";
    bench.raw("not-json", "\u{0}\u{1} nonsense", json, body).await?;
    bench.raw("truncated", r#"{"task": "life.add", "id": "tr"#, json, body).await?;
    bench.raw("no-task", r#"{"id": "no-task"}"#, json, body).await?;
    bench.raw("no-id", r#"{"task": "life.add"}"#, json, body).await?;
    bench.raw("wrong-type", r#"{"task": "life.add", "id": "wrong-type", "retries": "many"}"#, json, body).await?;
    bench.raw("bad-eta", r#"{"task": "life.add", "id": "bad-eta", "eta": "tomorrow"}"#, json, body).await?;
    bench
        .raw("unknown", r#"{"task": "<script>alert(1)</script>; DROP TABLE messages", "id": "unknown"}"#, json, body)
        .await?;
    bench
        .raw(
            "pickle",
            r#"{"task": "life.add", "id": "pickle"}"#,
            r#"{"content_type": "application/x-python-serialize"}"#,
            b"\x80\x04.",
        )
        .await?;
    bench.raw("random", r#"{"task": "life.add", "id": "random"}"#, json, &[0xff, 0, 0x9f, 7]).await?;
    bench.raw("deep", r#"{"task": "life.add", "id": "deep"}"#, json, "[".repeat(100_000).as_bytes()).await?;
    bench.raw("arguments", r#"{"task": "life.add", "id": "arguments"}"#, json, br#"[[1, "two"], {}, null]"#).await?;
    let picky = bench.app.send(picky()).await?;
    assert!(picky.get_within(SOON).await.is_err());

    // All of them stand in one queue before this one.
    assert_eq!(bench.app.send(add(1, 1)).await?.get_within(SOON).await?, 2);
    let app = bench.app.clone();
    bench.stop.graceful();
    bench.working.await??;
    let dead = app.broker().dead(DeadQuery { limit: 100, ..DeadQuery::default() }).await?;
    let reasons: BTreeMap<String, String> =
        dead.iter().map(|it| (it.task_id.to_string(), it.reason.as_str().to_owned())).collect();
    for (id, reason) in [
        ("not-json", "malformed"),
        ("truncated", "malformed"),
        ("no-task", "malformed"),
        ("no-id", "malformed"),
        ("wrong-type", "malformed"),
        ("bad-eta", "malformed"),
        ("unknown", "unknown-task"),
        ("pickle", "bad-arguments"),
        ("random", "bad-arguments"),
        ("deep", "bad-arguments"),
        ("arguments", "bad-arguments"),
        (picky.id().as_str(), "rejected"),
    ] {
        assert_eq!(reasons.get(id).map(String::as_str), Some(reason), "{id}: {reasons:?}");
    }
    let arguments = dead.iter().find(|it| it.task_id.as_str() == "arguments").expect("it is there");
    assert!(arguments.detail.contains("argument 2 `b`: expected i64"), "{}", arguments.detail);
    assert!(dead.iter().any(|it| it.reason == DeadReason::Rejected && it.detail == "not for me"));
    app.close().await?;
    Ok(())
}

#[tokio::test]
async fn a_wrong_url_says_what_there_is() {
    let error = App::connect("kafka://me:secret@host/0").await.expect_err("no such engine here").to_string();
    assert!(error.contains("sqlite://") && !error.contains("secret"), "{error}");
}
