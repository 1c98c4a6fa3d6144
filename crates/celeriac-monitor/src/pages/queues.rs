//! Queues: how much waits, for how long, and for whom; and what waits in one of them.

use askama::Template;
use axum::{
    extract::{Path, Query, State as Shared},
    response::Response,
};
use celeriac_core::{Error, ErrorKind, Peek, PeekState, QueueName, Result};
use serde::{Deserialize, Serialize};

use super::{ApiProblem, Frame, Problem};
use crate::{
    Monitor,
    words::{self, Moment},
};

/// How many messages a page lists.
const PAGE: usize = 50;

#[derive(Serialize)]
pub(super) struct QueueRow {
    pub(super) queue: String,
    pub(super) ready: u64,
    pub(super) active: u64,
    pub(super) scheduled: u64,
    pub(super) dead: u64,
    pub(super) oldest_ready: Option<Moment>,
    pub(super) workers: usize,
}

impl QueueRow {
    /// Something waits, and nobody comes for it.
    pub(super) fn is_stuck(&self) -> bool {
        self.ready > 0 && self.workers == 0
    }
}

/// All queues, by name.
pub(super) async fn rows(monitor: &Monitor) -> Result<Vec<QueueRow>> {
    let sources = &monitor.inner().sources;
    let now = sources.clock.now();
    let consumers = sources.broker.consumers().await?;
    let mut rows: Vec<QueueRow> = sources
        .broker
        .depth(&[])
        .await?
        .into_iter()
        .map(|depth| QueueRow {
            workers: consumers.iter().filter(|consumer| consumer.queues.contains(&depth.queue)).count(),
            queue: depth.queue.to_string(),
            ready: depth.ready,
            active: depth.held,
            scheduled: depth.parked,
            dead: depth.dead,
            oldest_ready: depth.oldest_ready.map(|at| Moment::new(at, now)),
        })
        .collect();
    rows.sort_by(|a, b| a.queue.cmp(&b.queue));
    Ok(rows)
}

#[derive(Serialize, Template)]
#[template(path = "queues.html")]
pub(super) struct Queues {
    #[serde(skip)]
    frame: Frame,
    queues: Vec<QueueRow>,
}

impl Queues {
    async fn load(monitor: &Monitor) -> Result<Self> {
        Ok(Self { frame: Frame::new(monitor, "queues", "Queues"), queues: rows(monitor).await? })
    }
}

pub(super) async fn page(Shared(monitor): Shared<Monitor>) -> Result<Response, Problem> {
    super::html(&Queues::load(&monitor).await?)
}

pub(super) async fn json(Shared(monitor): Shared<Monitor>) -> Result<Response, ApiProblem> {
    Ok(super::as_json(&Queues::load(&monitor).await?))
}

/// Which of a queue's messages to list.
#[derive(Default, Deserialize)]
pub(super) struct Which {
    #[serde(default)]
    state: String,
    after: Option<u64>,
}

impl Which {
    fn state(&self) -> Result<Option<PeekState>> {
        match self.state.as_str() {
            "" => Ok(None),
            "ready" => Ok(Some(PeekState::Ready)),
            "active" => Ok(Some(PeekState::Held)),
            "scheduled" => Ok(Some(PeekState::Parked)),
            other => Err(Error::new(
                ErrorKind::Invalid,
                format!("list messages in the state `{}`: it is ready, active or scheduled", words::cut(other, 40)),
            )),
        }
    }
}

#[derive(Serialize)]
struct MessageRow {
    id: String,
    task: String,
    state: &'static str,
    priority: u8,
    attempt: u32,
    sent: Moment,
    due: Option<Moment>,
    worker: Option<String>,
}

#[derive(Serialize, Template)]
#[template(path = "queue.html")]
pub(super) struct Queue {
    #[serde(skip)]
    frame: Frame,
    #[serde(flatten)]
    row: QueueRow,
    #[serde(skip)]
    state: String,
    messages: Vec<MessageRow>,
    /// Where the next page begins.
    next: Option<u64>,
}

impl Queue {
    async fn load(monitor: &Monitor, name: &str, which: Which) -> Result<Self> {
        let name = QueueName::new(name)?;
        let state = which.state()?;
        let row = rows(monitor).await?.into_iter().find(|row| row.queue == name.as_str());
        let row = row.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("find the queue `{name}`")))?;
        let sources = &monitor.inner().sources;
        let now = sources.clock.now();
        let title = format!("Queue {name}");
        let peek = Peek { queue: Some(name), state, after: which.after, limit: PAGE, ..Peek::default() };
        let peeked = sources.broker.peek(peek).await?;
        Ok(Self {
            frame: Frame::new(monitor, "queues", title),
            row,
            state: which.state,
            next: (peeked.len() == PAGE).then(|| peeked.last().map(|last| last.key)).flatten(),
            messages: peeked
                .into_iter()
                .map(|message| MessageRow {
                    id: message.task_id.to_string(),
                    task: message.task.to_string(),
                    state: state_word(message.state),
                    priority: message.priority.0,
                    attempt: message.attempt,
                    sent: Moment::new(message.published_at, now),
                    due: message.due.map(|due| Moment::new(due, now)),
                    worker: message.holder.map(|holder| holder.to_string()),
                })
                .collect(),
        })
    }
}

/// One word for where a message is.
pub(super) fn state_word(state: PeekState) -> &'static str {
    match state {
        PeekState::Ready => "ready",
        PeekState::Held => "active",
        PeekState::Parked => "scheduled",
    }
}

pub(super) async fn one_page(
    Shared(monitor): Shared<Monitor>,
    Path(name): Path<String>,
    Query(which): Query<Which>,
) -> Result<Response, Problem> {
    super::html(&Queue::load(&monitor, &name, which).await?)
}

pub(super) async fn one_json(
    Shared(monitor): Shared<Monitor>,
    Path(name): Path<String>,
    Query(which): Query<Which>,
) -> Result<Response, ApiProblem> {
    Ok(super::as_json(&Queue::load(&monitor, &name, which).await?))
}
