//! The threads that read. Each has a connection of its own and sees the last commit when it begins.

use std::{path::PathBuf, sync::Arc, thread};

use celeriac_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::{
    Config,
    errors::{Failure, Outcome},
    open::open_reader,
    writer::join,
};

/// How many questions may wait for a thread. More wait with their askers.
const QUESTIONS_WAITING_MAX: usize = 256;

type Question = Box<dyn FnOnce(&mut Connection) + Send>;

/// Sends questions to the threads.
pub(crate) struct Readers {
    questions: Mutex<Option<mpsc::Sender<Question>>>,
    path: PathBuf,
    threads: Mutex<Vec<(thread::JoinHandle<()>, oneshot::Receiver<()>)>>,
}

impl Readers {
    /// Starts `config.readers` threads.
    pub(crate) fn start(config: &Config) -> Result<Self> {
        let (questions, queue) = mpsc::channel::<Question>(QUESTIONS_WAITING_MAX);
        let queue = Arc::new(Mutex::new(queue));
        let mut threads = Vec::with_capacity(config.readers);
        for number in 0..config.readers {
            let mut conn = open_reader(config)?;
            let queue = queue.clone();
            let (ended, end) = oneshot::channel();
            let thread = thread::Builder::new()
                .name(format!("celeriac-read-{number}"))
                .spawn(move || {
                    // One thread waits for a question while it holds the lock; the others wait for the lock.
                    while let Some(question) = next(&queue) {
                        question(&mut conn);
                    }
                    // The receiver is gone when nobody waits for the end.
                    let _ = ended.send(());
                })
                .map_err(|error| Error::new(ErrorKind::Unavailable, "start a thread that reads").with_source(error))?;
            threads.push((thread, end));
        }
        Ok(Self { questions: Mutex::new(Some(questions)), path: config.path.clone(), threads: Mutex::new(threads) })
    }

    /// Runs `work` in one read transaction. `what` completes "could not …".
    pub(crate) async fn run<T, F>(&self, what: &str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Outcome<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let questions = self.questions.lock().clone().ok_or_else(|| self.stopped())?;
        let question: Question = Box::new(move |conn| {
            // Whoever asked may have gone.
            let _ = reply.send(read(conn, work));
        });
        questions.send(question).await.map_err(|_| self.stopped())?;
        drop(questions);
        let outcome: Outcome<T> = answer.await.map_err(|_| self.stopped())?;
        outcome.map_err(|failure| failure.explain(what, &self.path))
    }

    /// Lets the threads finish what waits, and waits for their end. Idempotent.
    pub(crate) async fn close(&self) {
        self.questions.lock().take();
        let threads = std::mem::take(&mut *self.threads.lock());
        for (thread, end) in threads {
            let _ = end.await;
            join(thread);
        }
    }

    fn stopped(&self) -> Error {
        Error::new(ErrorKind::Invalid, format!("use the store {}: it is closed", self.path.display()))
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.questions.lock().take();
        for (thread, _) in std::mem::take(&mut *self.threads.lock()) {
            join(thread);
        }
    }
}

fn next(queue: &Mutex<mpsc::Receiver<Question>>) -> Option<Question> {
    queue.lock().blocking_recv()
}

fn read<T>(conn: &mut Connection, work: impl FnOnce(&Connection) -> Outcome<T>) -> Outcome<T> {
    let tx = conn.transaction().map_err(Failure::from)?;
    work(&tx)
    // Dropping the transaction ends it; it has changed nothing.
}
