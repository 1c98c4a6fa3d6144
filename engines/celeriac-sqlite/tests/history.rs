//! The history: records, timelines, searches.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use celeriac_core::{
    Clock, Cursor, HistoryHandle, State, StateCount, TaskId, TaskQuery, TaskRecord, TimelineEntry, Timestamp,
};
use celeriac_sqlite::{Config, SqliteEngine};

struct Bench {
    history: HistoryHandle,
    _engine: SqliteEngine,
    _folder: tempfile::TempDir,
}

fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let engine = SqliteEngine::open(Config::new(folder.path().join("tasks.db")), Clock::system()).unwrap();
    Bench { history: engine.history(), _engine: engine, _folder: folder }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn id(text: &str) -> TaskId {
    TaskId::new(text).unwrap()
}

fn record(id: &str, state: &State, second: i64) -> TaskRecord {
    TaskRecord {
        id: id.into(),
        name: Some("mail.send".into()),
        state: state.as_str().into(),
        updated_at: at(second),
        ..TaskRecord::default()
    }
}

fn entry(kind: &str, second: i64) -> TimelineEntry {
    TimelineEntry { at: at(second), kind: kind.into(), source: "w@here".into(), detail: String::new() }
}

/// The ids that a query finds, in order.
async fn ids(history: &HistoryHandle, query: TaskQuery) -> Vec<String> {
    history.tasks(query).await.unwrap().into_iter().map(|record| record.id).collect()
}

#[tokio::test]
async fn records_come_back_as_they_were() {
    let bench = bench();
    let full = TaskRecord {
        queue: Some("mail".into()),
        worker: Some("w@here".into()),
        args: Some("('a',)".into()),
        kwargs: Some("{}".into()),
        result: Some("1".into()),
        exception: Some("E".into()),
        traceback: Some("T".into()),
        retries: 3,
        root_id: Some("root".into()),
        parent_id: Some("parent".into()),
        group_id: Some("group".into()),
        eta: Some("soon".into()),
        expires: Some("later".into()),
        sent_at: Some(at(1)),
        received_at: Some(at(2)),
        started_at: Some(at(3)),
        ended_at: Some(at(4)),
        runtime_seconds: Some(0.25),
        ..record("a", &State::Success, 5)
    };
    assert!(bench.history.fold(None, Cursor(1), vec![full.clone()], vec![]).await.unwrap());
    assert_eq!(bench.history.records(&[id("a"), id("b")]).await.unwrap(), [Some(full), None]);
}

#[tokio::test]
async fn only_one_monitor_folds_an_event() {
    let bench = bench();
    let history = &bench.history;
    assert_eq!(history.cursor().await.unwrap(), None);
    let timeline = vec![(id("a"), entry("task-sent", 1)), (id("a"), entry("task-started", 2))];
    assert!(history.fold(None, Cursor(7), vec![record("a", &State::Started, 2)], timeline.clone()).await.unwrap());
    assert!(!history.fold(None, Cursor(7), vec![record("a", &State::Failure, 3)], timeline).await.unwrap());
    assert_eq!(history.cursor().await.unwrap(), Some(Cursor(7)));
    assert_eq!(history.timeline(&id("a")).await.unwrap(), [entry("task-sent", 1), entry("task-started", 2)]);
    assert_eq!(history.records(&[id("a")]).await.unwrap()[0].as_ref().unwrap().state, "STARTED");
    assert!(history.fold(Some(Cursor(7)), Cursor(9), vec![record("a", &State::Success, 4)], vec![]).await.unwrap());
    assert_eq!(history.records(&[id("a")]).await.unwrap()[0].as_ref().unwrap().state, "SUCCESS");
}

#[tokio::test]
async fn searches_find_what_they_say_and_nothing_else() {
    let bench = bench();
    let history = &bench.history;
    let records = vec![
        TaskRecord { args: Some("100% sure".into()), ..record("a", &State::Success, 1) },
        TaskRecord { args: Some("1000 sure".into()), queue: Some("q2".into()), ..record("b", &State::Failure, 2) },
        TaskRecord { name: Some("other".into()), group_id: Some("g".into()), ..record("c_d", &State::Success, 3) },
        TaskRecord { root_id: Some("g".into()), worker: Some("w2".into()), ..record("cxd", &State::Retry, 4) },
    ];
    history.fold(None, Cursor(1), records, vec![]).await.unwrap();
    let base = || TaskQuery { limit: 10, ..TaskQuery::default() };
    let searched = |text: &str| TaskQuery { search: Some(text.into()), ..base() };
    assert_eq!(ids(history, base()).await, ["cxd", "c_d", "b", "a"]);
    assert_eq!(ids(history, TaskQuery { offset: 1, limit: 2, ..base() }).await, ["c_d", "b"]);
    assert_eq!(ids(history, searched("100% SURE")).await, ["a"]);
    assert_eq!(ids(history, searched("c_d")).await, ["c_d"]);
    assert_eq!(ids(history, searched("\\")).await, [""; 0]);
    assert_eq!(ids(history, searched("'; DROP TABLE history; --")).await, [""; 0]);
    assert_eq!(ids(history, TaskQuery { state: Some(State::Success), ..base() }).await, ["c_d", "a"]);
    assert_eq!(ids(history, TaskQuery { name: Some("other".into()), ..base() }).await, ["c_d"]);
    assert_eq!(ids(history, TaskQuery { queue: Some("q2".into()), ..base() }).await, ["b"]);
    assert_eq!(ids(history, TaskQuery { worker: Some("w2".into()), ..base() }).await, ["cxd"]);
    assert_eq!(ids(history, TaskQuery { workflow: Some("g".into()), ..base() }).await, ["cxd", "c_d"]);
    let count = |state: &str, tasks| StateCount { state: state.into(), tasks };
    assert_eq!(history.counts(None).await.unwrap(), [count("FAILURE", 1), count("RETRY", 1), count("SUCCESS", 2)]);
    assert_eq!(history.counts(Some("other")).await.unwrap(), [count("SUCCESS", 1)]);
}

#[tokio::test]
async fn pruning_removes_the_old_with_their_timelines() {
    let bench = bench();
    let history = &bench.history;
    let records = (0..1_200).map(|number| record(&format!("t{number}"), &State::Success, number)).collect();
    let timeline = vec![(id("t0"), entry("task-sent", 0)), (id("t1199"), entry("task-sent", 0))];
    history.fold(None, Cursor(1), records, timeline).await.unwrap();
    assert_eq!(history.prune(at(1_199)).await.unwrap(), 1_199);
    assert_eq!(ids(history, TaskQuery { limit: 10, ..TaskQuery::default() }).await, ["t1199"]);
    assert_eq!(history.timeline(&id("t0")).await.unwrap(), []);
    assert_eq!(history.timeline(&id("t1199")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn long_texts_are_cut() {
    let bench = bench();
    let long = TaskRecord { result: Some("é".repeat(20_000)), ..record("a", &State::Success, 1) };
    bench.history.fold(None, Cursor(1), vec![long], vec![]).await.unwrap();
    let stored = bench.history.records(&[id("a")]).await.unwrap().remove(0).unwrap();
    assert_eq!(stored.result.unwrap().chars().count(), 10_000);
}
