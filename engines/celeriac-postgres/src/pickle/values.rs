//! From what the machine made to a value: within limits, whatever refers to whatever.

use celeriac_protocol::json::Value;

use super::{
    DEPTH_MAX, Refused, TEXT_BYTES_MAX, VALUES_MAX,
    machine::{Id, Node},
    numbers,
};

/// Classes whose values are data, by the name under which pickles call them.
pub(super) fn is_harmless(name: &str) -> bool {
    matches!(
        name,
        "datetime.datetime"
            | "datetime.date"
            | "datetime.time"
            | "datetime.timezone"
            | "datetime.timedelta"
            | "datetime.datetime.fromisoformat"
            | "datetime.date.fromisoformat"
            | "datetime.time.fromisoformat"
            | "decimal.Decimal"
            | "uuid.UUID"
    )
}

pub(super) fn value(nodes: &[Node], root: Id) -> Result<Value, Refused> {
    Reading { nodes, values: 0, text_bytes: 0 }.value(root, 0)
}

struct Reading<'a> {
    nodes: &'a [Node],
    values: usize,
    text_bytes: usize,
}

impl Reading<'_> {
    fn value(&mut self, id: Id, depth: usize) -> Result<Value, Refused> {
        self.values += 1;
        if depth > DEPTH_MAX {
            return Err("is nested too deep".to_owned());
        }
        if self.values > VALUES_MAX || self.text_bytes > TEXT_BYTES_MAX {
            return Err("holds too much".to_owned());
        }
        match &self.nodes[id] {
            Node::Plain(plain) => {
                if let Value::String(text) = plain {
                    self.text_bytes += text.len();
                } else if let Value::Bytes(bytes) = plain {
                    self.text_bytes += bytes.len();
                }
                Ok(plain.clone())
            }
            Node::List(items) | Node::Tuple(items) => {
                items.iter().map(|item| self.value(*item, depth + 1)).collect::<Result<_, _>>().map(Value::Array)
            }
            Node::Dict(items) => {
                let member = |(key, item): &(Id, Id)| Ok((self.key(*key)?, self.value(*item, depth + 1)?));
                items.iter().map(member).collect::<Result<_, _>>().map(Value::Object)
            }
            Node::Named(name) => Err(format!("holds the class or function `{name}`, and only plain data is read")),
            Node::Called { name, args, state } => {
                let args: Vec<Value> = args.iter().map(|arg| self.value(*arg, depth + 1)).collect::<Result<_, _>>()?;
                let state = state.map(|state| self.value(state, depth + 1)).transpose()?;
                called(name, &args, state.as_ref()).ok_or_else(|| format!("holds a `{name}` that is none"))
            }
        }
    }

    /// A key as Python's `json` writes it.
    fn key(&self, id: Id) -> Result<String, Refused> {
        match &self.nodes[id] {
            Node::Plain(Value::String(text)) => Ok(text.clone()),
            Node::Plain(Value::Int(int)) => Ok(int.to_string()),
            Node::Plain(Value::Bool(fact)) => Ok(fact.to_string()),
            Node::Plain(Value::Float(float)) => Ok(format!("{float:?}")),
            Node::Plain(Value::Null) => Ok("null".to_owned()),
            _ => Err("has a dictionary with a key that is no text or number".to_owned()),
        }
    }
}

/// What a harmless class makes of its arguments.
fn called(name: &str, args: &[Value], state: Option<&Value>) -> Option<Value> {
    match (name, args) {
        ("datetime.datetime", [Value::Bytes(packed)]) => Some(Value::DateTime(datetime(packed, "")?)),
        ("datetime.datetime", [Value::Bytes(packed), Value::String(zone)]) => {
            Some(Value::DateTime(datetime(packed, zone)?))
        }
        ("datetime.date", [Value::Bytes(packed)]) => Some(Value::Date(date(packed)?)),
        ("datetime.time", [Value::Bytes(packed)]) => Some(Value::Time(time(packed)?)),
        ("datetime.timedelta", [Value::Int(days), Value::Int(seconds), Value::Int(_)]) => {
            days.checked_mul(86_400)?.checked_add(*seconds).map(Value::Int)
        }
        // A zone is the text behind a time; it stands nowhere else.
        ("datetime.timezone", [Value::Int(seconds), ..]) => Some(Value::String(offset(*seconds))),
        ("datetime.datetime.fromisoformat", [Value::String(text)]) => Some(Value::DateTime(text.clone())),
        ("datetime.date.fromisoformat", [Value::String(text)]) => Some(Value::Date(text.clone())),
        ("datetime.time.fromisoformat", [Value::String(text)]) => Some(Value::Time(text.clone())),
        ("decimal.Decimal", [Value::String(text)]) => Some(Value::Decimal(text.clone())),
        ("uuid.UUID", [Value::String(hex)]) => Some(Value::Uuid(hex.clone())),
        ("uuid.UUID", []) => numbers::hex(state?.get("int")?).map(Value::Uuid),
        _ => None,
    }
}

/// Source: CPython, `Lib/_pydatetime.py`, `_getstate`.
fn date(packed: &[u8]) -> Option<String> {
    let [high, low, month, day] = packed.try_into().ok()?;
    // Protocol 5 keeps a fold in the month's or hour's highest bit.
    let (year, month) = (u16::from_be_bytes([high, low]), month & 0x7f);
    Some(format!("{year:04}-{month:02}-{day:02}"))
}

fn time(packed: &[u8]) -> Option<String> {
    let [hour, minute, second, a, b, c] = packed.try_into().ok()?;
    let (hour, micros) = (hour & 0x7f, u32::from_be_bytes([0, a, b, c]));
    let fraction = if micros == 0 { String::new() } else { format!(".{micros:06}") };
    Some(format!("{hour:02}:{minute:02}:{second:02}{fraction}"))
}

fn datetime(packed: &[u8], zone: &str) -> Option<String> {
    let (day, clock) = packed.split_at_checked(4)?;
    Some(format!("{}T{}{zone}", date(day)?, time(clock)?))
}

fn offset(seconds: i64) -> String {
    let (sign, seconds) = if seconds < 0 { ('-', -seconds) } else { ('+', seconds) };
    format!("{sign}{:02}:{:02}", seconds / 3_600, seconds / 60 % 60)
}
