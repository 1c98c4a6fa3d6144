//! A task queue that speaks Celery, in one crate.
//!
//! ```
//! use celeriac::prelude::*;
//!
//! #[task]
//! async fn add(a: i64, b: i64) -> i64 {
//!     a + b
//! }
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let url = format!("sqlite://{}", folder.path().join("queue.db").display());
//! let app = App::connect(&url).await?; // such as sqlite://queue.db
//! let sum = app.send(add(2, 3)).await?;
//!
//! let stop = Shutdown::new();
//! let worker = Worker::builder(app.clone()).tasks(tasks![add]).build()?;
//! let working = tokio::spawn(worker.run(stop.clone()));
//!
//! assert_eq!(sum.get_within(60.s()).await?, 5);
//! stop.graceful();
//! working.await??;
//! # app.close().await?;
//! # Ok(()) }
//! ```
//!
//! Features name crates and are additive: `sqlite` and `worker`, both on by default, `memory`, `postgres`, `redis`, for queues
//! shared with Celery, and `monitor`, the job viewer. `testing` is for `[dev-dependencies]`: see the module of that name. A
//! program that only sends turns `worker` off. This crate holds no logic: it joins the others, and turns a URL into an
//! engine.

mod connect;
#[cfg(feature = "postgres")]
mod send_in;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "monitor")]
mod watch;

#[doc(hidden)]
pub use celeriac_app::private as __private;
pub use celeriac_app::{
    App, Arguments, AsyncResult, Backoff, Bound, Call, Context, Engines, GetError, Group, GroupResult, Param,
    RateLimit, Registry, Routes, RunTask, SETTINGS, Seconds, Setting, Settings, Signature, State, StateMap, Task,
    TaskDefinition, TaskError, TaskErrorKind, TaskOptions, group,
};
pub use celeriac_core as core;
pub use celeriac_core::{Error, ErrorKind, Result};
pub use celeriac_macros::task;
#[cfg(feature = "memory")]
pub use celeriac_memory as memory;
#[cfg(feature = "monitor")]
pub use celeriac_monitor as monitor;
#[cfg(feature = "postgres")]
pub use celeriac_postgres as postgres;
pub use celeriac_protocol as protocol;
#[cfg(feature = "redis")]
pub use celeriac_redis as redis;
#[cfg(feature = "sqlite")]
pub use celeriac_sqlite as sqlite;
#[cfg(feature = "worker")]
pub use celeriac_worker as worker;
pub use connect::Connect;
#[cfg(feature = "postgres")]
pub use send_in::{Outbox, SendIn};
#[cfg(feature = "monitor")]
pub use watch::Watch;

/// What most programs use.
pub mod prelude {
    pub use crate::{
        App, AsyncResult, Connect as _, Context, GetError, GroupResult, Seconds as _, Settings, Signature, State, Task,
        TaskError, TaskErrorKind, group, task, tasks,
    };
    #[cfg(feature = "worker")]
    pub use celeriac_worker::{Shutdown, Worker};
}

/// The definitions of tasks, for a worker: `tasks![send_email, mail::log_it]`.
#[macro_export]
macro_rules! tasks {
    ($($task:ty),* $(,)?) => {
        ::std::vec![$(<$task as $crate::Task>::definition()),*]
    };
}
