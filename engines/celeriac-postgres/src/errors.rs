//! What PostgreSQL says, turned into what a person can do about it.

use std::error::Error as StdError;

use celeriac_core::{Error, ErrorKind};
use tokio_postgres::error::SqlState;

/// Why a conversation with the server failed, before it is known what it was about.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server or the connection said so.
    Sql(tokio_postgres::Error),
    /// No answer in time.
    TooLong,
    /// We said so.
    Refused(Error),
}

/// The result of work on a connection.
pub(crate) type Outcome<T> = Result<T, Failure>;

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl Failure {
    /// True when the transaction lost against another one and may simply be tried again.
    pub(crate) fn lost_a_race(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        matches!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED))
    }

    /// True when the connection is of no use any more: it is gone, nobody answers on it, or its server only reads now.
    pub(crate) fn spoils_the_connection(&self) -> bool {
        match self {
            Self::Sql(error) => match error.code() {
                None => true,
                Some(code) => *code == SqlState::READ_ONLY_SQL_TRANSACTION || code.code().starts_with("57P"),
            },
            Self::TooLong => true,
            Self::Refused(_) => false,
        }
    }

    /// The error of doing `what` (it completes "could not …") at `place`.
    pub(crate) fn explain(self, what: &str, place: &str) -> Error {
        match self {
            Self::Refused(error) => error,
            Self::TooLong => Error::new(
                ErrorKind::Unavailable,
                format!(
                    "{what} in {place}: the server has not answered in time; it is overloaded, something holds a lock \
                     (look at pg_stat_activity), or the network is cut"
                ),
            ),
            Self::Sql(error) => {
                let (kind, advice) = advice(&error);
                Error::new(kind, format!("{what} in {place}: {advice}")).with_source(error)
            }
        }
    }
}

fn advice(error: &tokio_postgres::Error) -> (ErrorKind, &'static str) {
    match error.code() {
        Some(code) => advice_for(code),
        None if is_io(error) || error.is_closed() => {
            (ErrorKind::Unavailable, "the connection is lost or cannot be made; is the server running, and reachable?")
        }
        None => advice_for_driver(&error.to_string()),
    }
}

fn advice_for(code: &SqlState) -> (ErrorKind, &'static str) {
    match code.code() {
        "28P01" | "28000" => (ErrorKind::Denied, "the server refuses this user or password (see pg_hba.conf)"),
        "3D000" => (ErrorKind::NotFound, "there is no database of this name; createdb makes one"),
        "53300" => (
            ErrorKind::Unavailable,
            "the server has no connection left; raise its max_connections, or use fewer with ?connections=1",
        ),
        "53100" => (ErrorKind::Full, "the server's disk is full; free space, what was stored is unharmed"),
        "25006" => (
            ErrorKind::Unavailable,
            "this server only reads (a standby?); connect to the primary, or list several hosts with \
             ?target_session_attrs=read-write",
        ),
        "42501" => {
            (ErrorKind::Denied, "the user may not do that; it needs CREATE on the database once, and its own schema")
        }
        "42P01" | "3F000" | "42703" | "42883" => (
            ErrorKind::Corrupt,
            "a table, column or function that was there at the start is missing; was the schema dropped? Start anew to \
             make it again",
        ),
        "57014" | "55P03" => (ErrorKind::Unavailable, "a timeout of the server's ended the statement"),
        "54000" | "54001" | "53400" => (ErrorKind::TooLarge, "a limit of the server's was exceeded"),
        code if code.starts_with("XX") || code.starts_with("58") => (
            ErrorKind::Corrupt,
            "the server found damage or could not read its files; look at its log before you go on",
        ),
        code if code.starts_with("08") || code.starts_with("57P") => {
            (ErrorKind::Unavailable, "the server ends, starts or has thrown this connection out")
        }
        code if code.starts_with("53") => (ErrorKind::Unavailable, "the server is out of memory or other means"),
        code if code.starts_with("40") => {
            (ErrorKind::Unavailable, "other transactions were in the way again and again")
        }
        _ => (ErrorKind::Internal, "the server gave an answer that nobody foresaw"),
    }
}

/// The driver does not tell its own errors apart by type.
fn advice_for_driver(text: &str) -> (ErrorKind, &'static str) {
    if text.contains("TLS") {
        return (
            ErrorKind::Denied,
            "no encrypted connection; does the server's certificate fit ?sslmode and ?sslrootcert, and the host its name?",
        );
    }
    if text.contains("authentication") || text.contains("password") || text.contains("configuration") {
        return (ErrorKind::Denied, "the server asks for something that the URL does not say");
    }
    if text.contains("unexpected message") || text.contains("parsing") {
        return (ErrorKind::Unavailable, "that is no PostgreSQL server, or the connection broke in the middle");
    }
    (ErrorKind::Unavailable, "the connection failed")
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        // TLS failures are I/O errors with something of rustls inside.
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return io.get_ref().is_none_or(|inner| inner.downcast_ref::<rustls::Error>().is_none());
        }
        source = cause.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_is_told_apart() {
        for (code, kind, part) in [
            ("28P01", ErrorKind::Denied, "user or password"),
            ("3D000", ErrorKind::NotFound, "no database of this name"),
            ("53300", ErrorKind::Unavailable, "max_connections"),
            ("53100", ErrorKind::Full, "disk is full"),
            ("25006", ErrorKind::Unavailable, "only reads"),
            ("42P01", ErrorKind::Corrupt, "missing"),
            ("57P01", ErrorKind::Unavailable, "thrown this connection out"),
            ("08006", ErrorKind::Unavailable, "connection"),
            ("XX001", ErrorKind::Corrupt, "damage"),
            ("40P01", ErrorKind::Unavailable, "again and again"),
            ("22000", ErrorKind::Internal, "nobody foresaw"),
        ] {
            let (found, advice) = advice_for(&SqlState::from_code(code));
            assert_eq!(found, kind, "{code}");
            assert!(advice.contains(part), "{code}: {advice}");
        }
    }
}
