//! `call`: send a task by its name.

use std::time::Duration;

use celeriac::{
    App, Signature,
    core::{TaskId, Timestamp},
};
use clap::Args;
use serde_json::{Value, json};

use crate::{Exit, args::seconds, output};

/// `call`
#[derive(Args, Debug)]
pub(crate) struct CallArgs {
    /// The task's name, such as mail.send
    name: String,
    /// Positional arguments: a JSON array
    #[arg(short, long, default_value = "[]", value_name = "JSON")]
    args: String,
    /// Keyword arguments: a JSON object
    #[arg(short, long, default_value = "{}", value_name = "JSON")]
    kwargs: String,
    /// Start so many seconds from now, at the earliest
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    countdown: Option<Duration>,
    /// Start at this instant, at the earliest (ISO 8601)
    #[arg(long, value_name = "TIME", conflicts_with = "countdown")]
    eta: Option<Timestamp>,
    /// Do not start later than so many seconds from now
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    expires: Option<Duration>,
    /// The queue
    #[arg(long)]
    queue: Option<String>,
    /// How urgent it is: higher first
    #[arg(long)]
    priority: Option<u8>,
    /// How the arguments are written: json, msgpack or yaml
    #[arg(long)]
    serializer: Option<String>,
    /// The task's id
    #[arg(long, value_name = "ID")]
    task_id: Option<String>,
    /// Wait for the value, for so many seconds at the most, and print it
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    wait: Option<Duration>,
}

pub(crate) async fn run(app: &App, args: &CallArgs, as_json: bool) -> anyhow::Result<Exit> {
    let mut signature = Signature::<Value>::named(&args.name, &args.args, &args.kwargs)?;
    if let Some(after) = args.countdown {
        signature = signature.countdown(after);
    }
    if let Some(at) = args.eta {
        signature = signature.eta(at);
    }
    if let Some(after) = args.expires {
        signature = signature.expires(after);
    }
    if let Some(queue) = &args.queue {
        signature = signature.queue(queue);
    }
    if let Some(priority) = args.priority {
        signature = signature.priority(priority);
    }
    if let Some(name) = &args.serializer {
        signature = signature.serializer(name);
    }
    if let Some(id) = &args.task_id {
        signature = signature.task_id(&TaskId::new(id)?);
    }
    let sent = app.send(signature).await?;
    if let Some(limit) = args.wait {
        return super::result::show(app, sent.id(), Some(limit), false, as_json).await;
    }
    if as_json {
        output::json(&json!({ "id": sent.id() }))?;
    } else {
        output::line(sent.id())?;
    }
    Ok(Exit::Done)
}
