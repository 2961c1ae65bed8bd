//! TCPRoutes.

use bowline_mesh::Object;
use serde::Deserialize;

use crate::{
    Metadata,
    convert::Scope,
    metadata::Present,
    parent::{self, ParentRef},
    report::{Field, Report},
    stream_route::{self, StreamRule},
};

/// Fields that mean nothing here.
pub(crate) const IGNORED: &[&str] = &[];

/// A TCPRoute, as far as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TcpRoute {
    pub(crate) metadata: Metadata,
    spec: TcpRouteSpec,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TcpRouteSpec {
    #[serde(default)]
    parent_refs: Vec<ParentRef>,
    use_default_gateways: Option<Present>,
    #[serde(default)]
    rules: Vec<StreamRule>,
}

impl TcpRoute {
    pub(crate) fn parents(&self) -> &[ParentRef] {
        &self.spec.parent_refs
    }
}

pub(crate) fn objects(route: &TcpRoute, scope: &Scope<'_>, report: &mut Report<'_>) -> Vec<Object> {
    let TcpRouteSpec {
        parent_refs,
        use_default_gateways,
        rules,
    } = &route.spec;
    let field = Field::root("spec");
    parent::check_default_gateways(use_default_gateways.as_ref(), &field, report);
    let parents = parent::parents(parent_refs, &field.key("parentRefs"), scope, report);
    let backends = stream_route::backends(rules, &field.key("rules"), scope, report);
    stream_route::objects(
        &route.metadata,
        parents,
        Vec::new(),
        backends,
        scope,
        report,
    )
}
