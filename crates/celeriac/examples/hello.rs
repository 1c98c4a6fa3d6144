//! How do I send a task, run it and read what it returned?
//!
//!     cargo run -p celeriac --example hello
//!
//! prints
//!
//!     Hello, Ann! 2 + 3 = 5

use celeriac::prelude::*;

/// Adds, somewhere else and later.
#[task]
async fn add(a: i64, b: i64) -> i64 {
    a + b
}

/// Greets with what an earlier step returned.
#[task]
async fn greet(sum: i64, name: String) -> String {
    format!("Hello, {name}! 2 + 3 = {sum}")
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    // One file is the broker, the result backend and the history. Any process may open it: web, worker, command line.
    let app = App::connect(&format!("sqlite://{}", folder.path().join("queue.db").display())).await?;

    let greeting = app.send(add(2, 3).then(greet::partial("Ann".into()))).await?;

    let stop = Shutdown::on_signals();
    let worker = Worker::builder(app.clone()).tasks(tasks![add, greet]).build()?;
    let working = tokio::spawn(worker.run(stop.clone()));

    println!("{}", greeting.get_within(10.s()).await?);
    stop.graceful();
    working.await??;
    app.close().await?;
    Ok(())
}
