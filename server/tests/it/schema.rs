//! Holds what travels to a published schema: nothing missing, nothing wrong, and nothing that the schema does not name.

use serde_json::{Value, json};

/// Validates against `$ref`s into a document's `components`.
pub struct Schemas {
    components: Value,
}

impl Schemas {
    /// From an OpenAPI or AsyncAPI document. An object is held to its named fields, although the document lets a client
    /// expect more of them later.
    pub fn strict(document: &Value) -> Self {
        let mut components = document["components"].clone();
        close(&mut components["schemas"]);
        Self { components }
    }

    /// Panics with what is wrong.
    pub fn check(&self, schema: &Value, value: &Value, what: &str) {
        let mut whole = schema.clone();
        whole["components"] = self.components.clone();
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&whole)
            .unwrap_or_else(|error| panic!("{what}: not a schema: {error}"));
        let wrong: Vec<String> = validator
            .iter_errors(value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{what}: {wrong:#?} in {value:#}");
    }
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.values_mut().for_each(close);
            // In `allOf` a part does not know the other parts' fields; the whole does.
            if let Some(parts) = fields.get_mut("allOf") {
                for part in parts.as_array_mut().into_iter().flatten() {
                    part.as_object_mut()
                        .map(|part| part.remove("unevaluatedProperties"));
                }
            }
            if fields.contains_key("properties") || fields.contains_key("allOf") {
                fields.insert("unevaluatedProperties".into(), json!(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}
