//! The engine on Redis and Valkey: broker, results and history, in Celery's own layout.
//!
//! Workers and producers of Celery use the same queues, results and chords at the same time and notice nothing. Beyond
//! what Celery does:
//!
//! - a claim is **one atomic step** (a script that pops and writes `unacked`); there is no moment at which a message is in
//!   nobody's hands;
//! - what a lost worker of ours held is back within its lease, whose owner is known by name; what workers of Celery hold is
//!   left to their visibility timeout, and what ours hold is kept out of its reach;
//! - what is due later waits in the server, not in a worker's memory;
//! - nobody polls: the server tells when a list that was empty is not empty any more.
//!
//! ```text
//!   handles ──► scripts ──► link (1 connection, 1 thread) ◄──► server ◄──► Celery
//!                              │ told by the server
//!                              └──► ear ──► consumers, listeners, whoever waits for a result
//! ```
//!
//! # Opening
//!
//! `redis://[[user]:password@]host[:port][/db]`, `rediss://` with TLS, `redis+socket:///path?virtual_host=db`,
//! `sentinel://host[:port];sentinel://host[:port]/db?master_name=NAME`, with options:
//!
//! | option | default | meaning |
//! |---|---|---|
//! | `layout` | `celery` | `celery`: Celery's lists and order, where a **lower** priority number is served first. `celeriac`: a list for each priority from 0 to 255, higher first, as in the other engines; for queues that no worker of Celery serves |
//! | `priority_steps` | `0,3,6,9` | Celery's option of that name |
//! | `global_keyprefix` | none | Celery's option of that name |
//! | `timeout` | `5s` | how long an answer may take before the connection counts as lost |
//! | `connect_timeout` | `2s` | how long a connection may take to be made |
//! | `message_max`, `result_max` | `16MiB` | the largest message; the largest result document, chord value or broadcast |
//! | `broadcasts_kept`, `broadcasts_kept_for` | `100000`, `1h` | what a listener that comes back can still get |
//! | `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` | the system's | PEM files |
//! | `master_name`, `sentinel_username`, `sentinel_password` | | for `sentinel://` |
//!
//! Redis 6.2 or newer, or Valkey. The user needs `CLIENT TRACKING`, scripts, and the keys that the module `layout` lists.
//! The server's `maxmemory-policy` must be `noeviction`, as for Celery: any other loses tasks. How durable "acknowledged" is
//! is the server's `appendfsync`. Clocks of workers must agree to a fraction of the lease.
//!
//! # What it never does
//!
//! It reads no task's arguments, decides no retry, and starts nothing but its one thread, which `close` joins.

mod address;
mod broker;
mod channel;
mod chords;
mod config;
mod consumer;
mod ear;
mod engine;
mod envelope;
mod errors;
mod history;
mod layout;
mod link;
mod listing;
mod results;
mod scripts;
mod values;

pub use broker::RedisBroker;
pub use channel::RedisListener;
pub use config::{Config, Priorities, Server, Tls};
pub use consumer::RedisConsumer;
pub use engine::RedisEngine;
pub use history::RedisHistory;
pub use results::RedisResults;
