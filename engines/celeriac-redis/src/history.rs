//! The history: one hash a task, one index by time.
//!
//! | key (after `celeriac:`) | type | content |
//! |---|---|---|
//! | `history-cursor` | string | how far events were folded |
//! | `history` | zset | task id → last heard of, in µs |
//! | `history:ID` | hash | `state`, `name`, `record` (JSON) |
//! | `history-timeline:ID` | list | what happened, oldest first, JSON each |
//! | `history-counts` | hash | `state` → tasks |
//! | `history-counts:NAME` | hash | the same of one name |

use std::sync::Arc;

use celeriac_core::{
    Cursor, Error, ErrorKind, History, Result, StateCount, TaskId, TaskQuery, TaskRecord, TimelineEntry, Timestamp,
};
use redis::Pipeline;
use serde::{Deserialize, Serialize};

use crate::{
    engine::{Shared, micros},
    values::{Arguments, instant},
};

/// How many entries of a timeline are kept.
const TIMELINE_MAX: usize = 1_000;
/// How many records a listing looks at, the newest first.
const LOOK_MAX: usize = 50_000;
const FETCH: usize = 500;
const PAGE_MAX: usize = 1_000;
/// How many records one step removes.
const PRUNE_STEP: usize = 500;

/// See [`History`].
pub struct RedisHistory(Arc<Shared>);

impl RedisHistory {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    fn own(&self, name: &str) -> String {
        self.0.layout.own(name)
    }

    async fn documents(&self, ids: &[String]) -> Result<Vec<Option<TaskRecord>>> {
        let mut found = Vec::with_capacity(ids.len());
        for ids in ids.chunks(FETCH) {
            let mut pipeline = Pipeline::new();
            for id in ids {
                pipeline.cmd("HGET").arg(self.own(&format!("history:{id}"))).arg("record");
            }
            let documents: Vec<Option<Vec<u8>>> = self.0.link.pipeline("read the history", &pipeline).await?;
            for document in documents {
                found.push(document.map(|document| read(&document)).transpose()?);
            }
        }
        Ok(found)
    }
}

impl History for RedisHistory {
    async fn cursor(&self) -> Result<Option<Cursor>> {
        let mut command = redis::cmd("GET");
        command.arg(self.own("history-cursor"));
        let cursor: Option<u64> = self.0.link.command("read the history's cursor", &command).await?;
        Ok(cursor.map(Cursor))
    }

    async fn fold(
        &self,
        from: Option<Cursor>,
        to: Cursor,
        records: Vec<TaskRecord>,
        timeline: Vec<(TaskId, TimelineEntry)>,
    ) -> Result<bool> {
        let mut arguments = Arguments::default();
        arguments.text(self.own("history"));
        match from {
            Some(from) => arguments.number(from.0),
            None => arguments.text(""),
        };
        arguments.number(to.0).number(TIMELINE_MAX).number(records.len());
        for record in &records {
            arguments
                .text(record.id.as_str())
                .text(record.state.as_str())
                .text(record.name.as_deref().unwrap_or_default())
                .number(micros(record.updated_at))
                .text(write(&Stored::from(record))?);
        }
        for (id, entry) in &timeline {
            arguments.text(id.as_str()).text(write(&StoredEntry::from(entry))?);
        }
        let folded: u8 = self.0.link.call("fold events into the history", &self.0.scripts.fold, &arguments.0).await?;
        Ok(folded == 1)
    }

    async fn records(&self, ids: &[TaskId]) -> Result<Vec<Option<TaskRecord>>> {
        self.documents(&ids.iter().map(TaskId::to_string).collect::<Vec<_>>()).await
    }

    async fn timeline(&self, id: &TaskId) -> Result<Vec<TimelineEntry>> {
        let mut command = redis::cmd("LRANGE");
        command.arg(self.own(&format!("history-timeline:{id}"))).arg(0).arg(-1);
        let entries: Vec<Vec<u8>> = self.0.link.command("read a timeline", &command).await?;
        entries.iter().map(|entry| Ok(parse::<StoredEntry>(entry)?.into())).collect()
    }

    async fn tasks(&self, query: TaskQuery) -> Result<Vec<TaskRecord>> {
        let limit = query.limit.clamp(1, PAGE_MAX);
        let search = query.search.as_deref().map(str::to_lowercase);
        let (mut found, mut skip, mut seen) = (Vec::new(), query.offset, 0);
        while seen < LOOK_MAX && found.len() < limit {
            let mut command = redis::cmd("ZREVRANGE");
            command.arg(self.own("history")).arg(seen).arg(seen + FETCH - 1);
            let ids: Vec<String> = self.0.link.command("list the history", &command).await?;
            if ids.is_empty() {
                break;
            }
            seen += ids.len();
            for record in self.documents(&ids).await?.into_iter().flatten() {
                if !fits(&record, &query, search.as_deref()) {
                    continue;
                }
                if skip > 0 {
                    skip -= 1;
                } else if found.len() < limit {
                    found.push(record);
                }
            }
        }
        Ok(found)
    }

