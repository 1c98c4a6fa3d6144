//! Writes values as pickles of protocol 4, which every Python that Celery 5 runs on reads.

use celeriac_protocol::json::Value;

use super::numbers;

/// Writes a value.
pub(crate) fn write(value: &Value) -> Vec<u8> {
    let mut out = vec![0x80, 4];
    put(value, &mut out);
    out.push(b'.');
    out
}

/// Writes an exception as Celery stores one: the arguments of its constructor are a tuple.
pub(crate) fn write_exception(value: &Value) -> Vec<u8> {
    let Value::Object(members) = value else { return write(value) };
    let mut out = vec![0x80, 4, b'}', b'('];
    for (key, member) in members {
        text(key, &mut out);
        match member {
            Value::Array(items) if key == "exc_message" => {
                out.push(b'(');
                put_all(items, &mut out);
                out.push(b't');
            }
            member => put(member, &mut out),
        }
    }
    out.extend_from_slice(b"u.");
    out
}

fn put(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(b'N'),
        Value::Bool(true) => out.push(0x88),
        Value::Bool(false) => out.push(0x89),
        Value::Int(int) => match (u8::try_from(*int), i32::try_from(*int)) {
            (Ok(byte), _) => out.extend_from_slice(&[b'K', byte]),
            (_, Ok(small)) => {
                out.push(b'J');
                out.extend_from_slice(&small.to_le_bytes());
            }
            _ => long(&int.to_le_bytes(), out),
        },
        // A number that is too long for Python's own limits too becomes its text.
        Value::BigInt(digits) => match numbers::to_bytes(digits) {
            Some(bytes) => long(&bytes, out),
            None => text(digits, out),
        },
        Value::Float(float) => {
            out.push(b'G');
            out.extend_from_slice(&float.to_be_bytes());
        }
        Value::String(string) => text(string, out),
        Value::Bytes(bytes) => {
            counted(bytes, [b'C', b'B', 0x8e], out);
        }
        Value::Array(items) => {
            out.extend_from_slice(b"](");
            put_all(items, out);
            out.push(b'e');
        }
        Value::Object(members) => {
            out.extend_from_slice(b"}(");
            for (key, member) in members {
                text(key, out);
                put(member, out);
            }
            out.push(b'u');
        }
        Value::DateTime(iso) => call("datetime", "datetime.fromisoformat", iso, out),
        Value::Date(iso) => call("datetime", "date.fromisoformat", iso, out),
        Value::Time(iso) => call("datetime", "time.fromisoformat", iso, out),
        Value::Uuid(hex) => call("uuid", "UUID", hex, out),
        Value::Decimal(digits) => call("decimal", "Decimal", digits, out),
    }
}

fn put_all(items: &[Value], out: &mut Vec<u8>) {
    for item in items {
        put(item, out);
    }
}

fn long(bytes: &[u8], out: &mut Vec<u8>) {
    if let Ok(length) = u8::try_from(bytes.len()) {
        out.extend_from_slice(&[0x8a, length]);
    } else {
        out.push(0x8b);
        out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    }
    out.extend_from_slice(bytes);
}

fn text(string: &str, out: &mut Vec<u8>) {
    counted(string.as_bytes(), [0x8c, b'X', 0x8d], out);
}

/// Bytes behind their length, in the shortest of three forms.
fn counted(bytes: &[u8], [short, middle, long]: [u8; 3], out: &mut Vec<u8>) {
    if let Ok(length) = u8::try_from(bytes.len()) {
        out.extend_from_slice(&[short, length]);
    } else if let Ok(length) = u32::try_from(bytes.len()) {
        out.push(middle);
        out.extend_from_slice(&length.to_le_bytes());
    } else {
        out.push(long);
        out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    }
    out.extend_from_slice(bytes);
}

fn call(module: &str, name: &str, argument: &str, out: &mut Vec<u8>) {
    text(module, out);
    text(name, out);
    out.push(0x93);
    text(argument, out);
    out.extend_from_slice(&[0x85, b'R']);
}
