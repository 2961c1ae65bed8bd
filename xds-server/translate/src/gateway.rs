//! Gateways: where requests come into the mesh.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use bowline_mesh::{
    Code, GatewayProtocol, HostPattern, Hostname, ObjectKey, Problem, RouteDelivery,
    view::{GatewayView, ListenerView, RouteView, StreamRouteView},
};
use bowline_proto::envoy::config::{
    core::v3::TrafficDirection,
    listener::v3::{FilterChain, Listener},
    route::v3::{RouteConfiguration, VirtualHost},
};
use bowline_snapshot::{Layer, Origin, Resource, ResourceType};

use crate::{
    Translated,
    cluster::{self, Caller},
    endpoints,
    http::{Downstream, Routes, connection_manager, hosts_by_themselves},
    listener::{
        self, Place, Silence, Socket, any_chain, inspect, server_name_chain, tls_inspector,
    },
    name,
    problem::Report,
    retry,
    route::{self, Candidate, Parent},
    tcp::{StreamTarget, tcp_proxy},
};

/// The layer of the proxies of one gateway.
pub fn gateway(view: &GatewayView) -> Translated<Layer> {
    let mut layer = Layer::default();
    let mut problems = Vec::new();
    let mut by_port: BTreeMap<u16, Vec<&ListenerView>> = BTreeMap::new();
    for listener in &view.listeners {
        by_port
            .entry(listener.listener.port)
            .or_default()
            .push(listener);
    }
    for (port, listeners) in by_port {
        let listeners = without_conflicts(view, listeners, &mut problems);
        let Some(first) = listeners.first() else {
            continue;
        };
        let place = Place::Everywhere(view.families);
        let mut envoy_listener =
            listener::listener(place, port, Socket::Bound, TrafficDirection::Outbound);
        match first.listener.protocol {
            GatewayProtocol::Http => {
                add_routes(view, port, &listeners, &mut layer, &mut problems);
                let prefix = format!("gateway_{}", envoy_listener.name);
                let routes = Routes::Named(name::gateway_routes(port));
                let filter = connection_manager(&prefix, Downstream::Anybody, routes);
                envoy_listener.filter_chains.push(any_chain("http", filter));
            }
            GatewayProtocol::TlsPassthrough => {
                envoy_listener.filter_chains = tls(&listeners, &mut problems);
                inspect(
                    &mut envoy_listener,
                    vec![tls_inspector()],
                    Silence::IsWaitedFor,
                );
                // Whoever does not begin a TLS handshake at an edge is not waited for forever.
                envoy_listener.listener_filters_timeout = None;
                envoy_listener.continue_on_listener_filters_timeout = false;
            }
            GatewayProtocol::Tcp => envoy_listener.filter_chains = tcp(&listeners, &mut problems),
        }
        // A listener without any chain is refused by Envoy; there is nothing to hand connections to anyway.
        if !envoy_listener.filter_chains.is_empty() {
            add_listener(view, &mut layer, &envoy_listener);
        }
    }
    add_clusters(view, &mut layer, &mut problems);
    Translated::new(layer, problems)
}

fn add_listener(view: &GatewayView, layer: &mut Layer, listener: &Listener) {
    let origins: Vec<Origin> = view.key.iter().map(|key| key.to_string().into()).collect();
    layer.upsert(
        ResourceType::LISTENER,
        Resource::encode(listener.name.as_str(), listener, origins),
    );
}

/// Clusters of all ports that routes send to.
fn add_clusters(view: &GatewayView, layer: &mut Layer, problems: &mut Vec<Problem>) {
    let http = |listener: &ListenerView| -> Vec<(Hostname, u16)> {
        let routes = listener
            .http_routes
            .iter()
            .flat_map(|view| view.route.destinations());
        let streams = listener
            .stream_routes
            .iter()
            .flat_map(|view| view.route.destinations());
        routes
            .chain(streams)
            .map(|(hostname, port)| (hostname.clone(), port))
            .collect()
    };
    let used: BTreeSet<(Hostname, u16)> = view.listeners.iter().flat_map(http).collect();
    for (hostname, port) in used {
        if let Some(backend) = view.backends.get(&hostname)
            && let Some(port) = backend.service.port(port)
        {
            let cluster = cluster::outbound(backend, port, Caller::Gateway, problems);
            let origins = endpoints::origins(&backend.service);
            layer.upsert(
                ResourceType::CLUSTER,
                Resource::encode(cluster.name.as_str(), &cluster, origins),
            );
        }
    }
}

