//! Runs seeds: many in a row, or one again, step by step.

use std::{
    collections::BTreeMap,
    ops::Range,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use celeriac_sim::{Options, Step, Verdict, run};
use clap::Parser;
use parking_lot::Mutex;

/// Runs the real worker over a simulated engine, from seeds.
#[derive(Parser)]
#[command(name = "celeriac-sim")]
struct Args {
    /// One run, printed step by step.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Many runs: from the first to before the last.
    #[arg(long, value_parser = range, default_value = "0..1000")]
    seeds: Range<u64>,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("write the seeds as FROM..BELOW, such as 0..1000, and not as {text:?}");
    let (from, below) = text.split_once("..").ok_or_else(wrong)?;
    let range = from.parse().map_err(|_| wrong())?..below.parse().map_err(|_| wrong())?;
    if range.is_empty() { Err(wrong()) } else { Ok(range) }
}

fn main() -> ExitCode {
    let args = Args::parse();
    // Tasks panic on purpose here, and the worker keeps what they say.
    std::panic::set_hook(Box::new(|info| {
        if info.payload().downcast_ref::<&str>() != Some(&"as planned") {
            eprintln!("{info}");
        }
    }));
    match args.seed {
        Some(seed) => one(seed),
        None => many(&args.seeds),
    }
}

fn one(seed: u64) -> ExitCode {
    let verdict = run(seed, Options { verbose: true, ..Options::default() });
    println!(
        "seed {seed}: {} tasks, {} runs, {} faults, trace {:016x}",
        verdict.tasks, verdict.runs, verdict.faults, verdict.hash
    );
    report(&verdict);
    if verdict.complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report(verdict: &Verdict) {
    for complaint in &verdict.complaints {
        println!("seed {}: {complaint}", verdict.seed);
    }
}

/// What many runs came to.
#[derive(Default)]
struct Total {
    tasks: u64,
    runs: u64,
    faults: u64,
    crashes: BTreeMap<Step, u64>,
    failed: Vec<u64>,
}

fn many(seeds: &Range<u64>) -> ExitCode {
    let next = AtomicU64::new(seeds.start);
    let total = Mutex::new(Total::default());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let verdict = run(seed, Options::default());
                    total.lock().add(&verdict);
                }
            });
        }
    });
    let mut total = total.into_inner();
    total.failed.sort_unstable();
    println!(
        "{} seeds: {} tasks, {} runs, {} faults, {} crashes",
        seeds.end - seeds.start,
        total.tasks,
        total.runs,
        total.faults,
        total.crashes.values().sum::<u64>()
    );
    let crashes: Vec<_> = total.crashes.iter().map(|(step, count)| format!("{step} {count}")).collect();
    println!("crashes by step: {}", crashes.join(", "));
    if total.failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("{} seeds FAILED; one of them again, step by step:", total.failed.len());
    for seed in total.failed.iter().take(10) {
        println!("    cargo run --release -p celeriac-sim -- --seed {seed}");
    }
    ExitCode::FAILURE
}

impl Total {
    fn add(&mut self, verdict: &Verdict) {
        self.tasks += verdict.tasks;
        self.runs += verdict.runs;
        self.faults += verdict.faults;
        for (step, count) in &verdict.crashes {
            *self.crashes.entry(*step).or_default() += count;
        }
        if !verdict.complaints.is_empty() {
            self.failed.push(verdict.seed);
            report(verdict);
        }
    }
}
