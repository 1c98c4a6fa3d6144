//! From just before `App::send` to the first line of the task, with nothing else to do.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use celeriac::{core::Timestamp, prelude::*};
use tokio::sync::mpsc;

use crate::{
    args::Args,
    ceiling::Bare,
    child::{Other, tell_start},
    report::Report,
    store::Store,
    tasks::publications,
};

/// Where a started task tells that it has started.
#[derive(Clone)]
struct Started(Arc<mpsc::Sender<Instant>>);

#[task(ignore_result)]
async fn start(started: State<Started>) {
    // The receiver waits for exactly this.
    let _ = started.0.0.send(Instant::now()).await;
}

pub(crate) async fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let count = if args.quick { 300 } else { 2_000 };
    let bare = bare(args, count).await?;
    let limit = "the flush of the disk, of which the sender's commit needs one before anybody may see the task";
    report.latency("bare SQLite: insert one, claim it", &bare, None, limit);
    let within = within(args, count, report).await?;
    report.latency("one process", &within, Some(Duration::from_millis(1)), limit);
    let across = across(args, count, report).await?;
    report.latency(
        "two processes",
        &across,
        Some(Duration::from_millis(5)),
        "the same, and a datagram that wakes the other process",
    );
    Ok(())
}

async fn bare(args: &Args, count: usize) -> anyhow::Result<Vec<Duration>> {
    let store = Store::fresh(args)?;
    let app = store.app(args).await?;
    let mut bare = Bare::open(args).await?;
    let mut took = Vec::with_capacity(count);
    for row in publications(&app, count)? {
        let begun = Instant::now();
        bare.insert(&[row], 1)?;
        let claimed = bare.claim(1)?;
        took.push(begun.elapsed());
        bare.delete(&claimed)?;
    }
    app.close().await?;
    Ok(took)
}

async fn within(args: &Args, count: usize, report: &Report) -> anyhow::Result<Vec<Duration>> {
    let store = Store::fresh(args)?;
    let app = store.app(args).await?;
    let (tell, mut told) = mpsc::channel(1);
    let stop = Shutdown::new();
    let worker = Worker::builder(app.clone()).tasks(tasks![start]).state(Started(Arc::new(tell))).build()?;
    let working = tokio::spawn(worker.run(stop.clone()));
    let mut took = Vec::with_capacity(count);
    for number in 0..count {
        report.progress(number, count);
        let begun = Instant::now();
        app.send(start()).await?;
        let Some(started) = told.recv().await else { break };
        took.push(started.duration_since(begun));
        settled(&app).await?;
    }
    stop.graceful();
    working.await??;
    app.close().await?;
    Ok(took)
}

async fn across(args: &Args, count: usize, report: &Report) -> anyhow::Result<Vec<Duration>> {
    let store = Store::fresh(args)?;
    let app = store.app(args).await?;
    let mut other = Other::start(&app, &store.path, args.durability).await?;
    let mut took = Vec::with_capacity(count);
    for number in 0..count {
        report.progress(number, count);
        let begun = Timestamp::now().as_nanosecond();
        app.send(tell_start()).await?;
        let started = other.heard().await?;
        took.push(Duration::from_nanos(u64::try_from(started - begun).unwrap_or(0)));
        settled(&app).await?;
    }
    other.end().await?;
    app.close().await?;
    Ok(took)
}

/// Waits until the queue is empty again and nothing is held: the next one comes into an idle worker.
async fn settled(app: &App) -> anyhow::Result<()> {
    loop {
        let depths = app.broker().depth(&[]).await?;
        if depths.iter().all(|queue| queue.ready == 0 && queue.held == 0) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}
