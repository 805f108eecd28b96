//! Holds what travels to a published schema: nothing missing, nothing wrong, and nothing that the schema does not name.

use serde_json::{Value, json};

/// Schemas with `$ref`s into a document's `components`.
pub struct Schemas {
    components: Value,
}

impl Schemas {
    /// From an OpenAPI or AsyncAPI document. An object is held to its named fields, although the document lets a client
    /// expect more of them later.
    pub fn strict(document: &Value) -> Self {
        let open = document["components"].clone();
        let mut components = open.clone();
        close(&mut components["schemas"], &open, false);
        Self { components }
    }

    /// Everything that is wrong with a value.
    pub fn errors(&self, schema: &Value, value: &Value) -> Vec<String> {
        let mut whole = schema.clone();
        close(&mut whole, &self.components, false);
        whole["components"] = self.components.clone();
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&whole)
            .unwrap_or_else(|error| panic!("not a schema: {error} in {schema:#}"));
        validator
            .iter_errors(value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect()
    }

    pub fn check(&self, schema: &Value, value: &Value, what: &str) {
        let errors = self.errors(schema, value);
        assert!(errors.is_empty(), "{what}: {errors:#?} in {value:#}");
    }
}

/// A part of an `allOf` stays open: it does not know the other parts' fields. The whole does.
fn close(schema: &mut Value, components: &Value, is_part: bool) {
    match schema {
        Value::Object(fields) => {
            for (name, inner) in fields.iter_mut() {
                if name != "allOf" {
                    close(inner, components, false);
                    continue;
                }
                for part in inner.as_array_mut().into_iter().flatten() {
                    let target = part["$ref"].as_str().and_then(|path| path.rsplit('/').next());
                    if let Some(target) = target {
                        *part = components["schemas"][target].clone();
                        part.as_object_mut()
                            .map(|part| part.remove("unevaluatedProperties"));
                    }
                    close(part, components, true);
                }
            }
            if !is_part && (fields.contains_key("properties") || fields.contains_key("allOf")) {
                fields.insert("unevaluatedProperties".into(), json!(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| close(item, components, false)),
        _ => {}
    }
}
