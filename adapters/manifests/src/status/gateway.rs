//! What is said of Gateways.

use std::collections::BTreeMap;

use bowline_mesh::{Gateway as MeshGateway, GatewayName, GatewayProtocol, ObjectKey, Spec};

use super::{Condition, GatewayAddress, GatewayStatus, Known, ListenerStatus, Outcome};
use crate::{
    Gateway,
    convert::{INGRESS, Scope},
    gateway::Listener,
};

const RESOLVED: &str = "ResolvedRefs";

/// `None` for a gateway of another controller's class.
pub(super) fn status(
    gateway: &Gateway,
    scope: &Scope<'_>,
    outcome: Outcome<'_>,
    known: Known<'_>,
) -> Option<GatewayStatus> {
    if !known.references.is_our_class(gateway.class()) {
        return None;
    }
    let name = GatewayName {
        namespace: scope.namespace.clone(),
        name: scope.name.clone(),
    };
    let object = outcome
        .objects
        .iter()
        .find_map(|object| match object.spec() {
            Spec::Gateway(gateway) => Some(&**gateway),
            _ => None,
        });
    let accepted = accepted(gateway, object, outcome);
    let addresses = addresses(&name, known);
    let programmed = programmed(&name, object, &accepted, &addresses, known);
    let mut protocols = BTreeMap::new();
    let listeners = gateway.listeners().iter().enumerate();
    let listeners = listeners
        .map(|(index, written)| {
            let place = Place {
                scope,
                name: &name,
                object,
                programmed: &programmed,
            };
            listener(index, written, place, &mut protocols, outcome, known)
        })
        .collect();
    Some(GatewayStatus {
        conditions: vec![accepted, programmed],
        addresses: addresses.found,
        listeners,
    })
}

fn accepted(gateway: &Gateway, object: Option<&MeshGateway>, outcome: Outcome<'_>) -> Condition {
    if !outcome.is_current {
        let wrong = super::errors(outcome.problems, |_| true).unwrap_or_default();
        let message = format!("{wrong} ({})", super::last_good(outcome));
        return Condition::no("Accepted", "Invalid", message);
    }
    let wrong = super::errors(outcome.problems, |_| true);
    let count = object.map_or(0, |object| object.listeners.len());
    match (count, wrong) {
        (0, wrong) => Condition::no("Accepted", "ListenersNotValid", wrong.unwrap_or_default()),
        (count, Some(wrong)) if count < gateway.listeners().len() => {
            Condition::yes("Accepted", "ListenersNotValid", wrong)
        }
        (_, Some(wrong)) => Condition::yes("Accepted", "Accepted", wrong),
        (_, None) => Condition::yes("Accepted", "Accepted", "it acts as it is written"),
    }
}

/// Where a gateway's requests come in.
pub(super) struct Addresses {
    pub(super) found: Vec<GatewayAddress>,
    /// A load balancer has no address yet.
    waits: bool,
    /// A Service that exposes it has an endpoint that is ready.
    is_ready: bool,
}

/// What the Gateway itself says or, where it says nothing, the addresses of the Services that expose its proxies.
pub(super) fn addresses(name: &GatewayName, known: Known<'_>) -> Addresses {
    let mut addresses = Addresses {
        found: known.references.addresses_of(name).to_vec(),
        waits: false,
        is_ready: false,
    };
    let says_them = !addresses.found.is_empty();
    for (service, exposure) in known.references.exposures(name) {
        addresses.is_ready |= super::is_ready(service, &name.namespace, known);
        if !says_them {
            addresses.waits |= exposure.waits;
            addresses.found.extend(exposure.addresses.iter().cloned());
        }
    }
    addresses
}

/// Whether what is written is what requests meet: it is served, a proxy serves it, and it has the address that it waits for.
fn programmed(
    name: &GatewayName,
    object: Option<&MeshGateway>,
    accepted: &Condition,
    addresses: &Addresses,
    known: Known<'_>,
) -> Condition {
    const KIND: &str = "Programmed";
    if !accepted.holds {
        return Condition::no(KIND, "Invalid", "the gateway is not accepted");
    }
    let served = known
        .served
        .mesh
        .gateway(name)
        .map(|(_, gateway)| &**gateway);
    if served != object {
        return Condition::no(
            KIND,
            "Pending",
            "what is served is not what is written here: it is new, the registry may not contribute to its namespace, or \
             another registry has a gateway of this name",
        );
    }
    if !known.served.gateways.contains(name) && !addresses.is_ready {
        let message = format!(
            "no proxy serves it: start an Envoy as gateway {name}, and label the Service that exposes it with \
             gateway.networking.k8s.io/gateway-name: {}",
            name.name
        );
        return Condition::no(KIND, "Pending", message);
    }
    if addresses.found.is_empty() && addresses.waits {
        let message = "the load balancer in front of its proxies has no address yet";
        return Condition::no(KIND, "AddressNotAssigned", message);
    }
    Condition::yes(KIND, KIND, "its proxies have what is written here")
}

