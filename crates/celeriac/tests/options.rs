//! What stands in `#[task(…)]` and on signatures, seen from outside: on the wire, and in what the worker does.

use std::time::Duration;

use celeriac::{
    Routes, TaskOptions,
    core::{State as TaskState, TaskId},
    prelude::*,
    protocol::Headers,
    testing::TestApp,
};

#[task(
    name = "shop.everything",
    max_retries = 7,
    backoff = "2s",
    backoff_factor = 3,
    backoff_max = "1h",
    jitter = 0.25,
    soft_time_limit = "30s",
    time_limit = "1m",
    rate_limit = "600/m",
    queue = "special",
    priority = 4,
    acks_late = false,
    expires = "1d",
    ignore_result,
    track_started,
    keep_failures,
    serializer = "msgpack",
    unique(key = "every-{to}-{{x}}-{count:03}", for = "1h")
)]
async fn everything(note: Option<String>, to: String, count: u32) {
    let _ = (note, to, count);
}

#[derive(Debug)]
enum MailError {
    Busy,
    NoSuchReader,
    Later(Duration),
}

impl std::fmt::Display for MailError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for MailError {}

fn mail(what: &str) -> Result<(), MailError> {
    Err(match what {
        "busy" => MailError::Busy,
        "nobody" => MailError::NoSuchReader,
        _ => MailError::Later(Duration::from_mins(10)),
    })
}

fn judge(error: &MailError) -> TaskErrorKind {
    match error {
        MailError::Busy => TaskErrorKind::Retryable,
        MailError::NoSuchReader => TaskErrorKind::Fatal,
        MailError::Later(after) => TaskErrorKind::Retry { after: Some(*after) },
    }
}

#[task(max_retries = 1, backoff = "1m", jitter = 0.0, retry_if = judge)]
async fn judged(what: String) -> Result<(), MailError> {
    mail(&what)
}

#[task(retry_if = |error: &MailError| matches!(error, MailError::Busy))]
async fn transient(what: String) -> Result<(), MailError> {
    mail(&what)
}

#[task]
async fn anyhows(what: String) -> anyhow::Result<u32> {
    use anyhow::Context as _;
    mail(&what).context("no mail today")?;
    Ok(1)
}

#[task]
async fn says(what: String) -> Result<u32, String> {
    Err(format!("no {what}"))
}

#[task(max_retries = 1)]
async fn asks_again(ctx: Context) -> Result<u32, TaskError> {
    if ctx.retries() == 0 { Err(ctx.retry(5.minutes())) } else { Ok(ctx.retries()) }
}

#[task]
async fn picky(note: Option<String>, to: String, count: u32) {
    let _ = (note, to, count);
}

#[task]
async fn leaf() -> u32 {
    1
}

#[task]
async fn branch(ctx: Context) -> Result<(), TaskError> {
    ctx.send(leaf()).await?;
    ctx.send_many([leaf(), leaf()]).await?;
    ctx.send_group(group([leaf()])).await?;
    Ok(())
}

#[task]
async fn double(n: i64) -> i64 {
    n * 2
}

#[task]
async fn refuse(n: i64) -> Result<i64, TaskError> {
    Err(TaskError::fatal(n))
}

#[task]
async fn mourn(id: TaskId) -> String {
    id.to_string()
}

fn app() -> TestApp {
    TestApp::new(tasks![
        everything, judged, transient, anyhows, says, asks_again, leaf, branch, double, refuse, mourn, picky
    ])
}

#[test]
fn every_option_reaches_the_definition() {
    let definition = <everything as Task>::definition();
    assert_eq!(definition.name, "shop.everything");
    let TaskOptions { backoff, rate_limit, .. } = definition.options.clone();
    assert_eq!((backoff.base, backoff.factor, backoff.max), (2.s(), 3.0, 1.hours()));
    assert!((backoff.jitter - 0.25).abs() < f64::EPSILON);
    assert!((rate_limit.expect("there is one").per_second - 10.0).abs() < f64::EPSILON);
    let expected = TaskOptions {
        max_retries: Some(7),
        backoff,
        rate_limit,
        soft_time_limit: Some(30.s()),
        time_limit: Some(1.minutes()),
        queue: Some("special"),
        priority: Some(celeriac::core::Priority(4)),
        acks_late: false,
        expires: Some(24.hours()),
        ignore_result: true,
        track_started: true,
        keep_failures: true,
        serializer: Some("msgpack"),
    };
    assert_eq!(definition.options, expected);
}

