//! Services: hostnames with ports, as registries say them.

use std::{net::IpAddr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::Hostname;

/// What one registry says about a hostname. The same hostname from several registries is one service ([`crate::MergedService`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// The name by which it is called.
    pub hostname: Hostname,
    /// Addresses of the service itself (a ClusterIP); empty where it has none. Not the endpoints' addresses.
    pub addresses: Vec<IpAddr>,
    /// Ports on which it is called. At least one, with different numbers.
    pub ports: Vec<ServicePort>,
    /// How a caller picks an endpoint.
    pub balancing: Balancing,
    /// How callers find out by themselves whether an endpoint works; `None` where the registry's word is enough.
    pub health_check: Option<HealthCheck>,
}

/// A port on which a service is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServicePort {
    /// The port number that callers use.
    pub number: u16,
    /// The name by which endpoints say where they serve it. May be empty for the only port of a service.
    pub name: Arc<str>,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// The local port on which a sidecar with explicit listeners offers it, where that must differ from `number`. TCP and TLS only.
    pub local_port: Option<u16>,
}

impl ServicePort {
    /// The local port on which a sidecar with explicit listeners offers it; `None` where it is offered by host on the port for HTTP.
    pub fn explicit_port(&self) -> Option<u16> {
        match self.protocol {
            Protocol::Tcp | Protocol::Tls => Some(self.local_port.unwrap_or(self.number)),
            Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::Auto => None,
        }
    }
}

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1; WebSocket upgrades are allowed.
    Http,
    /// HTTP/2 without TLS.
    Http2,
    /// gRPC: HTTP/2 with trailers that mean something.
    Grpc,
    /// TLS that is passed through, routed by server name (SNI).
    Tls,
    /// Bytes.
    Tcp,
    /// Not said: Envoy looks at the first bytes (HTTP/1.1, HTTP/2, or bytes).
    Auto,
}

impl Protocol {
    /// The protocol that a port's name or `appProtocol` says, by the prefix before the first `-`, in any case, as Istio reads it
    /// (`http`, `http2-web`, `grpc`, `https`, `kubernetes.io/h2c`, `mysql`…). `None` where it says nothing known.
    pub fn from_name(name: &str) -> Option<Self> {
        let lower = name.to_ascii_lowercase();
        let known = |text: &str| match text {
            "http" | "ws" | "kubernetes.io/ws" => Some(Self::Http),
            "http2" | "h2c" | "kubernetes.io/h2c" => Some(Self::Http2),
            "grpc" | "grpc-web" => Some(Self::Grpc),
            "tls" | "https" | "wss" | "kubernetes.io/wss" => Some(Self::Tls),
            "tcp" | "mongo" | "mysql" | "redis" | "postgres" | "postgresql" => Some(Self::Tcp),
            _ => None,
        };
        known(&lower).or_else(|| known(lower.split('-').next().unwrap_or_default()))
    }

    /// Whether requests on it are routed one by one.
    pub fn is_http(self) -> bool {
        match self {
            Self::Http | Self::Http2 | Self::Grpc => true,
            Self::Tls | Self::Tcp | Self::Auto => false,
        }
    }
}

/// How a caller picks one of a service's endpoints.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balancing {
    /// Any endpoint, by weight.
    #[default]
    Everywhere,
    /// Endpoints of the caller's zone while there are healthy ones, then its region, then other regions.
    PreferZone(RegionOrder),
    /// Endpoints of the caller's region while there are healthy ones, then other regions.
    PreferRegion(RegionOrder),
    /// Endpoints of the caller's node while there are healthy ones, then its zone, its region, and all others.
    PreferNode,
    /// Endpoints of the caller's node and no others. A caller of which no node is known uses all of its network.
    OnNode,
    /// The address that the caller has looked up (headless services): no balancing.
    ByAddress,
}

impl Balancing {
    /// Whether the caller's locality matters.
    pub fn looks_at_locality(&self) -> bool {
        match self {
            Self::PreferZone(_) | Self::PreferRegion(_) | Self::PreferNode | Self::OnNode => true,
            Self::Everywhere | Self::ByAddress => false,
        }
    }

    /// Whether the caller's node matters.
    pub fn looks_at_node(&self) -> bool {
        match self {
            Self::PreferNode | Self::OnNode => true,
            Self::PreferZone(_) | Self::PreferRegion(_) | Self::Everywhere | Self::ByAddress => {
                false
            }
        }
    }
}

/// In which order regions are used that are not the caller's: those that are named one after the other, then all others alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RegionOrder(Arc<[Arc<str>]>);

impl RegionOrder {
    /// The order of these regions. Of a region that is named twice the first place counts.
    pub fn new(regions: impl IntoIterator<Item = Arc<str>>) -> Self {
        let mut order = Vec::new();
        for region in regions {
            if !order.contains(&region) {
                order.push(region);
            }
        }
        Self(order.into())
    }

    /// How many regions are used before this one.
    pub fn before(&self, region: &str) -> usize {
        let place = self.0.iter().position(|named| **named == *region);
        place.unwrap_or(self.0.len())
    }
}

/// An active health check that callers make.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// Time between checks of one endpoint.
    pub interval: Duration,
    /// Time after which an unanswered check has failed.
    pub timeout: Duration,
    /// Failures in a row after which an endpoint is unhealthy. At least 1.
    pub unhealthy_threshold: u32,
    /// Successes in a row after which it is healthy again. At least 1.
    pub healthy_threshold: u32,
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// A connection can be made.
    Tcp,
    /// A GET of this path is answered with 200 to 299.
    Http {
        /// Begins with a slash.
        path: Arc<str>,
        /// Host header; the service's hostname where not given.
        host: Option<Hostname>,
    },
    /// The gRPC health service says SERVING.
    Grpc {
        /// The service that is asked about; empty for the server as a whole.
        service: Arc<str>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ports_name_says_its_protocol() {
        let cases = [
            ("http", Some(Protocol::Http)),
            ("http-admin", Some(Protocol::Http)),
            ("HTTP2-x", Some(Protocol::Http2)),
            ("grpc-web", Some(Protocol::Grpc)),
            ("kubernetes.io/h2c", Some(Protocol::Http2)),
            ("https", Some(Protocol::Tls)),
            ("redis-main", Some(Protocol::Tcp)),
            ("metrics", None),
            ("httpx", None),
            ("", None),
        ];
        for (name, expected) in cases {
            assert_eq!(Protocol::from_name(name), expected, "{name}");
        }
    }
}
