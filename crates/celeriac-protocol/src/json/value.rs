//! A value as Celery's JSON means it, and typed Rust values from it.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{
        self, DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
        Visitor,
    },
    forward_to_deserialize_any,
};

use super::scan::{Kind, Scanner};
use crate::error::{ProtocolError, Result};

/// A value as Celery's JSON means it: standard JSON, what Python adds to numbers, and kombu's typed objects.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A whole number of 64 bits.
    Int(i64),
    /// A larger whole number, as its digits.
    BigInt(String),
    /// Any other number, `NaN` and the infinities included.
    Float(f64),
    /// Text.
    String(String),
    /// Bytes: kombu's `bytes` and `base64`, MessagePack's binary.
    Bytes(Vec<u8>),
    /// A list.
    Array(Vec<Value>),
    /// A mapping, in its order.
    Object(Vec<(String, Value)>),
    /// kombu's `datetime`, in ISO 8601.
    DateTime(String),
    /// kombu's `date`.
    Date(String),
    /// kombu's `time`.
    Time(String),
    /// kombu's `uuid`: 32 hexadecimal digits.
    Uuid(String),
    /// kombu's `decimal`.
    Decimal(String),
}

impl Value {
    /// Reads one value and nothing else.
    ///
    /// # Errors
    /// `Malformed` with the byte offset; also for a `__type__` that nobody knows, as in kombu.
    pub fn parse(text: &[u8], what: &'static str) -> Result<Self> {
        // One walk that counts nesting makes the recursion below safe.
        super::scan::check(text, what)?;
        Self::read(&mut Scanner::new(text, what))
    }

    fn read(scanner: &mut Scanner<'_>) -> Result<Self> {
        Ok(match scanner.kind()? {
            Kind::Null => {
                scanner.slice()?;
                Self::Null
            }
            Kind::Bool => Self::Bool(scanner.slice()? == b"true"),
            Kind::Number => number(std::str::from_utf8(scanner.slice()?).unwrap_or("NaN")),
            Kind::String => Self::String(scanner.decoded_string()?),
            Kind::Array => {
                let mut elements = Vec::new();
                scanner.elements(|scanner| {
                    elements.push(Self::read(scanner)?);
                    Ok(())
                })?;
                Self::Array(elements)
            }
            Kind::Object => {
                let mut members = Vec::new();
                scanner.members(|scanner, key| {
                    members.push((key.into_owned(), Self::read(scanner)?));
                    Ok(())
                })?;
                typed(members).map_err(|detail| scanner.malformed(detail))?
            }
        })
    }

    /// One word for a person: what kind of value it is.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::BigInt(_) => "an integer",
            Self::Float(_) => "a number",
            Self::String(_) => "a string",
            Self::Bytes(_) => "bytes",
            Self::Array(_) => "a list",
            Self::Object(_) => "an object",
            Self::DateTime(_) => "a datetime",
            Self::Date(_) => "a date",
            Self::Time(_) => "a time",
            Self::Uuid(_) => "a UUID",
            Self::Decimal(_) => "a decimal",
        }
    }

    /// The member of this name, if it is an object that has one; of several the last, as in Python.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().rfind(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }
}

fn number(text: &str) -> Value {
    match text {
        "NaN" => Value::Float(f64::NAN),
        "Infinity" => Value::Float(f64::INFINITY),
        "-Infinity" => Value::Float(f64::NEG_INFINITY),
        _ if text.contains(['.', 'e', 'E']) => Value::Float(text.parse().unwrap_or(f64::NAN)),
        _ => text.parse().map_or_else(|_| Value::BigInt(text.to_owned()), Value::Int),
    }
}

/// kombu's typed objects: exactly the keys `__type__` and `__value__`.
///
/// Source: kombu 5.7, `kombu/utils/json.py`, `object_hook`.
fn typed(members: Vec<(String, Value)>) -> Result<Value, String> {
    let is_typed =
        members.len() == 2 && ["__type__", "__value__"].iter().all(|key| members.iter().any(|(name, _)| name == key));
    if !is_typed {
        return Ok(Value::Object(members));
    }
    let object = Value::Object(members);
    let (Some(Value::String(name)), Some(value)) = (object.get("__type__"), object.get("__value__")) else {
        return Err("`__type__` is not a string".into());
    };
    match (name.as_str(), value) {
        ("datetime", Value::String(text)) => Ok(Value::DateTime(text.clone())),
        ("date", Value::String(text)) => Ok(Value::Date(text.clone())),
        ("time", Value::String(text)) => Ok(Value::Time(text.clone())),
        ("decimal", Value::String(text)) => Ok(Value::Decimal(text.clone())),
        ("bytes", Value::String(text)) => Ok(Value::Bytes(text.clone().into_bytes())),
        ("base64", Value::String(text)) => base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text)
            .ok()
            .map(Value::Bytes)
            .ok_or_else(|| "not base64".into()),
        ("uuid", value) => match value.get("hex") {
            Some(Value::String(hex)) => Ok(Value::Uuid(hex.clone())),
            _ => Err("a uuid without `hex`".into()),
        },
        _ => Err(format!("the `__type__` {name:?} is not known, or its value has the wrong type")),
    }
}

