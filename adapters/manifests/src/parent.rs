//! What routes are attached to.

use std::{collections::BTreeSet, sync::Arc};

use bowline_mesh::{Code, GatewayName, Namespace, RouteParent};
use serde::Deserialize;

use crate::{
    ManifestKind,
    convert::Scope,
    metadata::{Present, shortened},
    report::{Field, Report},
};

/// A reference of a route to its parent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ParentRef {
    group: Option<Arc<str>>,
    kind: Option<Arc<str>>,
    pub(crate) namespace: Option<Arc<str>>,
    pub(crate) name: Arc<str>,
    pub(crate) section_name: Option<Arc<str>>,
    pub(crate) port: Option<u16>,
}

impl ParentRef {
    /// Group and kind; a Gateway's where it gives none.
    pub(crate) fn kind(&self) -> (&str, &str) {
        let group = self.group.as_deref();
        let kind = self.kind.as_deref();
        (
            group.unwrap_or(ManifestKind::Gateway.group()),
            kind.unwrap_or(ManifestKind::Gateway.as_str()),
        )
    }
}

/// The parents of a route. Gateways of other controllers are left out: they are somebody else's.
pub(crate) fn parents(
    references: &[ParentRef],
    field: &Field<'_>,
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) -> Vec<RouteParent> {
    let mut parents = Vec::with_capacity(references.len());
    if references.is_empty() {
        report.warning(
            Code::UnknownParent,
            field,
            "the route is attached to nothing",
            "it acts nowhere",
            "name a Gateway or a Service in parentRefs",
        );
    }
    let mut seen = BTreeSet::new();
    for (index, reference) in references.iter().enumerate() {
        let field = field.index(index);
        if !seen.insert(reference) {
            report.invalid(&field, "the parent is given twice", "leave one out");
        }
        parents.extend(parent(reference, &field, scope, report));
    }
    parents
}

/// What a reference leads to, if it leads anywhere.
pub(crate) fn resolved(reference: &ParentRef, scope: &Scope<'_>) -> Option<RouteParent> {
    let field = Field::root("parentRefs");
    // What is wrong with it was said when the route was converted.
    parent(
        reference,
        &field,
        scope,
        &mut Report::new(None, scope.source()),
    )
}

fn parent(
    reference: &ParentRef,
    field: &Field<'_>,
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) -> Option<RouteParent> {
    if reference.port == Some(0) {
        report.invalid(
            &field.key("port"),
            "0 is not a port",
            "give a number from 1 to 65535",
        );
    }
    let namespace = namespace(
        reference.namespace.as_deref(),
        &field.key("namespace"),
        scope,
        report,
    )?;
    let (group, kind) = reference.kind();
    let is = |expected: ManifestKind| group == expected.group() && kind == expected.as_str();
    if is(ManifestKind::Gateway) {
        let gateway = GatewayName {
            namespace,
            name: reference.name.clone(),
        };
        if scope.context.references.is_foreign_gateway(&gateway) {
            return None;
        }
        Some(RouteParent::Gateway {
            gateway,
            section: reference.section_name.clone(),
            port: reference.port,
        })
    } else if is(ManifestKind::Service) {
        // Without it the route would be attached to more ports than it says.
        if reference.section_name.is_some() {
            report.unsupported(
                &field.key("sectionName"),
                "a port of a service is not found by its name",
                "the route is not attached to this service",
                "give the port's number as `port`",
            );
            return None;
        }
        let hostname = scope.hostname(&reference.name, &namespace, &field.key("name"), report)?;
        Some(RouteParent::Service {
            hostname,
            port: reference.port,
        })
    } else {
        report.unsupported(
            &field.key("kind"),
            format!("routes are not attached to a {}", described(group, kind)),
            "the route is attached to its other parents only",
            "attach it to a Gateway (group gateway.networking.k8s.io) or a Service (group \"\")",
        );
        None
    }
}

/// Routes attach to what they name, and to nothing else.
pub(crate) fn check_default_gateways(
    use_default_gateways: Option<&Present>,
    spec: &Field<'_>,
    report: &mut Report<'_>,
) {
    if use_default_gateways.is_some() {
        report.unsupported(
            &spec.key("useDefaultGateways"),
            "no gateway is the default of routes",
            "the route is attached to the parents that it names only",
            "name the gateway in parentRefs",
        );
    }
}

/// The namespace of a reference; the object's own where it names none.
pub(crate) fn namespace(
    text: Option<&str>,
    field: &Field<'_>,
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) -> Option<Namespace> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Some(scope.namespace.clone());
    };
    match text.parse() {
        Ok(namespace) => Some(namespace),
        Err(error) => {
            let error: bowline_mesh::NameError = error;
            report.invalid(field, error.to_string(), "give the name of a namespace");
            None
        }
    }
}

/// A kind with its group, for messages.
pub(crate) fn described(group: &str, kind: &str) -> String {
    match group {
        "" => shortened(kind),
        group => format!("{} ({})", shortened(kind), shortened(group)),
    }
}
