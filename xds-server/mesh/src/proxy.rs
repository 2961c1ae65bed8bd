//! Proxies: who is configured, and where it stands.

use std::{fmt, net::IpAddr, sync::Arc};

use bowline_identity::PeerIdentity;

use crate::{GatewayName, Locality, Mesh, Namespace, Network, ObjectKey, Workload};

/// One connected Envoy: what its Node says and what its certificate proves.
#[derive(Debug, Clone, PartialEq)]
pub struct Proxy {
    /// The id of its Node.
    pub id: Arc<str>,
    /// What it is there for.
    pub role: Role,
    /// The namespace in which it stands.
    pub namespace: Namespace,
    /// The workload beside which it stands, or the gateway that it is.
    pub name: Arc<str>,
    /// The addresses that it says it has.
    pub addresses: Vec<IpAddr>,
    /// The network that it says it is in; `None` leaves it to its workload.
    pub network: Option<Network>,
    /// The locality of its Node; `None` leaves it to its workload.
    pub locality: Option<Locality>,
    /// Whether it can forward requests to hosts that only their name tells.
    pub host_lookup: HostLookup,
    /// How its routes come to it.
    pub route_delivery: RouteDelivery,
    /// Who it is.
    pub identity: PeerIdentity,
}

/// What a proxy is there for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It stands beside one workload and carries what goes out of it and comes into it.
    Sidecar(Capture),
    /// It takes requests from outside.
    Gateway(GatewayName),
    /// It takes connections from other networks for the services of its own.
    EastWest,
    /// An application whose gRPC library speaks xDS itself, with no proxy beside it.
    Grpc,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sidecar(Capture::Explicit) => f.write_str("sidecar"),
            Self::Sidecar(Capture::Transparent) => f.write_str("sidecar, transparent"),
            Self::Gateway(name) => write!(f, "gateway {name}"),
            Self::EastWest => f.write_str("east-west gateway"),
            Self::Grpc => f.write_str("grpc"),
        }
    }
}

/// Who picks an endpoint for a request: each kind understands other things about endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Balancer {
    /// A proxy.
    Proxy,
    /// An east-west gateway, which stays within its network.
    EastWest,
    /// An application's gRPC library.
    Grpc,
}

impl Balancer {
    /// Who it is for proxies of a role.
    pub fn of(role: &Role) -> Self {
        match role {
            Role::Sidecar(_) | Role::Gateway(_) => Self::Proxy,
            Role::EastWest => Self::EastWest,
            Role::Grpc => Self::Grpc,
        }
    }
}

/// How connections come to a sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capture {
    /// The application calls local listeners: no iptables, no privileges.
    Explicit,
    /// iptables redirects all connections to ports 15001 (outbound) and 15006 (inbound).
    Transparent,
}

/// Whether a proxy can look up the host of a request by itself and forward the request there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostLookup {
    /// It can, as nearly all can.
    Available,
    /// It was built without.
    Unavailable,
}

/// How routes come to a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteDelivery {
    /// All hosts of a table in one piece, which comes again whenever one of them changes.
    Whole,
    /// Each host by itself: what changes for one says nothing of the others.
    ByHost,
}

/// Which IP families a proxy has addresses of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IpFamilies {
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// Both.
    Dual,
}

impl IpFamilies {
    /// The families of some addresses; IPv4 where there are none.
    pub fn of(addresses: &[IpAddr]) -> Self {
        let has_v4 = addresses.iter().any(IpAddr::is_ipv4);
        let has_v6 = addresses.iter().any(IpAddr::is_ipv6);
        match (has_v4, has_v6) {
            (true, true) => Self::Dual,
            (false, true) => Self::V6,
            (true | false, false) => Self::V4,
        }
    }

    /// Whether an address can be reached from there.
    pub fn reach(self, address: IpAddr) -> bool {
        match self {
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
            Self::Dual => true,
        }
    }
}

impl Proxy {
    /// The workload beside which it stands: the one with its namespace and name, otherwise the one with its first address.
    /// Of several registries the first in the configuration wins.
    pub fn workload<'m>(&self, mesh: &'m Mesh) -> Option<(&'m ObjectKey, &'m Arc<Workload>)> {
        match self.role {
            Role::Sidecar(_) | Role::Grpc => mesh
                .workload_named(&self.namespace, &self.name)
                .or_else(|| {
                    self.addresses
                        .first()
                        .and_then(|address| mesh.workload_at(*address))
                }),
            Role::Gateway(_) | Role::EastWest => None,
        }
    }
}
