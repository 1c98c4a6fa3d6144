//! The in-process engine: broker, results and history in one store that is gone when the process is.
//!
//! For tests, simulations and trying things out. It does everything the other engines do except to outlive its
//! process, it is fast, and under a manual or paused clock it does the same thing every time: it starts no thread and
//! no task, asks nobody but its [`Clock`](celeriac_core::Clock) for the time, and keeps what it shows in order.
//!
//! ```text
//!   MemoryEngine ──► handle ──► connection ─┐
//!                ──► handle ──► connection ─┼──► Store { queues, channels, results, history }
//! ```
//!
//! Each call of [`MemoryEngine::broker`] is a connection of its own, as another process would have: closing it gives
//! up its consumers and leaves the rest alone. Every collection has a limit in [`Limits`].

mod broker;
mod channels;
mod chords;
mod config;
mod connection;
mod consumer;
mod engine;
mod expiring;
mod history;
mod queues;
mod results;
mod store;

pub use broker::MemoryBroker;
pub use channels::MemoryListener;
pub use config::Limits;
pub use consumer::MemoryConsumer;
pub use engine::MemoryEngine;
pub use history::MemoryHistory;
pub use results::MemoryResults;
