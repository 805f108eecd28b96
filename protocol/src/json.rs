//! Reads JSON from outside in the same way at every door: no name twice in one object, no list instead of an object, and a
//! refusal that names the field.

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};
use std::fmt;

/// Longest text of a refusal, in characters: it quotes the message, which may be long.
const MAX_REFUSAL_CHARS: usize = 300;

/// Reads any JSON text. Two fields with one name are an error, because readers would differ in which one they take.
pub fn parse(text: &[u8]) -> Result<Value, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    Strict
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| sentence(&error.to_string()))
}

/// Reads a message's text. `15.0` and `1e3` are whole numbers, as in JSON Schema, as long as a float can tell neighbouring whole
/// numbers apart.
pub fn parse_message(text: &[u8]) -> Result<Value, String> {
    parse(text).map(with_whole_numbers)
}

fn with_whole_numbers(value: Value) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if number.is_f64() => match number.as_f64() {
            Some(float) if float.fract() == 0.0 && float.abs() < EXACT => (float as i64).into(),
            _ => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(with_whole_numbers).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (name, with_whole_numbers(value)))
            .collect(),
        other => other,
    }
}

/// Reads an object's fields as a type; a refusal begins with the field's path.
pub fn read<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    if !value.is_object() {
        return Err("A message is a JSON object.".into());
    }
    if let Some(path) = with_nul(&value) {
        return Err(sentence(&format!(
            "{path}: must not contain the character U+0000"
        )));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        match (path.as_str(), error.into_inner()) {
            (".", inner) => sentence(&in_words(inner.to_string())),
            (path, inner) => sentence(&in_words(format!("{path}: {inner}"))),
        }
    })
}

/// The place of a character U+0000, which Postgres does not accept and no text of ours needs.
fn with_nul(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(items) => items.iter().find_map(with_nul),
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let inner = if name.contains('\0') {
                String::new()
            } else {
                with_nul(value)?
            };
            let name = name.escape_debug();
            Some(if inner.is_empty() {
                name.to_string()
            } else {
                format!("{name}.{inner}")
            })
        }),
        _ => None,
    }
}

/// A nested object. A derived struct would also accept a list of its fields' values.
#[derive(Debug)]
pub struct Object<T>(pub T);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Map::deserialize(deserializer)?;
        T::deserialize(Value::Object(fields))
            .map(Object)
            .map_err(de::Error::custom)
    }
}

/// Senders of JSON need not know this program's names for its numbers.
fn in_words(mut text: String) -> String {
    for kind in ["u8", "u16", "u32", "u64", "usize", "i32", "i64"] {
        if let Some(rest) = text.strip_suffix(&format!("expected {kind}")) {
            text = format!("{rest}expected a whole number");
        }
    }
    text
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let mut sentence: String = chars.by_ref().take(MAX_REFUSAL_CHARS).collect();
    sentence.push(if chars.next().is_some() { '…' } else { '.' });
    sentence
}

struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Strict)? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(de::Error::custom(format_args!(
                    "the field {name:?} stands there twice"
                )));
            }
            let value = fields.next_value_seed(Strict)?;
            object.insert(name, value);
        }
        Ok(object.into())
    }
}
