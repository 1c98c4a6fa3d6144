//! A Redis server.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    free_port,
    process::{Server, tail},
};

/// How often another port is tried when somebody was quicker.
const PORTS_TRIED: usize = 5;

/// A Redis server with its data on the disk: an append-only file, synced at every write.
pub struct RedisServer {
    server: Option<Server>,
    port: u16,
    folder: TempDir,
    arguments: Vec<String>,
}

impl RedisServer {
    /// Starts one.
    ///
    /// # Panics
    /// When it cannot be started; the message says what to install.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with further arguments, such as `["--requirepass", "secret"]`.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_with(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut server = Self { server: None, port: 0, folder, arguments };
        for _ in 0..PORTS_TRIED {
            server.port = free_port();
            server.server = server.try_start();
            if server.server.is_some() {
                return server;
            }
        }
        panic!("redis-server ends at once: {}", tail(server.folder.path()));
    }

    /// Starts it again after [`Self::kill`]: same port, same data.
    ///
    /// # Panics
    /// When it does not come back.
    pub fn restart(&mut self) {
        self.server = None;
        self.server = self.try_start();
        assert!(self.server.is_some(), "redis-server does not come back: {}", tail(self.folder.path()));
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.server.as_ref().map(Server::id)
    }

    /// `redis://127.0.0.1:PORT/0`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    fn try_start(&self) -> Option<Server> {
        let folder = self.folder.path();
        let mut arguments: Vec<String> =
            ["--bind", "127.0.0.1", "--appendonly", "yes", "--appendfsync", "always"].map(str::to_owned).to_vec();
        arguments.extend(["--save", "", "--port", &self.port.to_string(), "--dir"].map(str::to_owned));
        arguments.push(folder.display().to_string());
        arguments.extend_from_slice(&self.arguments);
        let server = Server::start("redis-server", &arguments, "redis-server", self.port, folder)?;
        while !self.answers() {
            thread::sleep(Duration::from_millis(10));
        }
        Some(server)
    }

    /// True when it serves: it accepts connections before it has read its data.
    fn answers(&self) -> bool {
        let answer = || -> io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.write_all(b"PING\r\n")?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line)?;
            Ok(line)
        };
        // A server with a password answers too, that it wants one.
        answer().is_ok_and(|line| line.starts_with("+PONG") || line.starts_with("-NOAUTH"))
    }
}
