//! Retries: whether, when, and with which bytes.

use std::time::Duration;

use celeriac_app::TaskOptions;
use celeriac_core::{Message, Timestamp};
use celeriac_protocol::{Headers, isoformat};

/// When a task that failed runs again; none when it had its retries.
pub(crate) fn wait(options: &TaskOptions, retries: u32, asked: Option<Duration>, chance: f64) -> Option<Duration> {
    if options.max_retries.is_some_and(|max| retries >= max) {
        return None;
    }
    Some(asked.unwrap_or_else(|| options.backoff.wait(retries, chance)))
}

/// The same message one retry later: as Celery sends it, its own parent, body untouched.
///
/// Source: Celery 5.7, `celery/app/task.py`, `Task.signature_from_request`.
pub(crate) fn message(message: &Message, headers: &Headers, due: Timestamp) -> Message {
    let mut headers = headers.clone();
    headers.retries = headers.retries.saturating_add(1);
    headers.eta = Some(isoformat(due));
    headers.parent_id = Some(headers.id.clone());
    // What brokers add on the way is not the task's.
    headers.custom.retain(|name, _| !(name.starts_with("x-death") || name.starts_with("x-first-death")));
    Message { headers: headers.encode(), ..message.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_end_and_an_asked_wait_wins() {
        let options = TaskOptions { max_retries: Some(2), ..TaskOptions::default() };
        assert!(wait(&options, 1, None, 0.5).is_some());
        assert_eq!(wait(&options, 2, None, 0.5), None);
        assert_eq!(wait(&options, 0, Some(Duration::from_secs(7)), 0.5), Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_retry_keeps_what_it_does_not_know() {
        let first = Message {
            headers: br#"{"task": "t", "id": "i", "retries": 1, "mine": [NULL]}"#.to_ascii_lowercase().into(),
            ..Message::default()
        };
        let headers = Headers::parse(&first.headers).unwrap();
        let again = Headers::parse(&message(&first, &headers, Timestamp::UNIX_EPOCH).headers).unwrap();
        assert_eq!(
            (again.retries, again.parent_id.as_deref(), &again.custom["mine"][..]),
            (2, Some("i"), &b"[null]"[..])
        );
        assert_eq!(again.eta.as_deref(), Some("1970-01-01T00:00:00+00:00"));
    }
}
