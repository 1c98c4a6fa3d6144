//! How fast is Celeriac on SQLite, and how near does it come to what SQLite itself can do?
//!
//! Every number of ours stands beside a ceiling: the same rows in the same tables, inserted, claimed and deleted by a plain
//! loop over a bare connection, in equal batches at equal durability. Both run in turns, window by window, so that
//! whatever else the machine does hits both; what is told is the median of the windows' ratios.
//!
//! ```text
//! cargo run --release -p celeriac-bench -- --help
//! ```

mod args;
mod backlog;
mod ceiling;
mod child;
mod conditions;
mod cost;
mod drain;
mod enqueue;
mod latency;
mod memory;
mod report;
mod store;
mod tasks;

use anyhow::Context as _;
use clap::Parser as _;

use crate::{
    args::{Args, Part},
    conditions::Conditions,
    report::Report,
};

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start a runtime")?;
    if let Some(file) = &args.worker {
        return runtime.block_on(child::work(file, args.durability, args.events));
    }
    let conditions = Conditions::find(&args)?;
    if !args.json {
        print!("{conditions}");
    }
    let mut report = Report::new(&args);
    for part in args.parts() {
        report.begin(part);
        runtime.block_on(async {
            match part {
                Part::One => enqueue::one(&args, &mut report).await,
                Part::Bulk => enqueue::bulk(&args, &mut report).await,
                Part::Drain => drain::without_results(&args, &mut report).await,
                Part::Results => drain::with_results(&args, &mut report).await,
                Part::Backlog => backlog::run(&args, &mut report).await,
                Part::Latency => latency::run(&args, &mut report).await,
                Part::Memory => memory::run(&args, &mut report).await,
            }
        })?;
    }
    if args.json {
        println!("{}", report.json(&conditions)?);
    } else {
        print!("{}", report.summary());
    }
    Ok(())
}
