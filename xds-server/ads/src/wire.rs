//! Responses as bytes. Resources are encoded already: only the framing around them is written here, field by field.

use std::{sync::Arc, time::Duration};

use bowline_snapshot::{Body, Resource, Version};
use bytes::BufMut;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::response::Response;

/// Fields of `envoy.service.discovery.v3.DiscoveryResponse`.
mod state_of_the_world_field {
    pub(super) const RESOURCES: u32 = 2;
    pub(super) const TYPE_URL: u32 = 4;
    pub(super) const CONTROL_PLANE: u32 = 6;
    pub(super) const RESOURCE_ERRORS: u32 = 7;
}

/// Fields of `envoy.service.discovery.v3.DeltaDiscoveryResponse`.
mod delta_field {
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
    pub(super) const ALIASES: u32 = 4;
    pub(super) const TTL: u32 = 6;
}

/// Field of `envoy.service.discovery.v3.ResourceName`.
const RESOURCE_NAME_NAME: u32 = 1;

/// Fields of `envoy.service.discovery.v3.ResourceError`.
mod resource_error_field {
    pub(super) const RESOURCE_NAME: u32 = 1;
    pub(super) const ERROR_DETAIL: u32 = 2;
}

/// Fields of `google.rpc.Status`.
mod status_field {
    pub(super) const CODE: u32 = 1;
    pub(super) const MESSAGE: u32 = 2;
}

/// Fields of `google.protobuf.Duration`.
mod duration_field {
    pub(super) const SECONDS: u32 = 1;
    pub(super) const NANOS: u32 = 2;
}

/// Fields of `google.protobuf.Any`.
mod any_field {
    pub(super) const TYPE_URL: u32 = 1;
    pub(super) const VALUE: u32 = 2;
}

/// Field of `envoy.config.core.v3.ControlPlane`.
const CONTROL_PLANE_IDENTIFIER: u32 = 1;

/// What resources with a time to live are wrapped in, in state of the world.
const RESOURCE_TYPE_URL: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";

/// The code of `google.rpc` for what does not exist.
const NOT_FOUND: u64 = 5;

const ABSENT: &str = "no such resource";

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

/// The field of the version of a whole type, which is 1 in the responses of both variants. It is written first.
const TYPE_VERSION: u32 = 1;

/// Length of [`write_type_version`].
pub(crate) fn type_version_len() -> usize {
    field_len(TYPE_VERSION, VERSION_LEN)
}

/// The beginning of a response.
pub(crate) fn write_type_version(version: Version, buffer: &mut impl BufMut) {
    write_version(TYPE_VERSION, version, buffer);
}

/// Length of [`write_state_of_the_world_entry`].
pub(crate) fn state_of_the_world_entry_len(response: &Response, resource: &Resource) -> usize {
    use state_of_the_world_field as field;
    let any = any_len(&response.type_url, resource.body());
    if wraps(response) && resource.ttl().is_some() {
        let entry = resource_len(resource, any);
        return field_len(field::RESOURCES, wrapper_len(entry));
    }
    field_len(field::RESOURCES, any)
}

/// One resource of a `DiscoveryResponse`.
pub(crate) fn write_state_of_the_world_entry(
    response: &Response,
    resource: &Resource,
    buffer: &mut impl BufMut,
) {
    use state_of_the_world_field as field;
    let any = any_len(&response.type_url, resource.body());
    if wraps(response) && resource.ttl().is_some() {
        write_wrapper(field::RESOURCES, resource_len(resource, any), buffer);
        write_resource(&response.type_url, resource, response.version, any, buffer);
    } else {
        write_head(field::RESOURCES, any, buffer);
        write_any(&response.type_url, resource.body(), buffer);
    }
}

/// Length of [`write_state_of_the_world_rest`].
pub(crate) fn state_of_the_world_rest_len(response: &Response, control_plane: &str) -> usize {
    use state_of_the_world_field as field;
    extra_len(response, wrapped_len)
        + missing_len(response)
        + field_len(field::TYPE_URL, response.type_url.len())
        + control_plane_len(field::CONTROL_PLANE, control_plane)
}

