//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measures tasks a second, CPU time a task, latency and memory, each beside what bare SQLite does in the same run
#[derive(Debug, Parser)]
#[command(version, after_long_help = HELP)]
pub(crate) struct Args {
    /// The parts to run, in this order [default: all]
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Smaller backlogs and fewer windows: a minute or two, for a first look
    #[arg(short, long)]
    pub(crate) quick: bool,
    /// Write one JSON document to standard output
    #[arg(short, long)]
    pub(crate) json: bool,
    /// Where the files are made; it should be the disk that you will use, and needs about 6 GB
    #[arg(short, long, value_name = "FOLDER", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// How durable a commit is, ours and the ceiling's alike
    #[arg(long, value_enum, default_value_t = Durability::Full)]
    pub(crate) durability: Durability,
    /// How many windows of each kind are measured; the median is told
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    windows: Option<u16>,
    /// How many tasks the measured worker runs at a time [default: the worker's own]
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) slots: Option<u16>,
    /// Runs a worker on this file until standard input ends; this program starts itself so
    #[arg(long, hide = true)]
    pub(crate) worker: Option<PathBuf>,
    /// With `--worker`: sends task events and heartbeats
    #[arg(long, hide = true)]
    pub(crate) events: bool,
}

const HELP: &str = "\
How to read it:
  ours       what an application gets: App::send or send_many, or a Worker with a task that does nothing
  engine     the same without application and worker: the broker's own methods in a loop
  ceiling    the same rows in the same tables by a bare connection, in equal batches at equal durability
  ratio      the median of ours/ceiling over windows that take turns; lowest and highest in brackets
  CPU        user and system time of the whole process for one task, in microseconds

Examples:
  celeriac-bench                     everything; about ten minutes
  celeriac-bench --quick             a first look
  celeriac-bench drain results       two parts
  celeriac-bench --json >bench.json  for a script; progress goes to standard error";

/// One part of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Enqueue one by one
    One,
    /// Enqueue in bulk
    Bulk,
    /// Drain tasks whose results nobody wants
    Drain,
    /// Drain tasks and store their results
    Results,
    /// Drain in front of a small and of a large backlog
    Backlog,
    /// From send to start, in one process and across two
    Latency,
    /// What a worker's process takes: idle, in front of a backlog, beside parked tasks
    Memory,
}

/// How durable a commit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Durability {
    /// synchronous=FULL: a flush of the disk for each durable commit
    Full,
    /// synchronous=NORMAL: none
    Normal,
}

impl Durability {
    /// The word that SQLite and our URL option have for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Normal => "NORMAL",
        }
    }
}

impl Args {
    pub(crate) fn parts(&self) -> Vec<Part> {
        if self.parts.is_empty() { Part::value_variants().to_vec() } else { self.parts.clone() }
    }

    pub(crate) fn windows(&self) -> usize {
        self.windows.map_or(if self.quick { 5 } else { 15 }, usize::from)
    }

    /// The large backlog: waiting or parked.
    pub(crate) fn many(&self) -> usize {
        if self.quick { 100_000 } else { 1_000_000 }
    }
}
