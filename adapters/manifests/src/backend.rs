//! Who gets requests and connections.

use std::sync::Arc;

use bowline_mesh::{Backend, Code, Destination, HeaderChanges};
use serde::Deserialize;

use crate::{
    ManifestKind,
    convert::Scope,
    filter::{self, Filter},
    parent::{described, namespace},
    references::Reference,
    report::{Field, Report},
};

/// Kubernetes' limit.
const WEIGHT_MAX: u32 = 1_000_000;

/// A reference of a route to a backend.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct BackendRef {
    group: Option<Arc<str>>,
    kind: Option<Arc<str>>,
    namespace: Option<Arc<str>>,
    name: Arc<str>,
    port: Option<u16>,
    weight: Option<u32>,
    #[serde(default)]
    filters: Vec<Filter>,
}

pub(crate) fn backends(
    references: &[BackendRef],
    field: &Field<'_>,
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) -> Vec<Backend> {
    let references = references.iter().enumerate();
    references
        .map(|(index, reference)| backend(reference, &field.index(index), scope, report))
        .collect()
}

/// A backend whose requests are answered with 500.
pub(crate) fn unresolved() -> Backend {
    Backend {
        destination: Destination::Unresolved,
        weight: 1,
        request_headers: HeaderChanges::default(),
        response_headers: HeaderChanges::default(),
    }
}

fn backend(
    reference: &BackendRef,
    field: &Field<'_>,
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) -> Backend {
    let weight = reference.weight.unwrap_or(1);
    if weight > WEIGHT_MAX {
        report.invalid(
            &field.key("weight"),
            format!("{weight} is more than {WEIGHT_MAX}"),
            "weights count relative to each other: make all of them smaller",
        );
    }
    let filters = filter::filters(&reference.filters, &field.key("filters"), report);
    let destination = destination(reference, field, scope, report);
    match filters {
        Some(filters) if filters.redirect.is_none() && filters.rewrite.is_none() => Backend {
            destination,
            weight,
            request_headers: filters.request_headers,
            response_headers: filters.response_headers,
        },
        Some(_) => {
            report.unsupported(
                &field.key("filters"),
                "redirects and rewrites act on a rule, not on one of its backends",
                "the backend's share of requests is answered with 500",
                "move the filter to the rule",
            );
            Backend {
                weight,
                ..unresolved()
            }
        }
        None => Backend {
            weight,
            ..unresolved()
        },
    }
}

fn destination(
    reference: &BackendRef,
    field: &Field<'_>,
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) -> Destination {
    const MEANWHILE: &str = "the backend's share of requests is answered with 500";
    let group = reference.group.as_deref().unwrap_or_default();
    let kind = reference
        .kind
        .as_deref()
        .unwrap_or(ManifestKind::Service.as_str());
    if group != ManifestKind::Service.group() || kind != ManifestKind::Service.as_str() {
        report.error(
            Code::UnsupportedKind,
            &field.key("kind"),
            format!("requests are not sent to a {}", described(group, kind)),
            MEANWHILE,
            "send them to a Service",
        );
        return Destination::Unresolved;
    }
    let namespace_field = field.key("namespace");
    let namespace = namespace(
        reference.namespace.as_deref(),
        &namespace_field,
        scope,
        report,
    );
    let hostname = namespace.as_ref().and_then(|namespace| {
        scope.hostname(&reference.name, namespace, &field.key("name"), report)
    });
    let port = reference.port.filter(|port| *port != 0);
    if port.is_none() {
        report.invalid(
            &field.key("port"),
            "a backend needs a port",
            "give the number of the service's port, from 1 to 65535",
        );
    }
    let (Some(namespace), Some(hostname), Some(port)) = (namespace, hostname, port) else {
        return Destination::Unresolved;
    };
    let reference = Reference {
        from_kind: scope.kind,
        from_namespace: scope.namespace,
        to_kind: ManifestKind::Service,
        to_namespace: &namespace,
        to_name: &reference.name,
    };
    if !scope.context.references.allow(&reference) {
        report.error(
            Code::UnresolvedReference,
            &namespace_field,
            format!(
                "namespace {namespace} does not allow references from {}",
                scope.namespace
            ),
            MEANWHILE,
            &format!(
                "put a ReferenceGrant into {namespace}: from {} of {}, to Service",
                scope.kind, scope.namespace
            ),
        );
        return Destination::Unresolved;
    }
    Destination::Service { hostname, port }
}
