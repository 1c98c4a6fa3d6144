//! The history: records folded in one step, and found again.

use std::time::Duration;

use celeriac_core::{Cursor, Result, State, StateCount, TaskQuery, TaskRecord, TimelineEntry};

use crate::{Bench, draft::task_id};

/// A record that was heard of so many seconds after the start.
fn record(bench: &Bench, id: &str, state: &str, second: u64) -> TaskRecord {
    let at = bench.after(Duration::from_secs(second));
    TaskRecord {
        id: id.to_owned(),
        name: Some("tests.task".to_owned()),
        state: state.to_owned(),
        sent_at: Some(at),
        updated_at: at,
        ..TaskRecord::default()
    }
}

fn entry(bench: &Bench, kind: &str, second: u64) -> TimelineEntry {
    TimelineEntry {
        at: bench.after(Duration::from_secs(second)),
        kind: kind.to_owned(),
        source: "w1@here".to_owned(),
        detail: String::new(),
    }
}

/// Folds records into a fresh history.
async fn fold(bench: &Bench, records: Vec<TaskRecord>) -> Result<()> {
    let from = bench.history().cursor().await?;
    let to = Cursor(from.map_or(1, |from| from.0 + 1));
    assert!(bench.history().fold(from, to, records, Vec::new()).await?);
    Ok(())
}

async fn check(bench: &Bench, query: TaskQuery, expected: &[&str]) -> Result<()> {
    let query = TaskQuery { limit: if query.limit == 0 { 100 } else { query.limit }, ..query };
    let found: Vec<String> = bench.history().tasks(query.clone()).await?.into_iter().map(|record| record.id).collect();
    assert_eq!(found, expected, "{query:?}");
    Ok(())
}

pub(crate) async fn a_record_is_kept_with_every_field(bench: Bench) -> Result<()> {
    let text = |text: &str| Some(text.to_owned());
    let full = TaskRecord {
        id: "a".to_owned(),
        name: text("tests.task"),
        state: "SUCCESS".to_owned(),
        queue: text("mail"),
        worker: text("w1@here"),
        args: text("(1, 'two')"),
        kwargs: text("{'x': <script>}"),
        result: text("'größe 🎉'"),
        exception: text("KeyError('x')"),
        traceback: text("Traceback …\n  line 2\n"),
        retries: 3,
        root_id: text("root"),
        parent_id: text("parent"),
        group_id: text("group"),
        eta: text("2026-01-02T00:00:00"),
        expires: text("2026-01-03T00:00:00"),
        sent_at: Some(bench.now()),
        received_at: Some(bench.after(Duration::from_millis(1))),
        started_at: Some(bench.after(Duration::from_millis(2))),
        ended_at: Some(bench.after(Duration::from_millis(3))),
        runtime_seconds: Some(0.25),
        updated_at: bench.after(Duration::from_millis(4)),
    };
    let bare = TaskRecord {
        id: "b".to_owned(),
        state: "PENDING".to_owned(),
        updated_at: bench.now(),
        ..TaskRecord::default()
    };
    fold(&bench, vec![full.clone(), bare.clone()]).await?;
    let found = bench.history().records(&["b", "none", "a"].map(task_id)).await?;
    assert_eq!(found, [Some(bare), None, Some(full)]);
    Ok(())
}

pub(crate) async fn the_cursor_moves_with_what_is_folded(bench: Bench) -> Result<()> {
    assert_eq!(bench.history().cursor().await?, None);
    let to = Cursor(17);
    assert!(bench.history().fold(None, to, vec![record(&bench, "a", "STARTED", 1)], Vec::new()).await?);
    assert_eq!(bench.another_process().await?.history().cursor().await?, Some(to));
    Ok(())
}

pub(crate) async fn whoever_is_second_changes_nothing(bench: Bench) -> Result<()> {
    let other = bench.another_process().await?;
    assert!(bench.history().fold(None, Cursor(5), vec![record(&bench, "a", "STARTED", 1)], Vec::new()).await?);
    let late = vec![record(&bench, "a", "FAILURE", 2), record(&bench, "b", "FAILURE", 2)];
    let timeline = vec![(task_id("a"), entry(&bench, "task-failed", 2))];
    for from in [None, Some(Cursor(4)), Some(Cursor(6))] {
        assert!(!other.history().fold(from, Cursor(9), late.clone(), timeline.clone()).await?, "{from:?}");
    }
    assert_eq!(bench.history().cursor().await?, Some(Cursor(5)));
    assert!(bench.history().timeline(&task_id("a")).await?.is_empty());
    check(&bench, TaskQuery::default(), &["a"]).await?;
    check(&bench, TaskQuery { state: Some(State::Failure), ..TaskQuery::default() }, &[]).await
}

