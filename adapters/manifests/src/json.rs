//! JSON as API servers write it, decoded with a note of the fields that no type has.

use std::fmt::Write;

use serde::de::DeserializeOwned;
use serde_ignored::Path;

use crate::{Manifest, ManifestKind};

/// Nobody reads more about one object, and an object can have a thousand fields that are not known.
const UNKNOWN_MAX: usize = 20;

/// Why an object is not what its type says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JsonError {
    /// The field; empty for the object as a whole.
    pub(crate) path: String,
    pub(crate) message: String,
}

/// An object, and the fields that its type does not have and that mean something.
pub(crate) fn decode<T: DeserializeOwned + Into<Manifest>>(
    kind: ManifestKind,
    text: &str,
) -> Result<(Manifest, Vec<String>), JsonError> {
    let mut unknown = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let noted = |path: Path<'_>| {
        if unknown.len() < UNKNOWN_MAX {
            let field = written(&path);
            if !kind.is_known_field(&field) {
                unknown.push(field);
            }
        }
    };
    match serde_ignored::deserialize::<_, _, T>(&mut deserializer, noted) {
        Ok(object) => Ok((object.into(), unknown)),
        Err(_) => Err(error::<T>(text)),
    }
}

/// What is wrong, found by reading a second time: to keep track of the path costs more than all the rest.
fn error<T: DeserializeOwned>(text: &str) -> JsonError {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Ok(_) => JsonError {
            path: String::new(),
            message: "the object cannot be read".to_owned(),
        },
        Err(error) => {
            let path = error.path().to_string();
            let message = error.into_inner().to_string();
            // The object stands in a line of its own, which nobody sees.
            let message = message
                .rsplit_once(" at line ")
                .map_or(&*message, |(m, _)| m);
            JsonError {
                path: if path == "." { String::new() } else { path },
                message: crate::metadata::shortened(message),
            }
        }
    }
}

/// A path as messages have it: `spec.ports[3].name`.
fn written(path: &Path<'_>) -> String {
    fn write(path: &Path<'_>, text: &mut String) {
        match path {
            Path::Root => {}
            Path::Seq { parent, index } => {
                write(parent, text);
                // Writing to a String does not fail.
                let _ = write!(text, "[{index}]");
            }
            Path::Map { parent, key } => {
                write(parent, text);
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(key);
            }
            Path::Some { parent }
            | Path::NewtypeStruct { parent }
            | Path::NewtypeVariant { parent } => write(parent, text),
        }
    }
    let mut text = String::new();
    write(path, &mut text);
    text
}
