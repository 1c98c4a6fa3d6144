//! Reads what the server answers. An answer that does not fit is a bug of ours or another program's doing, never a panic.

use celeriac_core::{Error, ErrorKind, Result, Timestamp};
use redis::Value;

/// The bytes of a text.
pub(crate) fn bytes(value: Option<&Value>) -> Result<&[u8]> {
    match value {
        Some(Value::BulkString(bytes)) => Ok(bytes),
        Some(Value::SimpleString(text)) => Ok(text.as_bytes()),
        other => Err(unforeseen(other)),
    }
}

/// A text.
pub(crate) fn text(value: Option<&Value>) -> Result<String> {
    Ok(String::from_utf8_lossy(bytes(value)?).into_owned())
}

/// A number, as one or as text.
pub(crate) fn number(value: Option<&Value>) -> Result<i64> {
    match value {
        Some(Value::Int(number)) => Ok(*number),
        Some(Value::Nil) => Ok(0),
        Some(Value::Double(number)) => Ok(whole(*number)),
        other => {
            let text = std::str::from_utf8(bytes(other)?).ok();
            let found = text.and_then(|text| text.parse().ok().or_else(|| text.parse().ok().map(whole)));
            found.ok_or_else(|| unforeseen(other))
        }
    }
}

/// A number that is never below zero.
pub(crate) fn count(value: Option<&Value>) -> Result<u64> {
    Ok(u64::try_from(number(value)?).unwrap_or(0))
}

/// Microseconds as an instant; the last one that can be written when they are beyond it.
pub(crate) fn instant(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "a score of ours is a whole number of microseconds")]
fn whole(number: f64) -> i64 {
    number as i64
}

fn unforeseen(value: Option<&Value>) -> Error {
    let said = match value {
        Some(Value::Array(_) | Value::Map(_) | Value::Set(_)) => "a list",
        Some(Value::Nil) | None => "nothing",
        _ => "a value of another kind",
    };
    Error::new(ErrorKind::Internal, format!("read what Redis answered: {said} where something else was expected"))
}

/// Arguments of a script.
#[derive(Default)]
pub(crate) struct Arguments(pub(crate) Vec<Vec<u8>>);

impl Arguments {
    pub(crate) fn text(&mut self, text: impl Into<Vec<u8>>) -> &mut Self {
        self.0.push(text.into());
        self
    }

    pub(crate) fn number(&mut self, number: impl std::fmt::Display) -> &mut Self {
        self.0.push(number.to_string().into_bytes());
        self
    }

    pub(crate) fn texts<T: AsRef<str>>(&mut self, texts: impl IntoIterator<Item = T>) -> &mut Self {
        self.0.extend(texts.into_iter().map(|text| text.as_ref().as_bytes().to_vec()));
        self
    }
}
