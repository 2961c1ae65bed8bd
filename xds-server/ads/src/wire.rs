//! Responses as bytes. Resources are encoded already: only the framing around them is written here, field by field.

use bowline_snapshot::{Body, Version};
use bytes::BufMut;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::response::Response;

/// Fields of `envoy.service.discovery.v3.DiscoveryResponse`.
mod state_of_the_world_field {
    pub(super) const VERSION_INFO: u32 = 1;
    pub(super) const RESOURCES: u32 = 2;
    pub(super) const TYPE_URL: u32 = 4;
    pub(super) const CONTROL_PLANE: u32 = 6;
}

/// Fields of `envoy.service.discovery.v3.DeltaDiscoveryResponse`.
mod delta_field {
    pub(super) const SYSTEM_VERSION_INFO: u32 = 1;
    pub(super) const RESOURCES: u32 = 2;
    pub(super) const TYPE_URL: u32 = 4;
    pub(super) const REMOVED_RESOURCES: u32 = 6;
    pub(super) const CONTROL_PLANE: u32 = 7;
}

/// Fields of `envoy.service.discovery.v3.Resource`.
mod resource_field {
    pub(super) const VERSION: u32 = 1;
    pub(super) const RESOURCE: u32 = 2;
    pub(super) const NAME: u32 = 3;
}

/// Fields of `google.protobuf.Any`.
mod any_field {
    pub(super) const TYPE_URL: u32 = 1;
    pub(super) const VALUE: u32 = 2;
}

/// Field of `envoy.config.core.v3.ControlPlane`.
const CONTROL_PLANE_IDENTIFIER: u32 = 1;

/// Length of a version as text.
const VERSION_LEN: usize = 32;

/// Digits of a nonce. With a fixed length, responses to different streams differ in these digits only.
const NONCE_DIGITS: usize = 8;

/// The field of a nonce, which is 5 in the responses of both variants. It is written last.
const NONCE: u32 = 5;

/// A nonce as text.
pub(crate) struct Nonce(String);

impl Nonce {
    pub(crate) fn of(number: u64) -> Self {
        Self(format!("{number:0NONCE_DIGITS$}"))
    }

    /// Length of [`Self::write`].
    pub(crate) fn field_len(&self) -> usize {
        field_len(NONCE, self.0.len())
    }

    pub(crate) fn write(&self, buffer: &mut impl BufMut) {
        write_text(NONCE, &self.0, buffer);
    }
}

/// Length of [`write_state_of_the_world`].
pub(crate) fn state_of_the_world_len(response: &Response, control_plane: &str) -> usize {
    use state_of_the_world_field as field;
    let resources = response.resources.iter().map(|(resource, _)| {
        let any = any_len(&response.type_url, resource.body());
        field_len(field::RESOURCES, any)
    });
    field_len(field::VERSION_INFO, VERSION_LEN)
        + resources.sum::<usize>()
        + field_len(field::TYPE_URL, response.type_url.len())
        + control_plane_len(field::CONTROL_PLANE, control_plane)
}

/// Encodes a `DiscoveryResponse`, but for its nonce.
pub(crate) fn write_state_of_the_world(
    response: &Response,
    control_plane: &str,
    buffer: &mut impl BufMut,
) {
    use state_of_the_world_field as field;
    write_version(field::VERSION_INFO, response.version, buffer);
    for (resource, _) in &response.resources {
        let any = any_len(&response.type_url, resource.body());
        write_head(field::RESOURCES, any, buffer);
        write_any(&response.type_url, resource.body(), buffer);
    }
    write_text(field::TYPE_URL, &response.type_url, buffer);
    write_control_plane(field::CONTROL_PLANE, control_plane, buffer);
}

/// Length of [`write_delta`].
pub(crate) fn delta_len(response: &Response, control_plane: &str) -> usize {
    use delta_field as field;
    let resources = response.resources.iter().map(|(resource, _)| {
        let any = any_len(&response.type_url, resource.body());
        field_len(field::RESOURCES, resource_len(resource.name(), any))
    });
    let removed = response.removed.iter();
    field_len(field::SYSTEM_VERSION_INFO, VERSION_LEN)
        + resources.sum::<usize>()
        + field_len(field::TYPE_URL, response.type_url.len())
        + removed
            .map(|name| field_len(field::REMOVED_RESOURCES, name.len()))
            .sum::<usize>()
        + control_plane_len(field::CONTROL_PLANE, control_plane)
}

/// Encodes a `DeltaDiscoveryResponse`, but for its nonce.
pub(crate) fn write_delta(response: &Response, control_plane: &str, buffer: &mut impl BufMut) {
    use delta_field as field;
    write_version(field::SYSTEM_VERSION_INFO, response.version, buffer);
    for (resource, version) in &response.resources {
        let any = any_len(&response.type_url, resource.body());
        write_head(field::RESOURCES, resource_len(resource.name(), any), buffer);
        write_version(resource_field::VERSION, *version, buffer);
        write_head(resource_field::RESOURCE, any, buffer);
        write_any(&response.type_url, resource.body(), buffer);
        write_text(resource_field::NAME, resource.name(), buffer);
    }
    write_text(field::TYPE_URL, &response.type_url, buffer);
    for name in &response.removed {
        write_text(field::REMOVED_RESOURCES, name, buffer);
    }
    write_control_plane(field::CONTROL_PLANE, control_plane, buffer);
}