/// What follows the resources of a `DiscoveryResponse`, but for its nonce.
pub(crate) fn write_state_of_the_world_rest(
    response: &Response,
    control_plane: &str,
    buffer: &mut impl BufMut,
) {
    use state_of_the_world_field as field;
    for (resource, _) in heartbeats(response) {
        write_wrapper(field::RESOURCES, bare_len(resource), buffer);
        write_bare(resource, response.version, buffer);
    }
    for name in missing(response) {
        write_error(field::RESOURCE_ERRORS, name, buffer);
    }
    write_text(field::TYPE_URL, &response.type_url, buffer);
    write_control_plane(field::CONTROL_PLANE, control_plane, buffer);
}

/// Length of [`write_delta_entry`].
pub(crate) fn delta_entry_len(response: &Response, resource: &Resource) -> usize {
    let any = any_len(&response.type_url, resource.body());
    field_len(delta_field::RESOURCES, resource_len(resource, any))
}

/// One resource of a `DeltaDiscoveryResponse`.
pub(crate) fn write_delta_entry(
    response: &Response,
    (resource, version): &(Resource, Version),
    buffer: &mut impl BufMut,
) {
    let any = any_len(&response.type_url, resource.body());
    write_head(delta_field::RESOURCES, resource_len(resource, any), buffer);
    write_resource(&response.type_url, resource, *version, any, buffer);
}

/// Length of [`write_delta_rest`].
pub(crate) fn delta_rest_len(response: &Response, control_plane: &str) -> usize {
    use delta_field as field;
    let removed = response.removed.iter();
    let unknown = unknown(response).map(|name| field_len(field::RESOURCES, unknown_len(name)));
    extra_len(response, bare_len)
        + unknown.sum::<usize>()
        + field_len(field::TYPE_URL, response.type_url.len())
        + removed
            .map(|name| field_len(field::REMOVED_RESOURCES, name.len()))
            .sum::<usize>()
        + control_plane_len(field::CONTROL_PLANE, control_plane)
}

/// What follows the resources of a `DeltaDiscoveryResponse`, but for its nonce.
pub(crate) fn write_delta_rest(response: &Response, control_plane: &str, buffer: &mut impl BufMut) {
    use delta_field as field;
    for (resource, version) in heartbeats(response) {
        write_head(field::RESOURCES, bare_len(resource), buffer);
        write_bare(resource, *version, buffer);
    }
    for name in unknown(response) {
        write_head(field::RESOURCES, unknown_len(name), buffer);
        write_version(resource_field::VERSION, Version::EMPTY, buffer);
        write_text(resource_field::NAME, name, buffer);
        write_text(resource_field::ALIASES, name, buffer);
    }
    write_text(field::TYPE_URL, &response.type_url, buffer);
    for name in &response.removed {
        write_text(field::REMOVED_RESOURCES, name, buffer);
    }
    write_control_plane(field::CONTROL_PLANE, control_plane, buffer);
}

/// Length of a `Resource` with everything.
fn resource_len(resource: &Resource, any: usize) -> usize {
    let aliases = resource.aliases().iter();
    bare_len(resource)
        + field_len(resource_field::RESOURCE, any)
        + aliases
            .map(|alias| field_len(resource_field::ALIASES, alias.len()))
            .sum::<usize>()
}

fn write_resource(
    type_url: &str,
    resource: &Resource,
    version: Version,
    any: usize,
    buffer: &mut impl BufMut,
) {
    write_bare(resource, version, buffer);
    write_head(resource_field::RESOURCE, any, buffer);
    write_any(type_url, resource.body(), buffer);
    for alias in resource.aliases() {
        write_text(resource_field::ALIASES, alias, buffer);
    }
}

/// Length of a `Resource` with neither content nor aliases.
fn bare_len(resource: &Resource) -> usize {
    let ttl = resource.ttl();
    field_len(resource_field::VERSION, VERSION_LEN)
        + field_len(resource_field::NAME, resource.name().len())
        + ttl.map_or(0, |ttl| field_len(resource_field::TTL, duration_len(ttl)))
}