/// Where a listener stands.
struct Place<'p> {
    scope: &'p Scope<'p>,
    name: &'p GatewayName,
    object: Option<&'p MeshGateway>,
    programmed: &'p Condition,
}

fn listener(
    index: usize,
    written: &Listener,
    place: Place<'_>,
    protocols: &mut BTreeMap<u16, GatewayProtocol>,
    outcome: Outcome<'_>,
    known: Known<'_>,
) -> ListenerStatus {
    let prefix = format!("spec.listeners[{index}]");
    let is_about = |field: &str| field.strip_prefix(&prefix).is_some_and(is_end_of_name);
    let certificates = format!("{prefix}.tls.certificateRefs");
    // What is wrong with its certificates is not why it does not act.
    let wrong = super::errors(outcome.problems, |problem| {
        is_about(&problem.field) && !problem.field.starts_with(&certificates)
    });
    let mut listeners = place
        .object
        .into_iter()
        .flat_map(|object| &object.listeners);
    let object = listeners.find(|listener| listener.name == *written.name());
    let object = object.filter(|_| outcome.is_current);
    // Of several protocols on one port the first is served.
    let conflict = object.is_some_and(|object| {
        *protocols.entry(object.port).or_insert(object.protocol) != object.protocol
    });
    let accepted = match object {
        Some(_) if conflict => Condition::no(
            "Accepted",
            "PortUnavailable",
            "an earlier listener has the port for another protocol",
        ),
        Some(_) => Condition::yes("Accepted", "Accepted", "it acts"),
        None if outcome.is_current => Condition::no(
            "Accepted",
            "UnsupportedProtocol",
            wrong.clone().unwrap_or_default(),
        ),
        None => Condition::no(
            "Accepted",
            "Invalid",
            wrong
                .clone()
                .unwrap_or_else(|| "the gateway is not accepted".to_owned()),
        ),
    };
    let programmed = match (accepted.holds, place.programmed) {
        (false, _) => Condition::no("Programmed", "Invalid", "the listener is not accepted"),
        (true, gateway) => gateway.clone(),
    };
    let (supported_kinds, are_all_known) = written.route_kinds();
    let resolved = match are_all_known {
        true => resolved(written, place.scope),
        false => Condition::no(RESOLVED, "InvalidRouteKinds", wrong.unwrap_or_default()),
    };
    let conflicted = match conflict {
        true => Condition::yes(
            "Conflicted",
            "ProtocolConflict",
            "an earlier listener has the port for another protocol",
        ),
        false => Condition::no(
            "Conflicted",
            "NoConflicts",
            "no other listener is in its way",
        ),
    };
    let is_route = |key: &&ObjectKey| !key.name.contains(INGRESS);
    ListenerStatus {
        name: written.name().clone(),
        supported_kinds,
        attached_routes: match object {
            Some(object) if !conflict => {
                let attached = known.served.mesh.attached(place.name, object);
                attached.filter(is_route).count()
            }
            Some(_) | None => 0,
        },
        conditions: vec![accepted, programmed, resolved, conflicted],
    }
}

/// Whether a listener's references lead to certificates, as far as that is known.
fn resolved(listener: &Listener, scope: &Scope<'_>) -> Condition {
    let certificates = listener.certificates().iter();
    let unresolved = certificates.filter_map(|certificate| {
        let unresolved = certificate.unresolved(scope)?;
        Some((unresolved.reason()?, unresolved.message(scope)))
    });
    let unresolved: Vec<_> = unresolved.collect();
    match unresolved.first() {
        None => Condition::yes(RESOLVED, RESOLVED, "all references are resolved"),
        Some((reason, _)) => {
            let messages: Vec<_> = unresolved.iter().map(|(_, message)| &**message).collect();
            Condition::no(RESOLVED, reason, messages.join("; "))
        }
    }
}

/// `spec.listeners[1]` is not the beginning of `spec.listeners[10]`, as the bracket ends it.
fn is_end_of_name(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('.')
}
