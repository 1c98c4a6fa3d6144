//! The other process: this program, started again as a worker.

use std::{io::Write as _, path::Path, process::Stdio};

use anyhow::Context as _;
use celeriac::{core::Timestamp, prelude::*};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::{
    args::Durability,
    store,
    tasks::{self, Runs},
};

/// Says on standard output when it began.
#[task(ignore_result)]
pub(crate) async fn tell_start() {
    let now = Timestamp::now().as_nanosecond();
    // One write a line. When nobody listens any more, the parent has ended and so do we.
    let _ = std::io::stdout().lock().write_all(format!("{now}\n").as_bytes());
}

/// A worker on the file, until standard input ends.
pub(crate) async fn work(file: &Path, durability: Durability, events: bool) -> anyhow::Result<()> {
    let app = store::connect(file, durability).await?;
    let stop = Shutdown::new();
    let worker = Worker::builder(app.clone())
        .tasks(tasks![tell_start, tasks::discard, tasks::answer])
        .state(Runs::unmeasured())
        .events(events)
        .build()?;
    let working = tokio::spawn(worker.run(stop.clone()));
    let input = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    input.await??;
    stop.graceful();
    working.await??;
    Ok(app.close().await?)
}

/// A worker in another process.
pub(crate) struct Other {
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Other {
    /// Starts it, and returns once it runs tasks.
    pub(crate) async fn start(app: &App, file: &Path, durability: Durability) -> anyhow::Result<Self> {
        Self::start_with(app, file, durability, &[]).await
    }

    /// The same, sending events.
    pub(crate) async fn start_telling(app: &App, file: &Path, durability: Durability) -> anyhow::Result<Self> {
        Self::start_with(app, file, durability, &["--events"]).await
    }

    async fn start_with(app: &App, file: &Path, durability: Durability, flags: &[&str]) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("--worker")
            .arg(file)
            .args(["--durability", &durability.word().to_lowercase()])
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start another process")?;
        let output = process.stdout.take().context("listen to the other process")?;
        let mut other = Self { process, output: BufReader::new(output).lines() };
        // Ahead of whatever waits.
        app.send(tell_start().priority(9)).await?;
        other.heard().await?;
        Ok(other)
    }

    /// Waits until it has begun a task, and tells when that was.
    pub(crate) async fn heard(&mut self) -> anyhow::Result<i128> {
        let line = self.output.next_line().await?.context("the other process has ended")?;
        Ok(line.parse()?)
    }

    /// Its process id, as `/proc` has it.
    pub(crate) fn id(&self) -> anyhow::Result<String> {
        Ok(self.process.id().context("the other process has ended")?.to_string())
    }

    /// Ends it in order.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        drop(self.process.stdin.take());
        let status = self.process.wait().await?;
        anyhow::ensure!(status.success(), "the other process ended with {status}");
        Ok(())
    }
}
