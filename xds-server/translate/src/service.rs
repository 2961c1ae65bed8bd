//! What one service adds to a sidecar's outbound layer.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use bowline_mesh::{
    Capture, Code, MergedPort, ObjectKey, Problem, Protocol, ServicePort, view::ServiceView,
};
use bowline_proto::{
    Message,
    envoy::config::{
        core::v3::TrafficDirection,
        listener::v3::FilterChain,
        route::v3::{Route, RouteConfiguration, VirtualHost, route::Action},
    },
};
use bowline_snapshot::{Origin, Resource, Version};
use bytes::Bytes;

use crate::{
    Translated,
    cluster::{self, Caller, goes_where_it_wants},
    dns, endpoints,
    http::{Downstream, Routes, connection_manager},
    listener::{
        Place, Silence, Socket, any_chain, http_chain, http_inspector, inspect, listener,
        tls_inspector,
    },
    name,
    problem::Report,
    retry,
    route::{self, Candidate, Parent},
    tcp::{StreamTarget, tcp_proxy},
    virtual_outbound::{INBOUND_PORT, OUTBOUND_PORT},
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

/// A virtual host of one port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VirtualHostPart {
    pub(crate) routes: SharedRoutes,
    pub(crate) port: u16,
    pub(crate) domains: Vec<(Arc<str>, Rank)>,
    /// The message without its domains.
    rest: Bytes,
    /// As a field of the route configuration, with all its domains.
    pub(crate) entry: Bytes,
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
            Capture::Explicit => explicit(view, &port.port, &names, &mut parts, &mut problems),
            Capture::Transparent => transparent(view, port, &names, &mut parts, &mut problems),
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
fn names(view: &ServiceView) -> Vec<(Arc<str>, Rank)> {
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
    if view.is_same_namespace {
        add(service.name.to_ascii_lowercase());
    }
    names
}

/// One HTTP listener for all; a local port for everything else.
fn explicit(
    view: &ServiceView,
    port: &ServicePort,
    names: &[(Arc<str>, Rank)],
    parts: &mut ServiceParts,
    problems: &mut Vec<Problem>,
) {
    let ServicePort {
        number,
        name: _,
        protocol,
        local_port,
    } = port;
    let hostname = &view.service.hostname;
    let local = local_port.unwrap_or(*number);
    match protocol {
        // What nobody declared is taken to be HTTP: a port of its own on loopback would be taken away from the application.
        Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::Auto => {
            let mut domains = Vec::new();
            for (name, rank) in names {
                if is_port_without_number(view, *number) {
                    domains.push((name.clone(), *rank));
                }
                domains.push((format!("{name}:{number}").into(), *rank));
            }
            let routes = http_routes(view, *number, problems);
            parts.virtual_hosts.push(virtual_host(
                view,
                *number,
                SharedRoutes::Explicit,
                domains,
                routes,
            ));
        }
        Protocol::Tcp => {
            let place = Place::At(Ipv4Addr::LOCALHOST.into());
            let mut listener = listener(place, local, Socket::Bound, TrafficDirection::Outbound);
            listener.filter_chains.push(bytes_chain(view, *number));
            parts.listeners.push(ListenerPart::Whole {
                address: place.address(),
                port: local,
                listener: Resource::encode(
                    listener.name.as_str(),
                    &listener,
                    parts.origins.clone(),
                ),
            });
        }
        Protocol::Tls => parts.listeners.push(ListenerPart::Tls {
            port: local,
            server_names: names.to_vec(),
            cluster: name::outbound_cluster(*number, hostname).into(),
        }),
    }
}

/// Whether requests whose Host has no port mean this one: port 80, or the only one that takes HTTP.
fn is_port_without_number(view: &ServiceView, number: u16) -> bool {
    let takes_http = |port: &&MergedPort| match port.port.protocol {
        Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::Auto => true,
        Protocol::Tls | Protocol::Tcp => false,
    };
    let mut numbers = view
        .service
        .ports
        .iter()
        .filter(takes_http)
        .map(|port| port.port.number);
    match numbers.clone().any(|number| number == 80) {
        true => number == 80,
        false => numbers.next() == Some(number) && numbers.next().is_none(),
    }
}

/// Connections come with their original destination: an address of the service, or any.
fn transparent(
    view: &ServiceView,
    port: &MergedPort,
    names: &[(Arc<str>, Rank)],
    parts: &mut ServiceParts,
    problems: &mut Vec<Problem>,
) {
    let ServicePort {
        number,
        name: _,
        protocol,
        local_port: _,
    } = &port.port;
    let service = &view.service;
    let addresses: Vec<IpAddr> = service
        .reachable_at()
        .filter(|address| view.families.reach(*address))
        .collect();
    if [OUTBOUND_PORT, INBOUND_PORT].contains(number) {
        problems.push(
            Report {
                code: Code::ListenerConflict,
                object: service.origins.first(),
                field: "ports",
                message: format!(
                    "port {number} of {} is the one on which sidecars themselves listen",
                    service.hostname
                ),
                meanwhile: "callers behind a sidecar with transparent capture do not reach it",
                hint: "give it another port",
            }
            .error(),
        );
        return;
    }
    let by_address = |listener_at: &dyn Fn(IpAddr) -> Vec<FilterChain>,
                      silence: Option<Silence>,
                      parts: &mut ServiceParts| {
        for address in &addresses {
            let place = Place::At(*address);
            let mut listener = listener(
                place,
                *number,
                Socket::HandedOver,
                TrafficDirection::Outbound,
            );
            listener.filter_chains = listener_at(*address);
            if let Some(silence) = silence {
                inspect(
                    &mut listener,
                    vec![tls_inspector(), http_inspector()],
                    silence,
                );
            }
            parts.listeners.push(ListenerPart::Whole {
                address: *address,
                port: *number,
                listener: Resource::encode(
                    listener.name.as_str(),
                    &listener,
                    parts.origins.clone(),
                ),
            });
        }
    };
    let is_headless = addresses.is_empty()
        || goes_where_it_wants(view, *protocol, Caller::Sidecar(Capture::Transparent));
    match protocol {
        Protocol::Http | Protocol::Http2 | Protocol::Grpc => {
            let routes = http_routes(view, *number, problems);
            add_http(view, *number, &addresses, names, routes, parts);
        }
        Protocol::Tcp if is_headless => parts.listeners.push(bytes_part(view, *number)),
        Protocol::Tls if is_headless => parts.listeners.push(ListenerPart::Tls {
            port: *number,
            server_names: names.to_vec(),
            cluster: name::outbound_cluster(*number, &service.hostname).into(),
        }),
        // The address says which service is meant; there is nothing to look into.
        Protocol::Tcp | Protocol::Tls => {
            by_address(&|_| vec![bytes_chain(view, *number)], None, parts);
        }
        Protocol::Auto if is_headless => {
            let routes = http_routes(view, *number, problems);
            add_http(view, *number, &[], names, routes, parts);
            parts.listeners.push(bytes_part(view, *number));
        }
        Protocol::Auto => {
            let routes_name = name::sniffed_routes(&service.hostname, *number);
            let configuration = RouteConfiguration {
                name: routes_name.clone(),
                virtual_hosts: vec![VirtualHost {
                    name: routes_name.clone(),
                    domains: vec!["*".to_owned()],
                    routes: http_routes(view, *number, problems),
                    retry_policy: Some(retry::outbound(None)),
                    ..VirtualHost::default()
                }],
                validate_clusters: route::VALIDATE_CLUSTERS,
                ..RouteConfiguration::default()
            };
            parts.routes.push(Resource::encode(
                routes_name.as_str(),
                &configuration,
                parts.origins.clone(),
            ));
            let chains = |address: IpAddr| {
                let prefix = format!("outbound_{}", name::listener(address, *number));
                let routes = Routes::Named(routes_name.clone());
                vec![
                    http_chain(
                        "http",
                        connection_manager(&prefix, Downstream::Trusted, routes),
                    ),
                    bytes_chain(view, *number),
                ]
            };
            by_address(&chains, Some(Silence::IsBytes), parts);
        }
    }
}

fn add_http(
    view: &ServiceView,
    port: u16,
    addresses: &[IpAddr],
    names: &[(Arc<str>, Rank)],
    routes: Vec<Route>,
    parts: &mut ServiceParts,
) {
    // Who has looked the name up may say the address as Host.
    let as_host = |address: &IpAddr| -> (Arc<str>, Rank) {
        let text = match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        (text.into(), Rank::Short)
    };
    let domains = names
        .iter()
        .cloned()
        .chain(addresses.iter().map(as_host))
        .collect();
    parts.listeners.push(ListenerPart::Http { port });
    parts.virtual_hosts.push(virtual_host(
        view,
        port,
        SharedRoutes::Port(port),
        domains,
        routes,
    ));
}

fn bytes_part(view: &ServiceView, port: u16) -> ListenerPart {
    ListenerPart::Bytes {
        port,
        cluster: name::outbound_cluster(port, &view.service.hostname).into(),
    }
}

fn bytes_chain(view: &ServiceView, port: u16) -> FilterChain {
    let cluster = name::outbound_cluster(port, &view.service.hostname);
    any_chain(
        "tcp",
        tcp_proxy(&cluster.clone(), StreamTarget::Cluster(cluster)),
    )
}

/// The routes of one port: those attached to the service, or everything to its endpoints where none is. A request that no attached
/// route matches is answered with 404 (Gateway API for mesh, GEP-1324).
fn http_routes(view: &ServiceView, port: u16, problems: &mut Vec<Problem>) -> Vec<Route> {
    let attached: Vec<_> = view
        .routes
        .iter()
        .filter(|route| route.port.is_none_or(|only| only == port))
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
        name: name::sniffed_routes(&view.service.hostname, port),
        routes,
        retry_policy: Some(retry::outbound(None)),
        ..VirtualHost::default()
    };
    let mut part = VirtualHostPart {
        routes: routes_of,
        port,
        domains,
        rest: rest.encode_to_vec().into(),
        entry: Bytes::new(),
        version: Version::EMPTY,
    };
    (part.entry, part.version) = part.entry_with(part.domains.iter().map(|(domain, _)| &**domain));
    // It ends the entry: the same memory serves for both.
    part.rest = part.entry.slice(part.entry.len() - part.rest.len()..);
    part
}

impl VirtualHostPart {
    /// The field of the route configuration, with only some of the domains.
    pub(crate) fn entry_with<'a>(
        &'a self,
        domains: impl Iterator<Item = &'a str>,
    ) -> (Bytes, Version) {
        let domains = VirtualHost {
            domains: domains.map(str::to_owned).collect(),
            ..VirtualHost::default()
        };
        let entry = field(2, &[&domains.encode_to_vec(), &self.rest]);
        let version = Version::of([&entry[..]]);
        (entry, version)
    }
}
