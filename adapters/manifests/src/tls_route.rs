//! TLSRoutes.

use bowline_mesh::Object;
use serde::Deserialize;

use crate::{
    Metadata,
    convert::Scope,
    hostname,
    metadata::Present,
    parent::{self, ParentRef},
    report::{Field, Report},
    stream_route::{self, StreamRule},
};

/// Fields that mean nothing here.
pub(crate) const IGNORED: &[&str] = &[];

/// A TLSRoute, as far as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TlsRoute {
    pub(crate) metadata: Metadata,
    spec: TlsRouteSpec,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TlsRouteSpec {
    #[serde(default)]
    parent_refs: Vec<ParentRef>,
    use_default_gateways: Option<Present>,
    #[serde(default)]
    hostnames: Vec<String>,
    #[serde(default)]
    rules: Vec<StreamRule>,
}

impl TlsRoute {
    pub(crate) fn parents(&self) -> &[ParentRef] {
        &self.spec.parent_refs
    }
}

pub(crate) fn objects(route: &TlsRoute, scope: &Scope<'_>, report: &mut Report<'_>) -> Vec<Object> {
    let TlsRouteSpec {
        parent_refs,
        use_default_gateways,
        hostnames,
        rules,
    } = &route.spec;
    let field = Field::root("spec");
    parent::check_default_gateways(use_default_gateways.as_ref(), &field, report);
    let parents = parent::parents(parent_refs, &field.key("parentRefs"), scope, report);
    let server_names = hostname::patterns(hostnames, &field.key("hostnames"), report);
    let backends = stream_route::backends(rules, &field.key("rules"), scope, report);
    stream_route::objects(
        &route.metadata,
        parents,
        server_names,
        backends,
        scope,
        report,
    )
}
