//! How do I test code that sends tasks, and the tasks themselves?
//!
//!     cargo run -p celeriac --example testing
//!
//! prints
//!
//!     sent: testing.send_email(to = "ann@example.com", subject = "Welcome"), queue celery
//!     sent: testing.remind(to = "ann@example.com"), queue celery, due 2030-01-02T00:00:00Z
//!     first attempt: 1 retried
//!     ten minutes later: 1 succeeded
//!     a day later: 1 succeeded

use celeriac::{assert_not_sent, assert_sent, prelude::*, testing::TestApp};

#[task(max_retries = 5, backoff = "10m", jitter = false)]
async fn send_email(ctx: Context, to: String, subject: String) -> Result<String, TaskError> {
    if ctx.retries() == 0 {
        return Err(TaskError::retryable("the mail server is busy"));
    }
    Ok(format!("{subject}, {to}"))
}

#[task]
async fn remind(to: String) {
    let _ = to;
}

/// What is tested: it takes an `App`, wherever that stands.
async fn register(app: &App, to: &str) -> celeriac::Result<()> {
    app.send(send_email(to.into(), "Welcome".into())).await?;
    app.send(remind(to.into()).countdown(24.hours())).await?;
    Ok(())
}

// In a program of one's own this is a `#[tokio::test]`.
#[tokio::main(flavor = "current_thread")]
async fn main() -> celeriac::Result<()> {
    // In memory, with a clock that stands still. Nothing runs before the test says so.
    let app = TestApp::new(tasks![send_email, remind]);
    register(&app, "ann@example.com").await?;

    assert_sent!(app, send_email, to = "ann@example.com", subject = "Welcome");
    assert_not_sent!(app, send_email, to = "bob@example.com");
    for sent in app.sent() {
        println!("sent: {sent}");
    }

    println!("first attempt: {} retried", app.drain().await?.retried);
    println!("ten minutes later: {} succeeded", app.advance(10.minutes()).await?.succeeded);
    println!("a day later: {} succeeded", app.advance(24.hours()).await?.succeeded);
    Ok(())
}
