//! Explicit listeners: one for HTTP, which routes by Host, and a local port for everything else.

use std::{net::Ipv4Addr, sync::Arc};

use bowline_mesh::{Code, MergedPort, Problem, Protocol, ServicePort, view::ServiceView};
use bowline_proto::envoy::config::core::v3::TrafficDirection;
use bowline_snapshot::Resource;

use super::{
    ListenerPart, Rank, ServiceParts, SharedRoutes, bytes_chain, http_routes, virtual_host,
};
use crate::{
    admin_port,
    listener::{Place, Socket, listener},
    name,
    own_connections::refuse_own,
    problem::Report,
};

/// Adds what a port needs.
pub(super) fn add(
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
    if !protocol_takes_http(*protocol) && has_local_port(parts, local) {
        problems.push(
            Report {
                code: Code::ListenerConflict,
                object: parts.object.as_ref(),
                field: "ports",
                message: format!("two ports of {hostname} have the local port {local}"),
                meanwhile: "the first one has it, callers beside a sidecar with explicit listeners do not reach the other",
                hint: "give one of them another `local_port`",
            }
            .error(),
        );
        return;
    }
    if !protocol_takes_http(*protocol) {
        problems.extend(admin_port::collision(local, parts.object.as_ref(), "ports"));
    }
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
            refuse_own(&mut listener);
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
    let takes_http = |port: &&MergedPort| protocol_takes_http(port.port.protocol);
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

fn protocol_takes_http(protocol: Protocol) -> bool {
    match protocol {
        Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::Auto => true,
        Protocol::Tls | Protocol::Tcp => false,
    }
}

fn has_local_port(parts: &ServiceParts, local: u16) -> bool {
    parts.listeners.iter().any(|part| match part {
        ListenerPart::Whole { port, .. } | ListenerPart::Tls { port, .. } => *port == local,
        ListenerPart::Http { .. } | ListenerPart::Bytes { .. } => false,
    })
}
