//! Celery's wire format as values and bytes.
//!
//! A [`Message`] is three byte strings: headers, properties, body. Engines carry it as it is; only producers and
//! workers look inside, and only as far as they must: [`Headers`] without the body, [`Body`] split without being
//! decoded, arguments as JSON text until a task wants them. What passes through is never rounded or written anew.
//!
//! This crate never does I/O, reads no clock and knows no async runtime. Everything it reads is checked and bounded
//! ([`limits`]).

pub mod body;
pub mod compression;
pub mod content;
pub mod control;
mod error;
pub mod event;
mod headers;
pub mod json;
pub mod limits;
mod message;
mod properties;
pub mod protocol1;
pub mod repr;
mod signature;
mod state;
mod task_meta;
mod yaml;

pub use body::{Body, Embed};
pub use error::{ProtocolError, Result};
pub use event::Event;
pub use headers::{Headers, isoformat};
pub use message::Message;
pub use properties::Properties;
pub use signature::{Kind, Signature};
pub use state::State;
pub use task_meta::{ExceptionInfo, Extended, TaskMeta};