pub(crate) async fn a_record_replaces_the_one_before(bench: Bench) -> Result<()> {
    fold(&bench, vec![TaskRecord { worker: Some("w1@here".to_owned()), ..record(&bench, "a", "STARTED", 1) }]).await?;
    let now = record(&bench, "a", "SUCCESS", 2);
    fold(&bench, vec![now.clone()]).await?;
    assert_eq!(bench.history().records(&[task_id("a")]).await?, [Some(now)]);
    check(&bench, TaskQuery { worker: Some("w1@here".to_owned()), ..TaskQuery::default() }, &[]).await
}

pub(crate) async fn a_timeline_tells_what_happened_in_order(bench: Bench) -> Result<()> {
    let history = bench.history();
    let kinds = ["task-sent", "task-received", "task-started", "task-succeeded"];
    let entries: Vec<TimelineEntry> = (0..).zip(kinds).map(|(second, kind)| entry(&bench, kind, second)).collect();
    let of = |id: &str, entry: &TimelineEntry| (task_id(id), entry.clone());
    let records = vec![record(&bench, "a", "SUCCESS", 3), record(&bench, "b", "PENDING", 3)];
    let first = vec![of("a", &entries[0]), of("b", &entries[0]), of("a", &entries[1])];
    assert!(history.fold(None, Cursor(1), records, first).await?);
    let second = vec![of("a", &entries[2]), of("a", &entries[3])];
    assert!(history.fold(Some(Cursor(1)), Cursor(2), Vec::new(), second).await?);
    assert_eq!(history.timeline(&task_id("a")).await?, entries);
    assert_eq!(history.timeline(&task_id("b")).await?, entries[..1]);
    assert!(history.timeline(&task_id("unknown")).await?.is_empty());
    Ok(())
}

pub(crate) async fn a_timeline_has_the_last_thousand_entries(bench: Bench) -> Result<()> {
    let timeline = (0..1_100).map(|number| (task_id("a"), entry(&bench, &format!("task-{number}"), number))).collect();
    let records = vec![record(&bench, "a", "RETRY", 1_100)];
    assert!(bench.history().fold(None, Cursor(1), records, timeline).await?);
    let found = bench.history().timeline(&task_id("a")).await?;
    assert_eq!(found.len(), 1_000);
    assert_eq!((found[0].kind.as_str(), found[999].kind.as_str()), ("task-100", "task-1099"));
    Ok(())
}

pub(crate) async fn tasks_are_listed_last_heard_of_first(bench: Bench) -> Result<()> {
    fold(
        &bench,
        vec![record(&bench, "b", "STARTED", 2), record(&bench, "a", "STARTED", 1), record(&bench, "c", "STARTED", 3)],
    )
    .await?;
    check(&bench, TaskQuery::default(), &["c", "b", "a"]).await?;
    fold(&bench, vec![record(&bench, "a", "SUCCESS", 4)]).await?;
    check(&bench, TaskQuery::default(), &["a", "c", "b"]).await
}

pub(crate) async fn tasks_are_listed_in_pages(bench: Bench) -> Result<()> {
    fold(&bench, (0..25).map(|number| record(&bench, &format!("{number:02}"), "SUCCESS", number)).collect()).await?;
    let page = |offset| TaskQuery { offset, limit: 10, ..TaskQuery::default() };
    let expected: Vec<String> = (0..25).rev().map(|number| format!("{number:02}")).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    check(&bench, page(0), &expected[..10]).await?;
    check(&bench, page(10), &expected[10..20]).await?;
    check(&bench, page(20), &expected[20..]).await?;
    check(&bench, page(30), &[]).await
}

pub(crate) async fn tasks_are_found_by_what_they_are(bench: Bench) -> Result<()> {
    let text = |text: &str| Some(text.to_owned());
    fold(
        &bench,
        vec![
            TaskRecord { name: text("shop.bill"), ..record(&bench, "a", "SUCCESS", 6) },
            TaskRecord { queue: text("mail"), ..record(&bench, "b", "FAILURE", 5) },
            TaskRecord { worker: text("w1@here"), queue: text("mail"), ..record(&bench, "c", "SUCCESS", 4) },
            TaskRecord { group_id: text("flow"), ..record(&bench, "d", "PROGRESS", 3) },
            TaskRecord { root_id: text("flow"), ..record(&bench, "e", "RETRY", 2) },
        ],
    )
    .await?;
    let all = TaskQuery::default;
    check(&bench, TaskQuery { state: Some(State::Success), ..all() }, &["a", "c"]).await?;
    check(&bench, TaskQuery { state: Some(State::Custom("PROGRESS".into())), ..all() }, &["d"]).await?;
    check(&bench, TaskQuery { name: text("shop.bill"), ..all() }, &["a"]).await?;
    check(&bench, TaskQuery { queue: text("mail"), ..all() }, &["b", "c"]).await?;
    check(&bench, TaskQuery { worker: text("w1@here"), ..all() }, &["c"]).await?;
    check(&bench, TaskQuery { workflow: text("flow"), ..all() }, &["d", "e"]).await?;
    check(&bench, TaskQuery { queue: text("mail"), state: Some(State::Failure), ..all() }, &["b"]).await?;
    check(&bench, TaskQuery { name: text("shop.b"), ..all() }, &[]).await
}