/// Listeners of one port that can be together: of the first one's protocol, each for hosts of its own.
fn without_conflicts<'a>(
    view: &GatewayView,
    listeners: Vec<&'a ListenerView>,
    problems: &mut Vec<Problem>,
) -> Vec<&'a ListenerView> {
    let mut kept: Vec<&ListenerView> = Vec::new();
    for candidate in listeners {
        let conflict = kept.iter().find_map(|other| {
            let is_same_protocol = other.listener.protocol == candidate.listener.protocol;
            // Bytes have no host by which they could be told apart.
            let is_tcp = candidate.listener.protocol == GatewayProtocol::Tcp;
            if !is_same_protocol {
                Some((other, "speaks another protocol"))
            } else if is_tcp || other.listener.hostname == candidate.listener.hostname {
                Some((other, "is for the same hosts"))
            } else {
                None
            }
        });
        match conflict {
            None => kept.push(candidate),
            Some((other, why)) => problems.push(
                Report {
                    code: Code::ListenerConflict,
                    object: view.key.as_ref(),
                    field: &format!("listeners[{}]", candidate.listener.name),
                    message: format!(
                        "listener '{}' has port {} too and {why}",
                        other.listener.name, candidate.listener.port
                    ),
                    meanwhile: "the first one is served, this one is not",
                    hint: "give it another port or another hostname",
                }
                .error(),
            ),
        }
    }
    kept
}

/// All HTTP listeners of a port share one route configuration: a request goes to the listener that names its host best, and there to
/// the route that does (Gateway API, "Listener isolation" and HTTPRouteSpec.hostnames).
fn add_routes(
    view: &GatewayView,
    port: u16,
    listeners: &[&ListenerView],
    layer: &mut Layer,
    problems: &mut Vec<Problem>,
) {
    let name = name::gateway_routes(port);
    let mut routes = RouteConfiguration {
        name: name.clone(),
        ignore_port_in_host_matching: true,
        validate_clusters: route::VALIDATE_CLUSTERS,
        ..RouteConfiguration::default()
    };
    let mut origins: BTreeSet<&ObjectKey> = view.key.iter().collect();
    for (host, attached) in hosts(port, listeners, problems) {
        match view.route_delivery {
            RouteDelivery::Whole => {
                origins.extend(attached);
                routes.virtual_hosts.push(host);
            }
            RouteDelivery::ByHost => {
                let origins = written(view.key.iter().chain(attached));
                let host = Resource::encode(host.name.as_str(), &host, origins);
                layer.upsert(ResourceType::VIRTUAL_HOST, host);
                routes.vhds = Some(hosts_by_themselves());
            }
        }
    }
    let routes = Resource::encode(name, &routes, written(origins));
    layer.upsert(ResourceType::ROUTE, routes);
}

fn written<'a>(keys: impl IntoIterator<Item = &'a ObjectKey>) -> Vec<Origin> {
    let keys = keys.into_iter();
    keys.map(|key| key.to_string().into()).collect()
}

/// The virtual hosts of a port, each with the routes that it is made from.
fn hosts<'a>(
    port: u16,
    listeners: &[&'a ListenerView],
    problems: &mut Vec<Problem>,
) -> Vec<(VirtualHost, BTreeSet<&'a ObjectKey>)> {
    let mut hosts: BTreeSet<&HostPattern> = BTreeSet::new();
    for listener in listeners {
        // Also without routes: its hosts are then answered with 404, not by a listener that is for more hosts.
        hosts.insert(&listener.listener.hostname);
        hosts.extend(
            listener
                .http_routes
                .iter()
                .flat_map(|route| &route.hostnames),
        );
    }
    let mut virtual_host = |host: &HostPattern| {
        let listener = listeners
            .iter()
            .filter(|listener| contains(&listener.listener.hostname, host))
            .min_by_key(|listener| specificity(&listener.listener.hostname))?;
        let mut candidates: Vec<_> = listener
            .http_routes
            .iter()
            .filter_map(|route| Some((best_host(route, host)?, route)))
            .collect();
        // Stable: ties stay in the order in which they are won.
        candidates.sort_by_key(|(specificity, _)| *specificity);
        let mut ranks: Vec<_> = candidates
            .iter()
            .map(|(specificity, _)| *specificity)
            .collect();
        ranks.dedup();
        let attached = candidates.iter().map(|(_, view)| &view.key).collect();
        let candidates = candidates.into_iter().map(|(specificity, view)| Candidate {
            view,
            host_rank: ranks
                .iter()
                .position(|rank| *rank == specificity)
                .unwrap_or_default(),
        });
        let virtual_host = VirtualHost {
            name: name::virtual_host(&name::gateway_routes(port), &host.to_string()),
            domains: vec![host.to_string()],
            routes: route::routes(candidates, Parent::Gateway { port }, problems),
            retry_policy: Some(retry::outbound(None)),
            ..VirtualHost::default()
        };
        Some((virtual_host, attached))
    };
    hosts.into_iter().filter_map(&mut virtual_host).collect()
}

