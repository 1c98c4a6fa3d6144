//! The one thread of this process that writes.
//!
//! Commands queue up; all that wait run in one transaction, each in a savepoint of its own, and are acknowledged
//! together after one commit. So a hundred senders pay for one `fsync`, and one bad command spoils no other.
//!
//! ```text
//!  commands ──► queue ──► BEGIN IMMEDIATE; (SAVEPOINT; command; RELEASE)…; COMMIT ──► wake sleepers ──► answers
//! ```

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use celeriac_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::{
    Config, Synchronous,
    errors::{Failure, Outcome},
    hub::Hub,
    open::{LOG_BYTES_KEPT, wait_when_busy},
    tx::{Touched, Tx},
    wake::Waker,
};

/// How many commands may wait for the thread. More wait with their senders.
const COMMANDS_WAITING_MAX: usize = 1_024;
/// How many commands one transaction takes.
const GROUP_COMMANDS_MAX: usize = 256;
/// How many rows one transaction takes (a single command may be a little larger). Bounds how long others wait.
const GROUP_ROWS_MAX: usize = 4_096;
/// How many bytes of messages may wait for the thread, in KiB.
const KIB_WAITING_MAX: u32 = 128 << 10;

/// How long the thread looks out for another command before it sleeps.
const LOOK_OUT: Duration = Duration::from_micros(50);

/// How long a log is too long, and how often that is looked at, in groups.
const LOG_BYTES_MAX: u64 = 2 * LOG_BYTES_KEPT as u64;
const LOG_LOOK_EVERY: u32 = 32;
/// How long writing waits for readers when the log is too long.
const LOG_WAIT_MAX: Duration = Duration::from_millis(500);

/// Whether a command's effect must survive a power failure once it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// It must, if the configuration says so.
    Durable,
    /// It need not: losing it with the machine is the same as never having done it. A lost claim gives the message to
    /// somebody else, which a dead holder's lease would have done anyway. Later durable commits take it along.
    Relaxed,
}

/// Something to be done in a transaction.
pub(crate) trait Command: Send {
    fn durability(&self) -> Durability;
    /// About how many rows it changes.
    fn rows(&self) -> usize;
    /// Does it. Not called again.
    fn run(&mut self, tx: &mut Tx<'_>) -> Outcome<()>;
    /// Hears that it is in the file, or why it is not.
    fn finish(self: Box<Self>, outcome: Result<(), Failure>);
}

/// Sends commands to the thread.
pub(crate) struct Writer {
    commands: Mutex<Option<mpsc::Sender<Box<dyn Command>>>>,
    room: Arc<Semaphore>,
    path: PathBuf,
    thread: Mutex<Option<(thread::JoinHandle<()>, oneshot::Receiver<()>)>>,
}

impl Writer {
    /// Starts the thread on a connection of its own.
    pub(crate) fn start(conn: Connection, config: &Config, hub: Arc<Hub>, waker: Arc<Waker>) -> Result<Self> {
        let path = config.path.clone();
        let (synchronous, busy_timeout) = (config.synchronous, config.busy_timeout);
        let log = Log::new(&config.path);
        let (commands, queue) = mpsc::channel(COMMANDS_WAITING_MAX);
        let (ended, end) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("celeriac-writer".into())
            .spawn(move || {
                Thread { conn, queue, hub, waker, synchronous, busy_timeout, current: None, log }.run();
                // The receiver is gone when nobody waits for the end.
                let _ = ended.send(());
            })
            .map_err(|error| Error::new(ErrorKind::Unavailable, "start the thread that writes").with_source(error))?;
        Ok(Self {
            commands: Mutex::new(Some(commands)),
            room: Arc::new(Semaphore::new(KIB_WAITING_MAX as usize)),
            path,
            thread: Mutex::new(Some((thread, end))),
        })
    }

    /// Runs `work` in a transaction and gives its answer once that is committed. `what` completes "could not …".
    ///
    /// Dropping the future does not take back a command that was sent.
    pub(crate) async fn run<T, F>(&self, what: &str, durability: Durability, rows: usize, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Outcome<T> + Send + 'static,
    {
        self.submit(durability, rows, work).await?.answer(what, self).await
    }

    /// Sends `work` to the thread, without waiting for its answer.
    pub(crate) async fn submit<T, F>(&self, durability: Durability, rows: usize, work: F) -> Result<Answer<T>>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Outcome<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let place = self.reserve().await?;
        place.send(Box::new(Once { durability, rows, work: Some(work), output: None, reply }));
        Ok(Answer(answer))
    }

