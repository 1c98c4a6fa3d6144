//! PostgreSQL: one cluster that all tests of a target folder share, a database each; or a cluster of one's own, to be
//! restarted and killed.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use tempfile::TempDir;

use crate::{
    folder::{as_nobody, hand_over},
    free_port,
};

/// Where Debian puts each version's programs.
const INSTALLED: &str = "/usr/lib/postgresql";

/// Not for anything of value: what is lost with the machine may be lost, but not what is lost with the server.
const SETTINGS: &str = "listen_addresses = '127.0.0.1'\n\
                        unix_socket_directories = ''\n\
                        max_connections = 400\n\
                        shared_buffers = '64MB'\n\
                        fsync = off\n\
                        max_wal_size = '256MB'\n\
                        logging_collector = off\n\
                        log_min_messages = warning\n\
                        shared_preload_libraries = 'pg_stat_statements'\n\
                        timezone = 'UTC'\n";

/// A running PostgreSQL. Its user is `tester`, without a password.
#[derive(Debug)]
pub struct Postgres {
    bin: PathBuf,
    data: PathBuf,
    port: u16,
    /// A cluster of one's own ends with this value, and its folder goes.
    own: Option<TempDir>,
}

/// A database of one test. It goes when this is dropped.
#[derive(Debug)]
pub struct Database {
    server: &'static Postgres,
    name: String,
}

static SHARED: OnceLock<(Postgres, File)> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

impl Postgres {
    /// The cluster that tests share; started when there is none.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    pub fn shared() -> &'static Self {
        &SHARED.get_or_init(join_shared).0
    }

    /// A cluster of one's own.
    ///
    /// # Panics
    /// As [`Self::shared`].
    pub fn own() -> Self {
        let folder = tempfile::Builder::new().prefix("celeriac-postgres-").tempdir().expect("a temporary folder");
        let mut server = create(folder.path());
        server.own = Some(folder);
        server
    }

    /// An empty database for one test.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn database(&'static self) -> Database {
        let name = format!("t{}_{}", std::process::id(), DATABASES.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        self.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0"));
        Database { server: self, name }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of one of its databases.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://tester@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs SQL as `psql` does and returns what it prints: rows on lines, columns between `|`.
    ///
    /// # Panics
    /// When the server refuses it.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let output = self.psql(database, sql);
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Ends the server as a crash would, and starts it again.
    ///
    /// # Panics
    /// When it does not come back.
    pub fn restart_after_crash(&self) {
        self.crash();
        self.start();
    }

    /// Ends the server as a crash would.
    ///
    /// # Panics
    /// When it does not end.
    pub fn crash(&self) {
        assert!(self.pg_ctl(&["-m", "immediate", "stop"]), "PostgreSQL did not stop");
    }

    /// Starts a server that was ended.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(&self) {
        let log = self.data.with_extension("log");
        let started = self.pg_ctl(&["-l", &log.display().to_string(), "start"]);
        assert!(started, "PostgreSQL did not start: {}", fs::read_to_string(&log).unwrap_or_default());
    }

    fn psql(&self, database: &str, sql: &str) -> Output {
        Command::new(self.bin.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.url(database), "-c", sql])
            .output()
            .expect("psql of PostgreSQL")
    }

    /// True when it did what it was told.
    fn pg_ctl(&self, args: &[&str]) -> bool {
        let data = self.data.display().to_string();
        let args = ["-D", &data, "-w", "-t", "60", "-s"].into_iter().chain(args.iter().copied());
        // The server keeps what it was started with: it must not hold this test's output open.
        run(&self.bin.join("pg_ctl"), args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("pg_ctl of PostgreSQL")
            .success()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.own.is_some() {
            // It may have been ended by the test already.
            let _ = self.pg_ctl(&["-m", "immediate", "stop"]);
        }
    }
}

impl Database {
    /// Its URL.
    pub fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// See [`Postgres::sql`].
    pub fn sql(&self, sql: &str) -> String {
        self.server.sql(&self.name, sql)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Whoever is still connected is thrown out. If the server is gone, so is the database.
        let _ = self.server.psql("postgres", &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

/// Makes a cluster in a folder and starts it.
fn create(folder: &Path) -> Postgres {
    let bin = installed();
    hand_over(folder);
    let data = folder.join("data");
    let output = run(
        &bin.join("initdb"),
        ["-D", &data.display().to_string(), "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"],
    )
    .output()
    .expect("initdb of PostgreSQL");
    assert!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr));
    let port = free_port();
    let settings = data.join("postgresql.auto.conf");
    fs::write(&settings, format!("{SETTINGS}port = {port}\n")).expect("the settings of PostgreSQL");
    let server = Postgres { bin, data, port, own: None };
    server.start();
    server
}

/// A command, run as a user who may run PostgreSQL, where files of others are not in the way.
fn run<'a>(program: &Path, args: impl IntoIterator<Item = &'a str>) -> Command {
    let program = program.display().to_string();
    let mut words: Vec<String> = as_nobody().into_iter().map(ToOwned::to_owned).collect();
    words.push(program);
    words.extend(args.into_iter().map(ToOwned::to_owned));
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir("/");
    command
}

