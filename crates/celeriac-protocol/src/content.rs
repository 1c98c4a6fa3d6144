//! Content types: which bodies are read, and how.

use bytes::Bytes;

use crate::{
    body::{Body, Embed},
    compression,
    error::{ProtocolError, Result},
    json::{self, Value},
    limits::{BODY_BYTES_MAX, DEPTH_MAX},
    yaml,
};

/// The content types that are read.
const JSON: &str = "application/json";
const MSGPACK: &str = "application/x-msgpack";
const YAML: &str = "application/x-yaml";
const PICKLE: &str = "application/x-python-serialize";

/// Makes the JSON text of a body's `[args, kwargs, embed]`, whatever it was serialized and compressed with. JSON is
/// passed through as it is; MessagePack and YAML are written anew.
///
/// # Errors
/// `Refused` for pickle and what nobody knows; `TooLarge`; `Compression`; `Malformed`.
pub fn to_json(content_type: &str, compressed_with: Option<&str>, body: &Bytes) -> Result<Bytes> {
    if body.len() > BODY_BYTES_MAX {
        return Err(ProtocolError::TooLarge { what: "body", limit: BODY_BYTES_MAX });
    }
    let refused = |reason| ProtocolError::Refused { content_type: content_type.to_owned(), reason };
    match content_type {
        JSON | MSGPACK | YAML | "json" | "msgpack" | "yaml" | "text/x-yaml" => {}
        PICKLE | "pickle" => return Err(refused("reading pickle runs code of whoever wrote it")),
        _ => return Err(refused("only JSON, MessagePack and YAML are read")),
    }
    let body = match compressed_with {
        Some(name) if !name.is_empty() => compression::decompress(name, body)?,
        _ => body.clone(),
    };
    let value = match content_type {
        JSON | "json" => return Ok(body),
        MSGPACK | "msgpack" => read_msgpack(&body)?,
        _ => {
            let text = std::str::from_utf8(&body).map_err(|error| malformed(&error))?;
            yaml::parse(text)?
        }
    };
    let mut out = Vec::with_capacity(body.len() + body.len() / 4);
    json::value_to_vec(&value, &mut out);
    Ok(out.into())
}

/// Serializes the JSON text of a body for another content type, by Celery's short name.
///
/// # Errors
/// `Refused` for a serializer that is not written.
pub fn from_json(serializer: &str, body: Bytes) -> Result<(Bytes, &'static str, &'static str)> {
    match serializer {
        "json" => Ok((body, JSON, "utf-8")),
        "msgpack" => {
            let value = Value::parse(&body, "body")?;
            Ok((rmp_serde::to_vec(&Plain(&value)).map_err(|error| malformed(&error))?.into(), MSGPACK, "binary"))
        }
        "yaml" => {
            let value = Value::parse(&body, "body")?;
            let mut out = String::with_capacity(body.len());
            yaml::write(&value, &mut out);
            Ok((out.into(), YAML, "utf-8"))
        }
        other => Err(ProtocolError::Refused {
            content_type: other.to_owned(),
            reason: "use the serializer json, msgpack or yaml",
        }),
    }
}

/// Splits the JSON text of a body and reads what shall follow.
///
/// # Errors
/// As [`Body::split`] and [`Embed::parse`].
pub fn split(body: &[u8]) -> Result<(Body<'_>, Embed)> {
    let body = Body::split(body)?;
    Ok((body, Embed::parse(body.embed)?))
}

fn read_msgpack(body: &[u8]) -> Result<Value> {
    let mut rest = body;
    let mut reader = rmp_serde::Deserializer::new(&mut rest);
    // It is read by recursion, and by default so deep that a thousand bytes use up a thread's stack.
    reader.set_max_depth(DEPTH_MAX);
    let Any(value) = serde::Deserialize::deserialize(&mut reader).map_err(|error| match error {
        rmp_serde::decode::Error::DepthLimitExceeded => ProtocolError::TooDeep { what: "body", limit: DEPTH_MAX },
        other => malformed(&other),
    })?;
    if rest.is_empty() {
        return Ok(value);
    }
    let offset = body.len() - rest.len();
    Err(ProtocolError::Malformed { what: "body", offset, detail: "something follows the value".into() })
}

fn malformed(error: &dyn std::fmt::Display) -> ProtocolError {
    ProtocolError::Malformed { what: "body", offset: 0, detail: error.to_string() }
}

/// Reads any self-describing format into a [`Value`].
struct Any(Value);

impl<'de> serde::Deserialize<'de> for Any {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Any;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("any value")
            }
            fn visit_unit<E>(self) -> Result<Any, E> {
                Ok(Any(Value::Null))
            }
            fn visit_none<E>(self) -> Result<Any, E> {
                Ok(Any(Value::Null))
            }
            fn visit_some<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Any, D::Error> {
                serde::Deserialize::deserialize(deserializer)
            }
            fn visit_bool<E>(self, bool: bool) -> Result<Any, E> {
                Ok(Any(Value::Bool(bool)))
            }
            fn visit_i64<E>(self, int: i64) -> Result<Any, E> {
                Ok(Any(Value::Int(int)))
            }
            fn visit_u64<E>(self, int: u64) -> Result<Any, E> {
                Ok(Any(i64::try_from(int).map_or_else(|_| Value::BigInt(int.to_string()), Value::Int)))
            }
            fn visit_f64<E>(self, float: f64) -> Result<Any, E> {
                Ok(Any(Value::Float(float)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Any, E> {
                Ok(Any(Value::String(text.to_owned())))
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Any, E> {
                Ok(Any(Value::Bytes(bytes.to_owned())))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut access: A) -> Result<Any, A::Error> {
                let mut elements = Vec::new();
                while let Some(Any(element)) = access.next_element()? {
                    elements.push(element);
                }
                Ok(Any(Value::Array(elements)))
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut access: A) -> Result<Any, A::Error> {
                let mut members = Vec::new();
                while let Some((Any(key), Any(value))) = access.next_entry()? {
                    // Keys that are no strings become strings, as Python's json writes them.
                    let key = match key {
                        Value::String(text) => text,
                        other => crate::repr::plain(&other),
                    };
                    members.push((key, value));
                }
                Ok(Any(Value::Object(members)))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Writes a [`Value`] into formats that have bytes of their own.
struct Plain<'a>(&'a Value);

impl serde::Serialize for Plain<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(bool) => serializer.serialize_bool(*bool),
            Value::Int(int) => serializer.serialize_i64(*int),
            Value::BigInt(digits) => match digits.parse::<u64>() {
                Ok(int) => serializer.serialize_u64(int),
                Err(_) => serializer.serialize_str(digits),
            },
            Value::Float(float) => serializer.serialize_f64(*float),
            Value::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Value::Array(elements) => serializer.collect_seq(elements.iter().map(Plain)),
            Value::Object(members) => serializer.collect_map(members.iter().map(|(key, value)| (key, Plain(value)))),
            Value::String(text)
            | Value::DateTime(text)
            | Value::Date(text)
            | Value::Time(text)
            | Value::Uuid(text)
            | Value::Decimal(text) => serializer.serialize_str(text),
        }
    }
}
