//! What all servers have in common: a program, a port, and an end.

use std::{
    fs::File,
    io::Write as _,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long a server may take until it answers, on a busy machine.
const START_TIME_MAX: Duration = Duration::from_mins(1);

/// Becomes the server, beside a shell that waits for the end of the test's process, however it comes: then it kills the
/// server and removes its folder. Nobody else would, since statics are never dropped. A line says that there is no need.
const GUARD: &str = r#"exec 3<&0
( read -r line <&3 || { kill -9 $$; rm -rf "$FOLDER"; } ) &
exec "$0" "$@" 3<&- </dev/null"#;
/// What a shell answers when there is no such program.
const NOT_FOUND: i32 = 127;

/// A running server. It is killed when this is dropped, or when the test's process ends.
pub(crate) struct Server {
    child: Child,
}

impl Server {
    /// Starts `program`, its output in `log`, and waits until `port` accepts connections. None when the server ended
    /// before that: somebody else may have taken the port.
    ///
    /// # Panics
    /// When the program is missing (the message names `package`) or the server does not answer in time.
    pub(crate) fn start(program: &str, arguments: &[String], package: &str, port: u16, folder: &Path) -> Option<Self> {
        let log = log_of(folder);
        let output = File::create(&log).expect("a log in the server's own folder");
        let errors = output.try_clone().expect("a second handle of the log");
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, program]).args(arguments).env("FOLDER", folder);
        let child = command.stdin(Stdio::piped()).stdout(output).stderr(errors).spawn().expect("a shell");
        let mut server = Self { child };
        let (address, started) = (SocketAddr::from(([127, 0, 0, 1], port)), Instant::now());
        loop {
            if let Some(status) = server.child.try_wait().expect("the state of a child") {
                assert_ne!(status.code(), Some(NOT_FOUND), "{program} is missing: apt-get install {package}");
                return None;
            }
            if TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok() {
                return Some(server);
            }
            assert!(started.elapsed() < START_TIME_MAX, "{program} does not answer: {}", tail(folder));
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends the server as `kill -9` does, and waits until it is gone. Its folder stays.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself, which is as good; and so may the guard.
        let _ = self.child.kill();
        if let Some(mut guard) = self.child.stdin.take() {
            let _ = guard.write_all(b"\n");
        }
        self.child.wait().expect("the end of a child");
    }

    /// The process's id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn log_of(folder: &Path) -> PathBuf {
    folder.join("server.log")
}

/// The end of a server's log, for a message.
pub(crate) fn tail(folder: &Path) -> String {
    let text = std::fs::read_to_string(log_of(folder)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}
