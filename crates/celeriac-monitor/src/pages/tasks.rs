//! Tasks as a list: by state, name, queue, worker or any text, a page at a time.

use askama::Template;
use axum::{
    extract::{Query, State as Shared},
    response::Response,
};
use celeriac_core::{Result, State, TaskQuery, TaskRecord, Timestamp};
use serde::{Deserialize, Serialize};

use super::{ApiProblem, Frame, Problem};
use crate::{
    Monitor,
    words::{self, Moment},
};

/// How many tasks a page lists, and the most that a program may ask for.
const PAGE: usize = 50;
const PAGE_MAX: usize = 500;
/// How far back paging goes; a search finds what lies further.
const OFFSET_MAX: usize = 100_000;
/// The states that have a tab of their own.
const TABS: [(&str, &str); 7] = [
    ("", "All"),
    ("STARTED", "Running"),
    ("SUCCESS", "Succeeded"),
    ("FAILURE", "Failed"),
    ("RETRY", "Retrying"),
    ("REVOKED", "Revoked"),
    ("RECEIVED", "Received"),
];

#[derive(Serialize)]
pub(super) struct TaskRow {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) state: String,
    pub(super) queue: Option<String>,
    pub(super) worker: Option<String>,
    pub(super) args: Option<String>,
    pub(super) kwargs: Option<String>,
    pub(super) exception: Option<String>,
    pub(super) retries: u32,
    pub(super) runtime_seconds: Option<f64>,
    pub(super) updated: Moment,
}

impl TaskRow {
    pub(super) fn new(record: &TaskRecord, now: Timestamp) -> Self {
        let short = |text: &Option<String>| text.as_deref().map(|text| words::cut(text, 200));
        Self {
            id: record.id.clone(),
            name: record.name.clone(),
            state: record.state.clone(),
            queue: record.queue.clone(),
            worker: record.worker.clone(),
            args: short(&record.args),
            kwargs: short(&record.kwargs),
            exception: short(&record.exception),
            retries: record.retries,
            runtime_seconds: record.runtime_seconds,
            updated: Moment::new(record.updated_at, now),
        }
    }

    pub(super) fn title(&self) -> &str {
        self.name.as_deref().unwrap_or("unknown task")
    }

    /// What a person recognises it by: what went wrong, else its arguments.
    pub(super) fn detail(&self) -> String {
        let kwargs = self.kwargs.as_deref().filter(|kwargs| *kwargs != "{}").unwrap_or_default();
        match (&self.exception, self.state.as_str()) {
            (Some(exception), "FAILURE" | "RETRY") => exception.clone(),
            _ => format!("{} {kwargs}", self.args.as_deref().unwrap_or_default()).trim().to_owned(),
        }
    }

    pub(super) fn runtime(&self) -> String {
        self.runtime_seconds.map_or_else(|| "–".into(), words::seconds)
    }
}

/// What to list, as the address says it.
#[derive(Clone, Default, Deserialize)]
pub(super) struct Filter {
    #[serde(default)]
    state: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    queue: String,
    #[serde(default)]
    worker: String,
    #[serde(default)]
    workflow: String,
    #[serde(default)]
    search: String,
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

impl Filter {
    fn query(&self) -> TaskQuery {
        let some = |text: &str| Some(text.trim()).filter(|text| !text.is_empty()).map(|text| words::cut(text, 250));
        TaskQuery {
            state: some(&self.state).map(|state| State::parse(&state)),
            name: some(&self.name),
            queue: some(&self.queue),
            worker: some(&self.worker),
            workflow: some(&self.workflow),
            search: some(&self.search),
            offset: self.offset.min(OFFSET_MAX),
            // One more than is shown tells whether there is more.
            limit: self.shown() + 1,
        }
    }

    fn shown(&self) -> usize {
        self.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX)
    }

    /// The address of the same list with another state, from its beginning.
    fn link(&self, state: &str, offset: usize) -> String {
        use std::fmt::Write as _;
        let pairs = [
            ("state", state),
            ("name", &self.name),
            ("queue", &self.queue),
            ("worker", &self.worker),
            ("workflow", &self.workflow),
            ("search", &self.search),
        ];
        let mut link = String::from("/tasks");
        let mut separator = '?';
        for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
            let _ = write!(link, "{separator}{name}={}", super::encoded(value));
            separator = '&';
        }
        if offset > 0 {
            let _ = write!(link, "{separator}offset={offset}");
        }
        link
    }

    fn is_narrow(&self) -> bool {
        [&self.name, &self.queue, &self.worker, &self.workflow, &self.search].iter().any(|text| !text.is_empty())
    }
}

#[derive(Serialize)]
struct Tab {
    label: &'static str,
    link: String,
    tasks: Option<u64>,
    current: bool,
}

#[derive(Serialize, Template)]
#[template(path = "tasks.html")]
pub(super) struct Tasks {
    #[serde(skip)]
    frame: Frame,
    #[serde(skip)]
    filter: Filter,
    #[serde(skip)]
    tabs: Vec<Tab>,
    #[serde(rename = "tasks")]
    rows: Vec<TaskRow>,
    #[serde(skip)]
    newer: Option<String>,
    #[serde(skip)]
    older: Option<String>,
    /// Whether there are more after these.
    more: bool,
}

impl Tasks {
    async fn load(monitor: &Monitor, filter: Filter) -> Result<Self> {
        let inner = monitor.inner();
        let now = inner.sources.clock.now();
        let mut records = inner.history.tasks(filter.query()).await?;
        let more = records.len() > filter.shown();
        records.truncate(filter.shown());
        // Counts by name are indexed; other filters would have to read everything, so their tabs carry no number.
        let counts = if [&filter.queue, &filter.worker, &filter.workflow, &filter.search].iter().all(|t| t.is_empty()) {
            Some(inner.history.counts(Some(filter.name.as_str()).filter(|name| !name.is_empty())).await?)
        } else {
            None
        };
        let count = |state: &str| {
            let counts = counts.as_ref()?;
            Some(counts.iter().filter(|count| state.is_empty() || count.state == state).map(|count| count.tasks).sum())
        };
        let tabs = TABS
            .into_iter()
            .map(|(state, label)| Tab {
                label,
                link: filter.link(state, 0),
                tasks: count(state),
                current: filter.state == state,
            })
            .collect();
        let (offset, shown) = (filter.offset.min(OFFSET_MAX), filter.shown());
        Ok(Self {
            frame: Frame::new(monitor, "tasks", "Tasks"),
            tabs,
            newer: (offset > 0).then(|| filter.link(&filter.state, offset.saturating_sub(shown))),
            older: (more && offset < OFFSET_MAX).then(|| filter.link(&filter.state, offset + shown)),
            rows: records.iter().map(|record| TaskRow::new(record, now)).collect(),
            more,
            filter,
        })
    }
}

pub(super) async fn page(Shared(monitor): Shared<Monitor>, Query(filter): Query<Filter>) -> Result<Response, Problem> {
    super::html(&Tasks::load(&monitor, filter).await?)
}

pub(super) async fn json(
    Shared(monitor): Shared<Monitor>,
    Query(filter): Query<Filter>,
) -> Result<Response, ApiProblem> {
    Ok(super::as_json(&Tasks::load(&monitor, filter).await?))
}