/// What is wrong when a value does not fit a Rust type.
#[derive(Debug)]
pub struct FitError(String);

impl fmt::Display for FitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FitError {}

impl de::Error for FitError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// Makes a `T` of a value. Dates, UUIDs and decimals read as strings; bytes as bytes.
///
/// # Errors
/// When it does not fit, saying what was expected and what came.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, FitError> {
    T::deserialize(value)
}

/// Makes a value of anything that serializes.
///
/// # Errors
/// When it cannot be JSON (say, a map with keys that are no strings).
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value> {
    let text = super::write::to_vec(value)?;
    Value::parse(&text, "value")
}

impl<'de> Deserializer<'de> for Value {
    type Error = FitError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FitError> {
        match self {
            Self::Null => visitor.visit_unit(),
            Self::Bool(bool) => visitor.visit_bool(bool),
            Self::Int(int) => visitor.visit_i64(int),
            Self::BigInt(digits) => match (digits.parse::<u64>(), digits.parse::<i128>(), digits.parse::<u128>()) {
                (Ok(int), ..) => visitor.visit_u64(int),
                (_, Ok(int), _) => visitor.visit_i128(int),
                (.., Ok(int)) => visitor.visit_u128(int),
                _ => visitor.visit_string(digits),
            },
            Self::Float(float) => visitor.visit_f64(float),
            Self::String(text)
            | Self::DateTime(text)
            | Self::Date(text)
            | Self::Time(text)
            | Self::Uuid(text)
            | Self::Decimal(text) => visitor.visit_string(text),
            Self::Bytes(bytes) => visitor.visit_byte_buf(bytes),
            Self::Array(elements) => {
                let mut access = Elements(elements.into_iter());
                let value = visitor.visit_seq(&mut access)?;
                if access.0.len() > 0 {
                    return Err(de::Error::custom(format_args!("{} elements too many", access.0.len())));
                }
                Ok(value)
            }
            Self::Object(members) => visitor.visit_map(Members { rest: members.into_iter(), value: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FitError> {
        if self == Self::Null { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, FitError> {
        visitor.visit_newtype_struct(self)
    }

    /// Bytes may be wanted where a list of numbers stands, and the other way round.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FitError> {
        match self {
            Self::Bytes(bytes) => {
                Self::Array(bytes.into_iter().map(|byte| Self::Int(i64::from(byte))).collect()).deserialize_any(visitor)
            }
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FitError> {
        match self {
            Self::String(name) => visitor.visit_enum(name.into_deserializer()),
            Self::Object(members) if members.len() == 1 => {
                let (name, value) = members.into_iter().next().unwrap_or_else(|| (String::new(), Self::Null));
                visitor.visit_enum(Variant { name, value })
            }
            other => Err(de::Error::custom(format_args!("expected a variant, found {}", other.kind()))),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct map struct identifier ignored_any
    }
}

impl IntoDeserializer<'_, FitError> for Value {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

struct Elements(std::vec::IntoIter<Value>);

impl<'de> SeqAccess<'de> for &mut Elements {
    type Error = FitError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, FitError> {
        self.0.next().map(|value| seed.deserialize(value)).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Members {
    rest: std::vec::IntoIter<(String, Value)>,
    value: Option<Value>,
}

impl<'de> MapAccess<'de> for Members {
    type Error = FitError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, FitError> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, FitError> {
        seed.deserialize(self.value.take().unwrap_or(Value::Null))
    }
}

struct Variant {
    name: String,
    value: Value,
}

impl<'de> EnumAccess<'de> for Variant {
    type Error = FitError;
    type Variant = Value;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Value), FitError> {
        let name: de::value::StringDeserializer<FitError> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self.value))
    }
}

impl<'de> VariantAccess<'de> for Value {
    type Error = FitError;

    fn unit_variant(self) -> Result<(), FitError> {
        Deserialize::deserialize(self)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, FitError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, FitError> {
        self.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, FitError> {
        self.deserialize_any(visitor)
    }
}

impl From<FitError> for ProtocolError {
    fn from(error: FitError) -> Self {
        Self::Malformed { what: "value", offset: 0, detail: error.0 }
    }
}
