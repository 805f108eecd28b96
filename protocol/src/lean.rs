//! From `Value` to types and back, in few bytes of WebAssembly. It does what `serde_json` does, except that an error has no text
//! (a browser shows none), and that no struct is read from a list. That halves the code that the derives become.

use serde::{
    Deserializer, Serialize, Serializer,
    de::{
        self, DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
        VariantAccess, Visitor,
    },
    forward_to_deserialize_any, ser,
};
use serde_json::{Map, Number, Value};
use std::fmt;

/// The type, or nothing if the value is not one.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Option<T> {
    T::deserialize(Reader(value)).ok()
}

/// The type that this JSON text is of.
pub fn from_text<T: DeserializeOwned>(text: &str) -> Option<T> {
    from_value(serde_json::from_str(text).ok()?)
}

/// The value as JSON; null for what JSON cannot say.
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Value {
    value.serialize(Writer).unwrap_or_default()
}

pub fn to_text<T: Serialize + ?Sized>(value: &T) -> String {
    to_value(value).to_string()
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
            Value::Number(_) => number(&self.0, visitor),
            Value::String(text) => visitor.visit_string(text),
            Value::Array(items) => visitor.visit_seq(Items(items.into_iter())),
            Value::Object(fields) => visitor.visit_map(Fields::of(fields)),
        }
    }

    numbers!(
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_f32 deserialize_f64
    );

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        self.0
            .as_bool()
            .ok_or(Bad)
            .and_then(|flag| visitor.visit_bool(flag))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        self.deserialize_string(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        match self.0 {
            Value::String(text) => visitor.visit_string(text),
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
        if self.0.is_null() {
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
            Value::Array(items) => visitor.visit_seq(Items(items.into_iter())),
            _ => Err(Bad),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        match self.0 {
            Value::Object(fields) => visitor.visit_map(Fields::of(fields)),
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
            Value::String(word) => visitor.visit_enum(Variant { word, content: None }),
            Value::Object(fields) => {
                let mut fields = fields.into_iter();
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
    let Value::Number(number) = value else {
        return Err(Bad);
    };
    if let Some(whole) = number.as_u64() {
        visitor.visit_u64(whole)
    } else if let Some(whole) = number.as_i64() {
        visitor.visit_i64(whole)
    } else {
        visitor.visit_f64(number.as_f64().ok_or(Bad)?)
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

struct Fields {
    fields: serde_json::map::IntoIter,
    value: Value,
}

impl Fields {
    fn of(fields: Map<String, Value>) -> Self {
        Self {
            fields: fields.into_iter(),
            value: Value::Null,
        }
    }
}

impl<'de> MapAccess<'de> for Fields {
    type Error = Bad;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Bad> {
        let Some((name, value)) = self.fields.next() else {
            return Ok(None);
        };
        self.value = value;
        seed.deserialize(name.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Bad> {
        seed.deserialize(Reader(self.value.take()))
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
    ($($method:ident: $kind:ty),+ $(,)?) => {$(
        fn $method(self, value: $kind) -> Result<Value, Bad> {
            Ok(value.into())
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
        serialize_bool: bool, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_str: &str,
    );

    fn serialize_f32(self, value: f32) -> Result<Value, Bad> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<Value, Bad> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn serialize_char(self, value: char) -> Result<Value, Bad> {
        Ok(value.to_string().into())
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
    let mut fields = Map::new();
    fields.insert(word.to_owned(), value);
    Value::Object(fields)
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
                Ok(Value::Array(self.0))
            }
        }
    )+};
}
list!(SerializeSeq serialize_element, SerializeTuple serialize_element, SerializeTupleStruct serialize_field);

#[derive(Default)]
struct Object {
    fields: Map<String, Value>,
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
                self.fields.insert(name.to_owned(), value.serialize(Writer)?);
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
        let Value::String(key) = key.serialize(Writer)? else {
            return Err(Bad);
        };
        self.key = Some(key);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Bad> {
        let key = self.key.take().ok_or(Bad)?;
        self.fields.insert(key, value.serialize(Writer)?);
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
            let value: Value = serde_json::from_str(frame).expect(frame);
            let message: ServerMessage = serde_json::from_str(frame).expect(frame);
            assert_eq!(
                from_value::<ServerMessage>(value).as_ref(),
                Some(&message),
                "{frame}"
            );
            assert_eq!(
                to_value(&message),
                serde_json::to_value(&message).expect("JSON"),
                "{frame}"
            );
        }
        for frame in include_str!("../golden/commands.jsonl").lines() {
            let Ok(Request { command, .. }) = Request::parse(frame) else {
                continue;
            };
            assert_eq!(
                to_value(&command),
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
        assert_eq!(to_value(&rest), value);
        assert_eq!(from_value(value), Some(rest));
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
            assert_eq!(from_text::<Kind>(text), None, "{text}");
        }
        assert_eq!(from_text::<Vec<u8>>("[1,256]"), None);
        assert_eq!(from_text::<u64>("1.5"), None);
        assert_eq!(from_text::<u64>("{"), None);
    }
}
