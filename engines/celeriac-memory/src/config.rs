//! How much the store takes before it says that it is full.

use celeriac_core::{Error, ErrorKind, Result};

/// The limits of one store. The defaults let millions of small messages in.
///
/// ```
/// use celeriac_core::{Clock, Timestamp};
/// use celeriac_memory::{Limits, MemoryEngine};
///
/// let (clock, _time) = Clock::manual(Timestamp::UNIX_EPOCH);
/// let engine = MemoryEngine::with_limits(clock, &Limits { messages_max: 10, ..Limits::default() });
/// # drop(engine);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most messages at a time, dead ones included.
    pub messages_max: usize,
    /// The most bytes of messages at a time, dead ones included.
    pub messages_bytes_max: usize,
    /// The largest message.
    pub message_bytes_max: usize,
    /// The most queues.
    pub queues_max: usize,
    /// The most consumers at a time.
    pub consumers_max: usize,
    /// The most unique keys, and the most revocations, that are remembered at a time.
    pub facts_max: usize,
    /// The most channels.
    pub channels_max: usize,
    /// How many broadcasts of a channel are kept for listeners that are slow or come back.
    pub broadcasts_kept: usize,
    /// How many bytes of a channel's broadcasts are kept.
    pub broadcasts_bytes_kept: usize,
    /// The most results, and the most chords, at a time.
    pub results_max: usize,
    /// The most bytes of results at a time, and of chord values.
    pub results_bytes_max: usize,
    /// The largest result document, chord value or broadcast.
    pub result_bytes_max: usize,
    /// How many tasks the history remembers. The ones last heard of longest ago make room.
    pub history_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            messages_max: 10_000_000,
            messages_bytes_max: 4 << 30,
            message_bytes_max: 16 << 20,
            queues_max: 10_000,
            consumers_max: 10_000,
            facts_max: 1_000_000,
            channels_max: 1_000,
            broadcasts_kept: 100_000,
            broadcasts_bytes_kept: 64 << 20,
            results_max: 1_000_000,
            results_bytes_max: 1 << 30,
            result_bytes_max: 16 << 20,
            history_max: 100_000,
        }
    }
}

/// The most entries one listing gives, and one claim takes.
pub(crate) const PAGE_MAX: usize = 1_000;

/// The longest name of a channel, group or unique key, in bytes.
pub(crate) const KEY_BYTES_MAX: usize = 255;

/// How many queues one consumer serves.
const CONSUMER_QUEUES_MAX: usize = 1_000;

/// Refuses a consumer of too few or too many queues.
pub(crate) fn check_consumer_queues(count: usize, least: usize) -> Result<()> {
    if (least..=CONSUMER_QUEUES_MAX).contains(&count) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, format!("consume from {count} queues: name {least} to {CONSUMER_QUEUES_MAX}")))
}

/// Refuses what is larger than its limit.
pub(crate) fn check_size(what: &str, bytes: usize, limit: &str, bytes_max: usize) -> Result<()> {
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::TooLarge,
        format!("keep {what} of {bytes} bytes: the limit `{limit}` is {bytes_max} bytes"),
    ))
}

/// Refuses one more where there is no room.
pub(crate) fn check_room(what: &str, room: bool, limit: &str, max: usize) -> Result<()> {
    if room {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Full, format!("keep more {what}: the limit `{limit}` of this store in memory is {max}")))
}

/// Refuses an empty or overlong key.
pub(crate) fn check_key(what: &str, key: &str) -> Result<()> {
    if (1..=KEY_BYTES_MAX).contains(&key.len()) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, format!("use a {what} of {} bytes: it has 1 to {KEY_BYTES_MAX}", key.len())))
}

/// Refuses an overlong routing key.
pub(crate) fn check_routing_key(key: &str) -> Result<()> {
    if key.len() <= KEY_BYTES_MAX {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Invalid,
        format!("use a routing key of {} bytes: it has at most {KEY_BYTES_MAX}", key.len()),
    ))
}
