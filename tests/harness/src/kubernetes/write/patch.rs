//! The ways to change an object without sending all of it.

use bytes::Bytes;
use serde_json::Value;

use super::{Part, apply, metadata};
use crate::kubernetes::{
    failure::Failure,
    json::{field, fields},
    kind::Kind,
};

/// A change of an object.
#[derive(Debug, Clone)]
pub(in crate::kubernetes) enum Patch {
    /// RFC 7386.
    Merge(Value),
    /// RFC 6902.
    Json(Vec<Value>),
    /// Server-side apply.
    Apply { value: Value, manager: String },
}

impl Patch {
    /// Reads the body of a request by its content type.
    pub(in crate::kubernetes) fn parse(
        content: &str,
        body: &Bytes,
        manager: &str,
    ) -> Result<Self, Failure> {
        let parse = || serde_json::from_slice::<Value>(body).map_err(unreadable);
        match content.split(';').next().unwrap_or_default().trim() {
            "application/merge-patch+json" => Ok(Self::Merge(parse()?)),
            "application/json-patch+json" => Ok(Self::Json(
                serde_json::from_slice(body).map_err(unreadable)?,
            )),
            "application/apply-patch+yaml" if manager.is_empty() => {
                let why = "fieldManager: Required value: is required for apply patch";
                Err(Failure::invalid("PatchOptions.meta.k8s.io", "", why))
            }
            "application/apply-patch+yaml" => Ok(Self::Apply {
                value: parse()?,
                manager: manager.to_owned(),
            }),
            other => Err(Failure::unsupported_media_type(other)),
        }
    }

    /// The object after the change.
    pub(super) fn apply(
        &self,
        kind: &Kind,
        part: Part,
        mut value: Value,
    ) -> Result<Value, Failure> {
        // An object's own version is no condition; one that the patch names is.
        metadata(&mut value).remove("resourceVersion");
        match self {
            Self::Merge(patch) => merge(&mut value, patch),
            Self::Json(operations) => {
                for operation in operations {
                    operate(&mut value, operation).ok_or_else(|| {
                        Failure::invalid(&kind.name, "", "the server rejected our request")
                    })?;
                }
            }
            Self::Apply {
                value: wanted,
                manager,
            } => {
                apply::apply(&mut value, wanted);
                apply::sign(&mut value, manager, part);
            }
        }
        Ok(value)
    }
}

fn unreadable(error: serde_json::Error) -> Failure {
    Failure::bad_request(format!("error decoding patch: {error}"))
}

fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    for (name, change) in patch {
        if change.is_null() {
            fields(value).remove(name);
        } else {
            merge(field(value, name), change);
        }
    }
}

/// One operation of a JSON patch.
fn operate(value: &mut Value, operation: &Value) -> Option<()> {
    let path = operation.get("path")?.as_str()?;
    match operation.get("op")?.as_str()? {
        "test" => (value.pointer(path)? == operation.get("value")?).then_some(()),
        "add" => put(value, path, operation.get("value")?.clone(), List::Insert),
        "replace" => {
            value.pointer(path)?;
            put(value, path, operation.get("value")?.clone(), List::Replace)
        }
        "remove" => take(value, path).map(drop),
        "copy" => {
            let copied = value.pointer(operation.get("from")?.as_str()?)?.clone();
            put(value, path, copied, List::Insert)
        }
        "move" => {
            let moved = take(value, operation.get("from")?.as_str()?)?;
            put(value, path, moved, List::Insert)
        }
        _ => None,
    }
}

/// What happens to the element of a list that is at the place already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    Insert,
    Replace,
}

fn put(value: &mut Value, path: &str, new: Value, list: List) -> Option<()> {
    if path.is_empty() {
        *value = new;
        return Some(());
    }
    let (parent, last) = path.rsplit_once('/')?;
    match value.pointer_mut(parent)? {
        Value::Object(object) => {
            object.insert(unescaped(last), new);
        }
        Value::Array(array) if last == "-" => array.push(new),
        Value::Array(array) => {
            let index: usize = last.parse().ok()?;
            match list {
                List::Replace => *array.get_mut(index)? = new,
                List::Insert if index <= array.len() => array.insert(index, new),
                List::Insert => return None,
            }
        }
        _ => return None,
    }
    Some(())
}

fn take(value: &mut Value, path: &str) -> Option<Value> {
    let (parent, last) = path.rsplit_once('/')?;
    match value.pointer_mut(parent)? {
        Value::Object(object) => object.remove(&unescaped(last)),
        Value::Array(array) => {
            let index: usize = last.parse().ok()?;
            (index < array.len()).then(|| array.remove(index))
        }
        _ => None,
    }
}

/// A part of a JSON pointer as the name that it stands for.
fn unescaped(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}
