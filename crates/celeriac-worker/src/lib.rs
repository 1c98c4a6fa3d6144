//! Consuming: fetch, run, store, continue, settle.
//!
//! A task's life in numbered steps; a crash between any two repeats work and loses none:
//!
//! ```text
//!   1 claim     fetch.rs     recv: one atomic step, under the lease of this start of the worker
//!   2 decide    strategy.rs  run, park, revoke, bury: a pure function of the headers and the time
//!   3 run       pool.rs      the function, its limits, its panics
//!   4 store     finish.rs    the outcome's record is durable
//!   5 continue  finish.rs    callbacks, chain, chord are published
//!   6 settle    finish.rs    ack, park for a retry, or bury; only now is the message gone
//!   – renew     lease.rs     all the while, from a thread that no task can block
//! ```
//!
//! Steps 4 to 6 are done once for each batch of outcomes. Memory is bounded by slots and allowance
//! ([`prefetch`](mod@prefetch)), whatever the backlog. This crate knows no engine and sends no task of its own accord.

mod consequence;
mod control;
mod events;
mod fetch;
mod finish;
mod janitor;
mod lease;
mod limits;
mod pool;
pub mod prefetch;
mod quarantine;
mod rate;
mod retry;
mod roster;
mod runner;
mod shutdown;
mod slots;
mod strategy;
mod tell;
mod worker;

pub use pool::RustPool;
pub use shutdown::Shutdown;
pub use worker::{Builder, Report, Worker};
