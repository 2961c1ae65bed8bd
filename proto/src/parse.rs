//! Messages from their JSON or YAML, as Envoy's documentation and [`crate::print`] write them.

use bytes::Bytes;
use prost_reflect::DynamicMessage;
use serde_json::Value as Json;

use crate::schema::Schema;
use crate::{Any, canonical};

/// Why a message could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// The type URL names no message that this build knows.
    #[error("unknown message type {type_url:?}")]
    UnknownType {
        /// The URL that was asked for.
        type_url: String,
    },
    /// The value says by its `@type` that it is something else.
    #[error("expected {expected:?}, found @type {found}")]
    OtherType {
        /// The URL that was asked for.
        expected: String,
        /// What `@type` holds.
        found: Json,
    },
    /// The value does not fit the message.
    #[error("{type_url}: at {path}")]
    Invalid {
        /// The message that was asked for.
        type_url: String,
        /// The field, as a path from the message.
        path: String,
        /// What is wrong there.
        source: serde_json::Error,
    },
    /// The text is not YAML.
    #[error("invalid yaml")]
    Yaml(#[from] serde_saphyr::Error),
}

/// Reads a message of the type that `type_url` names. Field names may be `snake_case` or `camelCase`, an
/// unknown one is an error. A `@type` in the value may repeat the type.
///
/// Equal values give equal bytes: maps are encoded in the order of their keys.
///
/// # Errors
/// [`ParseError`], with the field that is wrong.
pub fn from_json(type_url: &str, mut value: Json) -> Result<Any, ParseError> {
    let descriptor = Schema::shared()
        .message(type_url)
        .ok_or_else(|| ParseError::UnknownType {
            type_url: type_url.to_owned(),
        })?;
    if let Some(found) = value
        .as_object_mut()
        .and_then(|fields| fields.remove("@type"))
        && found != type_url
    {
        return Err(ParseError::OtherType {
            expected: type_url.to_owned(),
            found,
        });
    }
    let mut track = serde_path_to_error::Track::new();
    let deserializer = serde_path_to_error::Deserializer::new(value, &mut track);
    let message = DynamicMessage::deserialize(descriptor, deserializer).map_err(|source| {
        ParseError::Invalid {
            type_url: type_url.to_owned(),
            path: track.path().to_string(),
            source,
        }
    })?;
    Ok(Any {
        type_url: type_url.to_owned(),
        value: Bytes::from(canonical::encode(message)),
    })
}

/// Reads a message of the type that `type_url` names from YAML, as [`from_json`] does.
///
/// # Errors
/// [`ParseError`], with the field that is wrong.
pub fn from_yaml(type_url: &str, text: &str) -> Result<Any, ParseError> {
    from_json(type_url, serde_saphyr::from_str(text)?)
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use serde_json::json;

    use super::*;
    use crate::envoy::config::core::v3::{Metadata, TypedExtensionConfig};
    use crate::{any, type_url};

    const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";

    #[test]
    fn bad_input_is_an_error_that_names_the_place() {
        let check = |type_url: &str, yaml: &str, expected: &str| {
            let error = from_yaml(type_url, yaml).unwrap_err();
            let cause = error.source().map(ToString::to_string).unwrap_or_default();
            let text = format!("{error}: {cause}");
            assert!(text.contains(expected), "{text}");
        };
        check(
            "type.googleapis.com/example.Unknown",
            "{}",
            "unknown message type",
        );
        check(CLUSTER, "{'@type': other}", "found @type \"other\"");
        check(CLUSTER, "nmae: a", "nmae");
        check(
            CLUSTER,
            "outlier_detection: {interval: soon}",
            "at outlier_detection.interval",
        );
        check(
            CLUSTER,
            "circuit_breakers: {thresholds: [{}, {max_requests: -1}]}",
            "at circuit_breakers.thresholds[1].max_requests",
        );
        check(CLUSTER, "type: NO_SUCH_TYPE", "NO_SUCH_TYPE");
        check(
            CLUSTER,
            "transport_socket: {typed_config: {'@type': a/b.C}}",
            "b.C",
        );
        check(CLUSTER, "transport_socket: {typed_config: {}}", "@type");
        check(CLUSTER, "[1]", "at");
        check(CLUSTER, "name: [", "invalid yaml");
        check(CLUSTER, "", "at");
    }

    #[test]
    fn equal_text_gives_equal_bytes_inside_of_an_any_too() {
        let metadata = |keys: Vec<usize>| {
            let filters: serde_json::Map<_, _> = keys
                .into_iter()
                .map(|key| {
                    (
                        format!("filter-{key}"),
                        json!({"a": 1, "b": {"c": 2, "d": [{"e": 3, "f": 4}]}}),
                    )
                })
                .collect();
            json!({"filter_metadata": filters})
        };
        let holder = |keys| {
            let mut typed_config = metadata(keys);
            typed_config["@type"] = Json::from(type_url::<Metadata>());
            json!({"name": "holder", "typed_config": typed_config})
        };
        let holder_type = type_url::<TypedExtensionConfig>();
        let forward = from_json(&holder_type, holder((0..50).collect())).unwrap();
        let backward = from_json(&holder_type, holder((0..50).rev().collect())).unwrap();
        assert_eq!(forward, backward);

        // What the generated types encode is the same again.
        let mut typed: TypedExtensionConfig = forward.unpack().unwrap();
        let inner: Metadata = typed.typed_config.take().unwrap().unpack().unwrap();
        assert_eq!(inner.filter_metadata.len(), 50);
        typed.typed_config = Some(any(&inner));
        assert_eq!(any(&typed), forward);
    }

    #[test]
    fn a_deep_nest_is_read_or_refused() {
        let nest = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let list_type = "type.googleapis.com/google.protobuf.ListValue";
        assert!(from_yaml(list_type, &nest(30)).is_ok());
        assert!(from_yaml(list_type, &nest(100_000)).is_err());
    }
}
