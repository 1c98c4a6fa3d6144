//! PostgreSQL as an engine: broker, results and history in one database, with what only a database can do: publishing
//! within the caller's own transaction.
//!
//! ```text
//!   handles ──► pool ──► schema `celeriac`      waiting ──claim──► held ──settle──► gone | dead
//!                  └───► `celery_taskmeta`, `celery_tasksetmeta`: Celery's own tables of results
//!   sleepers ◄── NOTIFY ◄── whoever has news, when somebody said that it sleeps
//! ```
//!
//! # Opening
//!
//! `postgresql://user:password@host:port/database`, or `postgres://`, or as Celery users write it for results:
//! `db+postgresql://`, `db+postgresql+psycopg2://`. PostgreSQL 14 or newer. Options of libpq (`sslmode` with
//! `sslrootcert`, `sslcert`, `sslkey`; `connect_timeout`, `application_name`, `target_session_attrs`, …) are understood,
//! and these:
//!
//! | option | default | meaning |
//! |---|---|---|
//! | `schema` | `celeriac` | where our own tables are; made when it does not exist |
//! | `connections` | `4` | how many connections are shared; one more listens once somebody waits |
//! | `statement_timeout` | `30s` | how long the server may take for one statement |
//! | `look_every` | `1s` | how often a sleeping consumer looks without having been woken |
//! | `message_max`, `result_max` | `16MiB` | the largest message; result document, chord value or broadcast |
//! | `broadcasts_kept`, `broadcasts_kept_for` | `100000`, `1h` | what a listener that comes back can still get |
//! | `result_format` | `json` | `json`: as Celery 5.7 writes results. `pickle`: as 5.6 and older do; 5.7 reads it too. Both are read |
//!
//! # The tables
//!
//! `messages` has one row a message; where it is stands in `waiting`, `held` or `parked`, which are narrow, so that
//! claims and settlements write little and vacuum reads little. `dead`, `results`, `chords`, `chord_parts`, `history`,
//! `timeline`, `broadcasts`, `revocations`, `unique_keys`, `consumers`, `queues` are what they are called; `sleepers` says
//! who wants to be notified. The views `tasks_waiting`, `tasks_held`, `tasks_parked`, `tasks_dead` and `workers` are for
//! people. Times are microseconds since 1970, by the server's clock.
//!
//! Results are rows of Celery's own tables in the first schema of the search path, for any Celery to read; `results` in
//! our schema holds what their columns cannot say (the attempt, the expiry).
//!
//! # What it never does
//!
//! It reads no task's arguments, decides no retry, unpickles nothing but plain data, and starts nothing but its one
//! thread, which `close` joins.

mod broker;
mod config;
mod connections;
mod driver;
mod engine;
mod errors;
mod history;
mod layout;
mod migrate;
mod outbox;
mod pickle;
mod results;
mod tls;
mod transaction;
mod wake;

pub use broker::{PostgresBroker, PostgresConsumer, PostgresListener};
pub use config::{Config, ResultFormat, Tls, TlsMode};
pub use engine::PostgresEngine;
pub use history::PostgresHistory;
pub use outbox::{OUTBOX_SCHEMA, relay};
pub use results::PostgresResults;
/// The driver whose transactions [`publish_in`] takes.
pub use tokio_postgres;
pub use transaction::publish_in;
