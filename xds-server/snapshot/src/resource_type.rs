//! Types of xDS resources, as values.

use std::{cmp::Ordering, fmt, hash};

use crate::name::namespace_of;

/// What the protocol needs to know about a type of resources.
#[derive(Debug)]
pub struct TypeSpec {
    /// The type URL, such as `type.googleapis.com/envoy.config.cluster.v3.Cluster`.
    pub type_url: &'static str,
    /// The name that people use, such as `CDS`. Appears in logs, metrics and listings.
    pub short_name: &'static str,
    /// Where the type stands in an update: lower is sent first (xDS protocol, "Eventual consistency considerations").
    pub order: u8,
    /// State-of-the-world responses carry everything that is subscribed, and what is absent is deleted (LDS, CDS and SRDS).
    pub full_state: bool,
    /// A first request without names subscribes to everything. Envoy opens LDS, CDS, SRDS and VHDS so; for other types it means
    /// "nothing".
    pub empty_is_wildcard: bool,
    /// Whether there is no state-of-the-world variant of the type.
    pub delta_only: bool,
    /// How a client is told that a resource does not exist.
    pub absence: Absence,
    /// What resources of this type belong to. They are sent again when that changes.
    pub parent: Option<Parent>,
}

/// How a client is told that a resource of a type does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// Its name is listed as removed.
    Removed,
    /// Its name is listed as removed to a client that asks for it. What a client has is not taken away: its traffic may depend on it
    /// (Envoy fails requests whose ECDS filter is removed).
    RemovedWhenAsked,
    /// A client that asks for it gets a resource without content, which has the name as its alias (VHDS). One that is taken away is listed
    /// as removed.
    EmptyWhenAsked,
}

