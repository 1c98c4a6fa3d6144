//! The vocabulary of Celeriac, and the seams between its parts.
//!
//! An engine implements the traits here with plain `async fn`; everyone else holds a cheap handle
//! ([`BrokerHandle`], [`ResultsHandle`], [`HistoryHandle`], [`ConsumerHandle`]), so that no type parameter spreads.
//! What engines do not differ in (rate limits, ETA, retries, routing, canvas) is not here: it is written once, above.
//!
//! ```text
//!   app, worker, monitor ──► handles ──► erased twins ──► traits ◄── engines
//! ```
//!
//! This crate never talks to a server, never reads a task's arguments and starts nothing.

mod broker;
mod capabilities;
mod clock;
mod consumer;
mod dead;
mod error;
mod handle;
mod history;
mod ids;
mod outcome;
mod pool;
mod results;
mod revocation;

pub use broker::{
    Accepted, Broadcast, Broker, ConsumerInfo, Cursor, Listener, Notice, Peek, PeekState, Peeked, Publication,
    QueueDepth, Subscription, Topology, Unique,
};
pub use capabilities::Capabilities;
pub use celeriac_protocol::{Message, State};
pub use clock::{Clock, ManualClock};
pub use consumer::{Consumer, Delivery, DeliveryTag, LeaseReport, Settled, Settlement};
pub use dead::{DeadEntry, DeadQuery, DeadReason};
pub use error::{Error, ErrorKind, Result};
pub use handle::{BrokerHandle, ConsumerHandle, HistoryHandle, ListenerHandle, ResultsHandle};
pub use history::{History, StateCount, TaskQuery, TaskRecord, TimelineEntry};
pub use ids::{Ids, Priority, QueueName, TaskId, TaskName, WorkerName};
pub use jiff::Timestamp;
pub use outcome::{Failure, Outcome};
pub use pool::{Pool, Request};
pub use results::{CHORD_CLAIM, ChordPart, Joined, MetaWrite, ResultBackend, Written, fence};
pub use revocation::Revocation;
