//! What a test of a program that sends and runs tasks can rely on: nothing runs by itself, time stands still.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use celeriac::{assert_not_sent, assert_sent, core::State as TaskState, prelude::*, testing::TestApp};

#[derive(Clone, Default)]
struct Runs {
    count: Arc<AtomicU32>,
}

#[task]
async fn greet(to: String, times: u32) -> String {
    format!("{to} {times}")
}

#[task]
async fn shout(words: String) -> String {
    words.to_uppercase()
}

/// Fails until its third run.
#[task(max_retries = 5, backoff = "10m", jitter = false)]
async fn flaky(runs: State<Runs>) -> Result<u32, std::io::Error> {
    let run = runs.count.fetch_add(1, SeqCst) + 1;
    if run < 3 { Err(std::io::Error::other("busy")) } else { Ok(run) }
}

#[task(acks_late = false, queue = "elsewhere")]
async fn early(ctx: Context) -> Result<(), TaskError> {
    // Whoever settled it early still sees what it sends.
    ctx.send(greet("from early".into(), 1).queue("brand-new")).await?;
    Ok(())
}

#[task(rate_limit = "1/m")]
async fn slow() {}

fn app() -> TestApp {
    TestApp::new(tasks![greet, shout, flaky, early, slow]).state(Runs::default())
}

#[tokio::test]
async fn nothing_runs_before_it_is_told_to() -> anyhow::Result<()> {
    let app = app();
    let first = app.send(greet("ann".into(), 1)).await?;
    let second = app.send(greet("bob".into(), 2)).await?;
    assert!(!first.ready().await?);
    assert_eq!(app.run_one().await?.succeeded, 1);
    assert!(first.successful().await? && !second.ready().await?, "one runs, in order");
    assert_eq!(app.run_one().await?.succeeded, 1);
    assert_eq!(second.get().await?, "bob 2");
    assert_eq!(app.run_one().await?, celeriac::worker::Report::default());
    Ok(())
}

#[tokio::test]
async fn a_drain_runs_what_follows_too() -> anyhow::Result<()> {
    let app = app();
    let chain = app.send(greet("ann".into(), 1).then(shout::partial())).await?;
    app.send(early()).await?;
    assert_eq!(app.drain().await?.succeeded, 4);
    assert_eq!(chain.get().await?, "ANN 1");
    assert_sent!(app, shout, words = "ann 1");
    let sent = app.sent_of::<greet>();
    let parent = &app.sent_of::<early>()[0];
    assert_eq!((sent[1].queue.as_str(), sent[1].parent.as_deref()), ("brand-new", Some(parent.id.as_str())));
    Ok(())
}

#[tokio::test]
async fn the_clock_moves_only_with_the_test_and_each_task_runs_at_its_time() -> anyhow::Result<()> {
    let app = app();
    let start = app.now();
    let late = app.send(greet("ann".into(), 1).countdown(3.hours())).await?;
    let flaky = app.send(flaky()).await?;
    assert_eq!(app.drain().await?.retried, 1);
    assert_eq!(flaky.status().await?, TaskState::Retry);
    assert_eq!(app.advance(9.minutes()).await?.retried, 0, "its first retry is after ten minutes");
    assert_eq!(app.advance(1.minutes()).await?.retried, 1);
    let report = app.advance(20.minutes()).await?;
    assert_eq!((report.succeeded, flaky.get().await?), (1, 3));
    assert_eq!(app.now().duration_since(start), 30.minutes().try_into()?);
    assert_eq!(app.advance(24.hours()).await?.succeeded, 1);
    assert_eq!(late.get().await?, "ann 1");
    let done = late.meta().await?.and_then(|meta| meta.date_done);
    assert_eq!(done.as_deref(), Some("2030-01-01T03:00:00+00:00"), "on its way, not at its end");
    Ok(())
}

#[tokio::test]
async fn expiry_and_rates_go_by_the_test_s_clock() -> anyhow::Result<()> {
    let app = app();
    let expiring = app.send(greet("ann".into(), 1).countdown(2.minutes()).expires(1.minutes())).await?;
    assert_eq!(app.advance(2.minutes()).await?.revoked, 1);
    assert!(matches!(expiring.get().await, Err(GetError::Revoked { reason }) if reason == "expired"));
    app.send_many((0..3).map(|_| slow())).await?;
    assert_eq!(app.drain().await?.succeeded, 1);
    assert_eq!(app.advance(1.minutes()).await?.succeeded, 1);
    assert_eq!(app.advance(1.minutes()).await?.succeeded, 1);
    Ok(())
}

#[tokio::test]
async fn a_crash_before_settling_repeats_the_task_and_loses_nothing() -> anyhow::Result<()> {
    let app = app();
    let sent = app.send(greet("ann".into(), 1).then(shout::partial())).await?;
    app.run_one_and_crash().await?;
    assert_eq!(app.drain().await?.succeeded, 1, "what follows was sent before the crash");
    assert_eq!(sent.get().await?, "ANN 1");
    let depth = &app.broker().depth(&[]).await?;
    assert_eq!(depth.iter().map(|queue| queue.held).sum::<u64>(), 1, "it is in a dead worker's hands");
    assert_eq!(app.advance(30.s()).await?.succeeded, 2, "it ran again, and so did what follows");
    Ok(())
}

#[tokio::test]
async fn what_was_sent_is_asserted_by_the_names_of_arguments() -> anyhow::Result<()> {
    let app = app();
    assert_not_sent!(app, greet);
    app.send(greet("ann".into(), 1).priority(3)).await?;
    app.send(Signature::<String>::named("testing.greet", r#"["bob"]"#, r#"{"times": 2}"#)?).await?;
    assert_sent!(app, greet);
    assert_sent!(app, greet, to = "ann", times = 1);
    assert_sent!(app, greet, times = 2);
    assert_not_sent!(app, greet, to = "ann", times = 2);
    assert_not_sent!(app, shout);
    Ok(())
}

#[tokio::test]
#[should_panic(
    expected = "testing.greet(to = \"bob\") was not sent. These were, in order:\n  testing.greet(to = \"ann\", times = 1), queue \
                celery, priority 3, due 2030-01-01T00:01:00Z"
)]
async fn a_failed_assertion_prints_what_was_sent() {
    let app = app();
    app.send(greet("ann".into(), 1).priority(3).countdown(Duration::from_mins(1))).await.unwrap();
    assert_sent!(app, greet, to = "bob");
}

#[tokio::test]
#[should_panic(expected = "testing.greet has no argument `who`: it has to, times")]
async fn an_argument_that_the_task_does_not_have_is_a_mistake_of_the_test() {
    assert_not_sent!(app(), greet, who = "bob");
}

#[tokio::test]
async fn a_memory_url_is_an_application_of_its_own() -> anyhow::Result<()> {
    let (one, other) = (App::connect("memory://").await?, App::connect("memory://").await?);
    one.send(greet("ann".into(), 1)).await?;
    assert_eq!((one.broker().depth(&[]).await?.len(), other.broker().depth(&[]).await?.len()), (1, 0));
    Ok(())
}

#[tokio::test]
async fn a_state_that_was_not_handed_in_is_named() -> anyhow::Result<()> {
    let app = TestApp::new(tasks![flaky]);
    let sent = app.send(flaky()).await?;
    assert_eq!(app.drain().await?.failed, 1);
    let said = sent.get().await.unwrap_err().to_string();
    assert!(
        said.ends_with("could not find the state `testing::Runs`: hand it to the worker with `.state(…)`"),
        "{said}"
    );
    Ok(())
}
