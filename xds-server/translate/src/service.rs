//! What one service adds to a sidecar's outbound layer.

mod explicit;
mod transparent;

use std::{net::IpAddr, sync::Arc};

use bowline_mesh::{
    Capture, Hostname, ObjectKey, Problem,
    view::{RouteView, ServiceView},
};
use bowline_proto::{
    Message,
    envoy::config::{
        listener::v3::FilterChain,
        route::v3::{Route, VirtualHost, route::Action},
    },
};
use bowline_snapshot::{Origin, Resource, Version};
use bytes::Bytes;

use crate::{
    Translated,
    cluster::{self, Caller},
    dns, endpoints,
    listener::any_chain,
    name, retry,
    route::{self, Candidate, Parent},
    tcp::{StreamTarget, tcp_proxy},
    wire::field,
};

/// Everything that one service adds to a sidecar's outbound layer, encoded once and shared by all assemblies that contain it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceParts {
    /// The object that problems are about.
    pub(crate) object: Option<ObjectKey>,
    pub(crate) origins: Arc<[Origin]>,
    /// Resources that no other service shares, by type.
    pub(crate) clusters: Vec<Resource>,
    pub(crate) routes: Vec<Resource>,
    /// Parts of route configurations that services share.
    pub(crate) virtual_hosts: Vec<VirtualHostPart>,
    /// What it needs to be listened on.
    pub(crate) listeners: Vec<ListenerPart>,
    /// Names that DNS does not know.
    pub(crate) dns: Vec<DnsPart>,
}

/// How good a claim to a name is: a service's own hostname goes before another's short name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Own,
    Short,
}

/// A route configuration that services share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SharedRoutes {
    /// Of the one HTTP listener of explicit sidecars.
    Explicit,
    /// Of a port, in transparent capture.
    Port(u16),
}

impl SharedRoutes {
    /// The name of the route configuration.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Explicit => name::EXPLICIT_ROUTES.to_owned(),
            Self::Port(port) => port.to_string(),
        }
    }

    /// The name of the virtual host for a port of a service.
    pub(crate) fn host_name(self, hostname: &Hostname, port: u16) -> String {
        let host = match self {
            Self::Explicit => name::sniffed_routes(hostname, port),
            Self::Port(_) => hostname.to_string(),
        };
        name::virtual_host(&self.name(), &host)
    }
}

/// A virtual host of one port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VirtualHostPart {
    pub(crate) routes: SharedRoutes,
    pub(crate) port: u16,
    pub(crate) domains: Vec<(Arc<str>, Rank)>,
    pub(crate) origins: Arc<[Origin]>,
    /// The message without its domains.
    pub(crate) rest: Bytes,
    /// With all its domains.
    pub(crate) whole: EncodedHost,
}

/// A virtual host, encoded for both ways in which it may come to a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EncodedHost {
    /// As a field of the route configuration.
    pub(crate) field: Bytes,
    /// What is in the field: the message.
    pub(crate) message: Bytes,
    pub(crate) version: Version,
}

/// Something that is listened on for a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListenerPart {
    /// An address and port for itself.
    Whole {
        address: IpAddr,
        port: u16,
        listener: Resource,
    },
    /// HTTP on a port, on whatever address: requests are told apart by their Host.
    Http { port: u16 },
    /// Anything else on a port, on whatever address.
    Bytes { port: u16, cluster: Arc<str> },
    /// TLS connections on a port, told apart by server name.
    Tls {
        port: u16,
        server_names: Vec<(Arc<str>, Rank)>,
        cluster: Arc<str>,
    },
}

/// A name and its field in the DNS table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DnsPart {
    pub(crate) name: Arc<str>,
    pub(crate) rank: Rank,
    pub(crate) entry: Bytes,
}

/// What a service adds to the outbound layer of sidecars with one way of capture.
pub fn service(view: &ServiceView, capture: Capture) -> Translated<ServiceParts> {
    let mut problems = Vec::new();
    let service = &view.service;
    let origins = endpoints::origins(service);
    let names = names(view);
    let mut parts = ServiceParts {
        object: service.origins.first().cloned(),
        origins: origins.clone(),
        clusters: Vec::new(),
        routes: Vec::new(),
        virtual_hosts: Vec::new(),
        listeners: Vec::new(),
        dns: Vec::new(),
    };
    for port in &service.ports {
        let cluster = cluster::outbound(view, port, Caller::Sidecar(capture), &mut problems);
        parts.clusters.push(Resource::encode(
            cluster.name.as_str(),
            &cluster,
            origins.clone(),
        ));
        match capture {
            Capture::Explicit => explicit::add(view, &port.port, &names, &mut parts, &mut problems),
            Capture::Transparent => transparent::add(view, port, &names, &mut parts, &mut problems),
        }
    }
    if let (Capture::Transparent, Some(address)) = (capture, service.virtual_address) {
        parts.dns = names
            .into_iter()
            .map(|(name, rank)| DnsPart {
                entry: dns::entry(&name, address),
                name,
                rank,
            })
            .collect();
    }
    Translated::new(parts, problems)
}

