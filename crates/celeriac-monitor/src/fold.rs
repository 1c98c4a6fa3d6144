//! How one event changes one record: a pure function, written once for every store.
//!
//! Events come from several machines and may overtake one another. One that is newer than everything heard of the task
//! changes its state; an older one with a weaker state only fills in what was not known yet.

use celeriac_core::{State, TaskRecord, TimelineEntry, Timestamp};
use celeriac_protocol::Event;

/// What an event is to its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It changed the state.
    State,
    /// It came late: it only filled in what was not known.
    Details,
    /// It says nothing that a record keeps.
    Nothing,
}

/// Folds an event into the record of its task and gives the line for its timeline. `now` stands in for a time that makes
/// no sense.
///
/// Source: Celery 5.7, `celery/events/state.py`, `Task.event`: precedence of states, and what a late event may fill in.
pub fn fold(record: &mut TaskRecord, event: &Event, now: Timestamp) -> (Change, TimelineEntry) {
    let at = instant(event.timestamp).unwrap_or(now);
    let entry = TimelineEntry { at, kind: event.kind.clone(), source: event.hostname.clone(), detail: detail(event) };
    let Some(state) = state_of(&event.kind) else {
        return (Change::Nothing, entry);
    };
    let old = State::parse(&record.state);
    let first = record.state.is_empty();
    let newer = at > record.updated_at && state != State::Pending;
    let retry = state == State::Retry || old == State::Retry;
    let change =
        if first || newer || retry || state.precedence() <= old.precedence() { Change::State } else { Change::Details };
    fill(record, event, change == Change::State);
    if change == Change::State {
        enter(record, event, &state, at);
    }
    if state == State::Pending {
        record.sent_at.get_or_insert(at);
    }
    record.updated_at = if first { at } else { record.updated_at.max(at) };
    (change, entry)
}

/// The state that a kind of event brings; none for kinds that bring none.
fn state_of(kind: &str) -> Option<State> {
    Some(match kind {
        "task-sent" => State::Pending,
        "task-received" => State::Received,
        "task-started" => State::Started,
        "task-succeeded" => State::Success,
        "task-failed" => State::Failure,
        "task-retried" => State::Retry,
        "task-revoked" => State::Revoked,
        "task-rejected" => State::Rejected,
        _ => return None,
    })
}

/// What the task is: told once, kept for good.
fn fill(record: &mut TaskRecord, event: &Event, overwrite: bool) {
    let text = |slot: &mut Option<String>, name: &str| {
        if (overwrite || slot.is_none())
            && let Some(value) = event.get::<String>(name)
        {
            *slot = Some(value);
        }
    };
    text(&mut record.name, "name");
    text(&mut record.queue, "queue");
    text(&mut record.args, "args");
    text(&mut record.kwargs, "kwargs");
    text(&mut record.root_id, "root_id");
    text(&mut record.parent_id, "parent_id");
    text(&mut record.group_id, "group_id");
    text(&mut record.eta, "eta");
    text(&mut record.expires, "expires");
    if let Some(retries) = event.get::<u32>("retries") {
        record.retries = record.retries.max(retries);
    }
}

/// Brings the record into a state.
fn enter(record: &mut TaskRecord, event: &Event, state: &State, at: Timestamp) {
    state.as_str().clone_into(&mut record.state);
    if *state != State::Pending {
        record.worker = Some(event.hostname.clone());
    }
    match state {
        State::Received => {
            record.received_at = Some(at);
            (record.started_at, record.ended_at) = (None, None);
        }
        State::Started => {
            record.started_at = Some(at);
            record.ended_at = None;
        }
        State::Success => {
            record.ended_at = Some(at);
            record.result = event.get("result");
            record.runtime_seconds = event.get("runtime");
            (record.exception, record.traceback) = (None, None);
        }
        State::Failure | State::Retry => {
            record.ended_at = (*state == State::Failure).then_some(at);
            record.exception = event.get("exception");
            record.traceback = event.get("traceback");
            record.result = None;
            if *state == State::Failure {
                record.runtime_seconds = event.get("runtime").or_else(|| since(record.started_at, at));
            }
        }
        State::Revoked | State::Rejected => record.ended_at = Some(at),
        State::Pending | State::Custom(_) => {}
    }
}

/// A line for a person; empty when the kind says it all.
fn detail(event: &Event) -> String {
    match event.kind.as_str() {
        "task-received" => match event.get::<u32>("retries") {
            Some(retries) if retries > 0 => {
                format!("after {retries} {}", if retries == 1 { "retry" } else { "retries" })
            }
            _ => String::new(),
        },
        "task-succeeded" => event
            .get::<f64>("runtime")
            .map_or_else(String::new, |seconds| format!("in {}", crate::words::seconds(seconds))),
        "task-failed" | "task-retried" => event.get("exception").unwrap_or_default(),
        "task-revoked" => {
            let is = |name: &str| event.get::<bool>(name).unwrap_or_default();
            match (is("terminated"), is("expired")) {
                (true, _) => "terminated while it ran".into(),
                (_, true) => "expired before it could run".into(),
                _ => "before it ran".into(),
            }
        }
        "task-rejected" if event.get::<bool>("requeue").unwrap_or_default() => "back to its queue".into(),
        _ => String::new(),
    }
}

