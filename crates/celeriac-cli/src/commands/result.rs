//! `result`: what became of a task.

use std::time::Duration;

use celeriac::{
    App,
    core::{Error, ErrorKind, State, TaskId},
    protocol::TaskMeta,
};
use clap::Args;
use serde_json::{Value, json};

use crate::{Exit, args::seconds, commands, output};

/// `result`
#[derive(Args, Debug)]
pub(crate) struct ResultArgs {
    /// The task's id
    id: String,
    /// Wait until it is done, for so many seconds at the most
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    wait: Option<Duration>,
    /// Print the traceback too
    #[arg(long)]
    traceback: bool,
}

pub(crate) async fn run(app: &App, args: &ResultArgs, as_json: bool) -> anyhow::Result<Exit> {
    show(app, &commands::task_id(&args.id)?, args.wait, args.traceback, as_json).await
}

/// Prints what is stored of a task; fails when the task did.
pub(crate) async fn show(
    app: &App,
    id: &TaskId,
    wait: Option<Duration>,
    traceback: bool,
    as_json: bool,
) -> anyhow::Result<Exit> {
    let result = app.result::<Value>(id.clone());
    if let (Some(limit), Some(results)) = (wait, app.results())
        && app.clock().timeout(limit, results.wait(id)).await.transpose()?.is_none()
    {
        eprintln!(
            "task {id} was not done within {} s; `inspect active` and `inspect reserved` tell where it is",
            limit.as_secs_f64()
        );
        return Ok(Exit::TimedOut);
    }
    let Some(meta) = result.meta().await? else {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!(
                "find a result of task {id}: it waits, runs, stores none, or is forgotten; `inspect` shows what waits"
            ),
        )
        .into());
    };
    if as_json {
        output::json(&document(&meta))?;
    } else {
        match meta.exception() {
            Some(exception) if matches!(meta.status, State::Failure | State::Retry | State::Revoked) => {
                output::line(format_args!(
                    "{} {}: {}",
                    meta.status,
                    exception.exc_type,
                    output::printable(&exception.message())
                ))?;
            }
            _ => output::line(String::from_utf8_lossy(&meta.result))?,
        }
        if let (true, Some(text)) = (traceback, &meta.traceback) {
            for line in text.lines() {
                output::line(output::printable(line))?;
            }
        }
    }
    Ok(match meta.status {
        State::Failure | State::Revoked => Exit::Failed,
        _ => Exit::Done,
    })
}

fn document(meta: &TaskMeta) -> Value {
    // What is no standard JSON (NaN, Infinity) is shown as its text.
    let value = serde_json::from_slice(&meta.result)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&meta.result).into_owned()));
    json!({
        "task_id": meta.task_id, "status": meta.status.as_str(), "result": value, "traceback": meta.traceback,
        "date_done": meta.date_done,
    })
}
