//! What a document holds, as plain data.

use std::collections::BTreeMap;

use automerge::{ObjType, ScalarValue, hydrate};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// A value, with everything below it.
///
/// The difference between [`Str`](Self::Str) and [`Text`](Self::Text) matters when people write at the same time: two
/// writers of a `Str` make a conflict and one value wins, two writers of a `Text` merge letter by letter.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Uint(u64),
    /// A floating-point number.
    F64(f64),
    /// A string that is replaced as a whole.
    Str(String),
    /// Bytes that are replaced as a whole.
    Bytes(Vec<u8>),
    /// Milliseconds since 1970-01-01 UTC.
    Timestamp(i64),
    /// A text that merges. Marks are read with [`View::marks`](super::View::marks).
    Text(String),
    /// A map.
    Map(BTreeMap<String, Self>),
    /// A list.
    List(Vec<Self>),
}

impl Value {
    /// An empty map.
    #[must_use]
    pub const fn map() -> Self {
        Self::Map(BTreeMap::new())
    }

    /// A text that merges, as opposed to `Value::from("…")`, which is replaced as a whole.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// True for everything but text, map and list.
    #[must_use]
    pub const fn is_scalar(&self) -> bool {
        !matches!(self, Self::Text(_) | Self::Map(_) | Self::List(_))
    }

    /// The string or text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) | Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The word for this kind of value in messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::F64(_) => "f64",
            Self::Str(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Timestamp(_) => "timestamp",
            Self::Text(_) => "text",
            Self::Map(_) => "map",
            Self::List(_) => "list",
        }
    }

    /// How many containers are nested in it, itself included; 0 for a scalar or text.
    pub(super) fn depth(&self) -> usize {
        match self {
            Self::Map(map) => 1 + map.values().map(Self::depth).max().unwrap_or(0),
            Self::List(list) => 1 + list.iter().map(Self::depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    pub(super) const fn empty(kind: ObjType) -> Self {
        match kind {
            ObjType::Map | ObjType::Table => Self::Map(BTreeMap::new()),
            ObjType::List => Self::List(Vec::new()),
            ObjType::Text => Self::Text(String::new()),
        }
    }

    pub(super) fn from_scalar(scalar: &ScalarValue) -> Self {
        match scalar {
            ScalarValue::Null => Self::Null,
            ScalarValue::Boolean(value) => Self::Bool(*value),
            ScalarValue::Int(value) => Self::Int(*value),
            ScalarValue::Uint(value) => Self::Uint(*value),
            ScalarValue::F64(value) => Self::F64(*value),
            ScalarValue::Str(value) => Self::Str(value.to_string()),
            ScalarValue::Bytes(value) => Self::Bytes(value.clone()),
            ScalarValue::Timestamp(value) => Self::Timestamp(*value),
            // The gate admits neither; they can only come from a store written by other software.
            ScalarValue::Counter(value) => Self::Int(i64::from(value)),
            ScalarValue::Unknown { bytes, .. } => Self::Bytes(bytes.clone()),
        }
    }

    /// `None` for text, map and list.
    pub(super) fn to_scalar(&self) -> Option<ScalarValue> {
        Some(match self {
            Self::Null => ScalarValue::Null,
            Self::Bool(value) => ScalarValue::Boolean(*value),
            Self::Int(value) => ScalarValue::Int(*value),
            Self::Uint(value) => ScalarValue::Uint(*value),
            Self::F64(value) => ScalarValue::F64(*value),
            Self::Str(value) => ScalarValue::Str(super::text::nfc(value).as_ref().into()),
            Self::Bytes(value) => ScalarValue::Bytes(value.clone()),
            Self::Timestamp(value) => ScalarValue::Timestamp(*value),
            Self::Text(_) | Self::Map(_) | Self::List(_) => return None,
        })
    }

    pub(super) fn from_hydrated(value: &hydrate::Value) -> Self {
        match value {
            hydrate::Value::Scalar(scalar) => Self::from_scalar(scalar),
            hydrate::Value::Text(text) => Self::Text(text.to_string()),
            hydrate::Value::Map(map) => Self::Map(
                map.iter().map(|(key, value)| (key.clone(), Self::from_hydrated(&value.value))).collect(),
            ),
            hydrate::Value::List(list) => {
                Self::List(list.iter().map(|value| Self::from_hydrated(&value.value)).collect())
            }
        }
    }
}

impl Serialize for Value {
    /// As JSON would have it: text and strings are strings, timestamps numbers, bytes whatever the format does with bytes
    /// (an array of numbers in JSON). The way back is not unambiguous, so there is no `Deserialize`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) | Self::Timestamp(value) => serializer.serialize_i64(*value),
            Self::Uint(value) => serializer.serialize_u64(*value),
            Self::F64(value) => serializer.serialize_f64(*value),
            Self::Str(value) | Self::Text(value) => serializer.serialize_str(value),
            Self::Bytes(value) => serializer.serialize_bytes(value),
            Self::Map(map) => {
                let mut out = serializer.serialize_map(Some(map.len()))?;
                for (key, value) in map {
                    out.serialize_entry(key, value)?;
                }
                out.end()
            }
            Self::List(list) => {
                let mut out = serializer.serialize_seq(Some(list.len()))?;
                for value in list {
                    out.serialize_element(value)?;
                }
                out.end()
            }
        }
    }
}

impl From<()> for Value {
    fn from((): ()) -> Self {
        Self::Null
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Int(value.into())
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Uint(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::F64(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Str(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Str(value)
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl From<Vec<Self>> for Value {
    fn from(value: Vec<Self>) -> Self {
        Self::List(value)
    }
}

impl From<BTreeMap<String, Self>> for Value {
    fn from(value: BTreeMap<String, Self>) -> Self {
        Self::Map(value)
    }
}
