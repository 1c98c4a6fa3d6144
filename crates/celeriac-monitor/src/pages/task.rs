//! One task: what it is, what happened to it, why it is not running, and what can be done about it.

use askama::Template;
use axum::{
    Form,
    extract::{Path, Query, State as Shared},
    response::Response,
};
use celeriac_core::{DeadQuery, Error, ErrorKind, Peek, Result, Revocation, State, TaskId};
use celeriac_protocol::{Headers, TaskMeta};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{ApiProblem, Done, Frame, Problem, queues::state_word};
use crate::{
    Monitor, explain, retry,
    words::{self, Moment},
};

/// How much of a stored value a page shows.
const VALUE_CHARS_MAX: usize = 20_000;
/// How long a revocation is remembered where settings say nothing else, as in Celery.
const REVOKED_FOR: std::time::Duration = std::time::Duration::from_hours(3);

#[derive(Serialize, Template)]
#[template(path = "task.html")]
pub(super) struct Task {
    #[serde(skip)]
    frame: Frame,
    id: String,
    name: Option<String>,
    state: String,
    /// Why it is not running.
    explanation: Option<String>,
    args: Option<String>,
    kwargs: Option<String>,
    result: Option<String>,
    exception: Option<String>,
    traceback: Option<String>,
    queue: Option<String>,
    worker: Option<String>,
    retries: u32,
    root_id: Option<String>,
    parent_id: Option<String>,
    group_id: Option<String>,
    eta: Option<String>,
    expires: Option<String>,
    runtime_seconds: Option<f64>,
    sent: Option<Moment>,
    received: Option<Moment>,
    started: Option<Moment>,
    ended: Option<Moment>,
    timeline: Vec<Line>,
    /// Where its message is: `ready`, `active`, `scheduled`; none when it is settled.
    message: Option<&'static str>,
    dead_entry: Option<u64>,
    revoked: bool,
    can_revoke: bool,
    can_retry: bool,
}

#[derive(Serialize)]
struct Line {
    at: Moment,
    event: String,
    source: String,
    detail: String,
}

impl Line {
    /// The event's name without its family.
    fn word(&self) -> &str {
        self.event.strip_prefix("task-").unwrap_or(&self.event)
    }
}

impl Task {
    async fn load(monitor: &Monitor, id: &TaskId) -> Result<Self> {
        let (inner, ids) = (monitor.inner(), std::slice::from_ref(id));
        let sources = &inner.sources;
        let now = sources.clock.now();
        let record = inner.history.records(ids).await?.pop().flatten();
        let timeline = inner.history.timeline(id).await?;
        let peek = Peek { task_id: Some(id.clone()), limit: 1, ..Peek::default() };
        let waiting = sources.broker.peek(peek).await?.pop();
        let dead_query = DeadQuery { task_id: Some(id.clone()), limit: 1, ..DeadQuery::default() };
        let dead = sources.broker.dead(dead_query).await?.pop();
        let revoked = sources.broker.revoked(ids).await?.pop().flatten();
        let meta = match &sources.results {
            Some(results) => results.fetch(ids).await?.pop().flatten(),
            None => None,
        };
        let meta = meta.and_then(|document| TaskMeta::parse(&document).ok());
        if record.is_none() && waiting.is_none() && dead.is_none() && meta.is_none() {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("find the task {id}: it was never sent here, or its record has expired"),
            ));
        }
        let consumers = sources.broker.consumers().await?;
        let ahead = match &waiting {
            Some(message) => {
                sources.broker.depth(std::slice::from_ref(&message.queue)).await?.first().map_or(0, |depth| depth.ready)
            }
            None => 0,
        };
        let explanation =
            explain(record.as_ref(), waiting.as_ref(), dead.as_ref(), revoked.as_ref(), &consumers, ahead, now);

        // What events have not told, the message or the result may.
        let message = waiting.as_ref().map(|m| &m.message).or_else(|| dead.as_ref().map(|d| &d.message));
        let headers = message.and_then(|message| Headers::parse(&message.headers).ok()).unwrap_or_default();
        let stored = meta.as_ref().filter(|meta| meta.status == State::Success).map(|meta| &meta.result);
        let exception = meta.as_ref().filter(|meta| meta.status == State::Failure).and_then(TaskMeta::exception);
        let known = record.clone().unwrap_or_default();
        let state = match (&record, &meta, &dead) {
            (Some(record), ..) if !record.state.is_empty() => record.state.clone(),
            (_, Some(meta), _) => meta.status.to_string(),
            (_, _, Some(_)) => State::Rejected.to_string(),
            _ => State::Pending.to_string(),
        };
        let ready = State::parse(&state).is_ready();
        let moment = |at: Option<_>| at.map(|at| Moment::new(at, now));
        let name = known
            .name
            .or_else(|| waiting.as_ref().map(|message| message.task.to_string()))
            .or_else(|| dead.as_ref().and_then(|dead| dead.task.as_ref().map(ToString::to_string)));
        Ok(Self {
            frame: Frame::new(monitor, "tasks", name.clone().unwrap_or_else(|| "Task".into())),
            id: id.to_string(),
            name,
            explanation,
            args: known.args.or(headers.argsrepr),
            kwargs: known.kwargs.or(headers.kwargsrepr),
            result: stored.map(|value| words::text(value, VALUE_CHARS_MAX)).or(known.result),
            exception: known
                .exception
                .or_else(|| exception.map(|info| format!("{}({:?})", info.exc_type, info.message()))),
            traceback: known.traceback.or_else(|| meta.as_ref().and_then(|meta| meta.traceback.clone())),
            queue: known
                .queue
                .or_else(|| waiting.as_ref().map(|message| message.queue.to_string()))
                .or_else(|| dead.as_ref().map(|dead| dead.queue.to_string())),
            worker: known.worker.or_else(|| waiting.as_ref().and_then(|m| m.holder.as_ref().map(ToString::to_string))),
            retries: known.retries.max(headers.retries),
            root_id: known.root_id.or(headers.root_id).filter(|root| root != id.as_str()),
            parent_id: known.parent_id.or(headers.parent_id),
            group_id: known.group_id.or(headers.group),
            eta: known.eta.or(headers.eta),
            expires: known.expires.or(headers.expires),
            runtime_seconds: known.runtime_seconds,
            sent: moment(known.sent_at.or(waiting.as_ref().map(|message| message.published_at))),
            received: moment(known.received_at),
            started: moment(known.started_at),
            ended: moment(known.ended_at),
            timeline: timeline
                .into_iter()
                .map(|entry| Line {
                    at: Moment::new(entry.at, now),
                    event: entry.kind,
                    source: entry.source,
                    detail: words::cut(&entry.detail, 500),
                })
                .collect(),
            message: waiting.as_ref().map(|message| state_word(message.state)),
            dead_entry: dead.as_ref().map(|dead| dead.entry),
            revoked: revoked.is_some(),
            can_revoke: revoked.is_none() && (waiting.is_some() || (!ready && dead.is_none())),
            can_retry: meta.as_ref().is_some_and(retry::is_possible),
            state,
        })
    }

    fn title(&self) -> &str {
        self.name.as_deref().unwrap_or("Unknown task")
    }

    fn runtime(&self) -> String {
        self.runtime_seconds.map_or_else(|| "–".into(), words::seconds)
    }
}

