//! The embedded engine: broker, results and history in one SQLite file.
//!
//! No server. The web process, workers, the command line and the dashboard of one machine open the same file, each
//! with its own [`SqliteEngine`]; every process writes with one thread, and SQLite's lock puts them in line.
//!
//! ```text
//!   handles ──► commands ──► writer (1 thread) ──► FILE, FILE-wal ◄── readers (2 threads) ◄── questions ◄── handles
//!                               │ commit                                   ▲
//!                               ├──► hub ──► sleepers of this process      │
//!                               └──► FILE-wake/*.sock ──► other processes ─┘
//! ```
//!
//! # Opening
//!
//! `sqlite://relative/file.db` or `sqlite:///absolute/file.db`, with options:
//!
//! | option | default | meaning |
//! |---|---|---|
//! | `synchronous` | `FULL` | `FULL`: acknowledged means on the disk, one `fsync` for all that commit together. `NORMAL`: no `fsync`; survives the end of every process, but a power failure may take the last seconds |
//! | `busy_timeout` | `10s` | how long a write waits for other processes before it fails with `Unavailable` |
//! | `message_max` | `16MiB` | the largest message, headers and properties included |
//! | `result_max` | `16MiB` | the largest result document, chord value or broadcast |
//! | `file_max` | none | the size the file may grow to; then writes fail with `Full` |
//! | `broadcasts_kept`, `broadcasts_kept_for` | `100000`, `1h` | what a listener that comes back can still get |
//! | `readers` | `2` | threads that read |
//! | `wake` | `on` | `off`: no sockets; processes find each other's tasks by looking four times a second |
//!
//! Names (queues, tasks, ids, workers) have at most 255 bytes, a listing at most 1,000 entries, a text of the history
//! at most 10,000 characters. `purge`, `expire` and `prune` work in steps, so that others get in between.
//!
//! # The tables
//!
//! Ids, names and states are text. `messages` has one row a message; where it is stands in `waiting`, `held` or
//! `parked`; `dead` has the dead set; `results`, `chords`, `chord_parts`, `history`, `timeline`, `broadcasts`,
//! `revocations`, `unique_keys`, `consumers`, `queues` are what they are called. Times are microseconds since 1970; the
//! views `tasks_waiting`, `tasks_held`, `tasks_parked`, `tasks_dead` and `tasks_results` show them as dates.
//! `celeriac_schema` says which versions of the tables were made when.
//!
//! # Who else may open the file
//!
//! SQLite **3.51.3 or newer**, which this crate carries inside. Versions 3.7.0 to 3.51.2 have a bug that damages a file
//! when two connections write and checkpoint at the same moment, and that includes the `sqlite3` program and the
//! `sqlite3` module of Python that Debian 12 ships (3.40): do not open the file with them while anything of Celeriac
//! runs; copy it first (with its `-wal`). Keep the file on a local disk: no network file system has the shared memory
//! that the log needs.
//!
//! Unix only, so far: the sockets that wake other processes are Unix sockets.
//!
//! # What it never does
//!
//! It reads no task's arguments, decides no retry and starts nothing but its own threads, which are all joined by
//! `close`.

mod broker;
mod chords;
mod config;
mod engine;
mod errors;
mod history;
mod hub;
mod layout;
mod open;
mod readers;
mod results;
mod sockets;
mod tx;
mod wake;
mod writer;

pub use broker::{SqliteBroker, SqliteConsumer, SqliteListener};
pub use config::{Config, Synchronous};
pub use engine::SqliteEngine;
pub use history::SqliteHistory;
pub use results::SqliteResults;
