//! What TLSRoutes and TCPRoutes share.

use std::sync::Arc;

use bowline_mesh::{Backend, HostPattern, Object, RouteParent, Spec, StreamRoute};
use serde::Deserialize;

use crate::{
    Metadata,
    backend::{self, BackendRef},
    convert::Scope,
    metadata::Present,
    report::{Field, Report},
};

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StreamRule {
    name: Option<Present>,
    #[serde(default)]
    backend_refs: Vec<BackendRef>,
}

/// The only rule's backends.
pub(crate) fn backends(
    rules: &[StreamRule],
    field: &Field<'_>,
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) -> Vec<Backend> {
    let Some(rule) = rules.first() else {
        report.invalid(
            field,
            "the route has no rule",
            "give it one rule with backendRefs",
        );
        return Vec::new();
    };
    if rules.len() > 1 {
        report.unsupported(
            &field.index(1),
            "a connection cannot be told apart further, so there is one rule",
            "the first rule takes all connections",
            "put all backends into one rule, with weights",
        );
    }
    let field = field.index(0);
    backend::backends(&rule.backend_refs, &field.key("backendRefs"), scope, report)
}

/// The route, unless it is attached to nothing of ours.
pub(crate) fn objects(
    metadata: &Metadata,
    parents: Vec<RouteParent>,
    server_names: Vec<HostPattern>,
    backends: Vec<Backend>,
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) -> Vec<Object> {
    let route = StreamRoute {
        parents,
        server_names,
        backends,
        created: metadata.created(report),
    };
    if route.parents.is_empty() {
        return Vec::new();
    }
    vec![scope.object(Spec::StreamRoute(Arc::new(route)))]
}
