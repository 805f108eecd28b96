//! JSON in few bytes of WebAssembly: a value of our own, and types from it and to it. It does what `serde_json` does, except that an
//! error has no text (a browser shows none), no struct is read from a list, and text is read by whoever has a reader of it: in a
//! browser JavaScript, elsewhere `serde_json`. That makes the browser's part less than half as large.

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{
        self, DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
        VariantAccess, Visitor,
    },
    forward_to_deserialize_any,
    ser::{self, SerializeMap},
};
use std::fmt;

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

fn whole<T: DeserializeOwned, E: de::Error>(fields: Fields) -> Result<T, E> {
    from_value(Value::Object(fields)).ok_or_else(|| de::Error::custom("a field is missing or wrong"))
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

// ------------------------------------------------------------------------------------------------------------- reading

struct Reader(Value);

macro_rules! numbers {
    ($($method:ident)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
            number(&self.0, visitor)
        }
    )+};
}

impl<'de> Deserializer<'de> for Reader {
    type Error = Bad;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(flag) => visitor.visit_bool(flag),
            Value::Whole(_) | Value::Fraction(_) => number(&self.0, visitor),
            Value::Text(text) => visitor.visit_string(text),
            Value::List(items) => visitor.visit_seq(Items(items.into_iter())),
            Value::Object(fields) => visitor.visit_map(Entries::of(fields)),
        }
    }

    numbers!(
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_f32 deserialize_f64
    );

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        match self.0 {
            Value::Bool(flag) => visitor.visit_bool(flag),
            _ => Err(Bad),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        self.deserialize_string(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        match self.0 {
            Value::Text(text) => visitor.visit_string(text),
            _ => Err(Bad),
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        self.0
            .as_str()
            .ok_or(Bad)
            .and_then(|word| visitor.visit_str(word))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        if self.0 == Value::Null {
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Bad> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        match self.0 {
            Value::List(items) => visitor.visit_seq(Items(items.into_iter())),
            _ => Err(Bad),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        match self.0 {
            Value::Object(fields) => visitor.visit_map(Entries::of(fields)),
            _ => Err(Bad),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Bad> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Bad> {
        match self.0 {
            Value::Text(word) => visitor.visit_enum(Variant { word, content: None }),
            Value::Object(fields) => {
                let mut fields = fields.0.into_iter();
                let (word, content) = fields.next().ok_or(Bad)?;
                if fields.next().is_some() {
                    return Err(Bad);
                }
                visitor.visit_enum(Variant {
                    word,
                    content: Some(content),
                })
            }
            _ => Err(Bad),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct }
}

fn number<'de, V: Visitor<'de>>(value: &Value, visitor: V) -> Result<V::Value, Bad> {
    match *value {
        Value::Whole(whole) => match u64::try_from(whole) {
            Ok(whole) => visitor.visit_u64(whole),
            Err(_) => visitor.visit_i64(whole),
        },
        Value::Fraction(fraction) => visitor.visit_f64(fraction),
        _ => Err(Bad),
    }
}

struct Items(std::vec::IntoIter<Value>);

impl<'de> SeqAccess<'de> for Items {
    type Error = Bad;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Bad> {
        self.0
            .next()
            .map(|item| seed.deserialize(Reader(item)))
            .transpose()
    }
}

struct Entries {
    fields: std::vec::IntoIter<(String, Value)>,
    value: Value,
}

impl Entries {
    fn of(fields: Fields) -> Self {
        Self {
            fields: fields.0.into_iter(),
            value: Value::Null,
        }
    }
}

impl<'de> MapAccess<'de> for Entries {
    type Error = Bad;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Bad> {
        let Some((name, value)) = self.fields.next() else {
            return Ok(None);
        };
        self.value = value;
        seed.deserialize(name.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Bad> {
        seed.deserialize(Reader(std::mem::take(&mut self.value)))
    }
}

struct Variant {
    word: String,
    content: Option<Value>,
}

impl<'de> EnumAccess<'de> for Variant {
    type Error = Bad;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(mut self, seed: V) -> Result<(V::Value, Self), Bad> {
        let word = std::mem::take(&mut self.word);
        Ok((seed.deserialize(word.into_deserializer())?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant {
    type Error = Bad;

    fn unit_variant(self) -> Result<(), Bad> {
        self.content.is_none().then_some(()).ok_or(Bad)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Bad> {
        seed.deserialize(Reader(self.content.ok_or(Bad)?))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Bad> {
        Reader(self.content.ok_or(Bad)?).deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Bad> {
        Reader(self.content.ok_or(Bad)?).deserialize_map(visitor)
    }
}

// ------------------------------------------------------------------------------------------------------------- writing

struct Writer;

macro_rules! plain {
    ($($method:ident: $kind:ty as $wide:ty),+ $(,)?) => {$(
        fn $method(self, value: $kind) -> Result<Value, Bad> {
            Ok(<$wide>::from(value).into())
        }
    )+};
}

impl Serializer for Writer {
    type Ok = Value;
    type Error = Bad;
    type SerializeSeq = List;
    type SerializeTuple = List;
    type SerializeTupleStruct = List;
    type SerializeTupleVariant = ser::Impossible<Value, Bad>;
    type SerializeMap = Object;
    type SerializeStruct = Object;
    type SerializeStructVariant = Object;

    plain!(
        serialize_bool: bool as bool, serialize_u8: u8 as i64, serialize_u16: u16 as i64, serialize_u32: u32 as i64,
        serialize_u64: u64 as u64, serialize_i8: i8 as i64, serialize_i16: i16 as i64, serialize_i32: i32 as i64,
        serialize_i64: i64 as i64, serialize_str: &str as &str,
    );

    fn serialize_f32(self, value: f32) -> Result<Value, Bad> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<Value, Bad> {
        Ok(value.into())
    }

    fn serialize_char(self, value: char) -> Result<Value, Bad> {
        Ok(Value::Text(value.to_string()))
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<Value, Bad> {
        Err(Bad)
    }

    fn serialize_none(self) -> Result<Value, Bad> {
        Ok(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, Bad> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value, Bad> {
        Ok(Value::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, Bad> {
        Ok(Value::Null)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, word: &'static str) -> Result<Value, Bad> {
        Ok(word.into())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Value, Bad> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        word: &'static str,
        value: &T,
    ) -> Result<Value, Bad> {
        Ok(named(word, to_value(value)))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List, Bad> {
        Ok(List(Vec::new()))
    }

    fn serialize_tuple(self, _: usize) -> Result<List, Bad> {
        Ok(List(Vec::new()))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<List, Bad> {
        Ok(List(Vec::new()))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Bad> {
        Err(Bad)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Object, Bad> {
        Ok(Object::default())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Object, Bad> {
        Ok(Object::default())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        word: &'static str,
        _: usize,
    ) -> Result<Object, Bad> {
        Ok(Object {
            word: Some(word),
            ..Object::default()
        })
    }
}

fn named(word: &str, value: Value) -> Value {
    Value::Object(Fields(vec![(word.to_owned(), value)]))
}

struct List(Vec<Value>);

macro_rules! list {
    ($($kind:ident $method:ident),+) => {$(
        impl ser::$kind for List {
            type Ok = Value;
            type Error = Bad;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Bad> {
                self.0.push(value.serialize(Writer)?);
                Ok(())
            }

            fn end(self) -> Result<Value, Bad> {
                Ok(Value::List(self.0))
            }
        }
    )+};
}
list!(SerializeSeq serialize_element, SerializeTuple serialize_element, SerializeTupleStruct serialize_field);

#[derive(Default)]
struct Object {
    fields: Fields,
    /// Of the variant whose fields these are.
    word: Option<&'static str>,
    key: Option<String>,
}

macro_rules! object {
    ($($kind:ident),+) => {$(
        impl ser::$kind for Object {
            type Ok = Value;
            type Error = Bad;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Bad> {
                self.fields.0.push((name.to_owned(), value.serialize(Writer)?));
                Ok(())
            }

            fn end(self) -> Result<Value, Bad> {
                Ok(self.whole())
            }
        }
    )+};
}
object!(SerializeStruct, SerializeStructVariant);

impl Object {
    fn whole(self) -> Value {
        match self.word {
            Some(word) => named(word, Value::Object(self.fields)),
            None => Value::Object(self.fields),
        }
    }
}

impl ser::SerializeMap for Object {
    type Ok = Value;
    type Error = Bad;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Bad> {
        let Value::Text(key) = key.serialize(Writer)? else {
            return Err(Bad);
        };
        self.key = Some(key);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Bad> {
        let key = self.key.take().ok_or(Bad)?;
        self.fields.0.push((key, value.serialize(Writer)?));
        Ok(())
    }

    fn end(self) -> Result<Value, Bad> {
        Ok(self.whole())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Command, ConnectionCommand, Request, ServerMessage};
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[test]
    fn frames_are_written_and_read_as_serde_json_does() {
        for frame in include_str!("../golden/server.jsonl").lines() {
            let value = parse(frame).expect(frame);
            let message: ServerMessage = serde_json::from_str(frame).expect(frame);
            assert_eq!(
                from_value::<ServerMessage>(value).as_ref(),
                Some(&message),
                "{frame}"
            );
            assert_eq!(
                sorted(&to_text(&message)),
                serde_json::to_value(&message).expect("JSON"),
                "{frame}"
            );
        }
        for frame in include_str!("../golden/commands.jsonl").lines() {
            let Ok(Request { command, .. }) = Request::parse(frame) else {
                continue;
            };
            assert_eq!(
                sorted(&to_text(&command)),
                serde_json::to_value(&command).expect("JSON"),
                "{frame}"
            );
            if let Command::Connection(command) = command {
                assert_eq!(
                    from_value::<ConnectionCommand>(to_value(&command)),
                    Some(command),
                    "{frame}"
                );
            }
        }
    }

    /// As whoever compares objects reads it.
    fn sorted(text: &str) -> serde_json::Value {
        serde_json::from_str(text).expect(text)
    }

    fn of<T: DeserializeOwned>(text: &str) -> Option<T> {
        from_value(parse(text)?)
    }

    #[test]
    fn text_is_written_as_json_wants_it() {
        for text in ["", "a\"b\\c", "\u{0}\n\t\u{1f}ü€😀", "</script>"] {
            let value = Value::from(text);
            assert_eq!(sorted(&value.to_text()), serde_json::Value::from(text), "{text}");
        }
        for (number, text) in [
            (0.5, "0.500000"),
            (-2.25, "-2.250000"),
            (9.1, "9.100000"),
            (0.999_999_9, "1.000000"),
        ] {
            assert_eq!(Value::from(number).to_text(), text);
        }
        assert_eq!(
            Value::from(u64::MAX),
            Value::Fraction(18_446_744_073_709_551_615.0)
        );
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Rest {
        text: char,
        tuple: (u8, i64, f32),
        map: BTreeMap<String, Option<bool>>,
        unit: (),
        variant: Kind,
        variants: Vec<Kind>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Kind {
        Plain,
        One(u8),
        Many { a: i8 },
    }

    #[test]
    fn what_no_frame_has_is_the_same_too() {
        let rest = Rest {
            text: 'ß',
            tuple: (1, -2, 0.5),
            map: [("a".to_owned(), Some(true)), ("b".to_owned(), None)].into(),
            unit: (),
            variant: Kind::Plain,
            variants: vec![Kind::One(3), Kind::Many { a: -4 }],
        };
        let value = serde_json::to_value(&rest).expect("JSON");
        assert_eq!(sorted(&to_text(&rest)), value);
        assert_eq!(serde_json::to_value(to_value(&rest)).expect("JSON"), value);
        assert_eq!(from_value(parse(&value.to_string()).expect("JSON")), Some(rest));
        assert_eq!(to_value(&f64::NAN), Value::Null);
    }

    #[test]
    fn what_is_not_of_the_type_is_nothing() {
        for text in [
            r#"{"a":1}"#,
            "[1]",
            "7",
            r#""Strange""#,
            r#"{"One":1,"Many":{"a":1}}"#,
            r#"{"Plain":1}"#,
            "{}",
            "null",
        ] {
            assert_eq!(of::<Kind>(text), None, "{text}");
        }
        assert_eq!(of::<Vec<u8>>("[1,256]"), None);
        assert_eq!(of::<u64>("1.5"), None);
        assert_eq!(of::<u64>("{"), None);
    }
}
