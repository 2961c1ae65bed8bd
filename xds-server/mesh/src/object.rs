//! Objects: what registries contribute, one by one.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    EndpointGroup, Gateway, HttpRoute, Namespace, NetworkGateway, Policy, RegistryId, Service,
    StreamRoute, Workload,
};

/// One object of one registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    key: ObjectKey,
    /// Where it is written, for messages.
    pub source: Source,
    spec: Spec,
}

impl Object {
    /// An object. The kind in its key is that of its content.
    pub fn new(
        registry: RegistryId,
        partition: Option<Arc<str>>,
        namespace: Namespace,
        name: impl Into<Arc<str>>,
        source: Source,
        spec: Spec,
    ) -> Self {
        let kind = spec.kind();
        Self {
            key: ObjectKey {
                registry,
                partition,
                kind,
                namespace,
                name: name.into(),
            },
            source,
            spec,
        }
    }

    /// What identifies it.
    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// What it says.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Key, source and content.
    pub fn into_parts(self) -> (ObjectKey, Source, Spec) {
        (self.key, self.source, self.spec)
    }
}

/// What identifies an object in the whole mesh.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// Who contributes it.
    pub registry: RegistryId,
    /// A Consul partition or peer, where the registry has such.
    pub partition: Option<Arc<str>>,
    /// What it is.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name, unique within all of the above.
    pub name: Arc<str>,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            registry,
            partition,
            kind,
            namespace,
            name,
        } = self;
        write!(f, "{registry}: {kind} ")?;
        if let Some(partition) = partition {
            write!(f, "{partition}/")?;
        }
        write!(f, "{namespace}/{name}")
    }
}

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// [`Spec::Service`]
    Service,
    /// [`Spec::Endpoints`]
    Endpoints,
    /// [`Spec::Workload`]
    Workload,
    /// [`Spec::HttpRoute`]
    HttpRoute,
    /// [`Spec::StreamRoute`]
    StreamRoute,
    /// [`Spec::Gateway`]
    Gateway,
    /// [`Spec::Policy`]
    Policy,
    /// [`Spec::NetworkGateway`]
    NetworkGateway,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service => "service",
            Self::Endpoints => "endpoints",
            Self::Workload => "workload",
            Self::HttpRoute => "HTTP route",
            Self::StreamRoute => "stream route",
            Self::Gateway => "gateway",
            Self::Policy => "policy",
            Self::NetworkGateway => "network gateway",
        })
    }
}

/// What an object says. Contents are shared: the store, the mesh and views refer to the same value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spec {
    /// A hostname with ports.
    Service(Arc<Service>),
    /// Endpoints of a service.
    Endpoints(Arc<EndpointGroup>),
    /// A machine or pod.
    Workload(Arc<Workload>),
    /// Rules for HTTP requests.
    HttpRoute(Arc<HttpRoute>),
    /// Rules for connections.
    StreamRoute(Arc<StreamRoute>),
    /// Where requests come in.
    Gateway(Arc<Gateway>),
    /// How callers treat a service.
    Policy(Arc<Policy>),
    /// How a network is entered from others.
    NetworkGateway(Arc<NetworkGateway>),
}

impl Spec {
    /// What it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::Endpoints(_) => Kind::Endpoints,
            Self::Workload(_) => Kind::Workload,
            Self::HttpRoute(_) => Kind::HttpRoute,
            Self::StreamRoute(_) => Kind::StreamRoute,
            Self::Gateway(_) => Kind::Gateway,
            Self::Policy(_) => Kind::Policy,
            Self::NetworkGateway(_) => Kind::NetworkGateway,
        }
    }
}

/// Where an object is written: `inventory.yaml:12`, `prod default/cart`. Never part of what a proxy is sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Source {
    /// A file, or an object as its registry names it.
    pub place: Arc<str>,
    /// The line, from 1, where the place is a file.
    pub line: Option<u32>,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)?;
        match self.line {
            Some(line) => write!(f, ":{line}"),
            None => Ok(()),
        }
    }
}
