//! The closed list of what is watched. A kind that `manifests` understands is watched because it is in its list.

use std::{collections::BTreeSet, fmt};

use bowline_manifests::{ManifestKind, Sight};
use bowline_mesh::Namespace;

use crate::api::{Collection, Shown};

/// Secrets with certificates, as a query has it. All others stay where they are: releases of Helm alone can be hundreds of megabytes.
const OF_TLS: &str = "fieldSelector=type%3Dkubernetes.io%2Ftls";

/// A kind of object that is watched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Watched {
    /// What becomes objects of the mesh, or decides how others do.
    Manifest(ManifestKind),
    /// Who stands behind an endpoint.
    Pod,
    /// Where it stands.
    Node,
    /// Which Secrets with certificates there are: nothing but their metadata, in all namespaces.
    SecretNames,
    /// The Secrets with certificates of a namespace, to know whether they can be used.
    Secrets(Namespace),
}

/// Kinds that need not be watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Without pods, endpoints have no labels and no identity, and there are no workloads.
    pub pods: bool,
    /// Without nodes, endpoints have the zone that their slice says, and the registry's region.
    pub nodes: bool,
    /// Without Ingresses, requests come in by the Gateway API only.
    pub ingresses: bool,
    /// Without Secrets, it is not known whether certificates are there.
    pub secrets: SecretFacts,
}

/// Where Secrets with certificates are watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFacts {
    /// Whether it is watched in all namespaces which of them there are.
    pub everywhere: bool,
    /// The namespaces in which they are read.
    pub namespaces: BTreeSet<Namespace>,
}

impl SecretFacts {
    /// Nowhere.
    pub fn none() -> Self {
        Self {
            everywhere: false,
            namespaces: BTreeSet::new(),
        }
    }
}

impl Watched {
    /// Everything that is to be watched.
    pub fn all(facts: &Facts) -> Vec<Self> {
        let manifests = ManifestKind::ALL.iter().copied();
        let manifests = manifests.filter(|kind| match kind {
            ManifestKind::Ingress | ManifestKind::IngressClass => facts.ingresses,
            // As one with content it would be kept. Only its name is.
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
        let SecretFacts {
            everywhere,
            namespaces,
        } = &facts.secrets;
        let names = everywhere.then_some(Self::SecretNames);
        let secrets = namespaces.iter().cloned().map(Self::Secrets);
        manifests
            .chain(pods)
            .chain(nodes)
            .chain(names)
            .chain(secrets)
            .collect()
    }

    /// From where it looks at Secrets, if it does.
    pub(crate) fn sight(&self) -> Option<Sight<'_>> {
        match self {
            Self::SecretNames => Some(Sight::Everywhere),
            Self::Secrets(namespace) => Some(Sight::Within(namespace)),
            Self::Manifest(_) | Self::Pod | Self::Node => None,
        }
    }

    /// Whether a cluster is known only once this is. Secrets are what many may not read, and what no request depends on.
    pub(crate) fn is_required(&self) -> bool {
        self.sight().is_none()
    }

    /// What to do where it is denied.
    pub(crate) fn grant(&self) -> String {
        match self {
            Self::Manifest(_) | Self::Pod | Self::Node => {
                format!("grant list and watch of {self} to it")
            }
            Self::SecretNames => "grant list and watch of secrets in all namespaces, or only in those that `secrets.namespaces` \
                                  names, to have it said whether certificates are there; `secrets: {everywhere: false}` asks no more"
                .to_owned(),
            Self::Secrets(namespace) => {
                format!("grant list and watch of secrets in {namespace} to it with a Role")
            }
        }
    }

    /// Its API group; empty for the core group.
    pub fn group(&self) -> &'static str {
        match self {
            Self::Manifest(kind) => kind.group(),
            Self::Pod | Self::Node | Self::SecretNames | Self::Secrets(_) => "",
        }
    }

    /// The versions that are read, the best one first.
    pub(crate) fn versions(&self) -> &'static [&'static str] {
        match self {
            Self::Manifest(kind) => kind.versions(),
            Self::Pod | Self::Node | Self::SecretNames | Self::Secrets(_) => &["v1"],
        }
    }

    /// Its name in the API's paths.
    pub fn plural(&self) -> &'static str {
        match self {
            Self::Manifest(kind) => kind.plural(),
            Self::Pod => "pods",
            Self::Node => "nodes",
            Self::SecretNames | Self::Secrets(_) => ManifestKind::Secret.plural(),
        }
    }

    /// Whether every cluster has it.
    pub(crate) fn is_built_in(&self) -> bool {
        match self {
            Self::Manifest(kind) => kind.is_built_in(),
            Self::Pod | Self::Node | Self::SecretNames | Self::Secrets(_) => true,
        }
    }

    /// The namespace to which it is confined.
    pub(crate) fn namespace(&self) -> Option<&Namespace> {
        match self {
            Self::Secrets(namespace) => Some(namespace),
            Self::Manifest(_) | Self::Pod | Self::Node | Self::SecretNames => None,
        }
    }

    /// Where an API server has all of its objects, in one of its versions.
    pub(crate) fn collection(&self, version: &str) -> Collection {
        let root = match self.group() {
            "" => format!("/api/{version}"),
            group => format!("/apis/{group}/{version}"),
        };
        let plural = self.plural();
        Collection {
            path: match self.namespace() {
                Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}"),
                None => format!("{root}/{plural}"),
            },
            selector: self.sight().map(|_| OF_TLS),
            shown: match self {
                Self::SecretNames => Shown::Metadata,
                Self::Manifest(_) | Self::Pod | Self::Node | Self::Secrets(_) => Shown::Whole,
            },
        }
    }
}

/// As RBAC rules name it: `httproutes.gateway.networking.k8s.io`, `secrets in edge`.
impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.plural())?;
        match (self.group(), self.namespace()) {
            ("", None) => Ok(()),
            ("", Some(namespace)) => write!(f, " in {namespace}"),
            (group, _) => write!(f, ".{group}"),
        }
    }
}
