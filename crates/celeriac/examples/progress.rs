//! How does a long task tell how far it is, and how is it stopped?
//!
//!     cargo run -p celeriac --example progress
//!
//! prints
//!
//!     PROGRESS: 5 of 10 pages
//!     the task was revoked: terminated

use std::{future::pending, sync::Arc};

use celeriac::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

#[derive(Deserialize, Serialize)]
struct Pages {
    done: u32,
    all: u32,
}

/// Stands for a long piece of work: it gets half way, says so, and goes on until it is stopped.
#[task]
async fn print(ctx: Context, half_way: State<Arc<Notify>>, all: u32) -> Result<(), TaskError> {
    for done in 1..=all / 2 {
        ctx.progress(&Pages { done, all }).await?;
    }
    half_way.notify_one();
    // Who is stopped ends at an `await` like this one. Who has to put something down in order waits for
    // `ctx.cancellation().cancelled()` beside its work, and what it returns then counts.
    pending().await
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // A worker hears of a revocation when it renews its lease, three times in each.
    let settings = Settings { lease: 1.s(), ..Settings::default() };
    let app = App::connect_with("memory://", settings).await?;
    let half_way = Arc::new(Notify::new());
    let stop = Shutdown::on_signals();
    let worker = Worker::builder(app.clone()).tasks(tasks![print]).state(half_way.clone()).build()?;
    let working = tokio::spawn(worker.run(stop.clone()));

    let printing = app.send(print(10)).await?;
    half_way.notified().await;
    if let Some(pages) = printing.progress::<Pages>().await? {
        println!("{}: {} of {} pages", printing.status().await?, pages.done, pages.all);
    }

    printing.revoke(true).await?; // `true`: also when it runs
    println!("{}", printing.get_within(10.s()).await.expect_err("it was stopped"));

    stop.graceful();
    working.await??;
    Ok(())
}