#[tokio::test]
async fn what_a_sender_must_know_is_in_the_message() -> anyhow::Result<()> {
    let app = app();
    app.send(everything(None, "ann".into(), 7)).await?;
    let waiting = app.broker().peek(celeriac::core::Peek { limit: 10, ..Default::default() }).await?;
    let headers = Headers::parse(&waiting[0].message.headers)?;
    assert_eq!((waiting[0].queue.as_str(), waiting[0].priority.0), ("special", 4));
    assert_eq!(headers.expires.as_deref(), Some("2030-01-02T00:00:00+00:00"));
    assert!(String::from_utf8_lossy(&waiting[0].message.properties).contains("application/x-msgpack"));
    Ok(())
}

#[tokio::test]
async fn a_unique_task_is_kept_out_by_its_key_and_gives_the_earlier_one() -> anyhow::Result<()> {
    let app = app();
    let first = app.send(everything(None, "ann".into(), 7)).await?;
    let again = app.send(everything(Some("other".into()), "ann".into(), 7)).await?;
    let other = app.send(everything(None, "ann".into(), 8)).await?;
    assert_eq!(first.id(), again.id());
    assert_ne!(first.id(), other.id());
    assert_eq!(app.sent().len(), 2, "what was kept out was not sent");
    app.advance(1.hours()).await?;
    assert_ne!(app.send(everything(None, "ann".into(), 7)).await?.id(), first.id(), "the window is over");
    Ok(())
}

#[tokio::test]
async fn a_task_says_which_of_its_errors_are_retried_and_when() -> anyhow::Result<()> {
    let app = app();
    let fatal = app.send(judged("nobody".into())).await?;
    let report = app.drain().await?;
    assert_eq!((report.failed, report.retried), (1, 0));
    let error = fatal.get().await.unwrap_err().to_string();
    assert_eq!(error, "the task failed: MailError: NoSuchReader");

    app.send(judged("busy".into())).await?;
    assert_eq!(app.drain().await?.retried, 1);
    assert_eq!(app.advance(1.minutes()).await?.failed, 1, "by its back-off, and once only");

    let later = app.send(judged("later".into())).await?;
    assert_eq!(app.drain().await?.retried, 1);
    assert_eq!(app.advance(9.minutes()).await?.failed, 0, "the error itself said when");
    assert_eq!(app.advance(1.minutes()).await?.failed, 1);
    assert!(later.failed().await?);

    app.send(transient("nobody".into())).await?;
    assert_eq!(app.drain().await?.failed, 1);
    app.send(transient("busy".into())).await?;
    assert_eq!(app.drain().await?.retried, 1);
    Ok(())
}

#[tokio::test]
async fn errors_of_anyhow_and_plain_texts_are_errors_too() -> anyhow::Result<()> {
    let app = app();
    let anyhow = app.send(anyhows("busy".into())).await?;
    let text = app.send(says("way".into())).await?;
    assert_eq!(app.drain().await?.retried, 2);
    app.advance(1.hours()).await?;
    let said = anyhow.get().await.unwrap_err().to_string();
    assert_eq!(said, "the task failed: RuntimeError: no mail today: Busy");
    assert_eq!(text.get().await.unwrap_err().to_string(), "the task failed: RuntimeError: no way");
    Ok(())
}

#[tokio::test]
async fn a_task_asks_for_another_run() -> anyhow::Result<()> {
    let app = app();
    let sent = app.send(asks_again()).await?;
    assert_eq!(app.drain().await?.retried, 1);
    let exception = sent.meta().await?.and_then(|meta| meta.exception()).expect("what it asked for");
    assert_eq!(exception.message(), "asked to run again in 300s");
    assert_eq!(app.advance(5.minutes()).await?.succeeded, 1);
    assert_eq!(sent.get().await?, 1);
    Ok(())
}

#[tokio::test]
async fn what_a_task_sends_knows_its_parent_and_its_root() -> anyhow::Result<()> {
    let app = app();
    let root = app.send(branch()).await?;
    app.run_one().await?;
    let waiting = app.broker().peek(celeriac::core::Peek { limit: 10, ..Default::default() }).await?;
    assert_eq!(waiting.len(), 4);
    for message in &waiting {
        let headers = Headers::parse(&message.message.headers)?;
        assert_eq!(headers.parent_id.as_deref(), Some(root.id().as_str()));
        assert_eq!(headers.root_id.as_deref(), Some(root.id().as_str()));
    }
    Ok(())
}

