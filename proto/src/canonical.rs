//! One encoding for equal messages.
//!
//! A [`DynamicMessage`] holds maps in hash order and encodes them so: differently each time. The version
//! of a resource is a hash of its bytes, so what is parsed from text is encoded here instead.

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value};

use crate::Any;
use crate::schema::Schema;

/// Encodes a message with its fields in the order of their numbers and maps in the order of their keys,
/// inside of every `Any` too.
pub(crate) fn encode(mut message: DynamicMessage) -> Vec<u8> {
    if message.descriptor().full_name() == "google.protobuf.Any" {
        return encode_any(&message);
    }
    let mut buffer = Vec::new();
    let mut fields: Vec<_> = message.take_fields().collect();
    fields.sort_by_key(|(field, _)| field.number());
    for (field, value) in fields {
        encode_field(&field, value, &mut buffer);
    }
    buffer
}

fn encode_any(message: &DynamicMessage) -> Vec<u8> {
    let Ok(mut any) = message.transcode_to::<Any>() else {
        return message.encode_to_vec();
    };
    let inner = Schema::shared()
        .message(&any.type_url)
        .and_then(|descriptor| DynamicMessage::decode(descriptor, any.value.clone()).ok());
    if let Some(inner) = inner {
        any.value = encode(inner).into();
    }
    any.encode_to_vec()
}

fn encode_field(field: &FieldDescriptor, value: Value, buffer: &mut Vec<u8>) {
    match (field.kind(), value) {
        (Kind::Message(entry), Value::Map(entries)) => {
            let mut entries: Vec<(MapKey, Value)> = entries.into_iter().collect();
            entries.sort_by(|(one, _), (other, _)| one.cmp(other));
            for (key, value) in entries {
                let mut message = DynamicMessage::new(entry.clone());
                message.set_field(&entry.map_entry_key_field(), key.into());
                message.set_field(&entry.map_entry_value_field(), value);
                encode_delimited(field, &encode(message), buffer);
            }
        }
        (Kind::Message(_), Value::List(values)) => {
            for value in values {
                encode_field(field, value, buffer);
            }
        }
        (_, Value::Message(message)) => encode_delimited(field, &encode(message), buffer),
        (_, value) => {
            // Nothing in it has an order to choose: the library's own encoding of this one field.
            let mut message = DynamicMessage::new(field.parent_message().clone());
            message.set_field(field, value);
            buffer.extend(message.encode_to_vec());
        }
    }
}

fn encode_delimited(field: &FieldDescriptor, bytes: &[u8], buffer: &mut Vec<u8>) {
    encode_key(field.number(), WireType::LengthDelimited, buffer);
    encode_varint(bytes.len() as u64, buffer);
    buffer.extend_from_slice(bytes);
}
