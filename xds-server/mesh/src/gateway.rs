//! Gateways: where requests come into the mesh.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{HostPattern, Namespace};

/// What a gateway proxy listens on (Gateway API Gateway).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// In order of writing, with different names.
    pub listeners: Vec<GatewayListener>,
}

/// One listener of a gateway. Several may share a port if they differ in hostname.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayListener {
    /// The name by which routes attach to it.
    pub name: Arc<str>,
    /// The port on which the proxy listens.
    pub port: u16,
    /// What is spoken there.
    pub protocol: GatewayProtocol,
    /// Which hosts it is for: the Host header for HTTP, the server name (SNI) for TLS.
    pub hostname: HostPattern,
    /// From which namespaces routes may attach.
    pub allowed_routes: AllowedRoutes,
}

/// What is spoken on a gateway's listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayProtocol {
    /// HTTP/1.1 or HTTP/2 without TLS.
    Http,
    /// TLS, passed through by server name.
    TlsPassthrough,
    /// Bytes.
    Tcp,
}

/// From which namespaces routes may attach to a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AllowedRoutes {
    /// The gateway's own.
    Same,
    /// All.
    All,
    /// These.
    Namespaces(Vec<Namespace>),
}

impl AllowedRoutes {
    /// Whether a route in a namespace may attach to a gateway in another.
    pub fn allow(&self, route: &Namespace, gateway: &Namespace) -> bool {
        match self {
            Self::Same => route == gateway,
            Self::All => true,
            Self::Namespaces(namespaces) => namespaces.contains(route),
        }
    }
}