fn write_bare(resource: &Resource, version: Version, buffer: &mut impl BufMut) {
    write_version(resource_field::VERSION, version, buffer);
    write_text(resource_field::NAME, resource.name(), buffer);
    if let Some(ttl) = resource.ttl() {
        write_head(resource_field::TTL, duration_len(ttl), buffer);
        write_number(duration_field::SECONDS, ttl.as_secs(), buffer);
        write_number(duration_field::NANOS, ttl.subsec_nanos().into(), buffer);
    }
}

fn duration_len(duration: Duration) -> usize {
    number_len(duration_field::SECONDS, duration.as_secs())
        + number_len(duration_field::NANOS, duration.subsec_nanos().into())
}

/// Length of a `Resource` that says that a name is of nothing.
fn unknown_len(name: &str) -> usize {
    field_len(resource_field::VERSION, VERSION_LEN)
        + field_len(resource_field::NAME, name.len())
        + field_len(resource_field::ALIASES, name.len())
}

/// Length of an `Any` with a `Resource` of this length.
fn wrapper_len(entry: usize) -> usize {
    field_len(any_field::TYPE_URL, RESOURCE_TYPE_URL.len()) + field_len(any_field::VALUE, entry)
}

fn wrapped_len(resource: &Resource) -> usize {
    wrapper_len(bare_len(resource))
}

/// Begins a field with an `Any` of a `Resource`, which has to follow.
fn write_wrapper(field: u32, entry: usize, buffer: &mut impl BufMut) {
    write_head(field, wrapper_len(entry), buffer);
    write_text(any_field::TYPE_URL, RESOURCE_TYPE_URL, buffer);
    write_head(any_field::VALUE, entry, buffer);
}

fn wraps(response: &Response) -> bool {
    response.extra.as_ref().is_some_and(|extra| extra.wraps)
}

fn heartbeats(response: &Response) -> impl Iterator<Item = &(Resource, Version)> {
    response.extra.iter().flat_map(|extra| &extra.heartbeats)
}

fn unknown(response: &Response) -> impl Iterator<Item = &Arc<str>> {
    response.extra.iter().flat_map(|extra| &extra.unknown)
}

fn missing(response: &Response) -> impl Iterator<Item = &Arc<str>> {
    response.extra.iter().flat_map(|extra| &extra.missing)
}

/// Length of the heartbeats, given that of each.
fn extra_len(response: &Response, each: fn(&Resource) -> usize) -> usize {
    heartbeats(response)
        .map(|(resource, _)| field_len(state_of_the_world_field::RESOURCES, each(resource)))
        .sum()
}

fn missing_len(response: &Response) -> usize {
    missing(response)
        .map(|name| field_len(state_of_the_world_field::RESOURCE_ERRORS, error_len(name)))
        .sum()
}

fn error_len(name: &str) -> usize {
    use resource_error_field as field;
    let name = field_len(RESOURCE_NAME_NAME, name.len());
    field_len(field::RESOURCE_NAME, name) + field_len(field::ERROR_DETAIL, status_len())
}

fn status_len() -> usize {
    number_len(status_field::CODE, NOT_FOUND) + field_len(status_field::MESSAGE, ABSENT.len())
}

fn write_error(field: u32, name: &str, buffer: &mut impl BufMut) {
    write_head(field, error_len(name), buffer);
    let len = field_len(RESOURCE_NAME_NAME, name.len());
    write_head(resource_error_field::RESOURCE_NAME, len, buffer);
    write_text(RESOURCE_NAME_NAME, name, buffer);
    write_head(resource_error_field::ERROR_DETAIL, status_len(), buffer);
    write_number(status_field::CODE, NOT_FOUND, buffer);
    write_text(status_field::MESSAGE, ABSENT, buffer);
}

fn number_len(field: u32, number: u64) -> usize {
    key_len(field) + encoded_len_varint(number)
}

