//! What an engine does by itself. Whatever it lacks, the worker supplies or an error names.

/// The abilities an engine claims. The conformance suite holds it to every one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a set of independent facts, each read by name")]
pub struct Capabilities {
    /// Higher [`Priority`](crate::Priority) is delivered first.
    pub priority: bool,
    /// A publication may carry a due time that the engine keeps.
    pub delay: bool,
    /// A settlement may park a delivery until an instant, atomically.
    pub park: bool,
    /// Deliveries are held under a lease that is renewed, and come back when it lapses.
    pub lease: bool,
    /// Dead messages are kept with their reason, and can be shown, replayed and dropped.
    pub dead_set: bool,
    /// Revocations are stored and come back with deliveries and lease renewals.
    pub revocation: bool,
    /// Publications with a [`Unique`](crate::Unique) key are refused while the key is taken.
    pub unique: bool,
    /// `broadcast` and `listen` work.
    pub fan_out: bool,
    /// A listener can continue after a [`Cursor`](crate::Cursor) of an earlier run.
    pub replay: bool,
    /// Waiting messages can be listed without taking them.
    pub peek: bool,
    /// Consumers can be listed.
    pub consumers: bool,
    /// A waiting result is pushed to whoever waits; without it they poll.
    pub push_wait: bool,
    /// Messages survive the end of every process.
    pub durable: bool,
    /// Records go by themselves when they expire, as the engine's own time goes; `expire` finds nothing to do.
    pub self_expiring: bool,
}
