//! A task that has ended, sent once more: the same name, arguments and queue under a new id.
//!
//! The arguments come from the result backend, where failures are kept with them (and successes with `result_extended`).
//! What was to follow the task is not sent again.

use bytes::Bytes;
use celeriac_core::{Error, ErrorKind, Message, Priority, Publication, QueueName, Result, TaskId, TaskName};
use celeriac_protocol::{Embed, Headers, Properties, TaskMeta, body::encode_body, repr};

use crate::monitor::Sources;

/// The header that names the task that this one repeats.
const RETRY_OF: &str = "retry_of";

/// Whether [`again`] could send it.
pub(crate) fn is_possible(meta: &TaskMeta) -> bool {
    meta.status.is_ready() && parts(meta).is_some()
}

/// Sends a task that has ended once more and gives the new task's id.
pub(crate) async fn again(sources: &Sources, id: &TaskId) -> Result<TaskId> {
    let results = sources.results.as_ref().ok_or_else(|| cannot(id, "there is no result backend"))?;
    let document = results.fetch(std::slice::from_ref(id)).await?.pop().flatten();
    let document = document.ok_or_else(|| cannot(id, "its record is gone"))?;
    let meta =
        TaskMeta::parse(&document).map_err(|error| cannot(id, "its record does not parse").with_source(error))?;
    if !meta.status.is_ready() {
        return Err(cannot(id, "it has not ended"));
    }
    let (name, queue, args, kwargs) = parts(&meta)
        .ok_or_else(|| cannot(id, "its arguments are not recorded; result_extended keeps them for every task"))?;
    let new = sources.ids.task_id();
    let mut headers = Headers::new(name, new.as_str());
    headers.argsrepr = Some(repr::args(args));
    headers.kwargsrepr = Some(repr::value(kwargs));
    headers.origin = Some("celeriac dashboard".into());
    let mut said = Vec::new();
    celeriac_protocol::json::to_ascii(id.as_str(), &mut said);
    headers.custom.insert(RETRY_OF.into(), said.into());
    let properties = Properties {
        content_type: Some("application/json".into()),
        content_encoding: Some("utf-8".into()),
        correlation_id: Some(new.to_string()),
        delivery_mode: Some(2),
        priority: Some(0),
        ..Properties::default()
    };
    let publication = Publication {
        task_id: new.clone(),
        task: TaskName::new(name)?,
        queue: QueueName::new(queue)?,
        priority: Priority(0),
        due: None,
        unique: None,
        message: Message {
            headers: headers.encode(),
            properties: properties.encode(),
            body: encode_body(args, kwargs, &Embed::default()),
        },
    };
    sources.broker.publish(vec![publication]).await?;
    Ok(new)
}

/// Name, queue, arguments: only where all are there and have the right shape.
fn parts(meta: &TaskMeta) -> Option<(&str, &str, &Bytes, &Bytes)> {
    let extended = meta.extended.as_ref()?;
    let (args, kwargs) = (extended.args.as_ref()?, extended.kwargs.as_ref()?);
    (args.starts_with(b"[") && kwargs.starts_with(b"{")).then_some((
        extended.name.as_deref()?,
        extended.queue.as_deref()?,
        args,
        kwargs,
    ))
}

fn cannot(id: &TaskId, why: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("run task {id} again: {why}"))
}
