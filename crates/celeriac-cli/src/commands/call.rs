//! `call`: send a task by its name.

use std::time::Duration;

use celeriac::{
    App, Signature,
    core::{TaskId, Timestamp},
};
use clap::Args;
use serde_json::{Value, json};

use crate::{
    Exit, Program,
    args::{json_array, json_object, seconds},
    output,
};

/// `call`
#[derive(Args, Debug)]
pub(crate) struct CallArgs {
    /// The task's name, such as mail.send
    name: String,
    /// Positional arguments: a JSON array
    #[arg(short, long, default_value = "[]", value_name = "JSON", value_parser = json_array)]
    args: String,
    /// Keyword arguments: a JSON object
    #[arg(short, long, default_value = "{}", value_name = "JSON", value_parser = json_object)]
    kwargs: String,
    /// Start so many seconds from now, at the earliest
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    countdown: Option<Duration>,
    /// Start at this instant, at the earliest (ISO 8601)
    #[arg(long, value_name = "TIME", conflicts_with = "countdown", value_parser = instant)]
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
    #[arg(long, value_parser = ["json", "msgpack", "yaml"])]
    serializer: Option<String>,
    /// The task's id
    #[arg(long, value_name = "ID")]
    task_id: Option<String>,
    /// Wait for the value, for so many seconds at the most, and print it
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    wait: Option<Duration>,
}

fn instant(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "expected an instant with its offset, such as 2030-01-31T08:00:00Z".to_owned())
}

pub(crate) async fn run(app: &App, program: &Program, args: &CallArgs, as_json: bool) -> anyhow::Result<Exit> {
    // Somebody else's worker may know it: said, not refused.
    if !program.tasks.is_empty() && !program.tasks.iter().any(|task| task.name == args.name) {
        let known: Vec<_> = program.tasks.iter().map(|task| task.name).collect();
        let name = output::printable(&args.name);
        eprintln!("note: this program has no task `{name}`; it has {}", known.join(", "));
    }
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
