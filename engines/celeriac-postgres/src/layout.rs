//! The names and numbers that stand in the database: what other programs see of us.

use std::time::Duration;

use celeriac_core::{Error, ErrorKind, Result};
use jiff::Timestamp;

/// The schema of our own tables unless the URL names another one.
pub(crate) const SCHEMA: &str = "celeriac";

/// Celery's tables of results, in the first schema of the search path. Source: Celery 5.7,
/// `celery/backends/database/models.py`.
pub(crate) const TASKMETA: &str = "celery_taskmeta";

/// The longest id, name and worker that Celery's columns hold, in characters.
pub(crate) const CELERY_NAME_CHARS_MAX: usize = 155;
/// The longest state that Celery's column holds, in characters.
pub(crate) const CELERY_STATUS_CHARS_MAX: usize = 50;

/// The most entries one listing gives.
pub(crate) const PAGE_MAX: usize = 1_000;

/// What a sleeper for a queue's messages waits for.
pub(crate) fn queue_topic(queue: &str) -> String {
    format!("q:{queue}")
}

/// What a listener of a channel waits for.
pub(crate) fn channel_topic(channel: &str) -> String {
    format!("b:{channel}")
}

/// What somebody who waits for a result waits for.
pub(crate) fn result_topic(id: &str) -> String {
    format!("r:{id}")
}

/// Puts the schema into a statement, which writes `{s}` for it.
pub(crate) fn in_schema(sql: &str, schema: &str) -> String {
    // The schema's name was checked: letters, digits and underscores.
    sql.replace("{s}", &format!("\"{schema}\""))
}

/// The key of the advisory lock under which a schema's tables are made.
pub(crate) fn migration_lock(schema: &str) -> i64 {
    // FNV-1a: the same for every version of every program, which a hasher of the standard library does not promise.
    let hash = schema
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    hash.cast_signed()
}

/// Times are stored as microseconds since 1970.
pub(crate) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// Reads a stored time; one that cannot be becomes the last instant that can be written.
pub(crate) fn timestamp(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(if micros < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// A stored time, so much later.
pub(crate) fn later(now: i64, by: Duration) -> i64 {
    now.saturating_add(duration_micros(by))
}

/// A duration, as it is added to stored times.
pub(crate) fn duration_micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Keys are positive in the database. One that is too large names nothing, and finds nothing.
pub(crate) fn key_in(key: u64) -> i64 {
    i64::try_from(key).unwrap_or(i64::MAX)
}

/// See [`key_in`].
pub(crate) fn key_out(key: i64) -> u64 {
    key.unsigned_abs()
}

/// Attempts are small; one that is too large names nothing, and finds nothing.
pub(crate) fn attempt_in(attempt: u32) -> i32 {
    i32::try_from(attempt).unwrap_or(i32::MAX)
}

/// Counts are never negative.
pub(crate) fn count(count: i64) -> u64 {
    count.unsigned_abs()
}

/// A small number of the database (attempts, losses).
pub(crate) fn small(number: i32) -> u32 {
    number.unsigned_abs()
}

/// The page's length, within its limits.
pub(crate) fn page(limit: usize) -> i64 {
    i64::try_from(limit.clamp(1, PAGE_MAX)).unwrap_or(1)
}

/// A name that was checked before it was stored.
pub(crate) fn name<T>(checked: Result<T>, what: &str) -> Result<T> {
    checked.map_err(|_| {
        Error::new(ErrorKind::Corrupt, format!("read {what}: the database holds a value that Celeriac never writes"))
    })
}

/// A text for people: the one character that PostgreSQL's text cannot hold is replaced, and it is cut.
pub(crate) fn legible(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).map(|character| if character == '\0' { '\u{fffd}' } else { character }).collect()
}

/// Refuses a name with the one character that PostgreSQL's text cannot hold.
pub(crate) fn check_name(what: &str, name: &str, bytes_max: usize) -> Result<()> {
    if name.is_empty() || name.len() > bytes_max || name.contains('\0') {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("use {what} of {} bytes: it has 1 to {bytes_max}, and no NUL among them", name.len()),
        ));
    }
    Ok(())
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
