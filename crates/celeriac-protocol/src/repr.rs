//! Arguments as Python would print them, for people.

use std::fmt::Write as _;

use crate::json::{self, Value};

/// The longest text, as in Celery.
pub const CHARS_MAX: usize = 1024;
/// The deepest nesting that is shown.
const LEVELS_MAX: usize = 3;

/// A JSON array as a Python tuple, cut at [`CHARS_MAX`]: `('ann@example.com', 5)`.
pub fn args(array: &[u8]) -> String {
    match Value::parse(array, "arguments") {
        Ok(Value::Array(elements)) => {
            let mut out = String::from("(");
            list(&elements, &mut out, 1);
            out.push_str(if elements.len() == 1 { ",)" } else { ")" });
            cut(out)
        }
        _ => cut(String::from_utf8_lossy(array).into_owned()),
    }
}

/// Any JSON value as Python prints it, cut at [`CHARS_MAX`].
pub fn value(text: &[u8]) -> String {
    match Value::parse(text, "value") {
        Ok(value) => {
            let mut out = String::new();
            write(&value, &mut out, 0);
            cut(out)
        }
        Err(_) => cut(String::from_utf8_lossy(text).into_owned()),
    }
}

fn cut(text: String) -> String {
    match text.char_indices().nth(CHARS_MAX - 3) {
        Some((position, _)) if text.chars().nth(CHARS_MAX).is_some() => format!("{}...", &text[..position]),
        _ => text,
    }
}

fn list(elements: &[Value], out: &mut String, level: usize) {
    for (index, element) in elements.iter().enumerate() {
        // Whatever is beyond the cut is not printed at all: arguments may be large.
        if out.len() > CHARS_MAX * 4 {
            return;
        }
        if index > 0 {
            out.push_str(", ");
        }
        write(element, out, level);
    }
}

fn write(value: &Value, out: &mut String, level: usize) {
    match value {
        Value::Null => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Int(int) => push(out, format_args!("{int}")),
        Value::BigInt(digits) => out.push_str(digits),
        Value::Float(float) if float.is_nan() => out.push_str("nan"),
        Value::Float(float) if float.is_infinite() => out.push_str(if *float > 0.0 { "inf" } else { "-inf" }),
        Value::Float(float) => out.push_str(&json::float_text(*float)),
        Value::String(text) => quoted(text, out),
        Value::Bytes(bytes) => push(out, format_args!("<{} bytes>", bytes.len())),
        Value::Array(_) | Value::Object(_) if level >= LEVELS_MAX => out.push_str("..."),
        Value::Array(elements) => {
            out.push('[');
            list(elements, out, level + 1);
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (index, (key, member)) in members.iter().enumerate() {
                if out.len() > CHARS_MAX * 4 {
                    break;
                }
                if index > 0 {
                    out.push_str(", ");
                }
                quoted(key, out);
                out.push_str(": ");
                write(member, out, level + 1);
            }
            out.push('}');
        }
        Value::DateTime(text) | Value::Date(text) | Value::Time(text) => out.push_str(text),
        Value::Uuid(hex) => push(out, format_args!("UUID('{hex}')")),
        Value::Decimal(text) => push(out, format_args!("Decimal('{text}')")),
    }
}

fn quoted(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    // Most texts are printed as they are.
    if text.len() <= CHARS_MAX && text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'\\' && byte != b'\'')
    {
        out.push_str(text);
        out.push(quote);
        return;
    }
    for c in text.chars().take(CHARS_MAX + 1) {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => push(out, format_args!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push(quote);
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}

/// A value as text without quotes: how Python's json writes keys that are no strings.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "null".into(),
        Value::Bool(bool) => bool.to_string(),
        other => {
            let mut out = String::new();
            write(other, &mut out, 0);
            out
        }
    }
}
