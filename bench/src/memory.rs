//! What a worker's process takes: idle, in front of a short and of a long backlog, beside parked tasks.

use std::time::{Duration, Instant};

use celeriac::prelude::*;

use crate::{
    args::Args,
    child::Other,
    cost::{cpu_time, mebibytes, times_slept},
    report::Report,
    store::Store,
    tasks::{self, discarded},
};

/// How much of a backlog a worker gets through while its memory is watched.
const WORKED: u64 = 20_000;

pub(crate) async fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let many = args.many();
    let idle = idle(args, report).await?;
    let few = Store::fresh(args)?;
    let app = few.app(args).await?;
    tasks::fill(&app, usize::try_from(WORKED)? * 2, discarded).await?;
    let at_few = working(args, &few, &app).await?;
    report.memory(&format!("worker, {WORKED} of {} run: peak", WORKED * 2), at_few, None, "pages of SQLite, 16 MiB");
    report.say(&format!("filling a file with {many} tasks"));
    let long = Store::fresh(args)?;
    let app = long.app(args).await?;
    tasks::fill(&app, many, discarded).await?;
    let at_many = working(args, &long, &app).await?;
    report.memory(&format!("worker, {WORKED} of {many} run: peak"), at_many, Some(at_few), "the same");
    drop(long);
    report.say(&format!("filling a file with {many} tasks that are due tomorrow"));
    let later = Store::fresh(args)?;
    let app = later.app(args).await?;
    tasks::fill(&app, many, |number| discarded(number).countdown(24.hours())).await?;
    let other = Other::start(&app, &later.path, args.durability).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let parked = mebibytes(&other.id()?, "VmRSS:");
    other.end().await?;
    app.close().await?;
    report.memory(&format!("worker, {many} parked"), parked, Some(idle), "they are rows of the file, and nothing else");
    Ok(())
}

/// A worker that has nothing to do: its memory, and what it costs to wait.
async fn idle(args: &Args, report: &mut Report) -> anyhow::Result<f64> {
    let store = Store::fresh(args)?;
    let app = store.app(args).await?;
    let other = Other::start_telling(&app, &store.path, args.durability).await?;
    let id = other.id()?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (begun, cpu, slept) = (Instant::now(), cpu_time(&id), times_slept(&id));
    tokio::time::sleep(Duration::from_secs(if args.quick { 5 } else { 20 })).await;
    let (took, cpu, slept) = (begun.elapsed(), cpu_time(&id).saturating_sub(cpu), times_slept(&id) - slept);
    let idle = mebibytes(&id, "VmRSS:");
    other.end().await?;
    app.close().await?;
    report.memory("worker, idle", idle, None, "the program itself and a connection for each thread");
    report.idle(took, cpu, slept);
    Ok(idle)
}

/// The peak of a worker that runs a part of a backlog.
async fn working(args: &Args, store: &Store, app: &App) -> anyhow::Result<f64> {
    let before = ready(app).await?;
    let other = Other::start(app, &store.path, args.durability).await?;
    while before.saturating_sub(ready(app).await?) < WORKED {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let peak = mebibytes(&other.id()?, "VmHWM:");
    other.end().await?;
    app.close().await?;
    Ok(peak)
}

async fn ready(app: &App) -> anyhow::Result<u64> {
    Ok(app.broker().depth(&[]).await?.iter().map(|queue| queue.ready).sum())
}
