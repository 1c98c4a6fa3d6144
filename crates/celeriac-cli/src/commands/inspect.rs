//! `inspect`: queues, workers and the tasks that wait or run.

use celeriac::{
    App, TaskDefinition,
    core::{Peek, PeekState, Peeked, QueueName, TaskName, Timestamp, WorkerName},
};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{Exit, Program, output};

/// `inspect …`
#[derive(Debug, Subcommand)]
pub(crate) enum Inspect {
    /// Each queue: how many messages wait, run, are scheduled or dead, and the age of the oldest
    Queues {
        /// Only these
        queues: Vec<String>,
    },
    /// The workers whose lease holds: their queues, and how much they have in hand
    Workers,
    /// Tasks in a worker's hands
    Active(Which),
    /// Tasks that wait for their time
    Scheduled(Which),
    /// Tasks that wait for a worker
    Reserved(Which),
    /// The tasks of this program: what they take, and how they run
    Registered,
}

/// Which tasks to list.
#[derive(Args, Debug)]
pub(crate) struct Which {
    /// Only those of this queue
    #[arg(short = 'Q', long)]
    queue: Option<String>,
    /// Only those of this name
    #[arg(long)]
    task: Option<String>,
    /// How many at the most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    limit: u64,
}

pub(crate) async fn run(app: &App, program: &Program, command: &Inspect, as_json: bool) -> anyhow::Result<Exit> {
    match command {
        Inspect::Queues { queues } => self::queues(app, queues, as_json).await,
        Inspect::Workers => workers(app, as_json).await,
        Inspect::Active(which) => tasks(app, PeekState::Held, which, as_json).await,
        Inspect::Scheduled(which) => tasks(app, PeekState::Parked, which, as_json).await,
        Inspect::Reserved(which) => tasks(app, PeekState::Ready, which, as_json).await,
        Inspect::Registered => registered(app, program, as_json),
    }
}

fn registered(app: &App, program: &Program, as_json: bool) -> anyhow::Result<Exit> {
    let queue = |task: &TaskDefinition| {
        task.options.queue.map_or_else(|| app.settings().route(task.name).to_string(), ToOwned::to_owned)
    };
    if as_json {
        let value: Vec<_> = program
            .tasks
            .iter()
            .map(|task| {
                let params: Vec<_> = task
                    .params
                    .iter()
                    .map(|it| json!({ "name": it.name, "type": it.rust_type, "optional": it.optional }))
                    .collect();
                json!({ "task": task.name, "queue": queue(task), "max_retries": task.options.max_retries, "arguments": params })
            })
            .collect();
        output::json(&value)?;
    } else if program.tasks.is_empty() {
        output::line("this program has no tasks of its own; ask the one that runs them")?;
    } else {
        output::table(
            ["TASK", "ARGUMENTS", "QUEUE", "RETRIES"],
            program.tasks.iter().map(|task| {
                let params: Vec<_> = task.params.iter().map(|it| format!("{}: {}", it.name, it.rust_type)).collect();
                let retries = task.options.max_retries.map_or_else(|| "for ever".into(), |max| max.to_string());
                [task.name.to_owned(), params.join(", "), queue(task), retries]
            }),
        )?;
    }
    Ok(if program.tasks.is_empty() { Exit::NotFound } else { Exit::Done })
}

async fn queues(app: &App, names: &[String], as_json: bool) -> anyhow::Result<Exit> {
    let depths = app.broker().depth(&crate::commands::queues(names)?).await?;
    let now = app.clock().now();
    if as_json {
        let value: Vec<_> = depths
            .iter()
            .map(|depth| {
                json!({
                    "queue": depth.queue, "ready": depth.ready, "active": depth.held, "scheduled": depth.parked,
                    "dead": depth.dead, "oldest_ready": depth.oldest_ready.map(|at| at.to_string()),
                })
            })
            .collect();
        output::json(&value)?;
    } else if depths.is_empty() {
        output::line("no queues yet: the first message makes one")?;
    } else {
        output::table(
            ["QUEUE", "READY", "ACTIVE", "SCHEDULED", "DEAD", "OLDEST"],
            depths.iter().map(|depth| {
                [
                    depth.queue.to_string(),
                    depth.ready.to_string(),
                    depth.held.to_string(),
                    depth.parked.to_string(),
                    depth.dead.to_string(),
                    depth.oldest_ready.map_or("-".to_owned(), |at| output::span(at, now)),
                ]
            }),
        )?;
    }
    Ok(Exit::Done)
}

async fn workers(app: &App, as_json: bool) -> anyhow::Result<Exit> {
    let workers = app.broker().consumers().await?;
    let now = app.clock().now();
    if as_json {
        let value: Vec<_> = workers
            .iter()
            .map(|worker| {
                json!({
                    "worker": worker.worker, "start_id": worker.start_id, "queues": worker.queues, "active": worker.held,
                    "started_at": worker.started_at.to_string(), "lease_until": worker.lease_until.to_string(),
                })
            })
            .collect();
        output::json(&value)?;
    } else if workers.is_empty() {
        output::line("no worker is running")?;
    } else {
        output::table(
            ["WORKER", "QUEUES", "ACTIVE", "UP", "START"],
            workers.iter().map(|worker| {
                [
                    worker.worker.to_string(),
                    worker.queues.iter().map(QueueName::as_str).collect::<Vec<_>>().join(","),
                    worker.held.to_string(),
                    output::span(worker.started_at, now),
                    worker.start_id.clone(),
                ]
            }),
        )?;
    }
    Ok(if workers.is_empty() { Exit::NotFound } else { Exit::Done })
}

async fn tasks(app: &App, state: PeekState, which: &Which, as_json: bool) -> anyhow::Result<Exit> {
    let peek = Peek {
        queue: which.queue.as_deref().map(QueueName::new).transpose()?,
        task: which.task.as_deref().map(TaskName::new).transpose()?,
        state: Some(state),
        limit: usize::try_from(which.limit)?,
        ..Peek::default()
    };
    let tasks = app.broker().peek(peek).await?;
    let now = app.clock().now();
    if as_json {
        output::json(&tasks.iter().map(task_json).collect::<Vec<_>>())?;
    } else if tasks.is_empty() {
        output::line("none")?;
    } else {
        output::table(
            ["ID", "TASK", "QUEUE", "PRIORITY", "ATTEMPT", "SENT", "DUE", "WORKER"],
            tasks.iter().map(|task| {
                [
                    task.task_id.to_string(),
                    task.task.to_string(),
                    task.queue.to_string(),
                    task.priority.0.to_string(),
                    task.attempt.to_string(),
                    format!("{} ago", output::span(task.published_at, now)),
                    task.due.map_or("-".to_owned(), |due| due_text(due, now)),
                    task.holder.as_ref().map_or("-", WorkerName::as_str).to_owned(),
                ]
            }),
        )?;
    }
    Ok(Exit::Done)
}

fn due_text(due: Timestamp, now: Timestamp) -> String {
    if due <= now { "now".to_owned() } else { format!("in {}", output::span(now, due)) }
}

fn task_json(task: &Peeked) -> serde_json::Value {
    json!({
        "id": task.task_id, "task": task.task, "queue": task.queue, "priority": task.priority, "attempt": task.attempt,
        "published_at": task.published_at.to_string(), "due": task.due.map(|due| due.to_string()), "worker": task.holder,
    })
}