/// What a resource belongs to.
#[derive(Debug, Clone, Copy)]
pub enum Parent {
    /// The resource of that type with the same name: Envoy warms a changed cluster only with a new ClusterLoadAssignment.
    SameName(&'static TypeSpec),
    /// The resource of that type that its name begins with, up to the last `/`: the virtual hosts of a route configuration. A subscription
    /// to the name of the parent is one to all that belongs to it.
    Namespace(&'static TypeSpec),
}

/// A type of xDS resources. Equality and order of identity are by type URL.
///
/// ```
/// use bowline_snapshot::{Absence, ResourceType, TypeSpec};
/// static QUOTA: TypeSpec = TypeSpec {
///     type_url: "type.googleapis.com/example.Quota",
///     short_name: "QDS",
///     order: 0,
///     full_state: false,
///     empty_is_wildcard: false,
///     delta_only: false,
///     absence: Absence::Removed,
///     parent: None,
/// };
/// let quota = ResourceType::new(&QUOTA);
/// assert!(quota < ResourceType::CLUSTER);
/// ```
#[derive(Clone, Copy)]
pub struct ResourceType(&'static TypeSpec);

static RUNTIME: TypeSpec = TypeSpec {
    type_url: "type.googleapis.com/envoy.service.runtime.v3.Runtime",
    short_name: "RTDS",
    order: 5,
    full_state: false,
    empty_is_wildcard: false,
    delta_only: false,
    absence: Absence::Removed,
    parent: None,
};
static SECRET: TypeSpec = TypeSpec {
    type_url: "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
    short_name: "SDS",
    order: 10,
    full_state: false,
    empty_is_wildcard: false,
    delta_only: false,
    absence: Absence::Removed,
    parent: None,
};
static EXTENSION: TypeSpec = TypeSpec {
    type_url: "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
    short_name: "ECDS",
    order: 15,
    full_state: false,
    empty_is_wildcard: false,
    delta_only: false,
    absence: Absence::RemovedWhenAsked,
    parent: None,
};
static CLUSTER: TypeSpec = TypeSpec {
    type_url: "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    short_name: "CDS",
    order: 20,
    full_state: true,
    empty_is_wildcard: true,
    delta_only: false,
    absence: Absence::Removed,
    parent: None,
};
static ENDPOINT: TypeSpec = TypeSpec {
    type_url: "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    short_name: "EDS",
    order: 30,
    full_state: false,
    empty_is_wildcard: false,
    delta_only: false,
    absence: Absence::Removed,
    parent: Some(Parent::SameName(&CLUSTER)),
};
static LISTENER: TypeSpec = TypeSpec {
    type_url: "type.googleapis.com/envoy.config.listener.v3.Listener",
    short_name: "LDS",
    order: 40,
    full_state: true,
    empty_is_wildcard: true,
    delta_only: false,
    absence: Absence::Removed,
    parent: None,
};
static SCOPED_ROUTE: TypeSpec = TypeSpec {
    type_url: "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration",
    short_name: "SRDS",
    order: 45,
    full_state: true,
    empty_is_wildcard: true,
    delta_only: false,
    absence: Absence::Removed,
    parent: None,
};
static ROUTE: TypeSpec = TypeSpec {
    type_url: "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    short_name: "RDS",
    order: 50,
    full_state: false,
    empty_is_wildcard: false,
    delta_only: false,
    absence: Absence::Removed,
    parent: None,
};
static VIRTUAL_HOST: TypeSpec = TypeSpec {
    type_url: "type.googleapis.com/envoy.config.route.v3.VirtualHost",
    short_name: "VHDS",
    order: 60,
    full_state: false,
    empty_is_wildcard: true,
    delta_only: true,
    absence: Absence::EmptyWhenAsked,
    parent: Some(Parent::Namespace(&ROUTE)),
};

impl ResourceType {
    /// Runtime layers (RTDS).
    pub const RUNTIME: Self = Self(&RUNTIME);
    /// TLS certificates and keys (SDS).
    pub const SECRET: Self = Self(&SECRET);
    /// Configurations of extensions (ECDS).
    pub const EXTENSION: Self = Self(&EXTENSION);
    /// Clusters (CDS).
    pub const CLUSTER: Self = Self(&CLUSTER);
    /// ClusterLoadAssignments (EDS).
    pub const ENDPOINT: Self = Self(&ENDPOINT);
    /// Listeners (LDS).
    pub const LISTENER: Self = Self(&LISTENER);
    /// ScopedRouteConfigurations (SRDS).
    pub const SCOPED_ROUTE: Self = Self(&SCOPED_ROUTE);
    /// RouteConfigurations (RDS).
    pub const ROUTE: Self = Self(&ROUTE);
    /// VirtualHosts (VHDS), named `{route configuration}/{host}`. Envoy removes one by its resource name, so the name in the VirtualHost has
    /// to be the same.
    pub const VIRTUAL_HOST: Self = Self(&VIRTUAL_HOST);
    /// The types that Bowline serves, in the order in which an update sends them.
    pub const ALL: [Self; 9] = [
        Self::RUNTIME,
        Self::SECRET,
        Self::EXTENSION,
        Self::CLUSTER,
        Self::ENDPOINT,
        Self::LISTENER,
        Self::SCOPED_ROUTE,
        Self::ROUTE,
        Self::VIRTUAL_HOST,
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

    /// The type that resources of this type belong to.
    pub fn parent(self) -> Option<Self> {
        self.0.parent.map(|parent| match parent {
            Parent::SameName(spec) | Parent::Namespace(spec) => Self(spec),
        })
    }

    /// The type and name of what the resource with this name belongs to.
    pub fn parent_of(self, name: &str) -> Option<(Self, &str)> {
        match self.0.parent? {
            Parent::SameName(spec) => Some((Self(spec), name)),
            Parent::Namespace(spec) => Some((Self(spec), namespace_of(name)?)),
        }
    }

    /// Whether the name of a parent subscribes to all that belongs to it.
    pub fn has_namespaces(self) -> bool {
        matches!(self.0.parent, Some(Parent::Namespace(_)))
    }

    /// Whether a resource without content only says that the one before still holds.
    pub fn has_heartbeats(self) -> bool {
        self.0.absence != Absence::EmptyWhenAsked
    }
}

impl PartialEq for ResourceType {
    fn eq(&self, other: &Self) -> bool {
        // Nearly always it is one of our constants, and this is asked a hundred times for each message.
        std::ptr::eq(self.0, other.0) || self.0.type_url == other.0.type_url
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
        if std::ptr::eq(self.0, other.0) {
            return Ordering::Equal;
        }
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
