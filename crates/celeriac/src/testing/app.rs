//! An application in memory that a test runs step by step.

use std::{fmt, ops::Deref, time::Duration};

use celeriac_app::{App, Engines, Settings, StateMap, Task, TaskDefinition};
use celeriac_core::{
    BrokerHandle, Clock, Error, ErrorKind, Ids, ManualClock, Peek, PeekState, QueueName, Result, Timestamp, Topology,
};
use celeriac_memory::MemoryEngine;
use celeriac_worker::{Report, Shutdown, Worker};
use tokio::sync::Mutex;

use super::{
    Sent,
    watch::{Standing, Watch},
    watched::WatchedBroker,
};

/// When a test's clock begins: 2030-01-01, midnight, UTC.
const BEGINNING: i64 = 1_893_456_000;
/// A seed like any other: two runs of a test get the same ids.
const SEED: u64 = 1;
/// The most deliveries that one drain takes.
const DRAIN_MAX: usize = 100_000;

/// An application in memory, a clock that the test moves, and a worker that runs when it is told to.
///
/// It is an [`App`] for everything that takes one: `&test`, or `test.app().clone()`. Retries, countdowns, expiry, rate limits
/// and leases go by the test's clock, which stands still until [`advance`](Self::advance).
pub struct TestApp {
    app: App,
    tasks: Vec<TaskDefinition>,
    state: StateMap,
    clock: ManualClock,
    watch: Watch,
    /// One worker at a time.
    turn: Mutex<()>,
}

impl TestApp {
    /// An application with these tasks, usually `tasks![…]`, and the settings that nobody set.
    pub fn new(tasks: impl IntoIterator<Item = TaskDefinition>) -> Self {
        Self::with_settings(tasks, Settings::default())
    }

    /// The same with settings of one's own.
    pub fn with_settings(tasks: impl IntoIterator<Item = TaskDefinition>, settings: Settings) -> Self {
        let (clock, manual) = Clock::manual(Timestamp::from_second(BEGINNING).unwrap_or(Timestamp::UNIX_EPOCH));
        let engine = MemoryEngine::new(clock.clone());
        let watch = Watch::default();
        let engines = Engines {
            broker: BrokerHandle::new("memory", WatchedBroker { inner: engine.broker(), watch: watch.clone() }),
            results: Some(engine.results()),
            history: Some(engine.history()),
            clock,
            ids: Ids::seeded(SEED),
        };
        Self {
            app: App::new(engines, settings),
            tasks: tasks.into_iter().collect(),
            state: StateMap::default(),
            clock: manual,
            watch,
            turn: Mutex::new(()),
        }
    }

