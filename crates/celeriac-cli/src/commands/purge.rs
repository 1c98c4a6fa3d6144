//! `purge`: remove what waits in queues.

use celeriac::App;
use serde_json::json;

use crate::{Exit, args::PurgeArgs, commands, output};

pub(crate) async fn run(app: &App, args: &PurgeArgs, as_json: bool) -> anyhow::Result<Exit> {
    let queues = commands::queues(&args.queues)?;
    let waiting: u64 = app.broker().depth(&queues).await?.iter().map(|depth| depth.ready + depth.parked).sum();
    if !args.yes
        && waiting > 0
        && !output::confirm(&format!("Remove {waiting} waiting messages from {} for good?", args.queues.join(", ")))?
    {
        anyhow::bail!("nothing was removed: answer y, or say --yes where nobody can");
    }
    let mut removed = 0;
    for queue in &queues {
        removed += app.broker().purge(queue).await?;
    }
    if as_json {
        output::json(&json!({ "removed": removed, "queues": args.queues }))?;
    } else {
        output::line(format_args!("removed {removed} messages from {}", args.queues.join(", ")))?;
    }
    Ok(Exit::Done)
}
