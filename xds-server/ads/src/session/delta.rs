//! Delta: a request changes the subscription, a response lists what changed.

use std::{collections::BTreeMap, sync::Arc};

use bowline_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use bowline_snapshot::{Resource, ResourceType, Version};
use bytes::BufMut;

use super::{
    client::Client,
    gate::Role,
    protocol::{Draft, Header, Order, Protocol, Variant},
    track::{Held, Track},
    work::{Context, Removals, Work},
};
use crate::{
    names::NameTable,
    response::{Extra, Response},
    subscription::{WILDCARD, WildcardChange},
    wire,
};

/// The delta variant.
#[derive(Debug)]
pub(crate) enum Delta {}

/// What a request changes.
pub(crate) struct Interest {
    subscribe: Vec<String>,
    unsubscribe: Vec<String>,
    /// Whether names are given in a form that we do not serve, so that the absence of others means nothing.
    has_locators: bool,
    versions: BTreeMap<String, String>,
}

impl Protocol for Delta {
    type Request = DeltaDiscoveryRequest;
    type Interest = Interest;

    const VARIANT: Variant = Variant::Delta;

    fn parse(request: DeltaDiscoveryRequest) -> (Header, Interest) {
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
            versions: request.initial_resource_versions,
        };
        (header, interest)
    }

    /// Never: subscriptions count whatever the nonce.
    fn is_outdated(_: &Track, _: &str) -> bool {
        false
    }

    fn is_accepted(_: &Interest, _: Version) -> bool {
        true
    }

    fn held(interest: &mut Interest) -> Held {
        Held::Each(std::mem::take(&mut interest.versions))
    }

    fn subscribe(track: &mut Track, interest: Interest, order: Order, table: &NameTable) {
        let Interest {
            subscribe,
            unsubscribe,
            has_locators,
            versions: _,
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

    fn draft(track: &Track, context: &Context<'_>, work: &Work) -> Option<Draft> {
        if work.is_empty() {
            return None;
        }
        let resource_type = track.resource_type;
        Some(Draft {
            version: context.stage.snapshot.type_version(resource_type),
            resources: context.versioned(resource_type, &work.upserts),
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
