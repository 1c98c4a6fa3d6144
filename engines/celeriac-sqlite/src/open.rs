//! Opens connections, and makes sure that the file is what it should be.

use std::{fs, io, path::Path, time::Duration};

use celeriac_core::{Error, ErrorKind, Result};
use rusqlite::{
    Connection, ErrorCode, MAIN_DB, OpenFlags, OptionalExtension, TransactionBehavior, config::DbConfig, params,
};

use crate::{
    Config,
    errors::{Failure, Outcome},
    layout::APPLICATION_ID,
};

/// What brings a file from one version to the next: the text, and a word about it for people.
const MIGRATIONS: &[(&str, &str)] = &[
    (include_str!("migrations/0001_initial.sql"), "messages, results, broadcasts, history"),
    (include_str!("migrations/0002_notices.sql"), "broadcasts with a routing key and headers"),
    (include_str!("migrations/0003_suspects.sql"), "who began to run, and who claimed a chord"),
];

/// The version of the tables that this program knows.
fn version_known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// How many statements a connection keeps prepared: more than there are in this crate.
const STATEMENTS_KEPT: usize = 128;

/// The log is copied into the file whenever it has grown by so many pages: 16 MiB, so that a bulk load does not wait
/// for it too often and nobody has to read through more than that.
const CHECKPOINT_PAGES: u32 = 4_096;

/// A log that grew beyond this while somebody read is cut back to it.
pub(crate) const LOG_BYTES_KEPT: u32 = 64 << 20;

/// How much of the file a connection keeps in memory, in KiB.
const CACHE_KIB: i32 = 16 << 10;

/// Opens the connection that writes, and brings the tables up to date.
pub(crate) fn open_writer(config: &Config, now: &str) -> Result<Connection> {
    check_place(&config.path)?;
    let mut conn = open(config)?;
    let prepared = prepare_writer(&mut conn, config, now);
    prepared.map_err(|failure| failure.explain("open the store", &config.path))?;
    Ok(conn)
}

/// Opens a connection that only reads.
pub(crate) fn open_reader(config: &Config) -> Result<Connection> {
    let conn = open(config)?;
    conn.pragma_update(None, "query_only", true)
        .map_err(|error| Failure::from(error).explain("open the store for reading", &config.path))?;
    Ok(conn)
}

fn open(config: &Config) -> Result<Connection> {
    let explain = |error: rusqlite::Error| Failure::from(error).explain("open the store", &config.path);
    // No URI: a question mark in a path is a question mark. No mutex: each connection stays in its own thread.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(&config.path, flags).map_err(explain)?;
    wait_when_busy(&mut conn, config.busy_timeout).map_err(explain)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    // Plans depend on the statement alone: otherwise SQLite plans a claim anew whenever its bounds have changed.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(explain)?;
    Ok(conn)
}

/// Waits for other processes in short naps. SQLite's own handler sleeps up to 100 ms at a time, which is an age here:
/// a transaction of ours takes a few milliseconds.
pub(crate) fn wait_when_busy(conn: &mut Connection, limit: Duration) -> rusqlite::Result<()> {
    let mut waited = Duration::ZERO;
    conn.busy_handler(Some(move |tries: i32| {
        if tries == 0 {
            waited = Duration::ZERO;
        }
        if waited >= limit {
            return false;
        }
        let nap = Duration::from_micros(100 * u64::from(tries.unsigned_abs() / 4 + 1)).min(Duration::from_millis(2));
        std::thread::sleep(nap);
        waited += nap;
        true
    }))
}

/// Says what SQLite would only call "unable to open database file".
fn check_place(path: &Path) -> Result<()> {
    let shown = path.display();
    if path.is_dir() {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("open {shown} as a store: it is a folder; name a file in it, such as {shown}/celeriac.db"),
        ));
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("open {shown}: {} is a file and not a folder", folder.display()),
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("open {shown}: the folder {} does not exist; make it first", folder.display()),
            ));
        }
        Err(error) => {
            return Err(Error::new(
                ErrorKind::Denied,
                format!("open {shown}: the folder {} cannot be entered", folder.display()),
            )
            .with_source(error));
        }
    }
    // SQLite falls back to reading when it may not write, and fails much later.
    match fs::OpenOptions::new().read(true).append(true).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::new(
            ErrorKind::Denied,
            format!("open {shown} for writing: the user of this process must be allowed to read and write it"),
        )
        .with_source(error)),
    }
}

