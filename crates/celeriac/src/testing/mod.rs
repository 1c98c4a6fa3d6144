//! Tests of programs that send and run tasks: no file, no server, no waiting.
//!
//! [`TestApp`] is an [`App`] in memory under a clock that the test moves. Nothing runs until the test says so; then the
//! real worker runs it, one task after the other, with what follows.
//!
//! ```
//! use celeriac::{assert_not_sent, assert_sent, prelude::*, testing::TestApp};
//!
//! #[task(max_retries = 1, backoff = "10m")]
//! async fn send_email(to: String, subject: String) -> Result<(), TaskError> {
//!     if to.contains('@') { Ok(()) } else { Err(TaskError::fatal("no address")) }
//! }
//!
//! #[task]
//! async fn remind(to: String) {}
//!
//! /// What is tested.
//! async fn register(app: &App, to: &str) -> celeriac::Result<()> {
//!     app.send(send_email(to.into(), "Welcome".into())).await?;
//!     app.send(remind(to.into()).countdown(24.hours())).await?;
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> celeriac::Result<()> {
//! let app = TestApp::new(tasks![send_email, remind]);
//! register(&app, "ann@example.com").await?;
//! assert_sent!(app, send_email, to = "ann@example.com");
//! assert_not_sent!(app, send_email, to = "bob@example.com");
//!
//! assert_eq!(app.drain().await?.succeeded, 1); // the mail; the reminder is not due yet
//! assert_eq!(app.advance(24.hours()).await?.succeeded, 1);
//! # Ok(()) }
//! ```
//!
//! The feature `testing` turns it on: `cargo add --dev celeriac --features testing`.

mod app;
mod expect;
mod sent;
mod watch;
mod watched;

pub use app::TestApp;
pub use expect::Expectation;
pub use sent::Sent;

#[cfg(doc)]
use crate::App;
