//! Putting tasks into the queue.

use celeriac::prelude::*;
use futures_util::future::try_join_all;

use crate::{
    args::Args,
    ceiling::Bare,
    cost::{Cost, Mark},
    report::{Report, Windows},
    store::Store,
    tasks::{discarded, publications},
};

/// How many callers send at the same time.
const SENDERS: usize = 64;
/// The rows of one transaction: what the engine takes of a large batch in one go.
const BATCH: usize = 1_000;

/// One message a call.
pub(crate) async fn one(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let count = if args.quick { 300 } else { 1_000 };
    let store = Store::fresh(args)?;
    let app = store.app(args).await?;
    let mut bare = Bare::open(args).await?;
    let (mut alone, mut together) = (Windows::default(), Windows::default());
    for window in 0..args.windows() {
        report.progress(window, args.windows());
        let ceiling = bare.insert(&publications(&app, count)?, 1)?;
        alone.push(send_alone(&app, count).await?, Some(ceiling));
        together.push(send_together(&app, count * 4).await?, Some(ceiling));
    }
    app.close().await?;
    report.rate(
        "App::send, one caller",
        &alone,
        None,
        "each waits for its own flush of the disk, and for the writer's thread and back",
    );
    report.rate(
        &format!("App::send, {SENDERS} callers"),
        &together,
        None,
        "what waits is committed together: one flush for all, so more than one row a flush can do",
    );
    Ok(())
}

async fn send_alone(app: &App, count: usize) -> anyhow::Result<Cost> {
    let begun = Mark::now();
    for number in 0..count {
        app.send(discarded(number)).await?;
    }
    Ok(Mark::now().since(&begun, count))
}

async fn send_together(app: &App, count: usize) -> anyhow::Result<Cost> {
    let each = count / SENDERS;
    let begun = Mark::now();
    let senders = (0..SENDERS).map(|_| {
        let app = app.clone();
        tokio::spawn(async move { send_alone(&app, each).await })
    });
    for sent in try_join_all(senders).await? {
        sent?;
    }
    Ok(Mark::now().since(&begun, each * SENDERS))
}

/// Ten thousand messages a call.
pub(crate) async fn bulk(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    const COUNT: usize = 10_000;
    let store = Store::fresh(args)?;
    let app = store.app(args).await?;
    let mut bare = Bare::open(args).await?;
    let (mut sent, mut published) = (Windows::default(), Windows::default());
    for window in 0..args.windows() {
        report.progress(window, args.windows());
        let ceiling = bare.insert(&publications(&app, COUNT)?, BATCH)?;
        let begun = Mark::now();
        app.send_many((0..COUNT).map(discarded)).await?;
        sent.push(Mark::now().since(&begun, COUNT), Some(ceiling));
        let rows = publications(&app, COUNT)?;
        let begun = Mark::now();
        app.broker().publish(rows).await?;
        published.push(Mark::now().since(&begun, COUNT), Some(ceiling));
    }
    app.close().await?;
    report.rate(
        &format!("App::send_many({COUNT})"),
        &sent,
        Some(0.6),
        "the messages are made before any is stored, because a wrong one must stop them all: nothing overlaps",
    );
    report.rate(
        "engine: publish, messages made before",
        &published,
        Some(0.6),
        "SQLite: writing the rows and the index of task ids",
    );
    Ok(())
}
