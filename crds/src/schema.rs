//! Schema fragments that the derives cannot express.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// Schema of an optional field that may be absent but not `null`: CEL's `has()` then means what it says.
pub(crate) fn absent_or<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    T::json_schema(generator)
}

/// Values of any scalar type; the operator checks each against the type of its key.
pub(crate) fn free_values(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": { "x-kubernetes-preserve-unknown-fields": true },
    })
}

/// Resource names and quantities, without the page of text that the type itself would bring along.
pub(crate) fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": { "x-kubernetes-int-or-string": true },
    })
}
