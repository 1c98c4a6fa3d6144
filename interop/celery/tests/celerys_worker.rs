//! A client of ours, and the real Celery's worker.

mod support;

use std::time::Duration;

use celeriac::prelude::*;
use support::Stage;

const SOON: Duration = Duration::from_mins(1);

#[task(name = "proj.add")]
async fn add(x: i64, y: i64) -> i64 {
    unreachable!("Celery adds {x} and {y}")
}

#[task(name = "proj.echo")]
async fn echo(value: String) -> String {
    unreachable!("Celery echoes {value}")
}

#[task(name = "proj.total")]
async fn total(numbers: Vec<i64>) -> i64 {
    unreachable!("Celery adds {numbers:?}")
}

#[task(name = "proj.fail")]
async fn fail(why: String) -> Result<i64, TaskError> {
    unreachable!("it fails at Celery: {why}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_celery_serves_a_client_of_ours() -> anyhow::Result<()> {
    let stage = Stage::set();
    let worker = stage.celery_worker("c1@interop");
    let app = App::connect(&stage.redis.url()).await?;
    assert_eq!(app.send(add(2, 3)).await?.get_within(SOON).await?, 5);
    for text in ["größe", "任务🎉", "", &"x".repeat(1_000_000)] {
        assert_eq!(app.send(echo(text.to_owned())).await?.get_within(SOON).await?, text);
    }
    let many = app.send_many((0..100).map(|n| add(n, 1))).await?;
    for (n, sent) in (0_i64..).zip(&many) {
        assert_eq!(sent.get_within(SOON).await?, n + 1);
    }
    let later = app.send(add(1, 1).countdown(1.s())).await?;
    assert_eq!(later.get_within(SOON).await?, 2, "held by Celery itself, since none of our workers is there");
    assert_eq!(app.send(add(1, 2).priority(9)).await?.get_within(SOON).await?, 3);
    let chain = add(1, 2).then(add::partial(4));
    assert_eq!(app.send(chain).await?.get_within(SOON).await?, 7);
    let chord = group((0..10).map(|n| add(n, n))).then(total::partial());
    assert_eq!(app.send(chord).await?.get_within(SOON).await?, 90);
    let failed = app.send(fail("why".into())).await?.get_within(SOON).await.expect_err("it fails");
    let GetError::Failed { exc_type, message, traceback } = failed else { panic!("{failed}") };
    assert_eq!((exc_type.as_str(), message.as_str()), ("KeyError", "why"));
    assert!(traceback.is_some_and(|text| text.contains("proj.py")));
    let expired = app.send(add(1, 1).countdown(2.s()).expires(1.s())).await?.get_within(SOON).await;
    assert!(matches!(expired, Err(GetError::Revoked { .. })), "{expired:?}");
    worker.stop();
    app.close().await?;
    Ok(())
}