/// The names by which callers know a service, its hostname first.
pub(crate) fn names(view: &ServiceView) -> Vec<(Arc<str>, Rank)> {
    let service = &view.service;
    let hostname = service.hostname.as_str();
    let mut names: Vec<(Arc<str>, Rank)> = vec![(hostname.into(), Rank::Own)];
    let mut add = |name: String| {
        if names.iter().all(|(known, _)| **known != *name) {
            names.push((name.into(), Rank::Short));
        }
    };
    // What the search list of Kubernetes' resolv.conf makes valid.
    let qualified = format!("{}.{}", service.name, service.namespace);
    if hostname == format!("{qualified}.svc.{}", view.settings.domain) {
        add(format!("{qualified}.svc"));
        add(qualified);
    }
    // A name that is no hostname, which a registry may have, must not become a wildcard.
    if view.is_same_namespace
        && let Ok(name) = service.name.parse::<Hostname>()
    {
        add(name.to_string());
    }
    names
}

fn bytes_chain(view: &ServiceView, port: u16) -> FilterChain {
    let cluster = name::outbound_cluster(port, &view.service.hostname);
    any_chain(
        "tcp",
        tcp_proxy(&cluster.clone(), StreamTarget::Cluster(cluster)),
    )
}

/// The routes that are attached to one port of a service.
fn attached(view: &ServiceView, port: u16) -> impl Iterator<Item = &RouteView> {
    let routes = view.routes.iter();
    routes.filter(move |route| route.port.is_none_or(|only| only == port))
}

/// The routes of one port: those attached to the service, or everything to its endpoints where none is. A request that no attached
/// route matches is answered with 404 (Gateway API for mesh, GEP-1324).
pub(crate) fn http_routes(
    view: &ServiceView,
    port: u16,
    problems: &mut Vec<Problem>,
) -> Vec<Route> {
    let attached: Vec<_> = attached(view, port)
        .map(|view| Candidate { view, host_rank: 0 })
        .collect();
    match attached.is_empty() {
        false => route::routes(attached, Parent::Service, problems),
        true => {
            let cluster = name::outbound_cluster(port, &view.service.hostname);
            let action = Action::Route(route::cluster_route(cluster));
            vec![route::catch_all("default", action)]
        }
    }
}

fn virtual_host(
    view: &ServiceView,
    port: u16,
    routes_of: SharedRoutes,
    domains: Vec<(Arc<str>, Rank)>,
    routes: Vec<Route>,
) -> VirtualHostPart {
    let rest = VirtualHost {
        name: routes_of.host_name(&view.service.hostname, port),
        routes,
        retry_policy: Some(retry::outbound(None)),
        ..VirtualHost::default()
    };
    let rest = rest.encode_to_vec();
    let whole = encoded(domains.iter().map(|(domain, _)| &**domain), &rest);
    let attached = attached(view, port).map(|route| Origin::from(route.key.to_string()));
    VirtualHostPart {
        routes: routes_of,
        port,
        domains,
        origins: endpoints::origins(&view.service)
            .iter()
            .cloned()
            .chain(attached)
            .collect(),
        // It ends the message: the same memory serves for both.
        rest: whole.message.slice(whole.message.len() - rest.len()..),
        whole,
    }
}

/// The message of a virtual host with these domains.
fn encoded<'a>(domains: impl Iterator<Item = &'a str>, rest: &[u8]) -> EncodedHost {
    let domains = VirtualHost {
        domains: domains.map(str::to_owned).collect(),
        ..VirtualHost::default()
    }
    .encode_to_vec();
    let field = field(2, &[&domains, rest]);
    EncodedHost {
        message: field.slice(field.len() - domains.len() - rest.len()..),
        version: Version::of([&field[..]]),
        field,
    }
}

impl VirtualHostPart {
    /// It with only some of the domains.
    pub(crate) fn with<'a>(&'a self, domains: impl Iterator<Item = &'a str>) -> EncodedHost {
        encoded(domains, &self.rest)
    }
}
