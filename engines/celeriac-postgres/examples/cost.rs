//! What does a task cost the server, and how long does it take to be heard of?
//!
//!     cargo run --release -p celeriac-postgres --example cost             # its own server, from the system's package
//!
//! Prints the rate and the server's CPU time a task (all its processes, from /proc) for sending in batches, for claiming
//! and acknowledging in batches, without and with results, with little and with much behind it; and the time from a send
//! to its arrival at a sleeping consumer.

use std::{
    fs,
    time::{Duration, Instant},
};

use celeriac_core::{
    BrokerHandle, Clock, Message, MetaWrite, Priority, Publication, QueueName, ResultsHandle, Settlement, State,
    Subscription, TaskId, TaskName, WorkerName,
};
use celeriac_postgres::{Config, PostgresEngine};
use celeriac_testbed::Postgres;

const BODY_BYTES: usize = 600;
const SEND_BATCH: usize = 500;
const CLAIM_BATCH: usize = 64;
const LATENCIES: usize = 300;

type Done<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Done<()> {
    let server = Postgres::own();
    let config = Config::from_url(&server.url("postgres"))?;
    let engine = PostgresEngine::open(config, Clock::system()).await?;
    let (broker, results) = (engine.broker(), engine.results());
    println!("{:<44} {:>10} {:>14}", "", "tasks/s", "server µs/task");
    for backlog in [10_000, 200_000] {
        let cost = Cost::begin(&server);
        send(&broker, backlog).await?;
        cost.end(&format!("send {backlog} in batches of {SEND_BATCH}"), backlog);
        for with_results in [false, true] {
            let cost = Cost::begin(&server);
            drain(&broker, with_results.then_some(&results), 5_000).await?;
            let kind = if with_results { "with results" } else { "without results" };
            cost.end(&format!("claim and ack 5000 of {backlog}, {kind}"), 5_000);
        }
        broker.purge(&QueueName::new("mail")?).await?;
    }
    let mut took = latencies(&broker).await?;
    took.sort_unstable();
    let at = |part: usize| took[(took.len() - 1) * part / 100];
    println!("send to arrival at a sleeper: p50 {:?}, p99 {:?}, {} sends", at(50), at(99), took.len());
    engine.close().await?;
    Ok(())
}

fn task(number: usize) -> Done<Publication> {
    Ok(Publication {
        task_id: TaskId::new(format!("0198b3c0-0000-7000-8000-{number:012}"))?,
        task: TaskName::new("bench.nothing")?,
        queue: QueueName::new("mail")?,
        priority: Priority(0),
        due: None,
        unique: None,
        message: Message {
            headers: vec![b'h'; 300].into(),
            properties: "{}".into(),
            body: vec![b'b'; BODY_BYTES].into(),
        },
    })
}

async fn send(broker: &BrokerHandle, count: usize) -> Done<()> {
    for first in (0..count).step_by(SEND_BATCH) {
        let batch: Done<Vec<_>> = (first..first + SEND_BATCH).map(task).collect();
        broker.publish(batch?).await?;
    }
    Ok(())
}

fn subscription() -> Done<Subscription> {
    let queues = vec![QueueName::new("mail")?];
    Ok(Subscription { worker: WorkerName::new("w1@bench")?, queues, lease: Duration::from_secs(30) })
}

async fn drain(broker: &BrokerHandle, results: Option<&ResultsHandle>, count: usize) -> Done<()> {
    let consumer = broker.consume(subscription()?).await?;
    let mut left = count;
    while left > 0 {
        let deliveries = consumer.recv(CLAIM_BATCH.min(left)).await?;
        left -= deliveries.len();
        if let Some(results) = results {
            let record = |id: &TaskId| {
                MetaWrite {
                task_id: id.clone(),
                state: State::Success,
                attempt: 1,
                document: format!(
                    r#"{{"status": "SUCCESS", "result": null, "traceback": null, "children": [], "date_done": "2026-11-23T13:03:36.675888+00:00", "task_id": "{id}"}}"#
                )
                .into(),
                expires: None,
            }
            };
            results.store(deliveries.iter().map(|delivery| record(&delivery.task_id)).collect()).await?;
        }
        consumer.settle(deliveries.into_iter().map(|delivery| Settlement::Ack(delivery.tag)).collect()).await?;
    }
    Ok(consumer.close().await?)
}

async fn latencies(broker: &BrokerHandle) -> Done<Vec<Duration>> {
    let consumer = broker.consume(subscription()?).await?;
    let mut took = Vec::new();
    for number in 0..LATENCIES {
        let mut recv = Box::pin(consumer.recv(1));
        // Long enough to have fallen asleep.
        let early = tokio::time::timeout(Duration::from_millis(20), &mut recv).await;
        assert!(early.is_err(), "nothing was sent yet");
        let sent = Instant::now();
        let (published, deliveries) = tokio::join!(broker.publish(vec![task(1_000_000 + number)?]), recv);
        published?;
        let deliveries = deliveries?;
        took.push(sent.elapsed());
        consumer.settle(deliveries.into_iter().map(|delivery| Settlement::Ack(delivery.tag)).collect()).await?;
    }
    consumer.close().await?;
    Ok(took)
}

/// Time and the server's CPU time from here on.
struct Cost {
    started: Instant,
    folder: String,
    cpu: Duration,
}

impl Cost {
    fn begin(server: &Postgres) -> Self {
        let folder = server.folder().display().to_string();
        Self { started: Instant::now(), cpu: server_cpu(&folder), folder }
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn end(&self, what: &str, tasks: usize) {
        let (took, cpu) = (self.started.elapsed(), server_cpu(&self.folder).saturating_sub(self.cpu));
        let rate = tasks as f64 / took.as_secs_f64();
        let each = cpu.as_secs_f64() * 1e6 / tasks as f64;
        println!("{what:<44} {rate:>10.0} {each:>14.1}");
    }
}

/// CPU time of the server and all its processes, ended ones included.
fn server_cpu(folder: &str) -> Duration {
    let pid = fs::read_to_string(format!("{folder}/postmaster.pid")).unwrap_or_default();
    let postmaster = pid.lines().next().unwrap_or_default().to_owned();
    let mut ticks = 0;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((head, tail)) = stat.rsplit_once(") ") else { continue };
        let fields: Vec<&str> = tail.split(' ').collect();
        let own = head.split(' ').next() == Some(&postmaster);
        if own || fields.get(1) == Some(&postmaster.as_str()) {
            // utime, stime; and of the postmaster those of its ended children.
            let columns: &[usize] = if own { &[11, 12, 13, 14] } else { &[11, 12] };
            ticks += columns.iter().filter_map(|column| fields.get(*column)?.parse::<u64>().ok()).sum::<u64>();
        }
    }
    // A hundred ticks a second on every Linux that is still about.
    Duration::from_millis(ticks * 10)
}
