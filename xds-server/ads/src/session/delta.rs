//! Delta: a request changes the subscription, a response lists what changed.

use std::sync::Arc;

#[cfg(any(test, feature = "fuzzing"))]
use bowline_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use bowline_proto::{
    envoy::{config::core::v3::Node, service::discovery::v3::ResourceLocator},
    google::rpc::Status,
};
use bowline_snapshot::{Resource, ResourceType, Version};
use bytes::BufMut;
use prost::Message;

use super::{
    claims::{Claim, Claims},
    client::Client,
    gate::Role,
    protocol::{Draft, Header, Order, Protocol, Variant},
    received::RequestError,
    track::{Held, Track},
    work::{Context, Removals, Work},
};
use crate::{
    names::NameTable,
    response::{Entries, Extra, Response},
    subscription::{WILDCARD, WildcardChange},
    wire,
};

/// The delta variant.
#[derive(Debug)]
pub(crate) enum Delta {}

/// A `DeltaDiscoveryRequest` (`envoy.service.discovery.v3`), but that what a client says it holds stays a part of what it sent: as a map
/// of texts it would be most of what a fleet costs that comes back.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DeltaRequest {
    #[prost(message, optional, tag = "1")]
    node: Option<Node>,
    #[prost(string, tag = "2")]
    type_url: String,
    #[prost(string, repeated, tag = "3")]
    resource_names_subscribe: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    resource_names_unsubscribe: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    initial_resource_versions: Vec<Claim>,
    #[prost(string, tag = "6")]
    response_nonce: String,
    #[prost(message, optional, tag = "7")]
    error_detail: Option<Status>,
    #[prost(message, repeated, tag = "8")]
    resource_locators_subscribe: Vec<ResourceLocator>,
    #[prost(message, repeated, tag = "9")]
    resource_locators_unsubscribe: Vec<ResourceLocator>,
}

/// As clients make them.
#[cfg(any(test, feature = "fuzzing"))]
impl From<DeltaDiscoveryRequest> for DeltaRequest {
    fn from(request: DeltaDiscoveryRequest) -> Self {
        let claim = |(name, version): (String, String)| Claim {
            name: name.into(),
            version: version.into(),
        };
        Self {
            node: request.node,
            type_url: request.type_url,
            resource_names_subscribe: request.resource_names_subscribe,
            resource_names_unsubscribe: request.resource_names_unsubscribe,
            initial_resource_versions: request
                .initial_resource_versions
                .into_iter()
                .map(claim)
                .collect(),
            response_nonce: request.response_nonce,
            error_detail: request.error_detail,
            resource_locators_subscribe: request.resource_locators_subscribe,
            resource_locators_unsubscribe: request.resource_locators_unsubscribe,
        }
    }
}

/// What a request changes.
pub(crate) struct Interest {
    subscribe: Vec<String>,
    unsubscribe: Vec<String>,
    /// Whether names are given in a form that we do not serve, so that the absence of others means nothing.
    has_locators: bool,
    claims: Claims,
}

impl Protocol for Delta {
    type Request = DeltaRequest;
    type Interest = Interest;

    const VARIANT: Variant = Variant::Delta;

    fn parse(request: DeltaRequest) -> Result<(Header, Interest), RequestError> {
        let header = Header {
            node: request.node,
            type_url: request.type_url,
            nonce: request.response_nonce,
            rejection: request.error_detail.map(|status| status.message),
        };
        let interest = Interest {
            subscribe: request.resource_names_subscribe,
            unsubscribe: request.resource_names_unsubscribe,
            has_locators: !request.resource_locators_subscribe.is_empty()
                || !request.resource_locators_unsubscribe.is_empty(),
            claims: Claims::new(request.initial_resource_versions)?,
        };
        Ok((header, interest))
    }

    /// Never: subscriptions count whatever the nonce.
    fn is_outdated(_: &Track, _: &str) -> bool {
        false
    }

    fn is_accepted(_: &Interest, _: Version) -> bool {
        true
    }

    fn held(interest: &mut Interest) -> Held {
        Held::Each(std::mem::take(&mut interest.claims))
    }