pub(crate) async fn a_search_looks_into_the_texts_in_any_case(bench: Bench) -> Result<()> {
    let text = |text: &str| Some(text.to_owned());
    fold(
        &bench,
        vec![
            TaskRecord { args: text("('Anna@example.org',)"), ..record(&bench, "in-args", "SUCCESS", 5) },
            TaskRecord { result: text("'sent to anna'"), ..record(&bench, "in-result", "SUCCESS", 4) },
            TaskRecord { exception: text("KeyError('ANNA')"), ..record(&bench, "in-exception", "FAILURE", 3) },
            TaskRecord { name: text("send.to_anna"), ..record(&bench, "in-name", "SUCCESS", 2) },
            TaskRecord { worker: text("anna@host"), ..record(&bench, "in-another-field", "SUCCESS", 1) },
        ],
    )
    .await?;
    let found = ["in-args", "in-result", "in-exception", "in-name"];
    for search in ["anna", "ANNA", "nn"] {
        check(&bench, TaskQuery { search: Some(search.to_owned()), ..TaskQuery::default() }, &found).await?;
    }
    let by_id = TaskQuery { search: Some("IN-RES".to_owned()), ..TaskQuery::default() };
    check(&bench, by_id, &["in-result"]).await
}

pub(crate) async fn a_search_is_for_text_and_not_a_pattern(bench: Bench) -> Result<()> {
    let args = [
        ("percent", "100% sure"),
        ("line", "snake_case"),
        ("quote", "it's"),
        ("slash", "C:\\temp"),
        ("plain", "100 sure snakeXcase its"),
    ];
    let records = (0..).zip(args).map(|(second, (id, args))| TaskRecord {
        args: Some(args.to_owned()),
        name: None,
        ..record(&bench, id, "SUCCESS", second)
    });
    fold(&bench, records.collect()).await?;
    for (search, id) in
        [("0% s", "percent"), ("e_c", "line"), ("t's", "quote"), (":\\t", "slash"), ("%", "percent"), ("_", "line")]
    {
        check(&bench, TaskQuery { search: Some(search.to_owned()), ..TaskQuery::default() }, &[id]).await?;
    }
    check(&bench, TaskQuery { search: Some("'; DROP TABLE history; --".to_owned()), ..TaskQuery::default() }, &[])
        .await?;
    check(&bench, TaskQuery { search: Some("*".to_owned()), ..TaskQuery::default() }, &[]).await
}

pub(crate) async fn records_are_counted_by_state(bench: Bench) -> Result<()> {
    let other = |record: TaskRecord| TaskRecord { name: Some("other.task".to_owned()), ..record };
    fold(
        &bench,
        vec![
            record(&bench, "a", "SUCCESS", 1),
            record(&bench, "b", "SUCCESS", 2),
            record(&bench, "c", "FAILURE", 3),
            other(record(&bench, "d", "SUCCESS", 4)),
        ],
    )
    .await?;
    let count = |state: &str, tasks| StateCount { state: state.to_owned(), tasks };
    let counts = async |name: Option<&str>| -> Result<Vec<StateCount>> {
        let mut counts = bench.history().counts(name).await?;
        counts.sort_by(|one, other| one.state.cmp(&other.state));
        Ok(counts)
    };
    assert_eq!(counts(None).await?, [count("FAILURE", 1), count("SUCCESS", 3)]);
    assert_eq!(counts(Some("tests.task")).await?, [count("FAILURE", 1), count("SUCCESS", 2)]);
    assert_eq!(counts(Some("unknown")).await?, []);
    Ok(())
}

pub(crate) async fn pruning_removes_what_is_old(bench: Bench) -> Result<()> {
    let records = (0..1_500).map(|second| record(&bench, &format!("{second:04}"), "SUCCESS", second)).collect();
    let timeline = vec![(task_id("0000"), entry(&bench, "old", 0)), (task_id("1499"), entry(&bench, "new", 0))];
    assert!(bench.history().fold(None, Cursor(1), records, timeline).await?);
    let before = bench.after(Duration::from_secs(1_400));
    assert_eq!(bench.history().prune(before).await?, 1_400);
    assert_eq!(bench.history().prune(before).await?, 0);
    let rest = bench.history().tasks(TaskQuery { limit: 1_000, ..TaskQuery::default() }).await?;
    assert_eq!((rest.len(), rest[99].id.as_str()), (100, "1400"));
    assert!(bench.history().timeline(&task_id("0000")).await?.is_empty());
    assert_eq!(bench.history().timeline(&task_id("1499")).await?.len(), 1);
    Ok(())
}