fn write_number(field: u32, number: u64, buffer: &mut impl BufMut) {
    encode_key(field, WireType::Varint, buffer);
    encode_varint(number, buffer);
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
    write_head(field, VERSION_LEN, buffer);
    buffer.put_slice(&version.digits());
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use bowline_proto::{
        Message,
        envoy::service::discovery::v3::{
            self as discovery, DeltaDiscoveryResponse, DiscoveryResponse,
        },
    };
    use bowline_snapshot::{Parts, ResourceType};
    use bytes::Bytes;

    use super::*;
    use crate::{
        response::{Entries, Extra},
        session::{Delta, Protocol, StateOfTheWorld},
    };

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
            extra: None,
            quarantined: Vec::new(),
            nonce,
            generation: 7,
        }
    }

    /// All parts of a message, each as long as it says.
    fn encoded<P: Protocol>(response: &Response, control_plane: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut expected = type_version_len();
        write_type_version(response.version, &mut bytes);
        assert_eq!(bytes.len(), expected);
        for entry in response.resources.iter() {
            expected += P::entry_len(response, &entry.0);
            P::write_entry(response, entry, &mut bytes);
            assert_eq!(bytes.len(), expected);
        }
        expected += P::rest_len(response, control_plane);
        P::write_rest(response, control_plane, &mut bytes);
        assert_eq!(bytes.len(), expected);
        let nonce = Nonce::of(response.nonce);
        expected += nonce.field_len();
        nonce.write(&mut bytes);
        assert_eq!(bytes.len(), expected);
        bytes
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
            let bytes = encoded::<StateOfTheWorld>(&response, "cp");
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
        let bytes = encoded::<Delta>(&response, "");
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

    fn with_extra(wraps: bool) -> Response {
        let ttl = Duration::from_millis(2500);
        let mut response = response(&bodies(), 1);
        let resources = response.resources.iter().map(|(resource, version)| {
            let aliases = ["one".into(), "two".into()];
            let resource = resource.clone().with_ttl(ttl).with_aliases(aliases);
            (resource, *version)
        });
        let resources: Vec<_> = resources.collect();
        response.resources = Entries::Own(resources.clone());
        response.extra = Some(Box::new(Extra {
            heartbeats: resources,
            unknown: vec!["unknown".into()],
            missing: vec!["missing".into(), "absent".into()],
            wraps,
        }));
        response
    }

    #[test]
    fn what_few_state_of_the_world_responses_say_reads_back_as_it_was_meant() {
        for wraps in [true, false] {
            let response = with_extra(wraps);
            let bytes = encoded::<StateOfTheWorld>(&response, "cp");
            let read = DiscoveryResponse::decode(&bytes[..]).unwrap();
            assert_eq!(read.resources.len(), 6);
            for (index, any) in read.resources.iter().enumerate() {
                let is_heartbeat = index >= 3;
                if !wraps && !is_heartbeat {
                    assert_eq!(any.type_url, response.type_url);
                    continue;
                }
                assert_eq!(any.type_url, RESOURCE_TYPE_URL);
                let entry = discovery::Resource::decode(any.value.clone()).unwrap();
                assert_eq!(entry.version, response.version.to_string());
                let ttl = entry.ttl.unwrap();
                assert_eq!((ttl.seconds, ttl.nanos), (2, 500_000_000));
                assert_eq!(entry.resource.is_none(), is_heartbeat);
            }
            let errors: Vec<_> = read
                .resource_errors
                .into_iter()
                .map(|error| {
                    let name = error.resource_name.unwrap().name;
                    (name, error.error_detail.unwrap().code)
                })
                .collect();
            assert_eq!(
                errors,
                [("missing".to_owned(), 5), ("absent".to_owned(), 5)]
            );
        }
    }

    #[test]
    fn what_few_delta_responses_say_reads_back_as_it_was_meant() {
        let response = with_extra(false);
        let bytes = encoded::<Delta>(&response, "cp");
        let read = DeltaDiscoveryResponse::decode(&bytes[..]).unwrap();
        let [a, _, _, heartbeat, _, _, unknown] = &read.resources[..] else {
            panic!("{} resources", read.resources.len());
        };
        assert!(a.resource.is_some() && a.ttl.is_some());
        assert_eq!(a.aliases, ["one", "two"]);
        assert!(heartbeat.resource.is_none() && heartbeat.ttl.is_some());
        assert_eq!((&heartbeat.name, &heartbeat.version), (&a.name, &a.version));
        assert!(unknown.resource.is_none() && unknown.ttl.is_none());
        assert_eq!(
            (&*unknown.name, &unknown.aliases[..]),
            ("unknown", &["unknown".to_owned()][..])
        );
    }
}
