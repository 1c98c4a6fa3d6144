//! How do I run one task after another, many at once, and one when all are done?
//!
//!     cargo run -p celeriac --example canvas
//!
//! prints
//!
//!     chain: (1 + 2) * 10 = 30
//!     group: [2, 4, 6]
//!     chord: 12
//!     a part failed: ChordError

use celeriac::prelude::*;

#[task]
async fn add(a: i64, b: i64) -> i64 {
    a + b
}

/// The first argument comes from the step before: `times::partial(10)`.
#[task]
async fn times(value: i64, factor: i64) -> i64 {
    value * factor
}

/// The body of a chord takes the list of what the members returned, in their order.
#[task]
async fn sum(values: Vec<i64>) -> i64 {
    values.iter().sum()
}

#[task]
async fn fail() -> Result<i64, TaskError> {
    Err(TaskError::fatal("a part is missing"))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let app = App::connect("memory://").await?;
    let stop = Shutdown::on_signals();
    let worker = Worker::builder(app.clone()).tasks(tasks![add, times, sum, fail]).build()?;
    let working = tokio::spawn(worker.run(stop.clone()));

    // What a step returns must be what the next one takes, or this does not compile.
    let chain = app.send(add(1, 2).then(times::partial(10))).await?;
    println!("chain: (1 + 2) * 10 = {}", chain.get_within(10.s()).await?);

    let group_result = app.send_group(group((1..=3).map(|n| times(n, 2)))).await?;
    println!("group: {:?}", group_result.join_within(10.s()).await?);

    let chord = app.send(group((1..=3).map(|n| times(n, 2))).then(sum::partial())).await?;
    println!("chord: {}", chord.get_within(10.s()).await?);

    // When a part fails for good, so does the whole; `.on_error(…)` would hear of it.
    let broken = app.send(group([add(1, 1), fail()]).then(sum::partial())).await?;
    if let Err(GetError::Failed { exc_type, .. }) = broken.get_within(10.s()).await {
        println!("a part failed: {exc_type}");
    }

    stop.graceful();
    working.await??;
    Ok(())
}
