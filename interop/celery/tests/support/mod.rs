//! A Redis, the real Celery, and our worker, each a process of its own.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use celeriac_testbed::RedisServer;

/// How long anything may take until it is certain that it never comes.
pub(crate) const NEVER: Duration = Duration::from_mins(2);

/// Redis and the Python of the real Celery.
pub(crate) struct Stage {
    pub(crate) redis: RedisServer,
    python: PathBuf,
    /// Celery's visibility timeout, in seconds.
    pub(crate) visibility: u32,
}

impl Stage {
    pub(crate) fn set() -> Self {
        Self { redis: RedisServer::start(), python: python(), visibility: 3600 }
    }

    /// Our worker, ready to work.
    pub(crate) fn rust_worker(&self) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_interop-worker"));
        command.arg(self.redis.url());
        Process::start(&mut command, |line| line == "ready")
    }

    /// A worker of the real Celery, ready to work.
    pub(crate) fn celery_worker(&self, name: &str) -> Process {
        let mut command = self.celery();
        command.args(["-m", "celery", "-A", "proj", "worker", "--loglevel", "INFO", "--concurrency", "2"]);
        command.args(["-n", name, "--without-gossip", "--without-mingle"]);
        Process::start(&mut command, |line| line.ends_with(" ready."))
    }

    /// Lets the real Celery judge.
    pub(crate) fn client(&self, arguments: &[&str]) {
        let output = self.celery().arg("client.py").args(arguments).output().expect("Python runs");
        assert!(
            output.status.success(),
            "client.py {arguments:?} says: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn celery(&self) -> Command {
        let mut command = Command::new(&self.python);
        command
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("INTEROP_URL", self.redis.url())
            .env("INTEROP_VISIBILITY", self.visibility.to_string())
            .env("PYTHONUNBUFFERED", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    pub(crate) fn connection(&self) -> redis::Connection {
        connection(&self.redis.url())
    }

    /// Where the tasks note their runs.
    pub(crate) fn notes(&self) -> redis::Connection {
        connection(&format!("redis://127.0.0.1:{}/15", self.redis.port()))
    }
}

fn connection(url: &str) -> redis::Connection {
    redis::Client::open(url).and_then(|client| client.get_connection()).expect("the server answers")
}

/// The Python with the real Celery; made when it is missing.
fn python() -> PathBuf {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../venv");
    let output = Command::new(venv).arg("celery-redis").output().expect("interop/venv runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().into()
}

/// A worker, killed when it is dropped.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    fn start(command: &mut Command, is_ready: fn(&str) -> bool) -> Self {
        // Celery says that it is ready on its standard error, ours on the output: both into one pipe.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let errors = writer.try_clone().expect("a second end of a pipe");
        command.stdin(Stdio::null()).stdout(writer).stderr(errors);
        // In a group of its own, so that Celery's children go with it.
        std::os::unix::process::CommandExt::process_group(command, 0);
        let child = command.spawn().expect("a worker starts");
        // The command keeps the writing ends open otherwise.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut lines = BufReader::new(reader).lines();
        let mut said = Vec::new();
        loop {
            let Some(Ok(line)) = lines.next() else { panic!("the worker ended: {}", said.join("\n")) };
            let ready = is_ready(&line);
            said.push(line);
            if ready {
                break;
            }
        }
        // Whoever writes more must not be held up by a full pipe. Shown when the test fails.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                eprintln!("{line}");
            }
        });
        Self { child }
    }

    /// As `kill -9` of the worker and its children.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    /// Asks it to end in good order, and waits until it has.
    pub(crate) fn stop(mut self) {
        signal(&["-TERM", &self.child.id().to_string()]);
        let status = self.child.wait().expect("the end of a child");
        assert!(status.success(), "the worker ends in good order: {status}");
    }

    /// As `kill -9` of its children alone.
    pub(crate) fn kill_children(&self) {
        let parent = self.child.id().to_string();
        let listed = Command::new("ps").args(["-o", "pid=", "--ppid", &parent]).output().expect("ps runs");
        for child in String::from_utf8_lossy(&listed.stdout).split_whitespace() {
            signal(&["-KILL", child]);
        }
    }

    fn end(&mut self) {
        signal(&["-KILL", "--", &format!("-{}", self.child.id())]);
        self.child.wait().expect("the end of a child");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().expect("the state of a child").is_none() {
            self.end();
        }
    }
}

/// Sends a signal to a process or group that this test started.
pub(crate) fn signal(arguments: &[&str]) {
    // It may have ended by itself meanwhile.
    let _ = Command::new("kill").args(arguments).stderr(Stdio::null()).status();
}

/// Looks until it is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < NEVER, "it never came to be that {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    begun.elapsed()
}
