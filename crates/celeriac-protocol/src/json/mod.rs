//! JSON as Celery writes it: bare `NaN` and `Infinity`, integers of any size, and kombu's `__type__` objects.
//!
//! [`scan`] finds where values begin and end without building anything, so what only passes through is never rounded
//! or written anew. [`Value`] is built where somebody needs to look inside.

pub mod scan;
mod value;
mod write;

pub use value::{Value, from_value, to_value};
pub use write::{float_text, to_ascii, to_vec, value_to_vec};

use serde::de::DeserializeOwned;

use crate::{
    error::{ProtocolError, Result},
    limits::BODY_BYTES_MAX,
};

/// Reads one value into `T`: straight where the text is plain JSON, through [`Value`] where it has Celery's
/// extensions.
///
/// # Errors
/// `Malformed` when the text does not parse or does not fit `T`; `TooLarge`.
pub fn from_slice<T: DeserializeOwned>(text: &[u8], what: &'static str) -> Result<T> {
    if text.len() > BODY_BYTES_MAX {
        return Err(ProtocolError::TooLarge { what, limit: BODY_BYTES_MAX });
    }
    if !scan::has_extensions(text) {
        return serde_json::from_slice(text).map_err(|error| malformed(what, text, &error));
    }
    from_value(Value::parse(text, what)?).map_err(|error| ProtocolError::Malformed {
        what,
        offset: 0,
        detail: error.to_string(),
    })
}

/// Writes a list, each element by `each`.
pub(crate) fn write_list<T>(list: &[T], out: &mut Vec<u8>, each: impl Fn(&T, &mut Vec<u8>)) {
    out.push(b'[');
    for (index, element) in list.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        each(element, out);
    }
    out.push(b']');
}

/// Turns serde_json's line and column into an offset.
pub(crate) fn malformed(what: &'static str, text: &[u8], error: &serde_json::Error) -> ProtocolError {
    let line_start: usize =
        text.split(|byte| *byte == b'\n').take(error.line().saturating_sub(1)).map(|line| line.len() + 1).sum();
    let mut detail = error.to_string();
    if let Some(position) = detail.rfind(" at line ") {
        detail.truncate(position);
    }
    ProtocolError::Malformed { what, offset: (line_start + error.column().saturating_sub(1)).min(text.len()), detail }
}
