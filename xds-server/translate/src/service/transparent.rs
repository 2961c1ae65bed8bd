//! Transparent capture: connections come with their original destination.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use bowline_mesh::{Capture, Code, MergedPort, Problem, Protocol, ServicePort, view::ServiceView};
use bowline_proto::envoy::config::{
    core::v3::TrafficDirection,
    listener::v3::Listener,
    route::v3::{Route, RouteConfiguration, VirtualHost},
};
use bowline_snapshot::Resource;

use super::{
    ListenerPart, Rank, ServiceParts, SharedRoutes, bytes_chain, http_routes, virtual_host,
};
use crate::{
    cluster::{Caller, goes_where_it_wants},
    http::{Downstream, Routes, connection_manager},
    listener::{
        Place, Silence, Socket, http_chain, http_inspector, inspect, listener, tls_inspector,
    },
    name,
    problem::Report,
    retry, route,
    virtual_outbound::{INBOUND_PORT, OUTBOUND_PORT},
};

/// Adds what a port needs.
pub(super) fn add(
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
    // A registry may name an address twice, Envoy may not.
    let addresses: BTreeSet<IpAddr> = service
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
            at_addresses(&addresses, *number, parts, |listener| {
                listener.filter_chains.push(bytes_chain(view, *number));
            });
        }
        Protocol::Auto if is_headless => {
            let routes = http_routes(view, *number, problems);
            add_http(view, *number, &BTreeSet::new(), names, routes, parts);
            parts.listeners.push(bytes_part(view, *number));
        }
        Protocol::Auto => {
            let routes = http_routes(view, *number, problems);
            add_sniffed(view, *number, &addresses, routes, parts);
        }
    }
}

/// A listener on each address of the service.
fn at_addresses(
    addresses: &BTreeSet<IpAddr>,
    port: u16,
    parts: &mut ServiceParts,
    fill: impl Fn(&mut Listener),
) {
    for address in addresses {
        let mut listener = listener(
            Place::At(*address),
            port,
            Socket::HandedOver,
            TrafficDirection::Outbound,
        );
        fill(&mut listener);
        parts.listeners.push(ListenerPart::Whole {
            address: *address,
            port,
            listener: Resource::encode(listener.name.as_str(), &listener, parts.origins.clone()),
        });
    }
}

/// The address says which service is meant, the first bytes whether it is HTTP. Its routes are its own, whatever the Host.
fn add_sniffed(
    view: &ServiceView,
    port: u16,
    addresses: &BTreeSet<IpAddr>,
    routes: Vec<Route>,
    parts: &mut ServiceParts,
) {
    let routes_name = name::sniffed_routes(&view.service.hostname, port);
    let configuration = RouteConfiguration {
        name: routes_name.clone(),
        virtual_hosts: vec![VirtualHost {
            name: routes_name.clone(),
            domains: vec!["*".to_owned()],
            routes,
            retry_policy: Some(retry::outbound(None)),
            ..VirtualHost::default()
        }],
        validate_clusters: route::VALIDATE_CLUSTERS,
        ..RouteConfiguration::default()
    };
    let resource = Resource::encode(routes_name.as_str(), &configuration, parts.origins.clone());
    parts.routes.push(resource);
    at_addresses(addresses, port, parts, |listener| {
        let prefix = format!("outbound_{}", listener.name);
        let routes = Routes::Named(routes_name.clone());
        let http = connection_manager(&prefix, Downstream::Trusted, routes);
        listener.filter_chains.push(http_chain("http", http));
        listener.default_filter_chain = Some(bytes_chain(view, port));
        inspect(
            listener,
            vec![tls_inspector(), http_inspector()],
            Silence::IsBytes,
        );
    });
}

fn add_http(
    view: &ServiceView,
    port: u16,
    addresses: &BTreeSet<IpAddr>,
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
