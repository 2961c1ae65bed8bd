//! Routes: which requests go where.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{HostPattern, Hostname, Namespace};

/// Rules for HTTP requests (Gateway API HTTPRoute; what Istio's VirtualService becomes too).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRoute {
    /// What it is attached to.
    pub parents: Vec<RouteParent>,
    /// Which hosts it is about; empty means all hosts of the parent.
    pub hostnames: Vec<HostPattern>,
    /// In order of writing. Which of several matching rules wins is decided by how specific their matches are, then by
    /// `created`, then by the route's name, then by this order (Gateway API, HTTPRouteRule.matches).
    pub rules: Vec<HttpRule>,
    /// When the object was made, in seconds since the epoch; older routes win ties.
    pub created: Option<i64>,
}

/// Where connections go that are not looked into: by server name, or all of a port (Gateway API TLSRoute and TCPRoute).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRoute {
    /// What it is attached to.
    pub parents: Vec<RouteParent>,
    /// Server names (SNI) of a TLS connection; empty for any connection, TLS or not.
    pub server_names: Vec<HostPattern>,
    /// Who gets the connections, by weight.
    pub backends: Vec<Backend>,
    /// When the object was made, in seconds since the epoch; older routes win ties.
    pub created: Option<i64>,
}

impl HttpRoute {
    /// The services and ports that its rules send to, with repetitions.
    pub fn destinations(&self) -> impl Iterator<Item = (&Hostname, u16)> {
        self.rules
            .iter()
            .flat_map(|rule| destinations(rule.backends()))
    }
}

impl HttpRule {
    pub(crate) fn backends(&self) -> &[Backend] {
        match &self.action {
            HttpAction::Forward {
                backends,
                rewrite: _,
            } => backends,
            HttpAction::Redirect(_) => &[],
        }
    }
}

impl StreamRoute {
    /// The services and ports that it sends to, with repetitions.
    pub fn destinations(&self) -> impl Iterator<Item = (&Hostname, u16)> {
        destinations(&self.backends)
    }
}

fn destinations(backends: &[Backend]) -> impl Iterator<Item = (&Hostname, u16)> {
    backends
        .iter()
        .filter_map(|backend| match &backend.destination {
            Destination::Service { hostname, port } => Some((hostname, *port)),
            Destination::Unresolved => None,
        })
}

/// What a route is attached to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteParent {
    /// Listeners of a gateway.
    Gateway {
        /// Which gateway.
        gateway: GatewayName,
        /// Only the listener with this name.
        section: Option<Arc<str>>,
        /// Only listeners on this port.
        port: Option<u16>,
    },
    /// Calls of a service inside the mesh (GAMMA).
    Service {
        /// Which service.
        hostname: Hostname,
        /// Only calls of this port.
        port: Option<u16>,
    },
}

/// A gateway's namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GatewayName {
    /// The namespace.
    pub namespace: Namespace,
    /// The name within it.
    pub name: Arc<str>,
}

impl std::fmt::Display for GatewayName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One rule of an [`HttpRoute`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRule {
    /// A name for people and statistics.
    pub name: Option<Arc<str>>,
    /// Any of these must match; empty matches every request.
    pub matches: Vec<HttpMatch>,
    /// What happens to a request that matches.
    pub action: HttpAction,
    /// Changes of the request's headers, before it is sent on.
    pub request_headers: HeaderChanges,
    /// Changes of the response's headers.
    pub response_headers: HeaderChanges,
    /// How long things may take.
    pub timeouts: Timeouts,
}

/// What a request must look like. All parts must match.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HttpMatch {
    /// The path, without the query.
    pub path: PathMatch,
    /// The method, such as `GET`.
    pub method: Option<Arc<str>>,
    /// Headers by name; names are compared in any case.
    pub headers: Vec<NamedMatch>,
    /// Query parameters by name; only the first of several with one name counts.
    pub query: Vec<NamedMatch>,
}

/// What a path must be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathMatch {
    /// This path.
    Exact(Arc<str>),
    /// This path or one below it, by whole segments: `/a` matches `/a` and `/a/b`, not `/ab`.
    Below(Arc<str>),
    /// A path that as a whole matches this expression (RE2).
    Regex(Arc<str>),
}

/// What a named thing must be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NamedMatch {
    /// The name.
    pub name: Arc<str>,
    /// What its value must be.
    pub value: ValueMatch,
}

/// What a value must be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueMatch {
    /// This text.
    Exact(Arc<str>),
    /// A text that as a whole matches this expression (RE2).
    Regex(Arc<str>),
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HttpAction {
    /// It is sent to one of the backends, picked by weight. Without any that has weight it is answered with 500.
    Forward {
        /// Who may get it.
        backends: Vec<Backend>,
        /// What is changed in it.
        rewrite: Rewrite,
    },
    /// It is answered with a redirect.
    Redirect(Redirect),
}

/// A weighted destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Where.
    pub destination: Destination,
    /// Share among the backends of the rule.
    pub weight: u32,
    /// Changes of the headers of requests that go there.
    pub request_headers: HeaderChanges,
    /// Changes of the headers of responses that come from there.
    pub response_headers: HeaderChanges,
}

/// Where a backend reference leads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// A port of a service, which may not exist (yet): then requests are answered with 500.
    Service {
        /// Which service.
        hostname: Hostname,
        /// Which of its ports.
        port: u16,
    },
    /// A reference that cannot be followed. Its requests are answered with 500; the reader of the object has reported why.
    Unresolved,
}

/// What is changed in a request that is sent on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rewrite {
    /// The new Host header.
    pub host: Option<Hostname>,
    /// The new path.
    pub path: Option<PathChange>,
}

/// How a path is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathChange {
    /// The whole path becomes this one.
    Full(Arc<str>),
    /// The part that [`PathMatch::Below`] matched becomes this.
    Prefix(Arc<str>),
}

/// Where a redirect leads. What is not given stays as it was in the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<RedirectScheme>,
    /// The host.
    pub host: Option<Hostname>,
    /// The port. Where it is not given, a given scheme means that scheme's usual port, otherwise the listener's.
    pub port: Option<u16>,
    /// The path.
    pub path: Option<PathChange>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// The scheme that a redirect leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedirectScheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

/// Changes of headers, in the order remove, set, add.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HeaderChanges {
    /// Names to take out.
    pub remove: Vec<Arc<str>>,
    /// Names and values that replace what is there.
    pub set: Vec<(Arc<str>, Arc<str>)>,
    /// Names and values that join what is there.
    pub add: Vec<(Arc<str>, Arc<str>)>,
}

impl HeaderChanges {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        let Self { remove, set, add } = self;
        remove.is_empty() && set.is_empty() && add.is_empty()
    }
}

/// How long things may take; `None` means as long as they need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Timeouts {
    /// From the whole request received to the whole response sent, over all tries.
    pub request: Option<Duration>,
    /// One try.
    pub backend_request: Option<Duration>,
}
