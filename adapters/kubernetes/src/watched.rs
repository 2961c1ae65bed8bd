//! The closed list of what is watched. A kind that `manifests` understands is watched because it is in its list.

use std::fmt;

use bowline_manifests::ManifestKind;

/// A kind of object that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Watched {
    /// What becomes objects of the mesh, or decides how others do.
    Manifest(ManifestKind),
    /// Who stands behind an endpoint.
    Pod,
    /// Where it stands.
    Node,
}

/// Kinds that need not be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Without pods, endpoints have no labels and no identity, and there are no workloads.
    pub pods: bool,
    /// Without nodes, endpoints have the zone that their slice says, and the registry's region.
    pub nodes: bool,
    /// Without Ingresses, requests come in by the Gateway API only.
    pub ingresses: bool,
}

impl Watched {
    /// Everything that is to be watched.
    pub fn all(facts: Facts) -> Vec<Self> {
        let manifests = ManifestKind::ALL.iter().copied();
        let manifests = manifests.filter(|kind| match kind {
            ManifestKind::Ingress | ManifestKind::IngressClass => facts.ingresses,
            ManifestKind::Secret => false,
            ManifestKind::Namespace
            | ManifestKind::Service
            | ManifestKind::EndpointSlice
            | ManifestKind::GatewayClass
            | ManifestKind::Gateway
            | ManifestKind::ReferenceGrant
            | ManifestKind::HttpRoute
            | ManifestKind::TlsRoute
            | ManifestKind::TcpRoute => true,
        });
        let manifests = manifests.map(Self::Manifest);
        let pods = facts.pods.then_some(Self::Pod);
        let nodes = facts.nodes.then_some(Self::Node);
        manifests.chain(pods).chain(nodes).collect()
    }

    /// Its API group; empty for the core group.
    pub fn group(self) -> &'static str {
        match self {
            Self::Manifest(kind) => kind.group(),
            Self::Pod | Self::Node => "",
        }
    }

    /// The versions that are read, the best one first.
    pub(crate) fn versions(self) -> &'static [&'static str] {
        match self {
            Self::Manifest(kind) => kind.versions(),
            Self::Pod | Self::Node => &["v1"],
        }
    }

    /// Its name in the API's paths.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Manifest(kind) => kind.plural(),
            Self::Pod => "pods",
            Self::Node => "nodes",
        }
    }

    /// Whether every cluster has it.
    pub(crate) fn is_built_in(self) -> bool {
        match self {
            Self::Manifest(kind) => kind.is_built_in(),
            Self::Pod | Self::Node => true,
        }
    }

    /// Where an API server has all of its objects, in one of its versions.
    pub(crate) fn path(self, version: &str) -> String {
        let plural = self.plural();
        match self.group() {
            "" => format!("/api/{version}/{plural}"),
            group => format!("/apis/{group}/{version}/{plural}"),
        }
    }
}

/// As RBAC rules name it: `httproutes.gateway.networking.k8s.io`.
impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.plural())?;
        match self.group() {
            "" => Ok(()),
            group => write!(f, ".{group}"),
        }
    }
}
