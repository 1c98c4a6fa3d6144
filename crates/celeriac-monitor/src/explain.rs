//! Why a task is not running: a pure function from what the store knows to a sentence.

use celeriac_core::{ConsumerInfo, DeadEntry, PeekState, Peeked, Revocation, State, TaskRecord, Timestamp};

use crate::words::Moment;

/// Says, in a sentence or two, what a task waits for and what somebody could do; none when it runs or has ended well.
///
/// `ahead` is how many messages of its queue are ready.
pub fn explain(
    record: Option<&TaskRecord>,
    waiting: Option<&Peeked>,
    dead: Option<&DeadEntry>,
    revoked: Option<&Revocation>,
    consumers: &[ConsumerInfo],
    ahead: u64,
    now: Timestamp,
) -> Option<String> {
    if let Some(dead) = dead
        && waiting.is_none()
    {
        return Some(format!(
            "It is in the dead set ({}: {}). It runs again when somebody replays it.",
            dead.reason, dead.detail
        ));
    }
    let Some(message) = waiting else { return without_message(record) };
    let serving = consumers.iter().filter(|consumer| consumer.queues.contains(&message.queue)).count();
    let mut text = match message.state {
        PeekState::Parked => {
            let due = message.due.map_or_else(|| "later".into(), |due| Moment::new(due, now).ago());
            match record.map(|record| State::parse(&record.state)) {
                Some(State::Retry) => format!("It failed and is tried again {due}."),
                _ => format!("It is scheduled: due {due}."),
            }
        }
        PeekState::Ready if serving == 0 => {
            return Some(format!("No worker serves the queue {}. Start one with -Q {}.", message.queue, message.queue));
        }
        PeekState::Ready if ahead > 1 => {
            format!(
                "It waits for a free slot: {ahead} tasks are ready in {}, served by {}.",
                message.queue,
                workers(serving)
            )
        }
        PeekState::Ready => format!("It is the next one in {}, served by {}.", message.queue, workers(serving)),
        PeekState::Held => {
            let started = record.is_some_and(|record| record.state == State::Started.as_str());
            if started {
                return None;
            }
            let holder = message.holder.as_ref().map_or("a worker", |name| name.as_str());
            format!("It is in the hands of {holder} and starts when a slot is free there.")
        }
    };
    if revoked.is_some() {
        text.push_str(" It is revoked: it will not run when its turn comes.");
    }
    if message.attempt > 1 && message.state == PeekState::Ready {
        text.push_str(" It was claimed before and came back.");
    }
    Some(text)
}

/// There is no message any more, or never was one that we could see.
fn without_message(record: Option<&TaskRecord>) -> Option<String> {
    let Some(record) = record else {
        return Some("Nothing is known of it: it was never sent here, or its record has expired.".into());
    };
    let state = State::parse(&record.state);
    match state {
        State::Pending | State::Received | State::Started | State::Retry => Some(format!(
            "Its last word was {state}, and no queue has it any more: it is about to end, or it is on another broker."
        )),
        _ => None,
    }
}

fn workers(count: usize) -> String {
    if count == 1 { "one worker".into() } else { format!("{count} workers") }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use celeriac_core::{DeadReason, Message, Priority, QueueName, TaskId, TaskName, WorkerName};

    use super::*;

    fn message() -> Message {
        Message { headers: Bytes::new(), properties: Bytes::new(), body: Bytes::new() }
    }

    fn peeked(state: PeekState) -> Peeked {
        Peeked {
            key: 1,
            task_id: TaskId::new("a").expect("an id"),
            task: TaskName::new("add").expect("a name"),
            queue: QueueName::new("mail").expect("a queue"),
            priority: Priority(0),
            state,
            due: Timestamp::from_second(400).ok(),
            published_at: Timestamp::UNIX_EPOCH,
            attempt: 1,
            holder: WorkerName::new("w1@h").ok(),
            message: message(),
        }
    }

    fn consumer(queue: &str) -> ConsumerInfo {
        ConsumerInfo {
            worker: WorkerName::new("w1@h").expect("a name"),
            start_id: "s".into(),
            queues: vec![QueueName::new(queue).expect("a queue")],
            held: 0,
            started_at: Timestamp::UNIX_EPOCH,
            lease_until: Timestamp::MAX,
        }
    }

    fn said(waiting: Option<&Peeked>, state: &str, consumers: &[ConsumerInfo], ahead: u64) -> String {
        let record = TaskRecord { id: "a".into(), state: state.into(), ..TaskRecord::default() };
        let record = (!state.is_empty()).then_some(&record);
        let now = Timestamp::from_second(100).expect("a time");
        explain(record, waiting, None, None, consumers, ahead, now).unwrap_or_default()
    }

    #[test]
    fn every_way_of_waiting_has_its_sentence() {
        let (ready, held, parked) = (PeekState::Ready, PeekState::Held, PeekState::Parked);
        let mail = [consumer("mail")];
        assert_eq!(
            said(Some(&peeked(ready)), "", &[consumer("other")], 1),
            "No worker serves the queue mail. Start one with -Q mail."
        );
        assert!(
            said(Some(&peeked(ready)), "", &mail, 7).starts_with("It waits for a free slot: 7 tasks are ready in mail")
        );
        assert!(said(Some(&peeked(ready)), "", &mail, 1).starts_with("It is the next one"));
        assert_eq!(said(Some(&peeked(parked)), "", &mail, 0), "It is scheduled: due in 5 min.");
        assert_eq!(said(Some(&peeked(parked)), "RETRY", &mail, 0), "It failed and is tried again in 5 min.");
        assert!(said(Some(&peeked(held)), "RECEIVED", &mail, 0).contains("in the hands of w1@h"));
        assert_eq!(said(Some(&peeked(held)), "STARTED", &mail, 0), "");
        assert!(said(None, "STARTED", &mail, 0).contains("no queue has it"));
        assert_eq!(said(None, "SUCCESS", &mail, 0), "");
        assert!(said(None, "", &mail, 0).starts_with("Nothing is known"));
    }

    #[test]
    fn the_dead_and_the_revoked_are_said() {
        let dead = DeadEntry {
            entry: 1,
            task_id: TaskId::new("a").expect("an id"),
            task: None,
            queue: QueueName::new("mail").expect("a queue"),
            reason: DeadReason::UnknownTask,
            detail: "no task `x`".into(),
            died_at: Timestamp::UNIX_EPOCH,
            attempt: 1,
            message: message(),
        };
        let now = Timestamp::from_second(100).expect("a time");
        let text = explain(None, None, Some(&dead), None, &[], 0, now).expect("a sentence");
        assert!(text.starts_with("It is in the dead set (unknown-task: no task `x`)"), "{text}");
        let revocation = Revocation {
            task_id: TaskId::new("a").expect("an id"),
            terminate: false,
            attempt: None,
            expires: Timestamp::MAX,
        };
        let waiting = peeked(PeekState::Ready);
        let text = explain(None, Some(&waiting), None, Some(&revocation), &[consumer("mail")], 1, now);
        assert!(text.expect("a sentence").ends_with("It is revoked: it will not run when its turn comes."));
    }
}