#[tokio::test]
async fn a_group_is_joined_counted_and_forgotten() -> anyhow::Result<()> {
    let app = app();
    let sent = app.send_group(group((1..=3).map(double))).await?;
    assert_eq!((sent.len(), sent.completed().await?, sent.ready().await?), (3, 0, false));
    app.run_one().await?;
    assert_eq!(sent.statuses().await?, [TaskState::Success, TaskState::Pending, TaskState::Pending]);
    app.drain().await?;
    assert!(sent.ready().await?);
    assert_eq!(sent.join().await?, [2, 4, 6]);
    sent.forget().await?;
    assert_eq!(sent.completed().await?, 0);

    let mixed = app.send_group(group([double(1), refuse(2)])).await?;
    app.drain().await?;
    assert!(mixed.join().await.unwrap_err().to_string().contains("RuntimeError: 2"));

    let never = app.send_group(group([double(1), double(2)])).await?;
    never.revoke(false).await?;
    assert_eq!(app.drain().await?.revoked, 2);
    assert!(app.send_group(group(Vec::<Signature<i64>>::new())).await?.join().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn children_are_what_followed() -> anyhow::Result<()> {
    let app = app();
    let first = app.send(double(1).link(double::partial())).await?;
    assert!(first.children().await?.is_empty());
    app.drain().await?;
    let children = first.children().await?;
    assert_eq!((children.len(), children[0].get().await?), (1, serde_json::json!(4)));
    Ok(())
}

#[tokio::test]
async fn each_failed_member_of_a_group_calls_its_errback() -> anyhow::Result<()> {
    let app = app();
    let sent = app.send_group(group([double(1), refuse(2), refuse(3)]).on_error(&mourn::partial())).await?;
    app.drain().await?;
    let mourned: Vec<_> = app.sent_of::<mourn>().iter().filter_map(|it| it.argument("id").cloned()).collect();
    assert_eq!(mourned, [serde_json::json!(sent.members()[1].id()), serde_json::json!(sent.members()[2].id())]);
    Ok(())
}

#[tokio::test]
async fn progress_of_another_type_is_said() -> anyhow::Result<()> {
    let app = app();
    let sent = app.send(leaf()).await?;
    assert_eq!(sent.progress::<u32>().await?, None);
    Ok(())
}

#[tokio::test]
async fn routes_and_defaults_come_from_the_settings() -> anyhow::Result<()> {
    let settings = Settings {
        task_routes: Routes::default().with("options.l*", "leaves")?,
        task_default_priority: 2,
        task_track_started: true,
        ..Settings::default()
    };
    let app = TestApp::with_settings(tasks![leaf, double], settings);
    app.send(leaf()).await?;
    app.send(double(1).priority(0).queue("own")).await?;
    let sent = app.sent();
    assert_eq!((sent[0].queue.as_str(), sent[0].priority), ("leaves", 2));
    assert_eq!((sent[1].queue.as_str(), sent[1].priority), ("own", 0));
    assert_eq!(app.drain().await?.succeeded, 2);
    Ok(())
}

#[tokio::test]
async fn arguments_from_outside_are_refused_by_name_in_either_form() -> anyhow::Result<()> {
    let cases = [
        (r#"["ann", "x", 1, 2]"#, "{}", "options.picky() takes 3 arguments but 4 were given"),
        ("[null]", r#"{"count": 1}"#, "options.picky() missing 1 required arguments: 'to'"),
        ("[]", "{}", "options.picky() missing 2 required arguments: 'to', 'count'"),
        (r#"[null, "ann"]"#, r#"{"to": "bob", "count": 1}"#, "options.picky() got multiple values for argument 'to'"),
        ("[]", r#"{"to": "a", "count": 1, "x": 2}"#, "options.picky() got an unexpected keyword argument 'x'"),
        ("[null, 5, 1]", "{}", "argument 2 `to`: expected String, invalid type: integer `5`, expected a string"),
        (
            "[]",
            r#"{"to": "a", "count": -1}"#,
            "argument 3 `count`: expected u32, invalid value: integer `-1`, expected u32",
        ),
    ];
    for (args, kwargs, message) in cases {
        let app = app();
        let sent = app.send(Signature::<()>::named("options.picky", args, kwargs)?).await?;
        let report = app.drain().await?;
        assert_eq!(report.failed, 1, "{args} {kwargs}: {report:?}");
        assert_eq!(sent.get().await.unwrap_err().to_string(), format!("the task failed: TypeError: {message}"));
        let dead = app.broker().dead(celeriac::core::DeadQuery { limit: 1, ..Default::default() }).await?;
        assert_eq!((dead[0].reason.as_str(), dead[0].detail.as_str()), ("bad-arguments", message));
    }
    Ok(())
}

#[task]
async fn hangs() {
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_time_limit_of_the_settings_holds_for_tasks_that_say_nothing() -> anyhow::Result<()> {
    let settings = Settings { task_time_limit: Some(Duration::from_millis(50)), ..Settings::default() };
    let app = App::connect_with("memory://", settings).await?;
    let stop = Shutdown::new();
    let working = tokio::spawn(Worker::builder(app.clone()).tasks(tasks![hangs]).build()?.run(stop.clone()));
    let error = app.send(hangs()).await?.get_within(30.s()).await.unwrap_err();
    assert!(error.to_string().contains("TimeLimitExceeded(0.05)"), "{error}");
    stop.graceful();
    working.await??;
    Ok(())
}
