//! Between a result document and the columns of Celery's table.

use std::ops::Not as _;

use bytes::Bytes;
use celeriac_core::{Error, ErrorKind, Result, State};
use celeriac_protocol::{Extended, TaskMeta, isoformat, json};

use super::timestamp::UtcNaive;
use crate::{
    ResultFormat,
    layout::{CELERY_NAME_CHARS_MAX, CELERY_STATUS_CHARS_MAX, legible},
    pickle,
};

/// A row of `celery_taskmeta`, but for its id.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Columns {
    pub(super) status: Option<String>,
    pub(super) result: Option<Vec<u8>>,
    pub(super) date_done: Option<UtcNaive>,
    pub(super) traceback: Option<String>,
    pub(super) children: Option<Vec<u8>>,
    pub(super) name: Option<String>,
    pub(super) args: Option<Vec<u8>>,
    pub(super) kwargs: Option<Vec<u8>>,
    pub(super) worker: Option<String>,
    pub(super) retries: Option<i32>,
    pub(super) queue: Option<String>,
}

/// A record as it is stored.
pub(super) struct Stored {
    /// The row for Celery; none for what is no result document, or has an id that Celery's table cannot hold.
    pub(super) columns: Option<Columns>,
    pub(super) group_id: Option<String>,
    pub(super) parent_id: Option<String>,
    /// The document itself, where the columns would not give back the same bytes.
    pub(super) document: Option<Bytes>,
}

impl Stored {
    /// Splits a document up.
    pub(super) fn of(task_id: &str, document: &Bytes, format: ResultFormat) -> Self {
        let whole = Self { columns: None, group_id: None, parent_id: None, document: Some(document.clone()) };
        let Ok(meta) = TaskMeta::parse(document) else { return whole };
        let fits = task_id.chars().count() <= CELERY_NAME_CHARS_MAX
            && meta.status.as_str().chars().count() <= CELERY_STATUS_CHARS_MAX;
        let Some(columns) = fits.then(|| Columns::of(&meta, format)).flatten() else { return whole };
        let (group_id, parent_id) = (plain(meta.group_id.as_ref()), plain(meta.parent_id.as_ref()));
        let again = columns.document(task_id, group_id.as_deref(), parent_id.as_deref());
        let document = again.is_ok_and(|again| again == document).not().then(|| document.clone());
        Self { columns: Some(columns), group_id, parent_id, document }
    }
}

impl Columns {
    /// None when the value cannot be written in this format.
    fn of(meta: &TaskMeta, format: ResultFormat) -> Option<Self> {
        let short = |text: &Option<String>| text.as_deref().map(|text| legible(text, CELERY_NAME_CHARS_MAX));
        let extended = meta.extended.clone().unwrap_or_default();
        let date_done = meta.date_done.as_deref().and_then(|text| text.parse().ok());
        Some(Self {
            status: Some(legible(meta.status.as_str(), CELERY_STATUS_CHARS_MAX)),
            result: Some(match format {
                ResultFormat::Json => meta.result.to_vec(),
                ResultFormat::Pickle => {
                    let value = json::Value::parse(&meta.result, "result").ok()?;
                    if is_exception(&meta.status) { pickle::write_exception(&value) } else { pickle::write(&value) }
                }
            }),
            date_done: date_done.map(UtcNaive),
            traceback: plain(meta.traceback.as_ref()),
            // 5.6 and older have no such column, and 5.7 leaves it empty when there is nothing in it.
            children: (&meta.children[..] != b"[]").then(|| meta.children.to_vec()),
            name: short(&extended.name),
            args: extended.args.as_deref().map(<[u8]>::to_vec),
            kwargs: extended.kwargs.as_deref().map(<[u8]>::to_vec),
            worker: short(&extended.worker),
            retries: extended.retries.and_then(|retries| i32::try_from(retries).ok()),
            queue: short(&extended.queue),
        })
    }

    /// The row's state.
    pub(super) fn state(&self) -> State {
        State::parse(self.status.as_deref().unwrap_or("PENDING"))
    }