fn since(start: Option<Timestamp>, end: Timestamp) -> Option<f64> {
    Some(end.duration_since(start?).as_secs_f64().max(0.0))
}

/// Seconds since 1970 as an instant; none when they make no sense.
pub(crate) fn instant(seconds: f64) -> Option<Timestamp> {
    if !seconds.is_finite() || seconds <= 0.0 || seconds > 32_503_680_000.0 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked above: before the year 3000")]
    Timestamp::from_microsecond((seconds * 1e6).round() as i64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: f64 = 1_795_439_016.0;

    fn event(kind: &str, after: f64) -> Event {
        Event::new(kind, START + after, "w1@host", 7, 1).text("uuid", Some("a"))
    }

    fn folded(events: &[Event]) -> TaskRecord {
        let mut record = TaskRecord { id: "a".into(), ..TaskRecord::default() };
        for event in events {
            fold(&mut record, event, Timestamp::UNIX_EPOCH);
        }
        record
    }

    #[test]
    fn a_task_that_succeeds_tells_its_whole_life() {
        let record = folded(&[
            event("task-received", 0.0).text("name", Some("add")).text("args", Some("(1, 2)")),
            event("task-started", 0.5),
            event("task-succeeded", 0.75).text("result", Some("3")).value("runtime", 0.25),
        ]);
        assert_eq!((record.state.as_str(), record.name.as_deref()), ("SUCCESS", Some("add")));
        assert_eq!((record.result.as_deref(), record.runtime_seconds), (Some("3"), Some(0.25)));
        assert_eq!(record.worker.as_deref(), Some("w1@host"));
        assert_eq!(record.ended_at, instant(START + 0.75));
        assert_eq!(record.updated_at, instant(START + 0.75).expect("a time"));
    }

    #[test]
    fn an_event_that_comes_late_only_fills_in() {
        let mut record = folded(&[event("task-succeeded", 2.0).text("result", Some("3"))]);
        let late = event("task-received", 0.0).text("name", Some("add")).text("result", Some("no"));
        let (change, _) = fold(&mut record, &late, Timestamp::UNIX_EPOCH);
        assert_eq!(change, Change::Details);
        assert_eq!((record.state.as_str(), record.name.as_deref()), ("SUCCESS", Some("add")));
        assert_eq!(record.result.as_deref(), Some("3"));
        assert_eq!(record.updated_at, instant(START + 2.0).expect("a time"));
    }

    #[test]
    fn a_replayed_task_leaves_its_failure() {
        let record = folded(&[event("task-failed", 1.0).text("exception", Some("E()")), event("task-received", 9.0)]);
        assert_eq!((record.state.as_str(), record.ended_at), ("RECEIVED", None));
        let record = folded(&[
            event("task-failed", 1.0).text("exception", Some("E()")),
            event("task-received", 9.0),
            event("task-succeeded", 10.0),
        ]);
        assert_eq!((record.state.as_str(), record.exception), ("SUCCESS", None));
    }

    #[test]
    fn a_retry_is_followed_by_what_another_clock_calls_earlier() {
        let record = folded(&[event("task-retried", 5.0), event("task-received", 3.0).value("retries", 1)]);
        assert_eq!((record.state.as_str(), record.retries), ("RECEIVED", 1));
    }

    #[test]
    fn a_late_word_from_the_sender_changes_no_state() {
        let record = folded(&[event("task-started", 1.0), event("task-sent", 9.0).text("queue", Some("mail"))]);
        assert_eq!((record.state.as_str(), record.queue.as_deref()), ("STARTED", Some("mail")));
        assert_eq!(record.sent_at, instant(START + 9.0));
    }

    #[test]
    fn unknown_kinds_change_nothing() {
        let mut record = folded(&[event("task-started", 1.0)]);
        let before = record.clone();
        let (change, entry) = fold(&mut record, &event("task-dancing", 2.0), Timestamp::UNIX_EPOCH);
        assert_eq!((change, entry.kind.as_str(), record), (Change::Nothing, "task-dancing", before));
    }

    #[test]
    fn times_that_make_no_sense_are_now() {
        let now = Timestamp::from_second(5).expect("a time");
        for bad in [f64::NAN, f64::INFINITY, -1.0, 1e300, 0.0] {
            let mut record = TaskRecord::default();
            let mut event = event("task-started", 0.0);
            event.timestamp = bad;
            assert_eq!(fold(&mut record, &event, now).1.at, now, "{bad}");
            assert_eq!(record.started_at, Some(now));
        }
    }
}
