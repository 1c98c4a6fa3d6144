//! Writes YAML on one line, every text in double quotes.

use std::fmt::Write as _;

use base64::Engine as _;

use super::scalar;
use crate::json::{Value, float_text};

/// Writes a value.
pub(crate) fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Int(int) => push(out, format_args!("{int}")),
        Value::BigInt(digits) => out.push_str(digits),
        Value::Float(float) => number(*float, out),
        Value::Bytes(bytes) => {
            push(out, format_args!("!!binary \"{}\"", base64::engine::general_purpose::STANDARD.encode(bytes)));
        }
        Value::Array(elements) => {
            out.push('[');
            for (index, element) in elements.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write(element, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (index, (key, member)) in members.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                quoted(key, out);
                out.push_str(": ");
                write(member, out);
            }
            out.push('}');
        }
        // Only what the other side can read as one: it fails on others.
        Value::DateTime(text) | Value::Date(text) if scalar::timestamp(text).is_some() => {
            out.push_str("!!timestamp ");
            quoted(text, out);
        }
        // PyYAML has no word for times and the like.
        Value::String(text)
        | Value::DateTime(text)
        | Value::Date(text)
        | Value::Time(text)
        | Value::Uuid(text)
        | Value::Decimal(text) => quoted(text, out),
    }
}

/// PyYAML takes nothing for a number with an exponent unless it has a point.
fn number(float: f64, out: &mut String) {
    let text = float_text(float);
    match text.split_once('e') {
        _ if float.is_nan() => out.push_str(".nan"),
        _ if float.is_infinite() => out.push_str(if float > 0.0 { ".inf" } else { "-.inf" }),
        Some((digits, exponent)) if !digits.contains('.') => push(out, format_args!("{digits}.0e{exponent}")),
        _ => out.push_str(&text),
    }
}

fn quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            ' '..='~' => out.push(c),
            // In JSON the last ones were two escapes; YAML has one of eight digits.
            c if u32::from(c) <= 0xff => push(out, format_args!("\\x{:02X}", u32::from(c))),
            c if u32::from(c) <= 0xffff => push(out, format_args!("\\u{:04X}", u32::from(c))),
            c => push(out, format_args!("\\U{:08X}", u32::from(c))),
        }
    }
    out.push('"');
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}
