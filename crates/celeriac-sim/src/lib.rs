//! The real worker over a simulated engine: same seed, same run.
//!
//! ```text
//!   seed ──► plan (tasks, canvases, revocations)          ┌─ refuses, delays, breaks off, forgets to answer
//!        ──► dice ──► faults, crashes ───────────┐        │
//!                                          App, Worker ── simulated engine ── celeriac-memory
//!                                                └── everything is written into the book ──► checker
//! ```
//!
//! The workers are the real ones, several at a time; each start is a process that can die at every numbered step of a
//! task's life ([`Step`]), before or after it took effect: its futures are dropped, its consumer is not closed, and a
//! worker with a fresh identity starts later. Time is tokio's paused clock on one thread, identities and chance come
//! from the seed, so that a run can be repeated, and its trace has a fingerprint to prove it.
//!
//! The checker asks one question: was everything done once or repeated, and nothing lost, nothing left waiting, nothing
//! held beyond the limits? That it can find a loss is tested too: [`Sabotage`] breaks an order on purpose.

mod actor;
mod check;
mod engine;
mod fault;
mod life;
mod plan;
mod step;
mod tasks;
mod world;

use std::collections::BTreeMap;

pub use step::Step;

/// An order that is broken on purpose, to see that the checker finds what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Deliveries are settled before their outcomes are stored.
    SettleBeforeStore,
    /// Deliveries are settled before what follows them is published.
    SettleBeforeContinue,
    /// Leases are not renewed.
    NoRenewal,
    /// Chords are finished before their body is sent.
    FinishChordFirst,
}

/// How to run a seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Break this order.
    pub sabotage: Option<Sabotage>,
    /// Print every step.
    pub verbose: bool,
}

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Its seed.
    pub seed: u64,
    /// The fingerprint of its trace.
    pub hash: u64,
    /// What is wrong; nothing when it passed.
    pub complaints: Vec<String>,
    /// How many tasks there were.
    pub tasks: u64,
    /// How many runs of tasks began.
    pub runs: u64,
    /// How many calls of the engine went wrong.
    pub faults: u64,
    /// Where workers died.
    pub crashes: BTreeMap<Step, u64>,
}

/// Runs one seed to its end.
///
/// # Panics
/// When the runtime cannot be made.
pub fn run(seed: u64, options: Options) -> Verdict {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread can be made");
    runtime.block_on(life::simulate(seed, options))
}
