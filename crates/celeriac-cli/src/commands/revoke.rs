//! `revoke`: store that tasks shall not run.

use std::time::Duration;

use celeriac::{App, core::Revocation};
use serde_json::json;

use crate::{Exit, args::RevokeArgs, commands, output};

/// How long a revocation is remembered, as Celery does.
const REMEMBERED: Duration = Duration::from_hours(3);

pub(crate) async fn run(app: &App, args: &RevokeArgs, as_json: bool) -> anyhow::Result<Exit> {
    let expires = app.clock().now().saturating_add(REMEMBERED)?;
    let batch = args
        .ids
        .iter()
        .map(|id| Ok(Revocation { task_id: commands::task_id(id)?, terminate: args.terminate, attempt: None, expires }))
        .collect::<anyhow::Result<Vec<_>>>()?;
    app.broker().revoke(batch).await?;
    if as_json {
        output::json(&json!({ "revoked": args.ids, "terminate": args.terminate }))?;
    } else {
        for id in &args.ids {
            output::line(format_args!("revoked {}", output::printable(id)))?;
        }
    }
    Ok(Exit::Done)
}
