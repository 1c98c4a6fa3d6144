//! Taking tasks out of the queue: claim, run, store, settle.

use celeriac::{
    core::{QueueName, Settlement, Subscription, WorkerName},
    prelude::*,
};

use crate::{
    args::Args,
    ceiling::Bare,
    cost::{Cost, Mark},
    report::{Report, Windows},
    store::Store,
    tasks::{self, Runs, answered, discarded},
};

/// What a worker claims at most in one go, and so the batch of the ceiling and of the engine.
const BATCH: usize = 512;
/// The runs before the measured ones: the worker finds its pace.
const WARM_UP: usize = 3_000;
/// What may be in a worker's hands when the last measured task runs.
const IN_HAND: usize = 3_000;

pub(crate) async fn without_results(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let count = if args.quick { 10_000 } else { 20_000 };
    let windows = args.windows();
    let store = Store::fresh(args)?;
    let app = store.app(args).await?;
    let mut bare = Bare::open(args).await?;
    let backlog = count * 2;
    tasks::fill(&app, backlog, discarded).await?;
    bare.fill(&app, backlog)?;
    let (mut worked, mut looped) = (Windows::default(), Windows::default());
    for window in 0..windows {
        report.progress(window, windows);
        let ceiling = bare.drain(count, BATCH, false)?;
        bare.fill(&app, ceiling.tasks)?;
        let (cost, ran) = work(args, &app, WARM_UP, count).await?;
        worked.push(cost, Some(ceiling));
        tasks::fill(&app, ran, discarded).await?;
        let cost = engine(&app, count).await?;
        looped.push(cost, Some(ceiling));
        tasks::fill(&app, cost.tasks, discarded).await?;
    }
    app.close().await?;
    report.rate(
        "Worker, a task that does nothing",
        &worked,
        Some(0.6),
        "CPU: headers and body are read and a future with its limits is made for each task, beside the writer's thread; it needs a second core",
    );
    report.rate(
        &format!("engine: recv({BATCH}) and settle in a loop"),
        &looped,
        Some(0.6),
        "the loop waits for each commit, and each delivery is checked and made a value",
    );
    Ok(())
}

pub(crate) async fn with_results(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let count = if args.quick { 5_000 } else { 20_000 };
    let windows = args.windows();
    let store = Store::fresh(args)?;
    let app = store.app(args).await?;
    let mut bare = Bare::open(args).await?;
    let backlog = count + WARM_UP + IN_HAND;
    tasks::fill(&app, backlog, answered).await?;
    bare.fill(&app, backlog)?;
    let mut worked = Windows::default();
    for window in 0..windows {
        report.progress(window, windows);
        let ceiling = bare.drain(count, BATCH, true)?;
        bare.fill(&app, ceiling.tasks)?;
        let (cost, ran) = work(args, &app, WARM_UP, count).await?;
        worked.push(cost, Some(ceiling));
        tasks::fill(&app, ran, answered).await?;
    }
    app.close().await?;
    report.rate(
        "Worker, its result stored",
        &worked,
        Some(0.6),
        "SQLite: one more row in an index of its own, and a second flush, because results are stored before tasks are settled",
    );
    Ok(())
}

/// Runs a worker over the backlog and measures `count` runs after the first `warm_up`. Tells how many it ran in all.
pub(crate) async fn work(args: &Args, app: &App, warm_up: usize, count: usize) -> anyhow::Result<(Cost, usize)> {
    let runs = Runs::between(warm_up, warm_up + count);
    let stop = Shutdown::new();
    let mut worker = Worker::builder(app.clone()).tasks(tasks![tasks::discard, tasks::answer]).state(runs.clone());
    if let Some(slots) = args.slots {
        worker = worker.concurrency(slots.into());
    }
    let working = tokio::spawn(worker.build()?.run(stop.clone()));
    runs.done().await;
    stop.graceful();
    working.await??;
    Ok((runs.cost().expect("measured runs have two marks"), runs.so_far()))
}

/// Claims and acknowledges through the engine, without a worker.
pub(crate) async fn engine(app: &App, count: usize) -> anyhow::Result<Cost> {
    let from = Subscription {
        worker: WorkerName::new("bench@here")?,
        queues: vec![QueueName::new("celery")?],
        lease: std::time::Duration::from_secs(30),
    };
    let consumer = app.broker().consume(from).await?;
    let begun = Mark::now();
    let mut done = 0;
    while done < count {
        let deliveries = consumer.recv(BATCH).await?;
        done += deliveries.len();
        consumer.settle(deliveries.into_iter().map(|delivery| Settlement::Ack(delivery.tag)).collect()).await?;
    }
    let cost = Mark::now().since(&begun, done);
    consumer.close().await?;
    Ok(cost)
}
