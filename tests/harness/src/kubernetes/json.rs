//! Reading and writing places in JSON that may look any way.

use serde_json::{Map, Value};

/// What is at a JSON pointer; `null` if nothing is.
pub(super) fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// The text at a JSON pointer; empty if there is none.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    at(value, pointer).as_str().unwrap_or_default()
}

/// The fields of an object. What is no object is replaced by an empty one.
pub(super) fn fields(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value
        .as_object_mut()
        .expect("what is no object was replaced by one")
}

/// The field of an object, which is made if it is not there.
pub(super) fn field<'a>(value: &'a mut Value, name: &str) -> &'a mut Value {
    fields(value).entry(name).or_insert(Value::Null)
}

/// Writes a field, by the names on the way to it.
pub(super) fn set(value: &mut Value, path: &[&str], new: impl Into<Value>) {
    let place = path.iter().fold(value, |value, name| field(value, name));
    *place = new.into();
}
