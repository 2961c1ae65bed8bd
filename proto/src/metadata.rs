//! Messages of ours that travel as the entries of a `google.protobuf.Struct`, such as a Node's metadata.
//!
//! An entry's key is the JSON name of its field. Whoever else writes into the same `Struct` has keys of his own, which are ignored.

use prost::Name;
use prost_reflect::{DynamicMessage, MessageDescriptor, SerializeOptions};
use prost_types::{Struct, Value, value::Kind};
use serde_json::{Map, Value as Json};

use crate::schema::Schema;
use crate::type_url;

/// An entry that is not what its field wants.
#[derive(Debug, thiserror::Error)]
#[error("the entry {key} has the value {value}")]
pub struct EntryError {
    /// The key.
    pub key: String,
    /// The value, as JSON.
    pub value: Json,
    /// What is wrong with it.
    pub source: serde_json::Error,
}

/// The message whose fields are entries.
///
/// # Errors
/// [`EntryError`] for the first field, by number, whose entry has a value of another type.
pub fn from_struct<M: Name + Default>(entries: &Struct) -> Result<M, EntryError> {
    let descriptor = descriptor::<M>();
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        let key = field.json_name();
        let Some(value) = entries.fields.get(key) else {
            continue;
        };
        let value = json(value);
        let entry = Json::Object(Map::from_iter([(key.to_owned(), value.clone())]));
        let read = DynamicMessage::deserialize(descriptor.clone(), entry);
        let read = read.map_err(|source| EntryError {
            key: key.to_owned(),
            value,
            source,
        })?;
        message.set_field(&field, read.get_field(&field).into_owned());
    }
    Ok(message
        .transcode_to()
        .expect("the descriptors are those that the type was generated from"))
}

/// The entries of a message, in JSON: one for each field that has a value.
pub fn entries<M: Name>(message: &M) -> Map<String, Json> {
    let mut dynamic = DynamicMessage::new(descriptor::<M>());
    dynamic
        .transcode_from(message)
        .expect("the descriptors are those that the type was generated from");
    let json =
        dynamic.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new());
    match json {
        Ok(Json::Object(entries)) => Some(entries),
        _ => None,
    }
    .expect("a message of ours is an object in JSON")
}

fn descriptor<M: Name>() -> MessageDescriptor {
    Schema::shared()
        .message(&type_url::<M>())
        .expect("every generated type has its descriptor")
}

fn json(value: &Value) -> Json {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(value)) => Json::from(*value),
        // As whoever wrote it did: `5`, not `5.0`.
        Some(Kind::NumberValue(value)) => {
            serde_json::from_str(&value.to_string()).unwrap_or_default()
        }
        Some(Kind::StringValue(text)) => Json::from(text.as_str()),
        Some(Kind::ListValue(list)) => list.values.iter().map(json).collect(),
        Some(Kind::StructValue(entries)) => entries
            .fields
            .iter()
            .map(|(key, value)| (key.clone(), json(value)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bowline::node::v1::NodeMetadata;
    use crate::envoy::config::core::v3::Node;
    use crate::parse;

    fn read(metadata: Json) -> Result<NodeMetadata, EntryError> {
        let node = parse::from_json(&type_url::<Node>(), json!({"metadata": metadata})).unwrap();
        let node: Node = node.unpack().unwrap();
        from_struct(&node.metadata.unwrap())
    }

    #[test]
    fn what_was_written_is_read_among_the_entries_of_others() {
        let message = NodeMetadata {
            name: "cart-1".to_owned(),
            instance_ips: "10.0.0.1,fd00::1".to_owned(),
            ..NodeMetadata::default()
        };
        let mut metadata = entries(&message);
        assert_eq!(
            Json::Object(metadata.clone()),
            json!({"NAME": "cart-1", "INSTANCE_IPS": "10.0.0.1,fd00::1"})
        );
        let others = json!({
            // Not keys of ours, although fields have these names.
            "name": {"a": [1, null, true]},
            "instanceIps": 5,
            "LABELS": {"app": "cart"},
            "NETWORK": "",
            "GATEWAY": null,
        });
        metadata.extend(others.as_object().unwrap().clone());
        assert_eq!(read(Json::Object(metadata)).unwrap(), message);
    }

    #[test]
    fn a_value_of_another_type_is_an_error_that_names_the_key() {
        for value in [
            json!(5),
            json!(true),
            json!(["10.0.0.1"]),
            json!({"a": "b"}),
        ] {
            let error = read(json!({"NAME": "a", "INSTANCE_IPS": value})).unwrap_err();
            assert_eq!((error.key.as_str(), &error.value), ("INSTANCE_IPS", &value));
        }
    }
}
