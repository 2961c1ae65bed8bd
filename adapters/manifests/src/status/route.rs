//! What is said of routes.

use bowline_mesh::{
    AttachedRoute, Backend, Code, Destination, HttpAction, NotAttached, Object, RouteParent,
    RouteTraffic, Spec,
};

use super::{Condition, Known, Outcome, ParentName, ParentStatus};
use crate::{
    convert::Scope,
    parent::{self, ParentRef},
};

/// For each parent that is ours.
pub(super) fn status(
    parents: &[ParentRef],
    scope: &Scope<'_>,
    outcome: Outcome<'_>,
    known: Known<'_>,
) -> Vec<ParentStatus> {
    let refused = (!outcome.is_current).then(|| {
        let wrong = super::errors(outcome.problems, |_| true).unwrap_or_default();
        let message = format!("{wrong} ({})", super::last_good(outcome));
        Condition::no("Accepted", "UnsupportedValue", message)
    });
    let resolved = resolved(outcome, known);
    let partially = partially_invalid(outcome);
    let ours = parents
        .iter()
        .filter_map(|reference| Some((reference, ours(reference, scope, known)?)));
    ours.map(|(reference, parent)| {
        let accepted = match &refused {
            Some(refused) => refused.clone(),
            None => accepted(&parent, scope, outcome.objects, known),
        };
        let conditions = [accepted, resolved.clone()];
        ParentStatus {
            parent: written(reference),
            conditions: conditions.into_iter().chain(partially.clone()).collect(),
        }
    })
    .collect()
}

/// The parent, if it is a gateway of ours or a service.
fn ours(reference: &ParentRef, scope: &Scope<'_>, known: Known<'_>) -> Option<RouteParent> {
    let parent = parent::resolved(reference, scope)?;
    match &parent {
        RouteParent::Gateway { gateway, .. } => {
            known.references.is_our_gateway(gateway).then_some(parent)
        }
        RouteParent::Service { .. } => Some(parent),
    }
}

fn written(reference: &ParentRef) -> ParentName {
    let (group, kind) = reference.kind();
    ParentName {
        group: group.into(),
        kind: kind.into(),
        namespace: reference.namespace.clone(),
        name: reference.name.clone(),
        section: reference.section_name.clone(),
        port: reference.port,
    }
}

fn accepted(
    parent: &RouteParent,
    scope: &Scope<'_>,
    objects: &[Object],
    known: Known<'_>,
) -> Condition {
    let route = objects.iter().find_map(|object| match object.spec() {
        Spec::HttpRoute(route) => Some((RouteTraffic::Requests, &route.hostnames)),
        Spec::StreamRoute(route) => Some((RouteTraffic::Connections, &route.server_names)),
        _ => None,
    });
    let Some((traffic, hosts)) = route else {
        return Condition::no("Accepted", "Pending", "it is not in the mesh");
    };
    let route = AttachedRoute {
        namespace: scope.namespace,
        traffic,
        hosts,
    };
    let reason = match known.served.mesh.attach(route, parent) {
        Ok(()) => return Condition::yes("Accepted", "Accepted", "the route acts at this parent"),
        Err(reason) => reason,
    };
    let name = match reason {
        NotAttached::NoParent | NotAttached::NoListener => "NoMatchingParent",
        NotAttached::OtherTraffic | NotAttached::NotAllowed => "NotAllowedByListeners",
        NotAttached::OtherHosts => "NoMatchingListenerHostname",
    };
    Condition::no("Accepted", name, reason.to_string())
}

/// Whether all that the route refers to is there, and may be referred to.
fn resolved(outcome: Outcome<'_>, known: Known<'_>) -> Condition {
    let wrong = |code: Code| {
        super::errors(outcome.problems, |problem| {
            problem.code == code && problem.field.contains("backendRefs")
        })
    };
    if let Some(message) = wrong(Code::UnsupportedKind) {
        return Condition::no("ResolvedRefs", "InvalidKind", message);
    }
    if let Some(message) = wrong(Code::UnresolvedReference) {
        return Condition::no("ResolvedRefs", "RefNotPermitted", message);
    }
    let mut missing: Vec<String> = outcome
        .objects
        .iter()
        .flat_map(backends)
        .filter_map(|backend| match &backend.destination {
            Destination::Service { hostname, port } => match known.served.mesh.service(hostname) {
                None => Some(format!("no registry has a service {hostname}")),
                Some(service) if service.port(*port).is_none() => {
                    Some(format!("{hostname} has no port {port}"))
                }
                Some(_) => None,
            },
            Destination::Unresolved => None,
        })
        .collect();
    missing.sort_unstable();
    missing.dedup();
    match missing.as_slice() {
        [] => Condition::yes(
            "ResolvedRefs",
            "ResolvedRefs",
            "all references are resolved",
        ),
        missing => Condition::no("ResolvedRefs", "BackendNotFound", missing.join("; ")),
    }
}

fn backends(object: &Object) -> Vec<&Backend> {
    match object.spec() {
        Spec::HttpRoute(route) => {
            let actions = route.rules.iter().map(|rule| &rule.action);
            actions
                .flat_map(|action| match action {
                    HttpAction::Forward {
                        backends,
                        rewrite: _,
                    } => backends.as_slice(),
                    HttpAction::Redirect(_) => &[],
                })
                .collect()
        }
        Spec::StreamRoute(route) => route.backends.iter().collect(),
        Spec::Service(_)
        | Spec::Endpoints(_)
        | Spec::Workload(_)
        | Spec::Gateway(_)
        | Spec::Policy(_)
        | Spec::NetworkGateway(_) => Vec::new(),
    }
}

/// Some of its rules do not act as they are written.
fn partially_invalid(outcome: Outcome<'_>) -> Option<Condition> {
    let message = super::errors(outcome.problems, |problem| {
        problem.code == Code::UnsupportedField && problem.field.starts_with("spec.rules")
    })?;
    let is_meant = outcome.is_current;
    is_meant.then(|| Condition::yes("PartiallyInvalid", "UnsupportedValue", message))
}
