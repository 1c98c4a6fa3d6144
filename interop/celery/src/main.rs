//! A worker of Celeriac with the tasks of `proj.py`, for tests that run it beside the real Celery and kill it.
//!
//! `interop-worker REDIS_URL [QUEUE]`. It says `ready` on its standard output; SIGTERM ends it in good order.

use std::time::Duration;

use celeriac::{
    core::{QueueName, WorkerName},
    prelude::*,
};

/// Where runs are noted, for the tests to count. Connects anew when the tests have cut the connection.
#[derive(Clone, Debug)]
struct Notes(redis::Client);

#[task(name = "proj.add")]
async fn add(x: i64, y: i64) -> i64 {
    x + y
}

#[task(name = "proj.echo")]
async fn echo(value: String) -> String {
    value
}

#[task(name = "proj.total")]
async fn total(numbers: Vec<i64>) -> i64 {
    numbers.iter().sum()
}

#[task(name = "proj.fail", max_retries = 0)]
async fn fail(why: String) -> Result<(), TaskError> {
    Err(TaskError::fatal(why).named("KeyError"))
}

/// Notes that it ran, and where.
#[task(name = "proj.note")]
async fn note(notes: State<Notes>, key: String) -> Result<String, TaskError> {
    write_note(&notes, &key).await?;
    Ok(key)
}

/// Takes its time, and then notes that it ran.
#[task(name = "proj.slow_note")]
async fn slow_note(notes: State<Notes>, key: String, seconds: f64) -> Result<String, TaskError> {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    write_note(&notes, &key).await?;
    Ok(key)
}

#[task(name = "proj.failed")]
async fn failed(notes: State<Notes>, id: String) -> Result<(), TaskError> {
    write_note(&notes, &format!("failed {id}")).await
}

/// Notes until it is noted: Redis may be away, or loading, and comes back; or this worker is killed.
async fn write_note(notes: &Notes, key: &str) -> Result<(), TaskError> {
    while try_note(notes, key).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn try_note(notes: &Notes, key: &str) -> redis::RedisResult<()> {
    let mut connection = notes.0.get_multiplexed_async_connection().await?;
    let place = format!("rust {key}");
    let mut both = redis::pipe();
    both.atomic().cmd("HINCRBY").arg("notes").arg(key).arg(1).cmd("HINCRBY").arg("places").arg(place).arg(1);
    both.exec_async(&mut connection).await
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_env_filter("warn").with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or_else(|| anyhow::anyhow!("interop-worker REDIS_URL [QUEUE]"))?;
    let queue = arguments.next().unwrap_or_else(|| "celery".to_owned());
    // The notes are in a database of their own, which no test of what is left behind looks into.
    let notes = url.rsplit_once('/').map_or(url.clone(), |(server, _)| format!("{server}/15"));
    let notes = redis::Client::open(notes)?;
    let settings = Settings { lease: Duration::from_secs(3), ..Settings::default() };
    let app = App::connect_with(&url, settings).await?;
    let worker = Worker::builder(app.clone())
        .tasks(tasks![add, echo, total, fail, note, slow_note, failed])
        .state(Notes(notes))
        .queues([QueueName::new(queue)?])
        .name(WorkerName::new("rust@interop")?.as_str())
        .concurrency(8)
        .build()?;
    println!("ready");
    worker.run(Shutdown::on_signals()).await?;
    app.close().await?;
    Ok(())
}
