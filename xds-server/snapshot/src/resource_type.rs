//! Types of xDS resources, as values.

use std::{cmp::Ordering, fmt, hash};

/// What the protocol needs to know about a type of resources.
#[derive(Debug)]
pub struct TypeSpec {
    /// The type URL, such as `type.googleapis.com/envoy.config.cluster.v3.Cluster`.
    pub type_url: &'static str,
    /// The name that people use, such as `CDS`. Appears in logs, metrics and listings.
    pub short_name: &'static str,
    /// Where the type stands in an update: lower is sent first (xDS protocol, "Eventual consistency considerations").
    pub order: u8,
    /// State-of-the-world responses carry everything that is subscribed, and what is absent is deleted (LDS and CDS).
    pub full_state: bool,
    /// A first request without names subscribes to everything (LDS and CDS only: for other types it means "nothing").
    pub empty_is_wildcard: bool,
    /// A resource of this type belongs to the resource of that type with the same name, and is sent again when that one
    /// changes: Envoy warms a changed cluster only with a new ClusterLoadAssignment.
    pub parent: Option<&'static TypeSpec>,
}

/// A type of xDS resources. Equality and order of identity are by type URL.
///
/// ```
/// use bowline_snapshot::{ResourceType, TypeSpec};
/// static RUNTIME: TypeSpec = TypeSpec {
///     type_url: "type.googleapis.com/envoy.service.runtime.v3.Runtime",
///     short_name: "RTDS",
///     order: 0,
///     full_state: false,
///     empty_is_wildcard: false,
///     parent: None,
/// };
/// let runtime = ResourceType::new(&RUNTIME);
/// assert!(runtime < ResourceType::CLUSTER);
/// ```
#[derive(Clone, Copy)]
pub struct ResourceType(&'static TypeSpec);

static SECRET: TypeSpec = TypeSpec {
    type_url: "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
    short_name: "SDS",
    order: 10,
    full_state: false,
    empty_is_wildcard: false,
    parent: None,
};
static CLUSTER: TypeSpec = TypeSpec {
    type_url: "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    short_name: "CDS",
    order: 20,
    full_state: true,
    empty_is_wildcard: true,
    parent: None,
};
static ENDPOINT: TypeSpec = TypeSpec {
    type_url: "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    short_name: "EDS",
    order: 30,
    full_state: false,
    empty_is_wildcard: false,
    parent: Some(&CLUSTER),
};
static LISTENER: TypeSpec = TypeSpec {
    type_url: "type.googleapis.com/envoy.config.listener.v3.Listener",
    short_name: "LDS",
    order: 40,
    full_state: true,
    empty_is_wildcard: true,
    parent: None,
};
static ROUTE: TypeSpec = TypeSpec {
    type_url: "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    short_name: "RDS",
    order: 50,
    full_state: false,
    empty_is_wildcard: false,
    parent: None,
};

impl ResourceType {
    /// TLS certificates and keys (SDS).
    pub const SECRET: Self = Self(&SECRET);
    /// Clusters (CDS).
    pub const CLUSTER: Self = Self(&CLUSTER);
    /// ClusterLoadAssignments (EDS).
    pub const ENDPOINT: Self = Self(&ENDPOINT);
    /// Listeners (LDS).
    pub const LISTENER: Self = Self(&LISTENER);
    /// RouteConfigurations (RDS).
    pub const ROUTE: Self = Self(&ROUTE);
    /// The types that Bowline serves, in the order in which an update sends them.
    pub const ALL: [Self; 5] = [
        Self::SECRET,
        Self::CLUSTER,
        Self::ENDPOINT,
        Self::LISTENER,
        Self::ROUTE,
    ];

    /// A type from its description.
    pub const fn new(spec: &'static TypeSpec) -> Self {
        Self(spec)
    }

    /// The description.
    pub fn spec(self) -> &'static TypeSpec {
        self.0
    }

    /// The type URL.
    pub fn url(self) -> &'static str {
        self.0.type_url
    }

    /// The name that people use, such as `CDS`.
    pub fn short_name(self) -> &'static str {
        self.0.short_name
    }

    /// The type whose resource of the same name a resource of this type belongs to.
    pub fn parent(self) -> Option<Self> {
        self.0.parent.map(Self)
    }
}

impl PartialEq for ResourceType {
    fn eq(&self, other: &Self) -> bool {
        self.0.type_url == other.0.type_url
    }
}

impl Eq for ResourceType {}

impl PartialOrd for ResourceType {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By the order of an update, then by type URL.
impl Ord for ResourceType {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.0.order, self.0.type_url).cmp(&(other.0.order, other.0.type_url))
    }
}

impl hash::Hash for ResourceType {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.0.type_url.hash(state);
    }
}

impl fmt::Debug for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.short_name)
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.short_name)
    }
}
