//! Real servers for tests: started from the system's own packages, on free loopback ports, with data in temporary
//! folders.
//!
//! Nothing assumes a running service. A server whose package is missing is a panic of one line that names the package,
//! never a skip. What a test starts ends with it, however it ends; PostgreSQL is shared by tests, and ends a few seconds
//! after the last of them, because a keeper of its own watches a lock that the system releases with the process.
//!
//! ```no_run
//! use celeriac_testbed::RedisServer;
//!
//! let mut server = RedisServer::start();
//! println!("{}", server.url());
//! server.kill(); // as `kill -9` does
//! server.restart(); // on the same port, with the data it had written
//! ```
//!
//! It waits for servers by looking at their ports, which is the one thing here that goes by the real time.

mod folder;
mod port;
mod postgres;
mod process;
mod redis;

pub use port::free_port;
pub use postgres::{Database, Postgres};
pub use redis::RedisServer;