    async fn counts(&self, name: Option<&str>) -> Result<Vec<StateCount>> {
        let key = name.map_or_else(|| "history-counts".to_owned(), |name| format!("history-counts:{name}"));
        let mut command = redis::cmd("HGETALL");
        command.arg(self.own(&key));
        let counts: Vec<(String, u64)> = self.0.link.command("count the history", &command).await?;
        Ok(counts.into_iter().map(|(state, tasks)| StateCount { state, tasks }).collect())
    }

    async fn prune(&self, before: Timestamp) -> Result<u64> {
        let mut pruned = 0;
        loop {
            let mut arguments = Arguments::default();
            arguments.text(self.own("history")).number(micros(before)).number(PRUNE_STEP);
            let step: u64 = self.0.link.call("prune the history", &self.0.scripts.prune, &arguments.0).await?;
            pruned += step;
            if step == 0 {
                return Ok(pruned);
            }
        }
    }
}

fn fits(record: &TaskRecord, query: &TaskQuery, search: Option<&str>) -> bool {
    let is = |asked: &Option<String>, has: &Option<String>| asked.is_none() || asked == has;
    query.state.as_ref().is_none_or(|state| state.as_str() == record.state)
        && is(&query.name, &record.name)
        && is(&query.queue, &record.queue)
        && is(&query.worker, &record.worker)
        && query
            .workflow
            .as_ref()
            .is_none_or(|flow| [&record.group_id, &record.root_id].into_iter().any(|id| id.as_ref() == Some(flow)))
        && search.is_none_or(|search| {
            [
                Some(&record.id),
                record.name.as_ref(),
                record.args.as_ref(),
                record.kwargs.as_ref(),
                record.result.as_ref(),
                record.exception.as_ref(),
            ]
            .into_iter()
            .flatten()
            .any(|text| text.to_lowercase().contains(search))
        })
}

fn write<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::new(ErrorKind::Internal, "write a record of the history").with_source(error))
}

fn parse<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T> {
    serde_json::from_slice(text)
        .map_err(|error| Error::new(ErrorKind::Corrupt, "read a record of the history").with_source(error))
}

fn read(document: &[u8]) -> Result<TaskRecord> {
    Ok(parse::<Stored>(document)?.into())
}

/// Writes the stored twin of a record, whose instants are microseconds.
macro_rules! stored {
    ($($text:ident),*; $($at:ident),*) => {
        #[derive(Serialize, Deserialize)]
        struct Stored {
            id: String,
            state: String,
            $(#[serde(skip_serializing_if = "Option::is_none", default)] $text: Option<String>,)*
            $(#[serde(skip_serializing_if = "Option::is_none", default)] $at: Option<i64>,)*
            retries: u32,
            #[serde(skip_serializing_if = "Option::is_none", default)]
            runtime_seconds: Option<f64>,
            updated_at: i64,
        }

        impl From<&TaskRecord> for Stored {
            fn from(record: &TaskRecord) -> Self {
                Self {
                    id: record.id.clone(),
                    state: record.state.clone(),
                    $($text: record.$text.clone(),)*
                    $($at: record.$at.map(Timestamp::as_microsecond),)*
                    retries: record.retries,
                    runtime_seconds: record.runtime_seconds,
                    updated_at: record.updated_at.as_microsecond(),
                }
            }
        }

        impl From<Stored> for TaskRecord {
            fn from(stored: Stored) -> Self {
                Self {
                    id: stored.id,
                    state: stored.state,
                    $($text: stored.$text,)*
                    $($at: stored.$at.map(instant),)*
                    retries: stored.retries,
                    runtime_seconds: stored.runtime_seconds,
                    updated_at: instant(stored.updated_at),
                }
            }
        }
    };
}

stored!(
    name, queue, worker, args, kwargs, result, exception, traceback, root_id, parent_id, group_id, eta, expires;
    sent_at, received_at, started_at, ended_at
);

#[derive(Serialize, Deserialize)]
struct StoredEntry {
    at: i64,
    kind: String,
    source: String,
    detail: String,
}

impl From<&TimelineEntry> for StoredEntry {
    fn from(entry: &TimelineEntry) -> Self {
        let TimelineEntry { at, kind, source, detail } = entry.clone();
        Self { at: at.as_microsecond(), kind, source, detail }
    }
}

impl From<StoredEntry> for TimelineEntry {
    fn from(stored: StoredEntry) -> Self {
        Self { at: instant(stored.at), kind: stored.kind, source: stored.source, detail: stored.detail }
    }
}