    fn subscribe(track: &mut Track, interest: Interest, order: Order, table: &NameTable) {
        let Interest {
            subscribe,
            unsubscribe,
            has_locators,
            claims: _,
        } = interest;
        let is_empty = subscribe.is_empty() && unsubscribe.is_empty() && !has_locators;
        let change = if order == Order::First && is_empty {
            track.subscription.imply_wildcard()
        } else {
            track.subscription.update(subscribe, unsubscribe, table)
        };
        if change.wildcard == WildcardChange::Added {
            // Also nothing is an answer: Envoy waits for the first one when it starts.
            track.must_answer = true;
        }
        let dropped = change.dropped.clone();
        track.note(change);
        if track.subscription.has_wildcard() {
            // The client has to learn whether the wildcard still gives it what it does not ask for by name any more.
            for name in &dropped {
                track.owe(name);
            }
        }
    }

    fn removals(resource_type: ResourceType) -> Removals {
        match Role::of(resource_type) {
            Role::Supplier => Removals::AfterReferrers,
            Role::Referrer => Removals::Immediate,
        }
    }

    fn can_split(_: ResourceType) -> bool {
        true
    }

    fn has_ttl(_: Client) -> bool {
        true
    }

    fn draft(track: &Track, context: &Context<'_>, work: &mut Work) -> Option<Draft> {
        if work.is_empty() {
            return None;
        }
        let resource_type = track.resource_type;
        let resources = match work.step.take() {
            Some(step) => Entries::Step(step),
            None => {
                let versions = context.wire_versions(resource_type, work.upserts.iter());
                let upserts = std::mem::take(&mut work.upserts);
                upserts.into_iter().zip(versions).collect()
            }
        };
        Some(Draft {
            version: context.stage.snapshot.type_version(resource_type),
            taken: resources.len(),
            resources,
            removed: work.removed.clone(),
            extra: (!work.unknown.is_empty()).then(|| {
                Box::new(Extra {
                    unknown: work.unknown.clone(),
                    ..Extra::default()
                })
            }),
        })
    }

    /// Nothing of that type exists. A first wildcard is answered too; an acknowledgement, which has a nonce, is not.
    fn deny(interest: Interest, nonce: &str) -> Option<Vec<Arc<str>>> {
        let names: Vec<Arc<str>> = interest
            .subscribe
            .iter()
            .filter(|name| *name != WILDCARD)
            .map(|name| Arc::from(&**name))
            .collect();
        let is_opening = nonce.is_empty() && interest.unsubscribe.is_empty();
        (is_opening || !interest.subscribe.is_empty()).then_some(names)
    }

    fn entry_len(response: &Response, resource: &Resource) -> usize {
        wire::delta_entry_len(response, resource)
    }

    fn write_entry(response: &Response, entry: &(Resource, Version), buffer: &mut impl BufMut) {
        wire::write_delta_entry(response, entry, buffer);
    }

    fn rest_len(response: &Response, control_plane: &str) -> usize {
        wire::delta_rest_len(response, control_plane)
    }

    fn write_rest(response: &Response, control_plane: &str, buffer: &mut impl BufMut) {
        wire::write_delta_rest(response, control_plane, buffer);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let texts = |prefix: &str| vec![format!("{prefix}1"), format!("{prefix}2")];
        let locator = |name: &str| ResourceLocator {
            name: name.to_owned(),
            ..ResourceLocator::default()
        };
        let request = DeltaDiscoveryRequest {
            node: Some(Node {
                id: "node".to_owned(),
                ..Node::default()
            }),
            type_url: "type".to_owned(),
            resource_names_subscribe: texts("subscribe"),
            resource_names_unsubscribe: texts("unsubscribe"),
            initial_resource_versions: BTreeMap::from([
                ("a".to_owned(), "1".to_owned()),
                ("b".to_owned(), String::new()),
            ]),
            response_nonce: "nonce".to_owned(),
            error_detail: Some(Status {
                message: "bad".to_owned(),
                ..Status::default()
            }),
            resource_locators_subscribe: vec![locator("one")],
            resource_locators_unsubscribe: vec![locator("two")],
        };
        let read = DeltaRequest::decode(request.encode_to_vec().as_slice());
        assert_eq!(read, Ok(DeltaRequest::from(request)));
    }
}
