//! A message of any type, as it travels inside of another.

use bytes::Bytes;
use prost::{DecodeError, Message, Name};

/// `google.protobuf.Any`: an encoded message and the URL of its type.
///
/// The value is `Bytes`: decoded from `Bytes` it is a slice of the same memory, and a clone shares it.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Any {
    /// `type.googleapis.com/` and the full name of the message.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The message, encoded.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

impl Name for Any {
    const NAME: &'static str = "Any";
    const PACKAGE: &'static str = "google.protobuf";

    fn type_url() -> String {
        "type.googleapis.com/google.protobuf.Any".to_owned()
    }
}

impl Any {
    /// The message inside.
    ///
    /// # Errors
    /// [`UnpackError`] if it is of another type, or does not decode as this one.
    pub fn unpack<M: Name + Default>(&self) -> Result<M, UnpackError> {
        // Only what follows the last slash names the type: the domain before it is free to choose.
        let name = self.type_url.rsplit('/').next().unwrap_or_default();
        if name != M::full_name() {
            return Err(UnpackError::OtherType {
                expected: M::full_name(),
                found: name.to_owned(),
            });
        }
        M::decode(self.value.clone()).map_err(|source| UnpackError::Undecodable {
            name: M::full_name(),
            source,
        })
    }
}

/// Why an [`Any`] did not yield the expected message.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Another message is inside.
    #[error("expected {expected}, found {found}")]
    OtherType {
        /// The full name of the message that was asked for.
        expected: String,
        /// The full name of the message that is inside.
        found: String,
    },
    /// The bytes are not of the type that the URL says.
    #[error("cannot decode {name}")]
    Undecodable {
        /// The full name of the message.
        name: String,
        /// What the decoder stumbled on.
        source: DecodeError,
    },
}

/// Packs a message, under its type URL.
pub fn any<M: Name>(message: &M) -> Any {
    Any {
        type_url: M::type_url(),
        value: Bytes::from(message.encode_to_vec()),
    }
}

/// The URL that names a type on the wire: `type.googleapis.com/` and its full name.
pub fn type_url<M: Name>() -> String {
    M::type_url()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::config::core::v3::{Address, Metadata, Node};
    use crate::envoy::service::discovery::v3::DiscoveryResponse;

    #[test]
    fn the_value_of_a_decoded_any_is_a_slice_of_what_was_received() {
        let response = DiscoveryResponse {
            resources: vec![any(&Node {
                id: "a-node".to_owned(),
                ..Node::default()
            })],
            ..DiscoveryResponse::default()
        };
        let received = Bytes::from(response.encode_to_vec());
        let decoded = DiscoveryResponse::decode(received.clone()).unwrap();
        let value = decoded.resources[0].value.as_ptr_range();
        let whole = received.as_ptr_range();
        assert!(whole.start < value.start && value.end <= whole.end);
    }

    #[test]
    fn equal_maps_encode_equally_whatever_the_order_of_insertion() {
        let metadata = |keys: Vec<usize>| Metadata {
            filter_metadata: keys
                .into_iter()
                .map(|key| (format!("filter-{key}"), prost_types::Struct::default()))
                .collect(),
            ..Metadata::default()
        };
        let forward = any(&metadata((0..50).collect()));
        let backward = any(&metadata((0..50).rev().collect()));
        let strided = any(&metadata((0..50).map(|n| n * 7 % 50).collect()));
        assert_eq!(forward, backward);
        assert_eq!(forward, strided);
    }

    #[test]
    fn unpacks_only_the_type_that_is_inside() {
        let node = Node {
            id: "a-node".to_owned(),
            ..Node::default()
        };
        let packed = any(&node);
        assert_eq!(
            packed.type_url,
            "type.googleapis.com/envoy.config.core.v3.Node"
        );
        assert_eq!(packed.unpack::<Node>().unwrap(), node);
        assert_eq!(
            packed.unpack::<Address>().unwrap_err().to_string(),
            "expected envoy.config.core.v3.Address, found envoy.config.core.v3.Node"
        );
        let broken = Any {
            value: Bytes::from_static(b"\xff"),
            ..packed
        };
        assert!(matches!(
            broken.unpack::<Node>(),
            Err(UnpackError::Undecodable { .. })
        ));
    }
}
