//! The kinds of resources that a sidecar asks for.

/// A kind of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// CDS.
    Clusters,
    /// EDS.
    Endpoints,
    /// LDS.
    Listeners,
    /// RDS.
    Routes,
    /// VHDS.
    Hosts,
}

impl Kind {
    /// All of them, in the order in which Envoy asks.
    pub const ALL: [Self; 5] = [
        Self::Clusters,
        Self::Endpoints,
        Self::Listeners,
        Self::Routes,
        Self::Hosts,
    ];

    /// The kind with a type URL.
    pub fn of(type_url: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.url().as_bytes() == type_url)
    }

    /// Its type URL.
    pub fn url(self) -> &'static str {
        match self {
            Self::Clusters => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listeners => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Routes => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            Self::Hosts => "type.googleapis.com/envoy.config.route.v3.VirtualHost",
        }
    }

    /// Whether an Envoy asks for all of it, without names.
    pub fn is_wildcard(self) -> bool {
        match self {
            Self::Clusters | Self::Listeners | Self::Hosts => true,
            Self::Endpoints | Self::Routes => false,
        }
    }
}

/// Something of each kind.
#[derive(Debug, Clone, Default)]
pub struct PerKind<T>([T; 5]);

impl<T> PerKind<T> {
    /// That of one kind.
    pub fn of(&self, kind: Kind) -> &T {
        let Self([clusters, endpoints, listeners, routes, hosts]) = self;
        match kind {
            Kind::Clusters => clusters,
            Kind::Endpoints => endpoints,
            Kind::Listeners => listeners,
            Kind::Routes => routes,
            Kind::Hosts => hosts,
        }
    }

    /// The same to change.
    pub fn of_mut(&mut self, kind: Kind) -> &mut T {
        let Self([clusters, endpoints, listeners, routes, hosts]) = self;
        match kind {
            Kind::Clusters => clusters,
            Kind::Endpoints => endpoints,
            Kind::Listeners => listeners,
            Kind::Routes => routes,
            Kind::Hosts => hosts,
        }
    }
}
