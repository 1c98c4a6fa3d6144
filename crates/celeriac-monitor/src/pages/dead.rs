//! The dead set: browse, read, edit, replay, drop.

use askama::Template;
use axum::{
    Form,
    extract::{Path, Query, RawForm, State as Shared},
    response::Response,
};
use celeriac_core::{DeadEntry, DeadQuery, Error, ErrorKind, Message, QueueName, Result, TaskId, TaskName, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{ApiProblem, Done, Frame, Problem};
use crate::{
    Monitor,
    words::{self, Moment},
};

/// How many entries a page lists.
const PAGE: usize = 50;
/// How much of a part is shown when it cannot be edited.
const PART_CHARS_MAX: usize = 20_000;

/// Which entries to list, as the address says it.
#[derive(Default, Deserialize)]
pub(super) struct Which {
    #[serde(default)]
    queue: String,
    #[serde(default)]
    task: String,
    #[serde(default)]
    id: String,
    before: Option<u64>,
    #[serde(flatten)]
    done: Done,
}

impl Which {
    fn query(&self) -> Result<DeadQuery> {
        let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        Ok(DeadQuery {
            queue: some(&self.queue).map(QueueName::new).transpose()?,
            task: some(&self.task).map(TaskName::new).transpose()?,
            task_id: some(&self.id).map(TaskId::new).transpose()?,
            before: self.before,
            limit: PAGE,
        })
    }
}

#[derive(Serialize)]
struct DeadRow {
    entry: u64,
    id: String,
    task: Option<String>,
    queue: String,
    reason: String,
    detail: String,
    attempt: u32,
    died: Moment,
}

impl DeadRow {
    fn new(dead: &DeadEntry, now: Timestamp) -> Self {
        Self {
            entry: dead.entry,
            id: dead.task_id.to_string(),
            task: dead.task.as_ref().map(ToString::to_string),
            queue: dead.queue.to_string(),
            reason: dead.reason.to_string(),
            detail: words::cut(&dead.detail, 500),
            attempt: dead.attempt,
            died: Moment::new(dead.died_at, now),
        }
    }

    fn title(&self) -> &str {
        self.task.as_deref().unwrap_or("unknown task")
    }
}

#[derive(Serialize, Template)]
#[template(path = "dead.html")]
pub(super) struct Dead {
    #[serde(skip)]
    frame: Frame,
    #[serde(skip)]
    queue: String,
    #[serde(skip)]
    task: String,
    #[serde(rename = "dead")]
    entries: Vec<DeadRow>,
    /// Where the next page begins: `before=` this entry.
    next: Option<u64>,
}

impl Dead {
    async fn load(monitor: &Monitor, which: Which) -> Result<Self> {
        let sources = &monitor.inner().sources;
        let now = sources.clock.now();
        let entries = sources.broker.dead(which.query()?).await?;
        Ok(Self {
            frame: Frame::new(monitor, "dead", "Dead set").with_notice(&which.done),
            next: (entries.len() == PAGE).then(|| entries.last().map(|last| last.entry)).flatten(),
            entries: entries.iter().map(|dead| DeadRow::new(dead, now)).collect(),
            queue: which.queue,
            task: which.task,
        })
    }
}

pub(super) async fn page(Shared(monitor): Shared<Monitor>, Query(which): Query<Which>) -> Result<Response, Problem> {
    super::html(&Dead::load(&monitor, which).await?)
}

pub(super) async fn json(Shared(monitor): Shared<Monitor>, Query(which): Query<Which>) -> Result<Response, ApiProblem> {
    Ok(super::as_json(&Dead::load(&monitor, which).await?))
}

#[derive(Serialize, Template)]
#[template(path = "dead_entry.html")]
pub(super) struct Entry {
    #[serde(skip)]
    frame: Frame,
    #[serde(flatten)]
    row: DeadRow,
    headers: String,
    properties: String,
    body: String,
    body_bytes: usize,
    /// Whether the body is text that a form brings back unchanged.
    editable: bool,
}

impl Entry {
    async fn load(monitor: &Monitor, entry: u64) -> Result<Self> {
        let dead = find(monitor, entry).await?;
        let now = monitor.inner().sources.clock.now();
        let text = |bytes: &[u8]| words::text(bytes, PART_CHARS_MAX);
        let whole = |bytes: &[u8]| {
            bytes.len() <= PART_CHARS_MAX
                && std::str::from_utf8(bytes).is_ok_and(|text| !text.contains(|c: char| c.is_control() && c != '\n'))
        };
        Ok(Self {
            frame: Frame::new(monitor, "dead", format!("Dead message {entry}")),
            row: DeadRow::new(&dead, now),
            headers: text(&dead.message.headers),
            properties: text(&dead.message.properties),
            body: text(&dead.message.body),
            body_bytes: dead.message.body.len(),
            editable: whole(&dead.message.body) && whole(&dead.message.headers),
        })
    }
}

async fn find(monitor: &Monitor, entry: u64) -> Result<DeadEntry> {
    let query = DeadQuery { before: Some(entry.saturating_add(1)), limit: 1, ..DeadQuery::default() };
    let found = monitor.inner().sources.broker.dead(query).await?.into_iter().find(|dead| dead.entry == entry);
    found.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("find the dead message {entry}: it was replayed or dropped"))
    })
}

