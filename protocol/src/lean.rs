//! JSON in few bytes of WebAssembly: a value of our own, and types from it and to it. It does what `serde_json` does, except that an
//! error has no text (a browser shows none), no struct is read from a list, and text is read by whoever has a reader of it: in a
//! browser JavaScript, elsewhere `serde_json`. That makes the browser's part less than half as large.

mod read;
#[cfg(test)]
mod tests;
mod write;

use read::Reader;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeOwned, MapAccess, SeqAccess, Visitor},
    ser::{self, SerializeMap},
};
use std::fmt;
use write::Writer;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Whole(i64),
    Fraction(f64),
    Text(String),
    List(Vec<Value>),
    Object(Fields),
}

/// An object's fields, in the order in which they were written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fields(pub Vec<(String, Value)>);

impl Fields {
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }

    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1)
    }

    pub fn insert(&mut self, name: &str, value: Value) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }
}

/// The type, or nothing if the value is not one.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Option<T> {
    T::deserialize(Reader(value)).ok()
}

/// Reads JSON text, where JavaScript is not there to do it.
pub fn parse(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

/// Reads a field that is an object. A derived struct would also accept a list of its fields' values.
pub(crate) fn object<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    whole(Fields::deserialize(deserializer)?)
}

/// Reads a field like [`object`] that may be null.
pub(crate) fn maybe_object<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Option::<Fields>::deserialize(deserializer)?
        .map(whole)
        .transpose()
}

#[cfg(target_arch = "wasm32")]
fn whole<T: DeserializeOwned, E: de::Error>(fields: Fields) -> Result<T, E> {
    from_value(Value::Object(fields)).ok_or_else(|| de::Error::custom("a field is missing or wrong"))
}

/// Where size does not count, the refusal names the field.
#[cfg(not(target_arch = "wasm32"))]
fn whole<T: DeserializeOwned, E: de::Error>(fields: Fields) -> Result<T, E> {
    let read = || serde_json::from_value(serde_json::from_str(&Value::Object(fields).to_text())?);
    read().map_err(de::Error::custom)
}

/// The value as JSON; null for what JSON cannot say.
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Value {
    value.serialize(Writer).unwrap_or_default()
}

pub fn to_text<T: Serialize + ?Sized>(value: &T) -> String {
    to_value(value).to_text()
}

impl Value {
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// JSON text. A fraction is written to a millionth: no client sends a finer one.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) {
        match self {
            Self::Null => text.push_str("null"),
            Self::Bool(true) => text.push_str("true"),
            Self::Bool(false) => text.push_str("false"),
            Self::Whole(number) => text.push_str(&number.to_string()),
            Self::Fraction(number) => write_fraction(*number, text),
            Self::Text(word) => write_string(word, text),
            Self::List(items) => {
                text.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        text.push(',');
                    }
                    item.write(text);
                }
                text.push(']');
            }
            Self::Object(Fields(fields)) => {
                text.push('{');
                for (index, (name, value)) in fields.iter().enumerate() {
                    if index > 0 {
                        text.push(',');
                    }
                    write_string(name, text);
                    text.push(':');
                    value.write(text);
                }
                text.push('}');
            }
        }
    }
}

/// By hand: the formatting of floats is as large as all of this file.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a fraction is below one, and what is larger than a whole number can be is none"
)]
fn write_fraction(number: f64, text: &mut String) {
    let millionths = (number.abs().fract() * 1e6).round() as u64;
    let whole = number.abs().trunc() as u64 + millionths / 1_000_000;
    if number < 0.0 {
        text.push('-');
    }
    text.push_str(&whole.to_string());
    let digits = (1_000_000 + millionths % 1_000_000).to_string();
    text.push('.');
    text.push_str(&digits[1..]);
}

fn write_string(word: &str, text: &mut String) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    text.push('"');
    for letter in word.chars() {
        match letter {
            '"' | '\\' => {
                text.push('\\');
                text.push(letter);
            }
            '\0'..='\u{1f}' => {
                text.push_str("\\u00");
                text.push(HEX[letter as usize >> 4].into());
                text.push(HEX[letter as usize & 15].into());
            }
            _ => text.push(letter),
        }
    }
    text.push('"');
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Whole(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "as in JavaScript")]
        i64::try_from(number).map_or(Self::Fraction(number as f64), Self::Whole)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        if number.is_finite() {
            Self::Fraction(number)
        } else {
            Self::Null
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(flag) => serializer.serialize_bool(*flag),
            Self::Whole(number) => serializer.serialize_i64(*number),
            Self::Fraction(number) => serializer.serialize_f64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Object(fields) => fields.serialize(serializer),
        }
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_map(Any)? {
            Value::Object(fields) => Ok(fields),
            _ => Err(de::Error::custom("no object")),
        }
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut all = Fields::default();
        while let Some((name, value)) = fields.next_entry::<String, Value>()? {
            all.0.push((name, value));
        }
        Ok(Value::Object(all))
    }
}

/// It is not so; nobody asks why.
#[derive(Debug)]
struct Bad;

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unreadable")
    }
}

impl std::error::Error for Bad {}

impl de::Error for Bad {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Bad
    }
    fn invalid_type(_: de::Unexpected<'_>, _: &dyn de::Expected) -> Self {
        Bad
    }
    fn invalid_value(_: de::Unexpected<'_>, _: &dyn de::Expected) -> Self {
        Bad
    }
    fn invalid_length(_: usize, _: &dyn de::Expected) -> Self {
        Bad
    }
    fn unknown_variant(_: &str, _: &'static [&'static str]) -> Self {
        Bad
    }
    fn unknown_field(_: &str, _: &'static [&'static str]) -> Self {
        Bad
    }
    fn missing_field(_: &'static str) -> Self {
        Bad
    }
    fn duplicate_field(_: &'static str) -> Self {
        Bad
    }
}

impl ser::Error for Bad {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Bad
    }
}