/// Whether all hosts of a pattern are among those of a wider one.
fn contains(wider: &HostPattern, narrower: &HostPattern) -> bool {
    wider.intersection(narrower).as_ref() == Some(narrower)
}

/// Lower is more specific: a name before a wildcard, longer before shorter.
fn specificity(host: &HostPattern) -> (u8, Reverse<usize>) {
    match host {
        HostPattern::Exact(hostname) => (0, Reverse(hostname.as_str().len())),
        HostPattern::Below(suffix) => (1, Reverse(suffix.as_str().len())),
        HostPattern::Any => (2, Reverse(0)),
    }
}

/// How specifically a route names a host; `None` where it is not about it.
fn best_host(route: &RouteView, host: &HostPattern) -> Option<(u8, Reverse<usize>)> {
    route
        .hostnames
        .iter()
        .filter(|pattern| contains(pattern, host))
        .map(specificity)
        .min()
}

/// Connections by server name, passed through as they are.
fn tls(listeners: &[&ListenerView], problems: &mut Vec<Problem>) -> Vec<FilterChain> {
    let mut taken: BTreeMap<&HostPattern, &StreamRouteView> = BTreeMap::new();
    let mut chains = Vec::new();
    for route in listeners
        .iter()
        .flat_map(|listener| &listener.stream_routes)
    {
        let mut server_names = Vec::new();
        for name in &route.server_names {
            match taken.get(name) {
                Some(first) => problems.push(shadowed(
                    route,
                    first,
                    &format!("TLS connections for {name}"),
                )),
                None => {
                    taken.insert(name, route);
                    server_names.push(name);
                }
            }
        }
        let Some(filter) = stream_filter(route, problems) else {
            continue;
        };
        let chain_name = format!("{}/{}", route.key.namespace, route.key.name);
        // A chain for all names says none.
        let (any, named): (Vec<_>, Vec<_>) = server_names
            .into_iter()
            .partition(|name| matches!(name, HostPattern::Any));
        if !named.is_empty() {
            let names = named.into_iter().map(ToString::to_string).collect();
            chains.push(server_name_chain(&chain_name, names, filter.clone()));
        }
        if !any.is_empty() {
            chains.push(server_name_chain(
                &format!("{chain_name}/any"),
                Vec::new(),
                filter,
            ));
        }
    }
    chains
}

/// All connections of a port.
fn tcp(listeners: &[&ListenerView], problems: &mut Vec<Problem>) -> Vec<FilterChain> {
    let mut routes = listeners
        .iter()
        .flat_map(|listener| &listener.stream_routes);
    let Some(first) = routes.next() else {
        return Vec::new();
    };
    problems.extend(routes.map(|route| shadowed(route, first, "all connections of the port")));
    let chain_name = format!("{}/{}", first.key.namespace, first.key.name);
    stream_filter(first, problems)
        .map(|filter| any_chain(&chain_name, filter))
        .into_iter()
        .collect()
}

fn stream_filter(
    view: &StreamRouteView,
    problems: &mut Vec<Problem>,
) -> Option<bowline_proto::envoy::config::listener::v3::Filter> {
    let mut weights = route::weights(&view.route.backends);
    let name = format!("{}/{}", view.key.namespace, view.key.name);
    let target = match (weights.pop(), weights.is_empty()) {
        (None, _) => {
            problems.push(
                Report {
                    code: Code::NoWeight,
                    object: Some(&view.key),
                    field: "backends",
                    message: "no backend has a weight above 0".to_owned(),
                    meanwhile: "its connections are closed",
                    hint: "give at least one backend a weight above 0",
                }
                .error(),
            );
            return None;
        }
        (Some((_, cluster, _)), true) => StreamTarget::Cluster(cluster),
        (Some(last), false) => {
            weights.push(last);
            // The share of a backend that is not there has no cluster, and its connections are closed.
            StreamTarget::Weighted(
                weights
                    .into_iter()
                    .map(|(_, cluster, weight)| (cluster, weight))
                    .collect(),
            )
        }
    };
    Some(tcp_proxy(&name, target))
}

fn shadowed(route: &StreamRouteView, first: &StreamRouteView, what: &str) -> Problem {
    Report {
        code: Code::Shadowed,
        object: Some(&route.key),
        field: "",
        message: format!("{} takes {what} before it", first.key),
        meanwhile: "it never acts on them",
        hint: "make the server names differ, or remove one of the routes",
    }
    .warning()
}

#[cfg(test)]
mod tests;