/// The programs of the newest version that is installed.
fn installed() -> PathBuf {
    let versions = fs::read_dir(INSTALLED).into_iter().flatten().flatten();
    versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin)| bin.join("initdb").exists())
        .max()
        .map(|(_, bin)| bin)
        .expect("PostgreSQL is missing: install it, e.g. sudo apt-get install postgresql-15")
}

/// Finds the shared cluster or starts it, and says that this process uses it.
fn join_shared() -> (Postgres, File) {
    let state = state_folder();
    fs::create_dir_all(&state).expect("a folder for the shared server's state");
    // One process at a time finds out and starts; the keeper stops the server under the same lock.
    let gate = File::create(state.join("gate.lock")).expect("the shared server's lock");
    gate.lock().expect("the shared server's lock");
    let users = File::create(state.join("users.lock")).expect("the lock of the shared server's users");
    users.lock_shared().expect("the lock of the shared server's users");
    let server = running(&state).unwrap_or_else(|| start_shared(&state));
    (server, users)
}

/// One cluster for each target folder.
fn state_folder() -> PathBuf {
    let exe = std::env::current_exe().expect("a test has a path");
    let target = exe.ancestors().find(|folder| folder.file_name().is_some_and(|name| name == "target"));
    let mut hasher = DefaultHasher::new();
    target.unwrap_or(&exe).hash(&mut hasher);
    std::env::temp_dir().join(format!("celeriac-testbed-{:016x}", hasher.finish())).join("postgres")
}

/// The cluster that another process started, if it still runs.
fn running(state: &Path) -> Option<Postgres> {
    let data = PathBuf::from(fs::read_to_string(state.join("data")).ok()?);
    let port = fs::read_to_string(state.join("port")).ok()?.parse().ok()?;
    let server = Postgres { bin: installed(), data, port, own: None };
    server.psql("postgres", "SELECT 1").status.success().then_some(server)
}

fn start_shared(state: &Path) -> Postgres {
    let folder = tempfile::Builder::new().prefix("celeriac-postgres-").tempdir().expect("a temporary folder").keep();
    let server = create(&folder);
    fs::write(state.join("data"), server.data.display().to_string()).expect("the shared server's state");
    fs::write(state.join("port"), server.port.to_string()).expect("the shared server's state");
    keep(state, &folder, &server);
    server
}

/// Starts the keeper: it ends the server, and removes its folder, when nobody has used it for some seconds.
fn keep(state: &Path, folder: &Path, server: &Postgres) {
    const KEEPER: &str = r#"
        state=$1 folder=$2; shift 2
        while sleep 5; do
            (
                flock 8 && flock --nonblock 9 || exit 1
                "$@" -D "$folder/data" -m immediate -w -s stop
                rm -rf "$folder" "$state/data" "$state/port"
            ) 8>"$state/gate.lock" 9>"$state/users.lock" && exit 0
        done"#;
    let mut stop: Vec<String> = as_nobody().into_iter().map(ToOwned::to_owned).collect();
    stop.push(server.bin.join("pg_ctl").display().to_string());
    // In a session of its own, so that it outlives the test that happened to start it.
    Command::new("setsid")
        .args(["--fork", "sh", "-c", KEEPER, "celeriac-keeper"])
        .arg(state)
        .arg(folder)
        .args(stop)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("setsid of util-linux");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_server_gives_each_test_a_database() {
        let (one, two) = (Postgres::shared().database(), Postgres::shared().database());
        assert_ne!(one.name(), two.name());
        one.sql("CREATE TABLE only_here (a int)");
        assert_eq!(two.sql("SELECT to_regclass('only_here') IS NULL"), "t");
    }

    #[test]
    fn a_server_of_ones_own_comes_back_after_a_crash() {
        let server = Postgres::own();
        server.sql("postgres", "CREATE TABLE kept (a int); INSERT INTO kept VALUES (7)");
        server.restart_after_crash();
        assert_eq!(server.sql("postgres", "SELECT a FROM kept"), "7");
    }
}
