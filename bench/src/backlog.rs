//! Does a long queue slow the worker down?

use crate::{
    args::Args,
    ceiling::Bare,
    drain,
    report::{Report, Windows},
    store::Store,
    tasks::{self, discarded},
};

/// The small backlog.
const FEW: usize = 10_000;
const WARM_UP: usize = 1_000;
const COUNT: usize = 6_000;

/// Windows in front of a small and of a large backlog take turns; the bare loop shows what of the difference is SQLite's.
pub(crate) async fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let (small, large) = (Store::fresh(args)?, Store::fresh(args)?);
    let (few, many) = (small.app(args).await?, large.app(args).await?);
    let (mut bare_few, mut bare_many) = (Bare::open(args).await?, Bare::open(args).await?);
    report.say(&format!("filling two files with {} tasks each", args.many()));
    tasks::fill(&few, FEW, discarded).await?;
    tasks::fill(&many, args.many(), discarded).await?;
    bare_few.fill(&few, FEW)?;
    bare_many.fill(&few, args.many())?;
    let (mut worked, mut bare) = (Windows::default(), Windows::default());
    for window in 0..args.windows() {
        report.progress(window, args.windows());
        let (at_few, ran) = drain::work(args, &few, WARM_UP, COUNT).await?;
        tasks::fill(&few, ran, discarded).await?;
        let (at_many, ran) = drain::work(args, &many, WARM_UP, COUNT).await?;
        tasks::fill(&many, ran, discarded).await?;
        worked.push(at_many, Some(at_few));
        let at_few = bare_few.drain(COUNT, 512, false)?;
        bare_few.fill(&few, at_few.tasks)?;
        let at_many = bare_many.drain(COUNT, 512, false)?;
        bare_many.fill(&few, at_many.tasks)?;
        bare.push(at_many, Some(at_few));
    }
    few.close().await?;
    many.close().await?;
    report.rate(
        &format!("Worker, backlog of {} (beside {FEW})", args.many()),
        &worked,
        Some(0.8),
        "pages that are no longer in SQLite's cache are read from the system's",
    );
    report.rate(&format!("bare SQLite, {} (beside {FEW})", args.many()), &bare, None, "the same, without us");
    Ok(())
}
