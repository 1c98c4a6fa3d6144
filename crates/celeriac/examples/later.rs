//! How do I run a task later, and not too late?
//!
//!     cargo run -p celeriac --example later
//!
//! prints
//!
//!     it waits until it is due
//!     Good morning, Ann
//!     the task was revoked: expired

use celeriac::{core::Timestamp, prelude::*};

#[task]
async fn wake(name: String) -> String {
    format!("Good morning, {name}")
}

/// Nobody wants it when it is old: for every call, unless `.expires(…)` says otherwise.
#[task(expires = "5m")]
async fn forecast() -> String {
    "rain".into()
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let app = App::connect("memory://").await?;

    // What waits for its time waits in the store, not in a worker: it survives every restart.
    let due = Timestamp::now() + std::time::Duration::from_millis(300);
    let morning = app.send(wake("Ann".into()).eta(due)).await?;
    let late = app.send(forecast().expires_at(Timestamp::now() - std::time::Duration::from_secs(1))).await?;
    let next_week = app.send(wake("Bob".into()).countdown((7 * 24).hours())).await?;

    let stop = Shutdown::on_signals();
    let worker = Worker::builder(app.clone()).tasks(tasks![wake, forecast]).build()?;
    let working = tokio::spawn(worker.run(stop.clone()));

    if !morning.ready().await? {
        println!("it waits until it is due");
    }
    println!("{}", morning.get_within(10.s()).await?);
    println!("{}", late.get_within(10.s()).await.expect_err("it is too late"));
    next_week.revoke(false).await?;

    stop.graceful();
    working.await??;
    Ok(())
}
