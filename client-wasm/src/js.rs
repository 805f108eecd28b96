//! Between JavaScript's values and ours. JavaScript reads JSON text faster than we could, and in bytes that nobody downloads.

use flashsale_protocol::lean::{self, Fields, Value};
use js_sys::{Array, JSON, Object, Reflect};
use wasm_bindgen::{JsCast, JsValue};

/// A whole number above this is not exact any more.
const MOST_EXACT: f64 = 9_007_199_254_740_991.0;

/// Null for what is no JSON.
pub fn parse(text: &str) -> Value {
    JSON::parse(text).map_or(Value::Null, |value| read(&value))
}

pub fn read(value: &JsValue) -> Value {
    if let Some(text) = value.as_string() {
        Value::Text(text)
    } else if let Some(number) = value.as_f64() {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it has no fraction and is small enough"
        )]
        if number.trunc() == number && number.abs() <= MOST_EXACT {
            Value::Whole(number as i64)
        } else {
            Value::Fraction(number)
        }
    } else if let Some(flag) = value.as_bool() {
        Value::Bool(flag)
    } else if let Some(items) = value.dyn_ref::<Array>() {
        Value::List(items.iter().map(|item| read(&item)).collect())
    } else if let Some(object) = value.dyn_ref::<Object>() {
        let entries = Object::entries(object);
        let entry = |pair: JsValue| {
            let pair: Array = pair.unchecked_into();
            (pair.get(0).as_string().unwrap_or_default(), read(&pair.get(1)))
        };
        Value::Object(Fields(entries.iter().map(entry).collect()))
    } else {
        Value::Null
    }
}

/// A plain object for the page.
pub fn write(value: &(impl serde::Serialize + ?Sized)) -> JsValue {
    plain(&lean::to_value(value))
}

fn plain(value: &Value) -> JsValue {
    match value {
        Value::Null => JsValue::NULL,
        Value::Bool(flag) => (*flag).into(),
        #[expect(
            clippy::cast_precision_loss,
            reason = "times, amounts and counts are below 2^53"
        )]
        Value::Whole(number) => (*number as f64).into(),
        Value::Fraction(number) => (*number).into(),
        Value::Text(text) => text.into(),
        Value::List(items) => items.iter().map(plain).collect::<Array>().into(),
        Value::Object(Fields(fields)) => {
            let object = Object::new();
            for (name, value) in fields {
                // A plain object takes every field.
                let _ = Reflect::set(&object, &name.into(), &plain(value));
            }
            object.into()
        }
    }
}
