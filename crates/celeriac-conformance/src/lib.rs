//! The contract of the seams, executable: one suite that every engine passes.
//!
//! The documentation of the traits in `celeriac-core` says what engines do; each case here holds them to one sentence
//! of it. A case needs capabilities or none. What an engine declares, it is held to; what it lacks is listed by name
//! in its own test file, so that nothing is skipped in silence.
//!
//! An engine plugs in with a [`Fixture`] and one line in `tests/conformance.rs`, which becomes one `#[test]` a case:
//!
//! ```no_run
//! use celeriac_conformance::{Fixture, Process, Time};
//! use celeriac_core::{Clock, Result};
//! # struct MyEngine;
//! # impl MyEngine {
//! #     fn new(_: Clock) -> Self { Self }
//! #     fn process(&self) -> Process { unimplemented!() }
//! # }
//!
//! struct MyStore(MyEngine);
//!
//! impl Fixture for MyStore {
//!     const TIME: Time = Time::Manual;
//!     const MESSAGE_BYTES_MAX: usize = 16 << 20;
//!
//!     async fn fresh(clock: Clock) -> Result<Self> {
//!         Ok(Self(MyEngine::new(clock)))
//!     }
//!
//!     async fn process(&self) -> Result<Process> {
//!         Ok(self.0.process())
//!     }
//! }
//!
//! celeriac_conformance::suite!(MyStore, not_applicable: ["durable::messages_survive_the_end_of_every_process"]);
//! ```
//!
//! Nobody sleeps here: whether *nothing* comes is seen by a sentinel behind it ([`Hand::drain`]), and time is moved by
//! the bench.

mod bench;
mod cases;
mod draft;
mod fixture;
mod hand;
mod registry;
mod run;

pub use bench::Bench;
pub use draft::{Draft, meta, part, task};
pub use fixture::{Fixture, Process, Time};
pub use hand::{Hand, ids};
pub use registry::{Case, cases};
pub use run::{check_not_applicable, run};