pub(super) async fn one_page(Shared(monitor): Shared<Monitor>, Path(entry): Path<u64>) -> Result<Response, Problem> {
    super::html(&Entry::load(&monitor, entry).await?)
}

pub(super) async fn one_json(Shared(monitor): Shared<Monitor>, Path(entry): Path<u64>) -> Result<Response, ApiProblem> {
    Ok(super::as_json(&Entry::load(&monitor, entry).await?))
}

/// The entries that a form ticked: `entry=1&entry=2`.
fn ticked(form: &[u8]) -> Result<Vec<u64>> {
    let wrong = || Error::new(ErrorKind::Invalid, "read which messages are meant: tick at least one");
    let text = std::str::from_utf8(form).map_err(|_| wrong())?;
    let entries: Option<Vec<u64>> =
        text.split('&').filter_map(|pair| pair.strip_prefix("entry=")).map(|entry| entry.parse().ok()).collect();
    entries.filter(|entries| !entries.is_empty() && entries.len() <= PAGE).ok_or_else(wrong)
}

pub(super) async fn replay_page(Shared(monitor): Shared<Monitor>, RawForm(form): RawForm) -> Result<Response, Problem> {
    let count = replay(&monitor, &ticked(&form)?, None).await?;
    Ok(super::see(&format!("/dead?done=replayed&count={count}")))
}

pub(super) async fn drop_page(Shared(monitor): Shared<Monitor>, RawForm(form): RawForm) -> Result<Response, Problem> {
    let count = drop_entries(&monitor, &ticked(&form)?).await?;
    Ok(super::see(&format!("/dead?done=dropped&count={count}")))
}

/// A message as the form brings it back.
#[derive(Deserialize)]
pub(super) struct Edited {
    headers: String,
    body: String,
}

pub(super) async fn edit_page(
    Shared(monitor): Shared<Monitor>,
    Path(entry): Path<u64>,
    Form(edited): Form<Edited>,
) -> Result<Response, Problem> {
    let dead = find(&monitor, entry).await?;
    let headers: serde_json::Result<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(&edited.headers);
    if let Err(error) = headers {
        return Err(Error::new(ErrorKind::Invalid, format!("read the headers as a JSON object: {error}")).into());
    }
    let message = Message {
        headers: edited.headers.into(),
        properties: dead.message.properties,
        // Forms bring every line's end as two characters.
        body: edited.body.replace("\r\n", "\n").into(),
    };
    let count = replay(&monitor, &[entry], Some(message)).await?;
    Ok(super::see(&format!("/dead?done=replayed&count={count}")))
}

async fn replay(monitor: &Monitor, entries: &[u64], edited: Option<Message>) -> Result<u64> {
    let count = monitor.inner().sources.broker.replay(entries, edited).await?;
    tracing::info!(count, ?entries, "replayed by hand");
    Ok(count)
}

async fn drop_entries(monitor: &Monitor, entries: &[u64]) -> Result<u64> {
    let count = monitor.inner().sources.broker.drop_dead(entries).await?;
    tracing::info!(count, ?entries, "dropped by hand");
    Ok(count)
}

pub(super) async fn replay_json(
    Shared(monitor): Shared<Monitor>,
    Path(entry): Path<u64>,
) -> Result<Response, ApiProblem> {
    let count = replay(&monitor, &[entry], None).await?;
    found(count, entry)?;
    Ok(super::as_json(&json!({ "replayed": count })))
}

pub(super) async fn drop_json(
    Shared(monitor): Shared<Monitor>,
    Path(entry): Path<u64>,
) -> Result<Response, ApiProblem> {
    let count = drop_entries(&monitor, &[entry]).await?;
    found(count, entry)?;
    Ok(super::as_json(&json!({ "dropped": count })))
}

fn found(count: u64, entry: u64) -> Result<()> {
    if count > 0 {
        return Ok(());
    }
    Err(Error::new(ErrorKind::NotFound, format!("find the dead message {entry}: it was replayed or dropped")))
}
