//! The history: what was heard of tasks, in the order in which it was heard.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use celeriac_core::{Cursor, History, Result, StateCount, TaskId, TaskQuery, TaskRecord, TimelineEntry, Timestamp};

use crate::{config::PAGE_MAX, store::Store};

/// How many entries of a task's timeline are kept.
const TIMELINE_MAX: usize = 1_000;

/// Keeps the records of tasks in memory. See [`History`].
pub struct MemoryHistory {
    store: Arc<Store>,
}

impl MemoryHistory {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }
}

impl History for MemoryHistory {
    async fn cursor(&self) -> Result<Option<Cursor>> {
        Ok(self.store.history.lock().cursor)
    }

    async fn fold(
        &self,
        from: Option<Cursor>,
        to: Cursor,
        records: Vec<TaskRecord>,
        timeline: Vec<(TaskId, TimelineEntry)>,
    ) -> Result<bool> {
        let mut history = self.store.history.lock();
        if history.cursor != from {
            return Ok(false);
        }
        history.cursor = Some(to);
        for record in records {
            history.store(record);
        }
        for (id, entry) in timeline {
            history.note(&id, entry);
        }
        history.make_room();
        Ok(true)
    }

    async fn records(&self, ids: &[TaskId]) -> Result<Vec<Option<TaskRecord>>> {
        let history = self.store.history.lock();
        Ok(ids.iter().map(|id| history.stories.get(id.as_str())?.record.clone()).collect())
    }

    async fn timeline(&self, id: &TaskId) -> Result<Vec<TimelineEntry>> {
        let history = self.store.history.lock();
        Ok(history.stories.get(id.as_str()).map_or_else(Vec::new, |story| story.timeline.iter().cloned().collect()))
    }

    async fn tasks(&self, query: TaskQuery) -> Result<Vec<TaskRecord>> {
        Ok(self.store.history.lock().tasks(&query))
    }

    async fn counts(&self, name: Option<&str>) -> Result<Vec<StateCount>> {
        Ok(self.store.history.lock().counts(name))
    }

    async fn prune(&self, before: Timestamp) -> Result<u64> {
        Ok(self.store.history.lock().prune(before))
    }
}

/// All records of a store.
pub(crate) struct Records {
    max: usize,
    cursor: Option<Cursor>,
    stories: BTreeMap<String, Story>,
    /// The stories by when something was heard of them last.
    order: BTreeSet<(Timestamp, u64, String)>,
    last_number: u64,
}

/// What is known of one task.
#[derive(Default)]
struct Story {
    number: u64,
    heard_at: Timestamp,
    record: Option<TaskRecord>,
    timeline: VecDeque<TimelineEntry>,
}

impl Records {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, cursor: None, stories: BTreeMap::new(), order: BTreeSet::new(), last_number: 0 }
    }

    fn store(&mut self, record: TaskRecord) {
        let id = record.id.clone();
        self.change(&id, record.updated_at, |story| story.record = Some(record));
    }

    fn note(&mut self, id: &TaskId, entry: TimelineEntry) {
        let record_at = self.stories.get(id.as_str()).and_then(|story| story.record.as_ref()).map(|r| r.updated_at);
        self.change(id.as_str(), record_at.unwrap_or(entry.at), |story| {
            if story.timeline.len() == TIMELINE_MAX {
                story.timeline.pop_front();
            }
            story.timeline.push_back(entry);
        });
    }

    fn change(&mut self, id: &str, heard_at: Timestamp, change: impl FnOnce(&mut Story)) {
        if !self.stories.contains_key(id) {
            self.last_number += 1;
            self.stories.insert(id.to_owned(), Story { number: self.last_number, ..Story::default() });
        }
        let story = self.stories.get_mut(id).expect("a story that is there or was just begun");
        self.order.remove(&(story.heard_at, story.number, id.to_owned()));
        story.heard_at = heard_at;
        change(story);
        self.order.insert((heard_at, story.number, id.to_owned()));
    }

    fn make_room(&mut self) {
        while self.stories.len() > self.max {
            self.remove_oldest();
        }
    }

    fn remove_oldest(&mut self) -> Option<Story> {
        let (_, _, id) = self.order.pop_first()?;
        self.stories.remove(&id)
    }

    fn tasks(&self, query: &TaskQuery) -> Vec<TaskRecord> {
        let search = query.search.as_deref().map(str::to_lowercase);
        self.order
            .iter()
            .rev()
            .filter_map(|(_, _, id)| self.stories[id].record.as_ref())
            .filter(|record| matches(record, query, search.as_deref()))
            .skip(query.offset)
            .take(query.limit.clamp(1, PAGE_MAX))
            .cloned()
            .collect()
    }

    fn counts(&self, name: Option<&str>) -> Vec<StateCount> {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for record in self.stories.values().filter_map(|story| story.record.as_ref()) {
            if name.is_none() || record.name.as_deref() == name {
                *counts.entry(&record.state).or_default() += 1;
            }
        }
        counts.into_iter().map(|(state, tasks)| StateCount { state: state.to_owned(), tasks }).collect()
    }

    fn prune(&mut self, before: Timestamp) -> u64 {
        let mut removed = 0;
        while self.order.first().is_some_and(|(heard_at, _, _)| *heard_at < before) {
            removed += u64::from(self.remove_oldest().is_some_and(|story| story.record.is_some()));
        }
        removed
    }
}

/// Whether a record is asked for; `search` is in lower case.
fn matches(record: &TaskRecord, query: &TaskQuery, search: Option<&str>) -> bool {
    let same = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
    let holds = |text: Option<&String>, search: &str| text.is_some_and(|text| text.to_lowercase().contains(search));
    query.state.as_ref().is_none_or(|state| state.as_str() == record.state)
        && same(&query.name, &record.name)
        && same(&query.queue, &record.queue)
        && same(&query.worker, &record.worker)
        && (same(&query.workflow, &record.group_id) || same(&query.workflow, &record.root_id))
        && search.is_none_or(|search| {
            let texts = [&record.name, &record.args, &record.kwargs, &record.result, &record.exception];
            holds(Some(&record.id), search) || texts.into_iter().any(|text| holds(text.as_ref(), search))
        })
}
