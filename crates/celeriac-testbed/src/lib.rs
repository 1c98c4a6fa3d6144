//! Servers that tests start for themselves.
//!
//! A server runs from the system's own package, on a free port of the loopback, with its data in a temporary folder that
//! goes with it. A missing program fails the test with one line that names the package; nothing is ever skipped.
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

mod process;
mod redis;

pub use process::free_port;
pub use redis::RedisServer;
