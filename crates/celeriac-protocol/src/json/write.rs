//! Writes JSON as kombu does: ASCII with `\uXXXX`, and Python's words for what is not a number.

use std::{fmt::Write as _, io};

use base64::Engine as _;
use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

use super::Value;
use crate::error::{ProtocolError, Result};

/// Writes anything that serializes as ASCII JSON.
///
/// # Errors
/// `Malformed` when it cannot be JSON (say, a map with keys that are no strings). `NaN` becomes `null` as everywhere
/// in serde_json; use [`Value::Float`] where it must survive.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(128);
    value.serialize(&mut Serializer::with_formatter(&mut out, Ascii)).map_err(|error| ProtocolError::Malformed {
        what: "value",
        offset: 0,
        detail: error.to_string(),
    })?;
    Ok(out)
}

/// Writes a string as JSON in ASCII, with its quotes.
pub fn to_ascii(text: &str, out: &mut Vec<u8>) {
    // Ids, names and most texts are written as they are.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    // A string always serializes, and a vector always takes it.
    let _ = text.serialize(&mut Serializer::with_formatter(out, Ascii));
}

/// Writes a [`Value`], typed objects and numbers that are none included.
pub fn value_to_vec(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(int) => push(out, format_args!("{int}")),
        Value::BigInt(digits) => out.extend_from_slice(digits.as_bytes()),
        Value::Float(float) => out.extend_from_slice(float_text(*float).as_bytes()),
        Value::String(text) => to_ascii(text, out),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => typed("bytes", text, out),
            Err(_) => typed("base64", &base64::engine::general_purpose::STANDARD.encode(bytes), out),
        },
        Value::Array(elements) => super::write_list(elements, out, value_to_vec),
        Value::Object(members) => {
            out.push(b'{');
            for (index, (key, member)) in members.iter().enumerate() {
                if index > 0 {
                    out.extend_from_slice(b", ");
                }
                to_ascii(key, out);
                out.extend_from_slice(b": ");
                value_to_vec(member, out);
            }
            out.push(b'}');
        }
        Value::DateTime(text) => typed("datetime", text, out),
        Value::Date(text) => typed("date", text, out),
        Value::Time(text) => typed("time", text, out),
        Value::Decimal(text) => typed("decimal", text, out),
        Value::Uuid(hex) => {
            out.extend_from_slice(br#"{"__type__": "uuid", "__value__": {"hex": "#);
            to_ascii(hex, out);
            out.extend_from_slice(b"}}");
        }
    }
}

/// A number as Python's `json` writes it: the shortest digits that read as the same number, exponents with a sign and two
/// digits at least, words for what is no number.
pub fn float_text(float: f64) -> String {
    if !float.is_finite() {
        return if float.is_nan() {
            "NaN"
        } else if float > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }
        .into();
    }
    // Rust and Python turn to exponents at the same numbers.
    let text = format!("{float:?}");
    match text.split_once('e') {
        None => text,
        Some((digits, exponent)) => {
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
            format!("{digits}e{sign}{exponent:0>2}")
        }
    }
}

fn typed(name: &str, text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"__type__": ""#);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(br#"", "__value__": "#);
    to_ascii(text, out);
    out.push(b'}');
}

fn push(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let mut buffer = String::new();
    // Writing to a string cannot fail.
    let _ = buffer.write_fmt(text);
    out.extend_from_slice(buffer.as_bytes());
}

/// Escapes everything beyond ASCII, and the character DEL, as Python's `json` does by default.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(position) = rest.bytes().position(|byte| byte >= 0x7f) {
            let (plain, odd) = rest.split_at(position);
            writer.write_all(plain.as_bytes())?;
            let mut chars = odd.chars();
            if let Some(c) = chars.next() {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
            rest = chars.as_str();
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(float_text(value).as_bytes())
    }

    fn write_char_escape<W: ?Sized + io::Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        serde_json::ser::CompactFormatter.write_char_escape(writer, escape)
    }
}
