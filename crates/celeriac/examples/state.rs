//! How do tasks share a database pool, a mailer, a configuration?
//!
//!     cargo run -p celeriac --example state
//!
//! prints
//!
//!     ann@example.com: Welcome
//!     bob@example.com: Welcome

use std::sync::{Arc, Mutex};

use celeriac::prelude::*;

/// Whatever can be cloned cheaply: a pool, a client, an `Arc`.
#[derive(Clone, Default)]
struct Outbox {
    mails: Arc<Mutex<Vec<String>>>,
}

/// `State<T>` is handed in by the worker, as in axum: whoever calls the task does not see it.
#[task]
async fn welcome(outbox: State<Outbox>, to: String) {
    outbox.mails.lock().expect("nobody panics in here").push(format!("{to}: Welcome"));
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let app = App::connect("memory://").await?;
    let outbox = Outbox::default();
    let stop = Shutdown::on_signals();
    let worker = Worker::builder(app.clone()).tasks(tasks![welcome]).state(outbox.clone()).concurrency(1).build()?;
    let working = tokio::spawn(worker.run(stop.clone()));

    let sent = app.send_many(["ann@example.com", "bob@example.com"].map(|to| welcome(to.into()))).await?;
    for welcomed in sent {
        welcomed.get_within(10.s()).await?;
    }
    for mail in outbox.mails.lock().expect("nobody panics in here").iter() {
        println!("{mail}");
    }

    stop.graceful();
    working.await??;
    Ok(())
}