fn resource_len(name: &str, any: usize) -> usize {
    field_len(resource_field::VERSION, VERSION_LEN)
        + field_len(resource_field::RESOURCE, any)
        + field_len(resource_field::NAME, name.len())
}

fn any_len(type_url: &str, body: &Body) -> usize {
    field_len(any_field::TYPE_URL, type_url.len()) + field_len(any_field::VALUE, body.len())
}

fn write_any(type_url: &str, body: &Body, buffer: &mut impl BufMut) {
    write_text(any_field::TYPE_URL, type_url, buffer);
    write_head(any_field::VALUE, body.len(), buffer);
    body.write_to(buffer);
}

fn control_plane_len(field: u32, identifier: &str) -> usize {
    field_len(field, field_len(CONTROL_PLANE_IDENTIFIER, identifier.len()))
}

fn write_control_plane(field: u32, identifier: &str, buffer: &mut impl BufMut) {
    let len = field_len(CONTROL_PLANE_IDENTIFIER, identifier.len());
    write_head(field, len, buffer);
    write_text(CONTROL_PLANE_IDENTIFIER, identifier, buffer);
}

/// Length of a length-delimited field with so much content.
fn field_len(field: u32, content: usize) -> usize {
    key_len(field) + encoded_len_varint(content as u64) + content
}

fn write_head(field: u32, content: usize, buffer: &mut impl BufMut) {
    encode_key(field, WireType::LengthDelimited, buffer);
    encode_varint(content as u64, buffer);
}

fn write_text(field: u32, text: &str, buffer: &mut impl BufMut) {
    write_head(field, text.len(), buffer);
    buffer.put_slice(text.as_bytes());
}

/// As `Version` displays itself, without an allocation for each resource.
fn write_version(field: u32, version: Version, buffer: &mut impl BufMut) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    write_head(field, VERSION_LEN, buffer);
    for byte in version.to_bytes().into_iter().rev() {
        buffer.put_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use bowline_proto::{
        Message,
        envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse},
    };
    use bowline_snapshot::{Parts, Resource, ResourceType};
    use bytes::Bytes;

    use super::*;

    fn response(bodies: &[(&str, Body)], nonce: u64) -> Response {
        let resources = bodies.iter().map(|(name, body)| {
            let version = Version::of([name.as_bytes()]);
            let resource = Resource::new(*name, body.clone(), version, []);
            (resource, version.combined_with(version))
        });
        Response {
            resource_type: Some(ResourceType::CLUSTER),
            type_url: Cow::Borrowed(ResourceType::CLUSTER.url()),
            version: Version::of([&b"type"[..]]),
            resources: resources.collect(),
            removed: vec!["gone".into(), "lost".into()],
            nonce,
            generation: 7,
        }
    }

    fn write_nonce(number: u64, bytes: &mut Vec<u8>) {
        let (nonce, before) = (Nonce::of(number), bytes.len());
        nonce.write(bytes);
        assert_eq!(bytes.len(), before + nonce.field_len());
    }

    fn bodies() -> Vec<(&'static str, Body)> {
        let large = Bytes::from(vec![7; 300]);
        let mut parts = Parts::default();
        parts.set("a".into(), Some((large.clone(), Version::EMPTY)));
        vec![
            ("a", Body::Whole(Bytes::from_static(b"one"))),
            ("empty", Body::Whole(Bytes::new())),
            ("parts", Body::Parts(large, parts)),
        ]
    }

    #[test]
    fn a_state_of_the_world_response_reads_back_as_it_was_meant() {
        for nonce in [0, 9, 10, u64::MAX] {
            let response = response(&bodies(), nonce);
            let mut bytes = Vec::new();
            write_state_of_the_world(&response, "cp", &mut bytes);
            assert_eq!(bytes.len(), state_of_the_world_len(&response, "cp"));
            write_nonce(nonce, &mut bytes);
            let read = DiscoveryResponse::decode(&bytes[..]).unwrap();
            assert_eq!(read.version_info, response.version.to_string());
            assert_eq!(read.type_url, ResourceType::CLUSTER.url());
            assert_eq!(read.nonce.parse(), Ok(nonce));
            assert_eq!(read.control_plane.unwrap().identifier, "cp");
            for ((resource, _), any) in response.resources.iter().zip(&read.resources) {
                assert_eq!(any.type_url, ResourceType::CLUSTER.url());
                assert_eq!(any.value, resource.body().to_bytes());
            }
            assert_eq!(read.resources.len(), 3);
        }
    }

    #[test]
    fn a_delta_response_reads_back_as_it_was_meant() {
        let response = response(&bodies(), 12);
        let mut bytes = Vec::new();
        write_delta(&response, "", &mut bytes);
        assert_eq!(bytes.len(), delta_len(&response, ""));
        write_nonce(12, &mut bytes);
        let read = DeltaDiscoveryResponse::decode(&bytes[..]).unwrap();
        assert_eq!(read.system_version_info, response.version.to_string());
        assert_eq!(read.nonce, "00000012");
        assert_eq!(read.removed_resources, ["gone", "lost"]);
        for ((resource, version), entry) in response.resources.iter().zip(&read.resources) {
            assert_eq!(entry.name, **resource.name());
            assert_eq!(entry.version, version.to_string());
            let any = entry.resource.as_ref().unwrap();
            assert_eq!(any.type_url, ResourceType::CLUSTER.url());
            assert_eq!(any.value, resource.body().to_bytes());
        }
        assert_eq!(read.resources.len(), 3);
    }
}
