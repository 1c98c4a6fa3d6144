//! The `celeriac` program, and the same subcommands for a program of your own.
//!
//! ```no_run
//! # use celeriac::prelude::*;
//! # #[task] async fn add(a: i64, b: i64) -> i64 { a + b }
//! fn main() -> std::process::ExitCode {
//!     celeriac_cli::Program::new("shop").tasks(tasks![add]).main()
//! }
//! ```
//!
//! gives `shop worker`, `shop call`, `shop result`, `shop revoke`, `shop inspect`, `shop dashboard`, `shop dead`,
//! `shop purge`, `shop completion` and `shop man`. Data goes to standard output, everything else to standard error. Exit
//! codes are listed in `--help` and in [`Exit`]. This crate holds no logic of the queue: it asks and shows.

mod args;
mod commands;
mod exit;
mod logging;
mod output;
mod program;
mod teach;

pub use exit::Exit;
pub use program::Program;
