//! The job viewer: what happens to tasks, kept and shown.
//!
//! ```text
//!   celeryev ──► recorder ──► fold ──► History ──┐
//!      │                                         ├──► pages, /api
//!      └──► live (workers, rates)   broker ──────┘
//! ```
//!
//! A recorder reads the events of workers (ours and Celery's) and folds them into the history, which survives every
//! restart; several viewers on one store take turns by moving its cursor. The pages read the history, the broker and the
//! result backend. Whatever a page shows, `/api` gives as JSON.
//!
//! It never runs a task and never takes a message out of a queue. It is closed by default: on loopback it serves this
//! machine's browsers, elsewhere it refuses to start without a user and a password. Nothing changes on a `GET`, and
//! another site's form or script cannot post.

mod access;
mod explain;
mod fold;
mod live;
mod monitor;
mod pages;
mod recorder;
mod retry;
mod words;

pub use access::Credentials;
pub use explain::explain;
pub use fold::{Change, fold};
pub use monitor::{Config, Monitor, Sources};
pub use recorder::CHANNEL;
