//! How do I keep the same task from being sent twice?
//!
//!     cargo run -p celeriac --example unique
//!
//! prints
//!
//!     the second is the first: true
//!     another reader's is another: true
//!     2 mails were sent

use celeriac::prelude::*;

/// One for each reader and day, however often it is sent: a second one gives the result of the first.
#[task(unique(key = "digest:{to}", for = "1d"))]
async fn digest(to: String, edition: u32) -> String {
    format!("{to} got edition {edition}")
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let app = App::connect("memory://").await?;
    let first = app.send(digest("ann@example.com".into(), 1)).await?;
    let second = app.send(digest("ann@example.com".into(), 2)).await?;
    let other = app.send(digest("bob@example.com".into(), 1)).await?;
    println!("the second is the first: {}", first.id() == second.id());
    println!("another reader's is another: {}", first.id() != other.id());

    let stop = Shutdown::on_signals();
    let worker = Worker::builder(app.clone()).tasks(tasks![digest]).build()?;
    let working = tokio::spawn(worker.run(stop.clone()));
    for sent in [first, second, other] {
        sent.get_within(10.s()).await?;
    }
    stop.graceful();
    println!("{} mails were sent", working.await??.succeeded);
    Ok(())
}
