//! What a worker does in corners that few tasks reach, on the engine in memory and a paused clock.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use celeriac_app::{
    App, Arguments, AsyncResult, Context, Engines, GetError, Settings, Signature, TaskDefinition, TaskOptions,
};
use celeriac_core::{
    Capabilities, ChordPart, Clock, DeadQuery, Ids, Joined, MetaWrite, Outcome, Result, ResultBackend, ResultsHandle,
    State, TaskId, Timestamp, Written,
};
use celeriac_memory::{Limits, MemoryEngine};
use celeriac_worker::{Report, Shutdown, Worker};
use tokio::task::JoinHandle;

struct Bench {
    app: App,
    engine: MemoryEngine,
    stop: Shutdown,
    working: JoinHandle<Result<Report>>,
}

impl Bench {
    fn new(limits: &Limits, panics_at: Option<State>) -> Self {
        let clock = Clock::tokio(Timestamp::UNIX_EPOCH);
        let engine = MemoryEngine::with_limits(clock.clone(), limits);
        let results = Panicking { inner: engine.results(), at: panics_at };
        let engines = Engines {
            broker: engine.broker(),
            results: Some(ResultsHandle::new("memory", results)),
            history: None,
            clock,
            ids: Ids::seeded(1),
        };
        let app = App::new(engines, Settings::default());
        let stop = Shutdown::new();
        let worker = Worker::builder(app.clone())
            .tasks(tasks())
            .concurrency(2)
            .lease(Duration::from_secs(3))
            .lease_thread(false)
            .soft_shutdown(Duration::from_secs(5))
            .build()
            .expect("a worker");
        Self { app, engine, stop: stop.clone(), working: tokio::spawn(worker.run(stop)) }
    }

    async fn send(&self, task: &str) -> AsyncResult<String> {
        self.app.send(Signature::new(task, Arguments::default())).await.expect("sent")
    }

    async fn end(self) -> Report {
        self.stop.graceful();
        let report = self.working.await.expect("the worker does not panic").expect("it ends in order");
        assert_eq!(report.unreturned, 0, "credit comes back");
        report
    }
}

fn tasks() -> Vec<TaskDefinition> {
    let early = TaskOptions { acks_late: false, ..TaskOptions::default() };
    let tracked = TaskOptions { track_started: true, ..TaskOptions::default() };
    let task = |name, options, run: fn(Context) -> futures_util::future::BoxFuture<'static, Outcome>| TaskDefinition {
        name,
        options,
        params: &[],
        run: Arc::new(move |call| run(call.ctx)),
    };
    vec![
        task("large", TaskOptions::default(), |_| Box::pin(async { value(&"x".repeat(5_000)) })),
        task("short", TaskOptions::default(), |_| Box::pin(async { value("done") })),
        task("tracked", tracked, |_| Box::pin(async { value("done") })),
        task("slow_early", early, |ctx| {
            Box::pin(async move {
                ctx.app().clock().sleep(Duration::from_mins(1)).await;
                value("done")
            })
        }),
        task("until_asked", TaskOptions::default(), |ctx| {
            Box::pin(async move {
                ctx.cancellation().cancelled().await;
                ctx.app().clock().sleep(Duration::from_secs(1)).await;
                value("put down in order")
            })
        }),
    ]
}

fn value(text: &str) -> Outcome {
    Outcome::Success { result: format!("{text:?}").into() }
}

#[tokio::test(start_paused = true)]
async fn a_value_that_cannot_be_stored_is_a_failure_and_its_message_is_kept() {
    let bench = Bench::new(&Limits { result_bytes_max: 3_000, ..Limits::default() }, None);
    let callback: Signature<String, String> = Signature::new("short", Arguments::default());
    let large: Signature<String> = Signature::new("large", Arguments::default());
    let last = bench.app.send(large.then(callback)).await.expect("sent");
    let error = last.get().await.expect_err("its chain is broken").to_string();
    assert!(error.contains("result_bytes_max"), "{error}");
    let dead = bench.app.broker().dead(DeadQuery { limit: 10, ..DeadQuery::default() }).await.expect("listed");
    assert_eq!(dead.iter().map(|entry| entry.reason.as_str()).collect::<Vec<_>>(), ["unfinished"]);
    assert_eq!(bench.send("short").await.get().await.expect("the worker goes on"), "done");
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_was_acknowledged_early_outlives_renewals_and_hears_of_its_revocation() {
    let bench = Bench::new(&Limits::default(), None);
    assert_eq!(bench.send("slow_early").await.get().await.expect("it ends"), "done");
    let revoked = bench.send("slow_early").await;
    bench.app.clock().sleep(Duration::from_secs(2)).await;
    revoked.revoke(true).await.expect("revoked");
    let error = revoked.get().await.expect_err("it is stopped");
    assert!(matches!(&error, GetError::Revoked { reason } if reason == "terminated"), "{error}");
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_soft_stop_gives_tasks_time_to_stop_by_themselves() {
    let bench = Bench::new(&Limits::default(), None);
    let sent = bench.send("until_asked").await;
    bench.app.clock().sleep(Duration::from_secs(1)).await;
    bench.stop.cold();
    let report = bench.working.await.expect("no panic").expect("it ends in order");
    assert_eq!((report.succeeded, report.handed_back), (1, 0));
    assert_eq!(sent.get().await.expect("stored"), "put down in order");
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_worker_beside_a_task_costs_that_task_alone() {
    let bench = Bench::new(&Limits::default(), Some(State::Started));
    let error = bench.send("tracked").await.get().await.expect_err("it never ran").to_string();
    assert!(error.contains("WorkerLostError"), "{error}");
    assert_eq!(bench.send("short").await.get().await.expect("the worker goes on"), "done");
    let report = bench.end().await;
    assert_eq!((report.succeeded, report.buried), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_cannot_finish_tasks_stops_and_gives_them_back() {
    let bench = Bench::new(&Limits::default(), Some(State::Success));
    bench.send("short").await;
    let error = bench.working.await.expect("the worker itself does not panic").expect_err("it is broken").to_string();
    assert!(error.contains("finish tasks"), "{error}");
    let depth = &bench.engine.broker().depth(&[]).await.expect("counted")[0];
    assert_eq!((depth.ready, depth.held), (1, 0));
}

/// A result backend with a bug: it panics when this state is stored.
struct Panicking {
    inner: ResultsHandle,
    at: Option<State>,
}

impl ResultBackend for Panicking {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn store(&self, batch: Vec<MetaWrite>) -> Result<Vec<Written>> {
        assert!(!batch.iter().any(|write| Some(&write.state) == self.at.as_ref()), "a bug, as planned");
        self.inner.store(batch).await
    }

    async fn fetch(&self, ids: &[TaskId]) -> Result<Vec<Option<Bytes>>> {
        self.inner.fetch(ids).await
    }

    async fn wait(&self, id: &TaskId) -> Result<Bytes> {
        self.inner.wait(id).await
    }

    async fn forget(&self, ids: &[TaskId]) -> Result<()> {
        self.inner.forget(ids).await
    }

    async fn expire(&self) -> Result<u64> {
        self.inner.expire().await
    }

    async fn begin_chord(&self, group: &str, size: u32, expires: Option<Timestamp>) -> Result<()> {
        self.inner.begin_chord(group, size, expires).await
    }

    async fn join(&self, part: ChordPart) -> Result<Joined> {
        self.inner.join(part).await
    }

    async fn finish_chord(&self, group: &str) -> Result<()> {
        self.inner.finish_chord(group).await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
