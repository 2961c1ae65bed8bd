//! State of the world: a request lists all names, a response all resources (or, for types without deletion, the changed ones).

use std::sync::Arc;

use bowline_proto::envoy::service::discovery::v3::DiscoveryRequest;
use bowline_snapshot::{Resource, ResourceType, Snapshot, Version};
use bytes::BufMut;

use super::{
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
    subscription::WildcardChange,
    wire,
};

/// The state-of-the-world variant.
#[derive(Debug)]
pub(crate) enum StateOfTheWorld {}

/// What a request asks for.
pub(crate) struct Interest {
    version: String,
    names: Vec<String>,
}

impl Protocol for StateOfTheWorld {
    type Request = DiscoveryRequest;
    type Interest = Interest;

    const VARIANT: Variant = Variant::StateOfTheWorld;

    fn parse(request: DiscoveryRequest) -> Result<(Header, Interest), RequestError> {
        let header = Header {
            node: request.node,
            type_url: request.type_url,
            nonce: request.response_nonce,
            rejection: request.error_detail.map(|status| status.message),
        };
        let interest = Interest {
            version: request.version_info,
            names: request.resource_names,
        };
        Ok((header, interest))
    }

    /// The client repeats its names with the nonce of the newer response, so nothing is lost. A first request may carry any nonce:
    /// some clients bring the one of their last stream.
    fn is_outdated(track: &Track, nonce: &str) -> bool {
        track
            .last_nonce
            .is_some_and(|last| nonce.parse() != Ok(last))
    }

    /// Envoy answers a response for a type that it does not watch any more with the version that it had, and without an error.
    fn is_accepted(interest: &Interest, version: Version) -> bool {
        version.is(&interest.version)
    }

    fn held(interest: &mut Interest) -> Held {
        Held::AllAt(interest.version.clone())
    }

    fn subscribe(track: &mut Track, interest: Interest, order: Order, table: &NameTable) {
        let change = track.subscription.replace(interest.names, table);
        // Also an empty set is an answer, which ends the client's waiting.
        let wants_all_again = order == Order::First || change.wildcard != WildcardChange::Same;
        if wants_all_again && track.resource_type.spec().full_state {
            track.must_answer = !track.subscription.is_empty();
        }
        track.note(change);
    }

    fn removals(resource_type: ResourceType) -> Removals {
        match (resource_type.spec().full_state, Role::of(resource_type)) {
            (true, Role::Supplier) => Removals::AfterReferrers,
            (true, Role::Referrer) => Removals::Immediate,
            (false, _) => Removals::Untold,
        }
    }

    /// What is absent from a response with the full state is deleted.
    fn can_split(resource_type: ResourceType) -> bool {
        !resource_type.spec().full_state
    }

    fn has_ttl(client: Client) -> bool {
        client.has_wrapped_ttl
    }

    fn draft(track: &Track, context: &Context<'_>, work: &mut Work) -> Option<Draft> {
        let is_full = track.resource_type.spec().full_state;
        if work.is_empty() || track.subscription.is_empty() {
            return None;
        }
        let versioned = |resource: Resource| {
            let version = resource.version();
            (resource, version)
        };
        let (resources, taken): (Entries, usize) = if is_full {
            let all = everything(track, &context.stage.snapshot);
            (all.into_iter().map(versioned).collect(), 0)
        } else {
            let upserts = match work.step.take() {
                Some(step) => Entries::Step(step),
                None => {
                    let upserts = std::mem::take(&mut work.upserts);
                    upserts.into_iter().map(versioned).collect()
                }
            };
            let taken = upserts.len();
            (upserts, taken)
        };
        let has_ttl = |(resource, _): &(Resource, Version)| resource.ttl().is_some();
        let wraps = Self::has_ttl(context.client) && resources.iter().any(has_ttl);
        let is_extra = wraps || !work.missing.is_empty();
        Some(Draft {
            version: version(track, &context.stage.snapshot),
            resources,
            taken,
            removed: Vec::new(),
            extra: is_extra.then(|| {
                Box::new(Extra {
                    wraps,
                    missing: work.missing.clone(),
                    ..Extra::default()
                })
            }),
        })
    }

    /// Silence: the protocol has no way to say that something does not exist.
    fn deny(_: Interest, _: &str) -> Option<Vec<Arc<str>>> {
        None
    }

    fn entry_len(response: &Response, resource: &Resource) -> usize {
        wire::state_of_the_world_entry_len(response, resource)
    }

    fn write_entry(
        response: &Response,
        (resource, _): &(Resource, Version),
        buffer: &mut impl BufMut,
    ) {
        wire::write_state_of_the_world_entry(response, resource, buffer);
    }

    fn rest_len(response: &Response, control_plane: &str) -> usize {
        wire::state_of_the_world_rest_len(response, control_plane)
    }

    fn write_rest(response: &Response, control_plane: &str, buffer: &mut impl BufMut) {
        wire::write_state_of_the_world_rest(response, control_plane, buffer);
    }
}

/// All that is subscribed, and what must not be missed yet.
fn everything(track: &Track, snapshot: &Snapshot) -> Vec<Resource> {
    let (resource_type, subscription) = (track.resource_type, &track.subscription);
    let mut resources: Vec<_> = track.lingering.sent().collect();
    for name in subscription.names().iter() {
        match subscription.prefix_of(name) {
            Some(prefix) => resources.extend(
                snapshot
                    .beginning_with(resource_type, &prefix)
                    .filter(|resource| subscription.includes(name, resource.name())),
            ),
            None => resources.extend(snapshot.get(resource_type, name)),
        }
    }
    if subscription.has_wildcard() {
        resources.extend(snapshot.members(resource_type));
    }
    let accepted = resources
        .into_iter()
        .filter_map(|resource| track.accepted(resource));
    let mut resources: Vec<Resource> = accepted.cloned().collect();
    // A client rejects a response that has a name twice. The sort is stable: the earlier layer wins, as in `Snapshot::get`.
    resources.sort_by(|one, other| one.name().cmp(other.name()));
    resources.dedup_by(|later, earlier| later.name() == earlier.name());
    resources
}

/// The version of the whole type, with what lingers: a client that reconnects with exactly the snapshot's version holds nothing else.
fn version(track: &Track, snapshot: &Snapshot) -> Version {
    let own = if track.subscription.names().is_empty() {
        snapshot.type_version(track.resource_type)
    } else {
        snapshot.type_version_with_on_demand(track.resource_type)
    };
    track
        .lingering
        .sent()
        .fold(track.version(own), |version, resource| {
            let lingering = Version::of([resource.name().as_bytes(), b"lingering"]);
            version.with_member(lingering.combined_with(resource.version()))
        })
}
