//! Celery's wire format as values and bytes.
//!
//! A [`Message`] is three byte strings: headers, properties, body. Engines carry it as it is; only producers and
//! workers look inside. This crate never does I/O, reads no clock and knows no async runtime.

mod message;
mod state;

pub use message::Message;
pub use state::State;
