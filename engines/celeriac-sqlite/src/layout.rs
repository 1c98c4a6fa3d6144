//! The names and numbers that stand in the file: what other programs see of us.

use celeriac_core::{Error, ErrorKind, Result};
use jiff::Timestamp;

use crate::errors::{Failure, Outcome};

/// Says in the file's header that it is ours: "Cele" in ASCII.
pub(crate) const APPLICATION_ID: i32 = 0x4365_6c65;

/// The folder with the wake-up sockets is named as the file, with this behind it.
pub(crate) const WAKE_SUFFIX: &str = "-wake";

/// The most entries one listing gives.
pub(crate) const PAGE_MAX: usize = 1_000;

/// Times are stored as microseconds since 1970.
pub(crate) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// Reads a stored time; one that cannot be becomes the last instant that can be written.
pub(crate) fn timestamp(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(if micros < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// Keys are positive in the file. One that is too large names nothing, and finds nothing.
pub(crate) fn key_in(key: u64) -> i64 {
    i64::try_from(key).unwrap_or(i64::MAX)
}

/// See [`key_in`].
pub(crate) fn key_out(key: i64) -> u64 {
    key.unsigned_abs()
}

/// Counts are never negative.
pub(crate) fn count(count: i64) -> u64 {
    count.unsigned_abs()
}

/// A small number of the file (attempts, losses): what does not fit says so by its size.
pub(crate) fn small(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The page's length, within its limits.
pub(crate) fn page(limit: usize) -> i64 {
    i64::try_from(limit.clamp(1, PAGE_MAX)).unwrap_or(1)
}

/// A name that was checked before it was stored.
pub(crate) fn name<T>(checked: Result<T>, what: &str) -> Outcome<T> {
    checked.map_err(|_| Failure::corrupt(what))
}

/// Refuses what is larger than its limit.
pub(crate) fn check_size(what: &str, bytes: usize, bytes_max: usize, option: &str) -> Result<()> {
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::TooLarge,
        format!("store {what} of {bytes} bytes: the limit is {bytes_max} bytes (the URL option `{option}` raises it)"),
    ))
}
