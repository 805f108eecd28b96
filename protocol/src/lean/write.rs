//! A value from a type.

use super::{Bad, Fields, Value, to_value};
use serde::{Serialize, Serializer, ser};

pub(super) struct Writer;

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

pub(super) struct List(Vec<Value>);

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
pub(super) struct Object {
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