    /// A value that tasks can have injected as `State<T>`.
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.state = self.state.with(value);
        self
    }

    /// The application itself, to be cloned into what is tested.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The time now, as tasks see it.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Everything that was sent, in order: by the test, by what it tests, and by tasks that ran (callbacks, next steps of
    /// chains). A retry is not sent: it waits as the same message.
    pub fn sent(&self) -> Vec<Sent> {
        let params = |task: &str| self.tasks.iter().find(|known| known.name == task).map_or(&[][..], |it| it.params);
        self.watch.sent().iter().map(|publication| Sent::read(publication, params(publication.task.as_str()))).collect()
    }

    /// What was sent of one task, in order: `app.sent_of::<send_email>()`.
    pub fn sent_of<T: Task>(&self) -> Vec<Sent> {
        self.sent().into_iter().filter(|sent| sent.task == T::NAME).collect()
    }

    /// Runs the next task that is due, and nothing more. The report says what became of it; it counts nothing when there
    /// was none.
    ///
    /// # Errors
    /// When two tasks have one name.
    pub async fn run_one(&self) -> Result<Report> {
        self.work(1, false).await.map(|(report, _)| report)
    }

    /// Runs the next task that is due and kills the worker at the worst moment: its value is stored and what follows is
    /// sent, but the message is not settled. It is back in its queue one lease later:
    ///
    /// ```
    /// # use celeriac::{prelude::*, testing::TestApp};
    /// #[task]
    /// async fn charge(ctx: Context) -> u32 { ctx.attempt() }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), GetError> {
    /// let app = TestApp::new(tasks![charge]);
    /// let sent = app.send(charge()).await?;
    /// app.run_one_and_crash().await?;
    /// assert_eq!(app.advance(30.s()).await?.succeeded, 1); // it ran again
    /// # assert_eq!(sent.get().await?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When two tasks have one name.
    pub async fn run_one_and_crash(&self) -> Result<Report> {
        self.work(1, true).await.map(|(report, _)| report)
    }

    /// Runs everything that is due, with all that follows from it, until nothing is due. What waits for its time (a
    /// countdown, a retry's back-off) goes on waiting: see [`advance`](Self::advance).
    ///
    /// # Errors
    /// When two tasks have one name; `TooLarge` when a hundred thousand were run and there is still more, as when a task
    /// sends itself again and again.
    pub async fn drain(&self) -> Result<Report> {
        self.drain_up_to(DRAIN_MAX).await
    }

    async fn drain_up_to(&self, max: usize) -> Result<Report> {
        let mut whole = Report::default();
        let mut left = max;
        loop {
            let (report, standing) = self.work(left, false).await?;
            add(&mut whole, &report);
            left = left.saturating_sub(done(&report));
            if standing == Standing::Done || left == 0 {
                return Err(Error::new(
                    ErrorKind::TooLarge,
                    format!(
                        "drain the queues: {max} deliveries were taken and there is more; does a task send itself?"
                    ),
                ));
            }
            if done(&report) == 0 {
                return Ok(whole);
            }
            // Something may have been sent since the worker found nothing: by a task that was settled before it ran, or
            // to a queue that nobody had heard of when the worker began.
            let ready = self.app.broker().depth(&[]).await?.iter().any(|queue| queue.ready > 0);
            if !ready && self.next_due().await?.is_none_or(|due| due > self.now()) {
                return Ok(whole);
            }
        }
    }

    /// Moves the clock forward, and runs on the way, each at its time, what becomes due, with all that follows. What is
    /// due already is run first.
    ///
    /// # Errors
    /// When two tasks have one name.
    pub async fn advance(&self, by: Duration) -> Result<Report> {
        let until = self.now().saturating_add(by).unwrap_or(Timestamp::MAX);
        let mut whole = Report::default();
        loop {
            add(&mut whole, &self.drain().await?);
            let next = self.next_due().await?.filter(|due| *due <= until);
            let target = next.unwrap_or(until);
            let step = Duration::try_from(target.duration_since(self.now())).unwrap_or_default();
            self.clock.advance(step);
            if next.is_none() {
                add(&mut whole, &self.drain().await?);
                return Ok(whole);
            }
        }
    }

    /// When the next message that waits for its time is due.
    async fn next_due(&self) -> Result<Option<Timestamp>> {
        const PAGE: usize = 1_000;
        let mut earliest: Option<Timestamp> = None;
        let mut after = None;
        loop {
            let peek = Peek { state: Some(PeekState::Parked), after, limit: PAGE, ..Peek::default() };
            let page = self.app.broker().peek(peek).await?;
            earliest = page.iter().filter_map(|waiting| waiting.due).chain(earliest).min();
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.key),
                _ => return Ok(earliest),
            }
        }
    }

    /// Runs the real worker until it has taken `allowed` deliveries or finds nothing more, and has finished with them.
    async fn work(&self, allowed: usize, dies: bool) -> Result<(Report, Standing)> {
        let _turn = self.turn.lock().await;
        let queues = self.queues().await?;
        let stop = Shutdown::new();
        let worker = Worker::builder(self.app.clone())
            .tasks(self.tasks.iter().cloned())
            .state_map(self.state.clone())
            .queues(queues)
            .name("test@%h")
            .concurrency(1)
            .lease_thread(false)
            .build()?;
        self.watch.begin(allowed, dies);
        let mut working = std::pin::pin!(worker.run(stop.clone()));
        let standing = tokio::select! {
            ended = &mut working => return ended.map(|report| (report, self.watch.standing())),
            standing = self.settled_down() => standing,
        };
        if standing == Standing::Dead {
            stop.cold();
        } else {
            stop.graceful();
        }
        Ok((working.await?, standing))
    }

    /// Waits until the worker has nothing in hand and takes nothing more.
    async fn settled_down(&self) -> Standing {
        loop {
            let mut changed = std::pin::pin!(self.watch.changed());
            changed.as_mut().enable();
            match self.watch.standing() {
                Standing::Busy => changed.await,
                standing => return standing,
            }
        }
    }

    /// Every queue that there is, or that a task is for.
    async fn queues(&self) -> Result<Vec<QueueName>> {
        let settings = self.app.settings();
        let mut queues = vec![settings.task_default_queue.clone()];
        for task in &self.tasks {
            queues.push(match task.options.queue {
                Some(queue) => QueueName::new(queue)?,
                None => settings.route(task.name).clone(),
            });
        }
        queues.extend(self.app.broker().depth(&[]).await?.into_iter().map(|depth| depth.queue));
        queues.sort();
        queues.dedup();
        self.app.broker().declare(&Topology { queues: queues.clone() }).await?;
        Ok(queues)
    }
}

impl fmt::Debug for TestApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TestApp({}, {} sent)", self.now(), self.watch.sent().len())
    }
}

impl Deref for TestApp {
    type Target = App;

    fn deref(&self) -> &App {
        &self.app
    }
}

/// How many deliveries a worker was done with.
fn done(report: &Report) -> usize {
    let Report { succeeded, failed, retried, parked, revoked, buried, handed_back: _, unreturned: _ } = *report;
    usize::try_from(succeeded + failed + retried + parked + revoked + buried).unwrap_or(usize::MAX)
}

fn add(whole: &mut Report, part: &Report) {
    whole.succeeded += part.succeeded;
    whole.failed += part.failed;
    whole.retried += part.retried;
    whole.parked += part.parked;
    whole.revoked += part.revoked;
    whole.buried += part.buried;
    whole.handed_back += part.handed_back;
    whole.unreturned += part.unreturned;
}

#[cfg(test)]
mod tests {
    use celeriac_app::{Context, TaskError};
    use celeriac_macros::task;

    use super::*;

    #[task(crate = crate)]
    async fn again(ctx: Context) -> Result<(), TaskError> {
        ctx.send(again()).await?;
        Ok(())
    }

    #[tokio::test]
    async fn a_task_that_sends_itself_does_not_run_for_ever() {
        let app = TestApp::new(crate::tasks![again]);
        app.send(again()).await.unwrap();
        let error = app.drain_up_to(50).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
        assert_eq!(app.sent().len(), 51);
    }
}
