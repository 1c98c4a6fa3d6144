//! What SQLite says, turned into what a person can do about it.

use std::{path::Path, sync::Arc};

use celeriac_core::{Error, ErrorKind};
use rusqlite::{ErrorCode, ffi};

/// Why one command on the file failed. Cloneable, because a lost transaction fails every command of its group.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// SQLite said so.
    Sql(Arc<rusqlite::Error>),
    /// We said so: the kind and the sentence of the error to be.
    Refused(ErrorKind, String),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(Arc::new(error))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error.kind(), error.sentence().to_owned())
    }
}

impl Failure {
    /// A value in the file that nothing of ours writes.
    pub(crate) fn corrupt(what: &str) -> Self {
        Self::Refused(ErrorKind::Corrupt, format!("read {what}: the file holds a value that Celeriac never writes"))
    }

    /// The error of doing `what` (it completes "could not …") to the file at `path`.
    pub(crate) fn explain(&self, what: &str, path: &Path) -> Error {
        match self {
            Self::Refused(kind, sentence) => Error::new(*kind, sentence.clone()),
            Self::Sql(error) => {
                let (kind, advice) = advice(error);
                let sentence = format!("{what} in {}: {advice}", path.display());
                Error::new(kind, sentence).with_source(error.clone())
            }
        }
    }
}

/// The result of work on a connection.
pub(crate) type Outcome<T> = Result<T, Failure>;

fn advice(error: &rusqlite::Error) -> (ErrorKind, &'static str) {
    let rusqlite::Error::SqliteFailure(failure, _) = error else {
        return (ErrorKind::Internal, "SQLite gave an answer that nobody foresaw");
    };
    match (failure.code, failure.extended_code) {
        (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => (
            ErrorKind::Unavailable,
            "another process has kept the file locked for too long; look for one that is stopped in the middle of a \
             transaction (a debugger, an open `sqlite3` shell), or allow more with ?busy_timeout=30s",
        ),
        (ErrorCode::NotADatabase, _) => (
            ErrorKind::Corrupt,
            "the file is not an SQLite database; name another file, or move this one away and let a new one be made",
        ),
        (ErrorCode::DatabaseCorrupt, _) => (
            ErrorKind::Corrupt,
            "the file is damaged; stop every process that uses it, copy it with its -wal file, rescue what can be read \
             with `sqlite3 FILE .recover`, and go on with a new file",
        ),
        (ErrorCode::DiskFull, _) => (
            ErrorKind::Full,
            "there is no room left; free space on the disk or raise ?file_max, what was stored is unharmed",
        ),
        (ErrorCode::ReadOnly, _) => (
            ErrorKind::Denied,
            "it is read-only; the user of this process must be allowed to write the file, its -wal and -shm files and \
             its folder",
        ),
        (ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied, _) => {
            (ErrorKind::Denied, "the user of this process may not use the file")
        }
        (ErrorCode::CannotOpen, _) => (
            ErrorKind::Denied,
            "it cannot be opened; the user of this process must be allowed to read and write the file and its folder",
        ),
        (
            _,
            ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_READ | ffi::SQLITE_IOERR_SHORT_READ,
        ) => (ErrorKind::Unavailable, "the disk reports errors; look at the system's log before you trust it again"),
        (ErrorCode::SystemIoFailure, _) => (
            ErrorKind::Unavailable,
            "the system refused to read or write; the file must be on a local disk (no network file system), and its \
             folder must stay where it is",
        ),
        (ErrorCode::TooBig, _) => (ErrorKind::TooLarge, "a value is larger than SQLite can hold"),
        _ => (ErrorKind::Internal, "SQLite gave an answer that nobody foresaw"),
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[track_caller]
    fn check(error: rusqlite::Error, kind: ErrorKind, advice: &str) {
        let error = Failure::from(error).explain("publish messages", Path::new("tasks.db"));
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().starts_with("could not publish messages in tasks.db: "), "{error}");
        assert!(error.to_string().contains(advice), "{error}");
    }

    fn code(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn a_connection_that_may_only_read_says_what_must_be_writable() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE t (a); PRAGMA query_only = ON").unwrap();
        let error = conn.execute("INSERT INTO t VALUES (1)", []).expect_err("refused");
        check(error, ErrorKind::Denied, "its -wal and -shm files and its folder");
    }

    #[test]
    fn what_the_disk_says_is_told_apart() {
        check(code(ffi::SQLITE_FULL), ErrorKind::Full, "free space");
        check(code(ffi::SQLITE_IOERR_FSYNC), ErrorKind::Unavailable, "the disk reports errors");
        check(code(ffi::SQLITE_IOERR_SHMMAP), ErrorKind::Unavailable, "on a local disk");
        check(code(ffi::SQLITE_CORRUPT), ErrorKind::Corrupt, ".recover");
        check(code(ffi::SQLITE_CANTOPEN), ErrorKind::Denied, "the file and its folder");
        check(code(ffi::SQLITE_BUSY_SNAPSHOT), ErrorKind::Unavailable, "busy_timeout");
        check(code(ffi::SQLITE_TOOBIG), ErrorKind::TooLarge, "larger than SQLite can hold");
        check(code(ffi::SQLITE_MISUSE), ErrorKind::Internal, "nobody foresaw");
    }
}