    /// Waits for a place in the queue, so that the sending itself can neither wait nor fail.
    pub(crate) async fn reserve(&self) -> Result<mpsc::OwnedPermit<Box<dyn Command>>> {
        let commands = self.commands.lock().clone().ok_or_else(|| self.stopped())?;
        commands.reserve_owned().await.map_err(|_| self.stopped())
    }

    /// Waits until so many bytes may wait for the thread; they may until the permit is dropped.
    pub(crate) async fn room(&self, bytes: usize) -> Result<tokio::sync::OwnedSemaphorePermit> {
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(KIB_WAITING_MAX).min(KIB_WAITING_MAX);
        self.room.clone().acquire_many_owned(kib).await.map_err(|_| self.stopped())
    }

    /// Lets the thread finish what waits, and waits for its end. Idempotent.
    pub(crate) async fn close(&self) {
        self.commands.lock().take();
        let thread = self.thread.lock().take();
        if let Some((thread, end)) = thread {
            let _ = end.await;
            join(thread);
        }
    }

    fn stopped(&self) -> Error {
        Error::new(ErrorKind::Invalid, format!("use the store {}: it is closed", self.path.display()))
    }
}

/// What a command that was sent will give.
pub(crate) struct Answer<T>(oneshot::Receiver<Outcome<T>>);

impl<T> Answer<T> {
    pub(crate) async fn answer(self, what: &str, writer: &Writer) -> Result<T> {
        let outcome = self.0.await.map_err(|_| writer.stopped())?;
        outcome.map_err(|failure| failure.explain(what, &writer.path))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.commands.lock().take();
        if let Some((thread, _)) = self.thread.lock().take() {
            join(thread);
        }
    }
}

/// Waits for a thread. Its panic has been printed already, and everybody who waited for it has got an error.
pub(crate) fn join(thread: thread::JoinHandle<()>) {
    let _ = thread.join();
}

/// A closure as a command.
struct Once<T, F> {
    durability: Durability,
    rows: usize,
    work: Option<F>,
    output: Option<T>,
    reply: oneshot::Sender<Outcome<T>>,
}

impl<T, F> Command for Once<T, F>
where
    T: Send,
    F: FnOnce(&mut Tx<'_>) -> Outcome<T> + Send,
{
    fn durability(&self) -> Durability {
        self.durability
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> Outcome<()> {
        let work = self.work.take().expect("a command runs once");
        self.output = Some(work(tx)?);
        Ok(())
    }

    fn finish(self: Box<Self>, outcome: Result<(), Failure>) {
        let Self { output, reply, .. } = *self;
        let answer = outcome.map(|()| output.expect("a command that succeeded has an output"));
        // Whoever asked may have gone; the effect stays.
        let _ = reply.send(answer);
    }
}

struct Thread {
    conn: Connection,
    queue: mpsc::Receiver<Box<dyn Command>>,
    hub: Arc<Hub>,
    waker: Arc<Waker>,
    synchronous: Synchronous,
    busy_timeout: Duration,
    log: Log,
    /// The connection's setting, to change it only when needed.
    current: Option<Synchronous>,
}

impl Thread {
    fn run(mut self) {
        while let Some(first) = self.next() {
            let group = self.gather(first);
            self.run_group(group);
            self.shorten_log();
        }
        self.put_down();
    }

    /// The next command. Somebody who has just got an answer often has the next question at once: looking out for it a
    /// moment is cheaper than falling asleep and being woken.
    fn next(&mut self) -> Option<Box<dyn Command>> {
        let begun = Instant::now();
        while begun.elapsed() < LOOK_OUT {
            match self.queue.try_recv() {
                Ok(command) => return Some(command),
                Err(mpsc::error::TryRecvError::Disconnected) => return None,
                Err(mpsc::error::TryRecvError::Empty) => thread::yield_now(),
            }
        }
        self.queue.blocking_recv()
    }

    /// Takes what waits, up to the limits of a transaction.
    fn gather(&mut self, first: Box<dyn Command>) -> Vec<Box<dyn Command>> {
        let mut rows = first.rows();
        let mut group = vec![first];
        while group.len() < GROUP_COMMANDS_MAX && rows < GROUP_ROWS_MAX {
            let Ok(next) = self.queue.try_recv() else { break };
            rows += next.rows();
            group.push(next);
        }
        group
    }

    fn run_group(&mut self, mut group: Vec<Box<dyn Command>>) {
        let mut outcomes = Vec::with_capacity(group.len());
        match self.transact(&mut group, &mut outcomes) {
            Ok(touched) => {
                // Sleepers first: they have further to go than those who wait for their answer.
                if !touched.is_empty() {
                    self.hub.wake(&touched);
                    self.waker.tell(&touched);
                }
                for (command, outcome) in group.into_iter().zip(outcomes) {
                    command.finish(outcome);
                }
            }
            Err(failure) => {
                if !self.conn.is_autocommit() {
                    // Nothing more can be done for a transaction that cannot be rolled back; the next BEGIN will say so.
                    let _ = self.conn.execute_batch("ROLLBACK");
                }
                for command in group {
                    command.finish(Err(failure.clone()));
                }
            }
        }
    }

    /// Runs the group in one transaction. An error is everybody's: nothing of it is in the file.
    fn transact(
        &mut self,
        group: &mut [Box<dyn Command>],
        outcomes: &mut Vec<Result<(), Failure>>,
    ) -> Outcome<Touched> {
        let durable = group.iter().any(|command| command.durability() == Durability::Durable);
        self.set_synchronous(if durable { self.synchronous } else { Synchronous::Normal })?;
        execute(&self.conn, "BEGIN IMMEDIATE")?;
        let mut tx = Tx::new(&self.conn);
        let mut touched = Touched::default();
        let alone = group.len() == 1;
        for command in group {
            if alone {
                command.run(&mut tx)?;
                touched.merge(tx.take_touched());
                outcomes.push(Ok(()));
                continue;
            }
            execute(&self.conn, "SAVEPOINT command")?;
            let outcome = command.run(&mut tx);
            let touched_now = tx.take_touched();
            if let Err(failure) = &outcome {
                if self.conn.is_autocommit() {
                    // SQLite has given up the whole transaction (a full disk, say).
                    return Err(failure.clone());
                }
                execute(&self.conn, "ROLLBACK TO command")?;
            } else {
                touched.merge(touched_now);
            }
            execute(&self.conn, "RELEASE command")?;
            outcomes.push(outcome);
        }
        tx.finish()?;
        execute(&self.conn, "COMMIT")?;
        Ok(touched)
    }

    fn set_synchronous(&mut self, wanted: Synchronous) -> Outcome<()> {
        if self.current != Some(wanted) {
            let word = match wanted {
                Synchronous::Full => "FULL",
                Synchronous::Normal => "NORMAL",
            };
            self.conn.pragma_update(None, "synchronous", word)?;
            self.current = Some(wanted);
        }
        Ok(())
    }

    /// Begins the log anew where it has grown too long. SQLite does so by itself whenever nobody reads; among many busy
    /// readers that moment may never come, so we wait for those that read now. One that never ends is not waited for.
    fn shorten_log(&mut self) {
        if !self.log.is_too_long() {
            return;
        }
        let shortened = wait_when_busy(&mut self.conn, LOG_WAIT_MAX)
            .and_then(|()| self.conn.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get::<_, bool>(0)))
            .map(|busy| !busy);
        if !matches!(shortened, Ok(true)) {
            tracing::warn!(
                log = %self.log.path.display(), bytes = self.log.bytes,
                "the log cannot be shortened while a reader keeps an old state; look for an open transaction"
            );
        }
        // Setting a handler fails on a broken connection only, which the next command will tell.
        let _ = wait_when_busy(&mut self.conn, self.busy_timeout);
    }

    /// Leaves a short log behind. Others may be using the file: what they keep is copied by them.
    fn put_down(self) {
        if let Err(error) = self.conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
            tracing::debug!(%error, "the log was not copied into the file at the end");
        }
    }
}

/// The log's length, looked at now and then.
struct Log {
    path: PathBuf,
    groups: u32,
    bytes: u64,
    /// Beyond this it is too long.
    limit: u64,
}

impl Log {
    fn new(file: &Path) -> Self {
        let mut path = file.as_os_str().to_owned();
        path.push("-wal");
        Self { path: path.into(), groups: 0, bytes: 0, limit: LOG_BYTES_MAX }
    }

    fn is_too_long(&mut self) -> bool {
        self.groups = (self.groups + 1) % LOG_LOOK_EVERY;
        if self.groups != 0 {
            return false;
        }
        self.bytes = fs::metadata(&self.path).map_or(0, |log| log.len());
        let too_long = self.bytes > self.limit;
        // Not again before it has grown by as much, so that waiting in vain stays rare.
        self.limit = if too_long {
            self.bytes + LOG_BYTES_MAX
        } else {
            self.limit.min(self.bytes + LOG_BYTES_MAX).max(LOG_BYTES_MAX)
        };
        too_long
    }
}

fn execute(conn: &Connection, sql: &str) -> Outcome<()> {
    conn.prepare_cached(sql)?.execute([])?;
    Ok(())
}