    /// The document that the row stands for.
    ///
    /// # Errors
    /// `Malformed` when the value is neither JSON nor a pickle of plain data.
    pub(super) fn document(&self, task_id: &str, group_id: Option<&str>, parent_id: Option<&str>) -> Result<Bytes> {
        let value = |bytes: Option<&Vec<u8>>| value(bytes.map_or(b"null", Vec::as_slice), task_id);
        let state = self.state();
        let mut meta = TaskMeta::new(task_id, state.clone(), value(self.result.as_ref())?);
        meta.traceback.clone_from(&self.traceback);
        if let Some(children) = &self.children {
            meta.children = value_or_null(children, b"[]");
        }
        // A time in an unready state is that of the last write; documents have it for ready ones.
        meta.date_done = self.date_done.filter(|_| state.is_ready()).map(|at| isoformat(at.0));
        meta.group_id = group_id.map(ToOwned::to_owned);
        meta.parent_id = parent_id.map(ToOwned::to_owned);
        let extended = Extended {
            name: self.name.clone(),
            args: self.args.as_deref().map(|args| value_or_null(args, b"null")),
            kwargs: self.kwargs.as_deref().map(|kwargs| value_or_null(kwargs, b"null")),
            worker: self.worker.clone(),
            retries: self.retries.and_then(|retries| u32::try_from(retries).ok()),
            queue: self.queue.clone(),
        };
        meta.extended = (extended != Extended::default()).then_some(extended);
        Ok(meta.encode())
    }
}

/// States whose value is an exception.
fn is_exception(state: &State) -> bool {
    matches!(state, State::Failure | State::Retry | State::Revoked)
}

/// A column's value as JSON text, whichever Celery wrote it.
fn value(column: &[u8], task_id: &str) -> Result<Bytes> {
    if json::scan::check(column, "result").is_ok() {
        return Ok(Bytes::copy_from_slice(column));
    }
    let refused = |why: &str| Error::new(ErrorKind::Malformed, format!("read the result of `{task_id}`: {why}"));
    if column.first() != Some(&0x80) {
        return Err(refused("it is neither JSON nor a pickle; was it written with another result_serializer?"));
    }
    let value = pickle::read(column).map_err(|why| refused(&format!("its pickle {why}")))?;
    let mut text = Vec::new();
    json::value_to_vec(&value, &mut text);
    Ok(text.into())
}

/// What only people read must not be in the way of the rest.
fn value_or_null(column: &[u8], null: &'static [u8]) -> Bytes {
    value(column, "").unwrap_or(Bytes::from_static(null))
}

fn plain(text: Option<&String>) -> Option<String> {
    text.map(|text| legible(text, usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(document: &str, format: ResultFormat, whole: bool) {
        let document = Bytes::copy_from_slice(document.as_bytes());
        let stored = Stored::of("a", &document, format);
        assert_eq!(stored.document.is_some(), whole, "{:?}", stored.document);
        let columns = stored.columns.expect("a row for Celery");
        if !whole {
            let again = columns.document("a", stored.group_id.as_deref(), stored.parent_id.as_deref()).unwrap();
            assert_eq!(again, document);
        }
    }

    #[test]
    fn what_the_columns_give_back_is_not_kept_twice() {
        for format in [ResultFormat::Json, ResultFormat::Pickle] {
            check(
                r#"{"status": "SUCCESS", "result": {"a": [1, null]}, "traceback": null, "children": [], "date_done": "2026-11-23T13:03:36.675888+00:00", "task_id": "a"}"#,
                format,
                false,
            );
            check(
                r#"{"status": "FAILURE", "result": {"exc_type": "KeyError", "exc_message": ["bad"], "exc_module": "builtins"}, "traceback": "Traceback", "children": [[["b", null], null]], "date_done": "2026-11-23T13:03:36+00:00", "group_id": "g", "parent_id": "p", "task_id": "a"}"#,
                format,
                false,
            );
            check(
                r#"{"status": "PROGRESS", "result": {"current": 0}, "traceback": null, "children": [], "date_done": null, "name": "t", "args": [1], "kwargs": {}, "worker": "w@h", "retries": 0, "queue": "q", "task_id": "a"}"#,
                format,
                false,
            );
            check(r#"{"status": "SUCCESS", "attempt": 1}"#, format, true);
            check(
                "{\"status\": \"FAILURE\", \"result\": null, \"traceback\": \"\\u0000\", \"task_id\": \"a\"}",
                format,
                true,
            );
        }
    }

    #[test]
    fn what_is_no_document_has_no_row_for_celery() {
        for document in ["", "3", "\u{0}"] {
            let stored = Stored::of("a", &Bytes::from_static(document.as_bytes()), ResultFormat::Json);
            assert!(stored.columns.is_none() && stored.document.is_some());
        }
        let document = Bytes::from_static(br#"{"status": "SUCCESS", "result": 1, "task_id": "a"}"#);
        assert!(Stored::of(&"x".repeat(156), &document, ResultFormat::Json).columns.is_none());
    }
}
