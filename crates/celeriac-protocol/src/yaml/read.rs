//! Reads one YAML document.

use std::collections::HashMap;

use base64::Engine as _;
use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::scalar;
use crate::{
    error::{ProtocolError, Result},
    json::Value,
    limits::{BODY_BYTES_MAX, DEPTH_MAX},
    repr,
};

/// Reads a document and nothing else.
///
/// # Errors
/// `Malformed` with the place, also for tags that a safe loader refuses; `TooDeep`; `TooLarge` when aliases blow it up.
pub(crate) fn parse(text: &str) -> Result<Value> {
    let mut reader = Reader::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| malformed(error.marker().index(), error.info()))?;
        reader.take(event).map_err(|problem| match problem {
            Problem::Malformed(detail) => malformed(span.start.index(), &detail),
            Problem::Other(error) => error,
        })?;
    }
    reader.whole.ok_or_else(|| malformed(0, "there is no document"))
}

fn malformed(offset: usize, detail: &str) -> ProtocolError {
    ProtocolError::Malformed { what: "body", offset, detail: detail.to_owned() }
}

enum Problem {
    Malformed(String),
    Other(ProtocolError),
}

impl From<&str> for Problem {
    fn from(detail: &str) -> Self {
        Self::Malformed(detail.into())
    }
}

#[derive(Default)]
struct Reader {
    /// What is not closed yet, outermost first.
    open: Vec<(usize, Open)>,
    /// What aliases stand for, by the anchor's number.
    anchors: HashMap<usize, Value>,
    /// The document, once it is whole.
    whole: Option<Value>,
    /// What all aliases together have copied, in bytes.
    copied_bytes: usize,
}

enum Open {
    List(Vec<Value>),
    Mapping(Vec<(String, Value)>, Option<String>),
}

impl Reader {
    fn take(&mut self, event: Event<'_>) -> Result<(), Problem> {
        match event {
            Event::DocumentStart(_) if self.whole.is_some() => Err("a second document follows".into()),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Ok(())
            }
            Event::Alias(anchor) => self.alias(anchor),
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(&text, style, tag.as_deref())?;
                self.put(anchor, value)
            }
            Event::SequenceStart(anchor, tag) => self.begin(anchor, Open::List(Vec::new()), tag.as_deref(), "seq"),
            Event::MappingStart(anchor, tag) => {
                self.begin(anchor, Open::Mapping(Vec::new(), None), tag.as_deref(), "map")
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some((anchor, Open::List(elements))) => self.put(anchor, Value::Array(elements)),
                Some((anchor, Open::Mapping(members, None))) => self.put(anchor, Value::Object(members)),
                Some((_, Open::Mapping(_, Some(_)))) | None => Err("it ends in the middle".into()),
            },
        }
    }

    fn begin(&mut self, anchor: usize, open: Open, tag: Option<&Tag>, plain: &str) -> Result<(), Problem> {
        if tag.is_some_and(|tag| core(tag) != Some(plain)) {
            return Err("a tag that is not known".into());
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(Problem::Other(ProtocolError::TooDeep { what: "body", limit: DEPTH_MAX }));
        }
        self.open.push((anchor, open));
        Ok(())
    }

    /// A few aliases of aliases can stand for more than there is memory.
    fn alias(&mut self, anchor: usize) -> Result<(), Problem> {
        let Some(value) = self.anchors.get(&anchor) else { return Err("an alias of what is not whole yet".into()) };
        let (bytes, depth) = measure(value);
        self.copied_bytes = self.copied_bytes.saturating_add(bytes);
        if self.copied_bytes > BODY_BYTES_MAX {
            return Err(Problem::Other(ProtocolError::TooLarge { what: "body's aliases", limit: BODY_BYTES_MAX }));
        }
        if self.open.len() + depth > DEPTH_MAX {
            return Err(Problem::Other(ProtocolError::TooDeep { what: "body", limit: DEPTH_MAX }));
        }
        let value = value.clone();
        self.put(0, value)
    }

    fn put(&mut self, anchor: usize, value: Value) -> Result<(), Problem> {
        if anchor > 0 {
            let (bytes, _) = measure(&value);
            self.copied_bytes = self.copied_bytes.saturating_add(bytes);
            if self.copied_bytes > BODY_BYTES_MAX {
                return Err(Problem::Other(ProtocolError::TooLarge { what: "body's anchors", limit: BODY_BYTES_MAX }));
            }
            self.anchors.insert(anchor, value.clone());
        }
        match self.open.last_mut() {
            None => self.whole = Some(value),
            Some((_, Open::List(elements))) => elements.push(value),
            Some((_, Open::Mapping(members, key))) => match key.take() {
                Some(key) => members.push((key, value)),
                None if matches!(value, Value::Array(_) | Value::Object(_)) => {
                    return Err("a key that is no plain value".into());
                }
                // Keys that are no texts become texts, as Python's json writes them.
                None => *key = Some(repr::plain(&value)),
            },
        }
        Ok(())
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, Problem> {
    let Some(tag) = tag else {
        return match style {
            ScalarStyle::Plain if text == "<<" => Err("merging mappings is not supported".into()),
            ScalarStyle::Plain => Ok(scalar::plain(text)),
            _ => Ok(Value::String(text.to_owned())),
        };
    };
    let value = match core(tag) {
        // The tag `!` alone says that it is no plain one.
        Some("str") => Some(Value::String(text.to_owned())),
        Some("binary") => {
            let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            base64::engine::general_purpose::STANDARD.decode(text).ok().map(Value::Bytes)
        }
        Some("timestamp") => scalar::timestamp(text),
        Some("int") => scalar::integer(text),
        Some("float") => scalar::float(text).or_else(|| text.parse().ok().map(Value::Float)),
        Some("bool") => Some(scalar::plain(text)).filter(|value| matches!(value, Value::Bool(_))),
        Some("null") => Some(Value::Null),
        _ => return Err("a tag that is not known".into()),
    };
    value.ok_or_else(|| Problem::Malformed(format!("no value of the tag `{}`", tag.suffix)))
}

fn core(tag: &Tag) -> Option<&str> {
    if tag.is_yaml_core_schema() {
        return Some(&tag.suffix);
    }
    // `!<tag:yaml.org,2002:str>`, and the lone `!`.
    let whole = format!("{}{}", tag.handle, tag.suffix);
    if whole == "!" { Some("str") } else { None }
}

/// What a copy takes, in bytes, and how deep it is nested.
fn measure(value: &Value) -> (usize, usize) {
    let own = size_of::<Value>();
    match value {
        Value::Array(elements) => elements
            .iter()
            .map(measure)
            .fold((own, 1), |(bytes, depth), (more, below)| (bytes + more, depth.max(below + 1))),
        Value::Object(members) => members.iter().fold((own, 1), |(bytes, depth), (key, value)| {
            let (more, below) = measure(value);
            (bytes + key.len() + size_of::<String>() + more, depth.max(below + 1))
        }),
        Value::String(text) | Value::BigInt(text) => (own + text.len(), 0),
        Value::Bytes(bytes) => (own + bytes.len(), 0),
        _ => (own, 0),
    }
}
