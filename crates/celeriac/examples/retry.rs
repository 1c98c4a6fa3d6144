//! How do I say which errors are tried again, and when?
//!
//!     cargo run -p celeriac --example retry
//!
//! prints
//!
//!     fetched https://example.com after 2 retries
//!     the task failed: FetchError: 404 Not Found
//!     the task failed: RuntimeError: no URL has spaces

use celeriac::prelude::*;

#[derive(Debug)]
enum FetchError {
    Busy,
    NotFound,
}

impl std::fmt::Display for FetchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Busy => "503 Service Unavailable",
            Self::NotFound => "404 Not Found",
        })
    }
}

impl std::error::Error for FetchError {}

/// Stands for a client of a server that is busy twice.
fn get(url: &str, retries: u32) -> Result<String, FetchError> {
    match url {
        "https://example.com/nothing" => Err(FetchError::NotFound),
        _ if retries < 2 => Err(FetchError::Busy),
        _ => Ok(format!("fetched {url} after {retries} retries")),
    }
}

/// `?` makes every error one that is tried again, with longer waits each time. `retry_if` says for the whole task which
/// are worth it.
#[task(max_retries = 5, backoff = "10ms", jitter = 0.5, retry_if = |error: &FetchError| matches!(error, FetchError::Busy))]
async fn fetch(ctx: Context, url: String) -> Result<String, FetchError> {
    get(&url, ctx.retries())
}

/// A `TaskError` says it at the place: `fatal`, `retry_after(60.s(), …)`, `reject`, `ignore`.
#[task]
async fn check(url: String) -> Result<(), TaskError> {
    if url.contains(' ') {
        return Err(TaskError::fatal("no URL has spaces"));
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let app = App::connect("memory://").await?;
    let stop = Shutdown::on_signals();
    let worker = Worker::builder(app.clone()).tasks(tasks![fetch, check]).build()?;
    let working = tokio::spawn(worker.run(stop.clone()));

    println!("{}", app.send(fetch("https://example.com".into())).await?.get_within(10.s()).await?);
    let gone = app.send(fetch("https://example.com/nothing".into())).await?;
    println!("{}", gone.get_within(10.s()).await.expect_err("it is not there"));
    let wrong = app.send(check("a b".into())).await?;
    println!("{}", wrong.get_within(10.s()).await.expect_err("no URL has spaces"));

    stop.graceful();
    working.await??;
    Ok(())
}