pub(super) async fn page(
    Shared(monitor): Shared<Monitor>,
    Path(id): Path<String>,
    Query(done): Query<Done>,
) -> Result<Response, Problem> {
    let mut task = Task::load(&monitor, &TaskId::new(id)?).await?;
    task.frame = task.frame.with_notice(&done);
    super::html(&task)
}

pub(super) async fn json(Shared(monitor): Shared<Monitor>, Path(id): Path<String>) -> Result<Response, ApiProblem> {
    Ok(super::as_json(&Task::load(&monitor, &TaskId::new(id)?).await?))
}

/// How to revoke.
#[derive(Default, Deserialize)]
pub(super) struct Revoke {
    /// Stop it even if it runs. A form's box says `on`, a program `true`.
    #[serde(default)]
    terminate: String,
}

async fn revoke(monitor: &Monitor, id: &TaskId, how: &Revoke) -> Result<()> {
    let sources = &monitor.inner().sources;
    let terminate = match how.terminate.as_str() {
        "on" | "true" | "1" => true,
        "" | "false" | "0" => false,
        _ => return Err(Error::new(ErrorKind::Invalid, format!("revoke task {id}: terminate is true or false"))),
    };
    let expires = sources.clock.now().saturating_add(REVOKED_FOR).unwrap_or(celeriac_core::Timestamp::MAX);
    let revocation = Revocation { task_id: id.clone(), terminate, attempt: None, expires };
    sources.broker.revoke(vec![revocation]).await?;
    tracing::info!(%id, terminate, "revoked by hand");
    Ok(())
}

pub(super) async fn revoke_page(
    Shared(monitor): Shared<Monitor>,
    Path(id): Path<String>,
    Form(how): Form<Revoke>,
) -> Result<Response, Problem> {
    let id = TaskId::new(id)?;
    revoke(&monitor, &id, &how).await?;
    Ok(super::see(&format!("/tasks/{}?done=revoked", super::encoded(id.as_str()))))
}

pub(super) async fn revoke_json(
    Shared(monitor): Shared<Monitor>,
    Path(id): Path<String>,
    Query(how): Query<Revoke>,
) -> Result<Response, ApiProblem> {
    let id = TaskId::new(id)?;
    revoke(&monitor, &id, &how).await?;
    Ok(super::as_json(&json!({ "revoked": id })))
}

async fn retry(monitor: &Monitor, id: &TaskId) -> Result<TaskId> {
    let new = retry::again(&monitor.inner().sources, id).await?;
    tracing::info!(%id, %new, "sent once more by hand");
    Ok(new)
}

pub(super) async fn retry_page(Shared(monitor): Shared<Monitor>, Path(id): Path<String>) -> Result<Response, Problem> {
    let new = retry(&monitor, &TaskId::new(id)?).await?;
    Ok(super::see(&format!("/tasks/{}?done=retried", super::encoded(new.as_str()))))
}

pub(super) async fn retry_json(
    Shared(monitor): Shared<Monitor>,
    Path(id): Path<String>,
) -> Result<Response, ApiProblem> {
    let new = retry(&monitor, &TaskId::new(id)?).await?;
    Ok(super::as_json(&json!({ "task": new })))
}
