//! Producing: the [`App`], its tasks, signatures and canvas, results and settings.
//!
//! A task is defined once ([`TaskDefinition`], usually by `#[task]`) and known by its name in a [`Registry`]. Calling
//! it makes a [`Signature`]; [`App::send`] turns the signature into publications. This crate never consumes: fetching,
//! running and settling are `celeriac-worker`'s.

mod app;
mod bind;
pub mod canvas;
mod context;
mod control;
#[doc(hidden)]
pub mod private;
mod registry;
mod result;
mod settings;
mod signature;
mod state;
mod task;
mod task_error;

pub use app::{App, Engines, host_name};
pub use bind::{Bound, body_text};
pub use context::Context;
pub use control::Control;
pub use registry::Registry;
pub use result::{AsyncResult, GetError, GroupResult};
pub use settings::{DEFAULT_FILE, Routes, SETTINGS, Setting, Settings, masked};
pub use signature::{Arguments, Group, Output, Seconds, Signature, group};
pub use state::{State, StateMap};
pub use task::{Backoff, Call, Param, RateLimit, RunTask, Task, TaskDefinition, TaskOptions};
pub use task_error::{TaskError, TaskErrorKind};
