//! Real servers for tests: started from the system's own packages, on free loopback ports, with data in temporary
//! folders.
//!
//! Nothing assumes a running service. A server whose package is missing is a panic of one line that names the package,
//! never a skip. What a test starts ends with it; what tests share ends a few seconds after the last of them, however
//! it ended, because a keeper of its own watches a lock that the system releases with the process.

mod folder;
mod port;
mod postgres;

pub use port::free_port;
pub use postgres::{Database, Postgres};
