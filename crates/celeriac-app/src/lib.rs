//! Producing: the [`App`], its tasks, signatures and canvas, results and settings.
//!
//! A task is defined once ([`TaskDefinition`], usually by `#[task]`) and known by its name in a [`Registry`]. Calling
//! it makes a signature; [`App::send`] turns the signature into a publication. This crate never consumes: fetching,
//! running and settling are `celeriac-worker`'s.

mod app;
mod context;
mod registry;
mod state;
mod task;
mod task_error;

pub use app::{App, Engines};
pub use context::Context;
pub use registry::Registry;
pub use state::{State, StateMap};
pub use task::{Backoff, Call, Param, RateLimit, RunTask, TaskDefinition, TaskOptions};
pub use task_error::{TaskError, TaskErrorKind};