fn prepare_writer(conn: &mut Connection, config: &Config, now: &str) -> Outcome<()> {
    if conn.is_readonly(MAIN_DB)? {
        return Err(Failure::Refused(
            ErrorKind::Denied,
            format!(
                "write to {}: it is read-only; the user of this process must be allowed to write the file and its folder",
                config.path.display()
            ),
        ));
    }
    check_owner(conn, config)?;
    let mode = switch_to_log(conn, config.busy_timeout)?;
    if mode != "wal" {
        return Err(Failure::Refused(
            ErrorKind::Unsupported,
            format!(
                "keep a log beside {}: the file system cannot share memory between processes; use a local disk",
                config.path.display()
            ),
        ));
    }
    conn.pragma_update(None, "foreign_keys", false)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    conn.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)?;
    migrate(conn, config, now)?;
    if let Some(bytes) = config.file_bytes_max {
        let page: i64 = conn.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        let pages = i64::try_from(bytes).unwrap_or(i64::MAX) / page.max(1);
        conn.query_row(&format!("PRAGMA max_page_count = {}", pages.max(1)), [], |_| Ok(()))?;
    }
    Ok(())
}

/// Switches to the write-ahead log. SQLite does not call the busy handler for this: when several processes make the
/// file at the same moment, all but one are told at once that it is locked.
fn switch_to_log(conn: &Connection, limit: Duration) -> Outcome<String> {
    const NAP: Duration = Duration::from_millis(2);
    let mut waited = Duration::ZERO;
    loop {
        match conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && waited < limit => {
                std::thread::sleep(NAP);
                waited += NAP;
            }
            outcome => return Ok(outcome?),
        }
    }
}

/// Refuses a file of another program before anything is changed in it.
fn check_owner(conn: &mut Connection, config: &Config) -> Outcome<()> {
    let shown = config.path.display();
    // One transaction for both looks: between them another process may be making the tables.
    let tx = conn.transaction()?;
    let application: i32 = tx.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if application == APPLICATION_ID {
        return Ok(());
    }
    let table: Option<String> =
        tx.query_row("SELECT name FROM sqlite_schema LIMIT 1", [], |row| row.get(0)).optional()?;
    match table {
        None if application == 0 => Ok(()),
        table => Err(Failure::Refused(
            ErrorKind::Corrupt,
            format!(
                "use {shown} as a store: it belongs to another program (application id {application:#x}, {}); name \
                 another file, a new one is made where none is",
                table.map_or("no tables".to_owned(), |table| format!("table `{table}`")),
            ),
        )),
    }
}

fn migrate(conn: &mut Connection, config: &Config, now: &str) -> Outcome<()> {
    if version(conn)? == version_known() {
        return Ok(());
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have done it while this one waited for the lock.
    let found = version(&tx)?;
    if found > version_known() {
        return Err(Failure::Refused(
            ErrorKind::Unsupported,
            format!(
                "use {}: its tables are of version {found}, made by a newer Celeriac; this one knows version {} and must \
                 be upgraded",
                config.path.display(),
                version_known()
            ),
        ));
    }
    for (number, (sql, about)) in (1_i64..).zip(MIGRATIONS) {
        if number > found {
            tx.execute_batch(sql)?;
            tx.execute("INSERT INTO celeriac_schema VALUES (?, ?, ?)", params![number, about, now])?;
        }
    }
    tx.pragma_update(None, "user_version", version_known())?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.commit()?;
    Ok(())
}

fn version(conn: &Connection) -> Outcome<i64> {
    Ok(conn.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}
