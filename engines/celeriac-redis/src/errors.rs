//! What Redis answers when it cannot, sorted by what the caller can do.

use celeriac_core::{Error, ErrorKind};
use redis::RedisError;

/// An error of this engine for a failure of `what`, which completes "could not …".
pub(crate) fn explain(what: &str, place: &str, error: &RedisError) -> Error {
    let (kind, advice) = classify(error);
    let said = error.detail().map_or_else(|| error.to_string(), str::to_owned);
    // The server's own words, on one line; it never repeats a password.
    let said = said.lines().next().unwrap_or_default().trim_end_matches('.').to_owned();
    let code = error.code().filter(|code| !said.contains(code)).map(|code| format!("{code} ")).unwrap_or_default();
    Error::new(kind, format!("{what} on {place}: {advice}: {code}{said}"))
}

/// True when the connection is of no more use: it is lost, silent, or leads to a server that is not the master any more.
pub(crate) fn ends_connection(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_unrecoverable_error()
        || matches!(error.code(), Some("READONLY" | "MASTERDOWN" | "UNBLOCKED"))
        || script_code(error) == Some("READONLY")
}

/// True when the server does not know a script (any more).
pub(crate) fn is_no_script(error: &RedisError) -> bool {
    error.code() == Some("NOSCRIPT")
}

fn classify(error: &RedisError) -> (ErrorKind, &'static str) {
    if error.is_timeout() {
        return (ErrorKind::Unavailable, "the server did not answer in time");
    }
    if error.is_io_error() {
        return (ErrorKind::Unavailable, "the connection failed");
    }
    match script_code(error).or(error.code()) {
        Some("BUSY") => (ErrorKind::Unavailable, "the server is busy with a script"),
        Some("LOADING") => (ErrorKind::Unavailable, "the server is still loading its data"),
        Some("READONLY") => (ErrorKind::Unavailable, "the server is a replica now; looking for the master"),
        Some("MASTERDOWN" | "TRYAGAIN" | "CLUSTERDOWN" | "NOREPLICAS" | "UNKILLABLE") => {
            (ErrorKind::Unavailable, "the server is not ready")
        }
        Some("MISCONF") => (ErrorKind::Unavailable, "the server cannot write to its disk and takes nothing new"),
        Some("OOM") => (
            ErrorKind::Full,
            "the server's memory is full; raise its maxmemory (and keep its policy at noeviction, or tasks get lost)",
        ),
        Some("NOAUTH" | "WRONGPASS") => (ErrorKind::Denied, "the server refused the user or the password"),
        Some("NOPERM") => (ErrorKind::Denied, "the server's access list does not allow it"),
        Some("MOVED" | "ASK" | "CROSSSLOT") => (
            ErrorKind::Unsupported,
            "this is a Redis Cluster, over which Celery's layout cannot be spread; use one server, or sentinels",
        ),
        Some("WRONGTYPE") => {
            (ErrorKind::Corrupt, "a key holds what it should not; look for another program that uses it")
        }
        _ => match error.kind() {
            redis::ErrorKind::AuthenticationFailed => {
                (ErrorKind::Denied, "the server refused the user or the password")
            }
            redis::ErrorKind::InvalidClientConfig => (ErrorKind::Invalid, "it cannot be set up that way"),
            redis::ErrorKind::RESP3NotSupported => (ErrorKind::Unsupported, "the server is older than Redis 6.2"),
            redis::ErrorKind::MasterNameNotFoundBySentinel | redis::ErrorKind::NoValidReplicasFoundBySentinel => {
                (ErrorKind::Unavailable, "no sentinel knows such a master")
            }
            _ if error.to_string().contains("DB index is out of range") => {
                (ErrorKind::Invalid, "the server has no database of this number")
            }
            _ if error.to_string().contains("unknown command") => {
                (ErrorKind::Unsupported, "the server lacks a command; it must be Redis 6.2 or newer, or Valkey")
            }
            _ => (ErrorKind::Internal, "the server gave an answer that nobody foresaw"),
        },
    }
}

/// The code of an error that a script ran into: older servers wrap it into an `ERR`.
fn script_code(error: &RedisError) -> Option<&'static str> {
    let said = error.to_string();
    ["OOM", "READONLY", "MISCONF", "NOPERM", "WRONGTYPE", "NOREPLICAS", "CROSSSLOT"]
        .into_iter()
        .find(|code| said.contains(&format!("-{code} ")) || said.contains(&format!("{code} command not allowed")))
}
