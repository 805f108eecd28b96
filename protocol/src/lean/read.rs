//! A type from a value.

use super::{Bad, Fields, Value};
use serde::{
    Deserializer,
    de::{DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor},
    forward_to_deserialize_any,
};

pub(super) struct Reader(pub(super) Value);

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
