//! What a workload itself listens on.
//!
//! Nothing here depends on the workload's address, so that all instances of a workload share one layer.

use std::{collections::BTreeSet, net::Ipv4Addr};

use bowline_mesh::{
    Capture, Code, IpFamilies, Problem, Protocol, WorkloadPort,
    view::{InboundKey, InboundView, SidecarPorts},
};
use bowline_proto::duration;
use bowline_proto::envoy::config::{
    cluster::v3::{Cluster, cluster as envoy_cluster},
    core::v3::TrafficDirection,
    endpoint::v3::{ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint},
    listener::v3::{FilterChain, Listener},
    route::v3::{RouteAction, RouteConfiguration, VirtualHost, route::Action, route_action},
};
use bowline_snapshot::{Layer, Recipe, Resource, ResourceType};

use crate::{
    Translated, admin_port,
    circuit_breaker::circuit_breakers,
    cluster::{Caller, discovery, original_destination, protocol_options},
    grpc::server,
    http::{Downstream, Routes, connection_manager},
    listener::{
        self, Place, Silence, Socket, any_chain, for_port, http_chain, http_inspector, inspect,
        only_for_ports, original_destination as find_destination, socket_address, without_tls,
    },
    name,
    own_connections::own_source,
    problem::Report,
    retry, route,
    tcp::{StreamTarget, tcp_proxy},
    virtual_outbound::{INBOUND_PORT, OUTBOUND_PORT, loop_chain},
};

/// The inbound layer of workloads with one key.
pub fn inbound(view: &InboundView) -> Translated<Layer> {
    let InboundView { settings, key } = view;
    let mut layer = Layer::default();
    let problems = match key {
        InboundKey::Sidecar(key) => match key.capture {
            Capture::Transparent => {
                transparent(key, &mut layer);
                Vec::new()
            }
            Capture::Explicit => explicit(key, settings.explicit_http_port, &mut layer),
        },
        InboundKey::Grpc => {
            layer.set_recipe(ResourceType::LISTENER, Recipe::new(server::listener));
            Vec::new()
        }
    };
    Translated::new(layer, problems)
}

fn add_cluster(layer: &mut Layer, cluster: &Cluster) {
    layer.upsert(
        ResourceType::CLUSTER,
        Resource::encode(cluster.name.as_str(), cluster, []),
    );
}

fn add_listener(layer: &mut Layer, listener: &Listener) {
    layer.upsert(
        ResourceType::LISTENER,
        Resource::encode(listener.name.as_str(), listener, []),
    );
}

/// One listener gets everything, by the port that it was for.
fn transparent(key: &SidecarPorts, layer: &mut Layer) {
    let SidecarPorts {
        capture: _,
        ports,
        families,
    } = key;
    let mut listener = listener::listener(
        Place::Everywhere(*families),
        INBOUND_PORT,
        Socket::Bound,
        TrafficDirection::Inbound,
    );
    name::VIRTUAL_INBOUND.clone_into(&mut listener.name);
    let own_ports = [OUTBOUND_PORT, INBOUND_PORT];
    // What was meant for the proxy's own ports would come back to it.
    listener.filter_chains.extend(own_ports.map(loop_chain));
    let mut sniffed = Vec::new();
    for port in ports
        .iter()
        .filter(|port| !own_ports.contains(&port.number))
    {
        let mut cluster = workload_cluster(port);
        original_destination(&mut cluster);
        cluster.upstream_bind_config = Some(own_source(*families));
        add_cluster(layer, &cluster);
        listener.filter_chains.extend(
            chains(port)
                .into_iter()
                .map(|chain| for_port(chain, port.number)),
        );
        if port.protocol == Protocol::Auto {
            sniffed.push(port.number);
        }
    }
    // A port that no registry knows is still the workload's.
    let mut passthrough = Cluster {
        name: name::INBOUND_PASSTHROUGH_CLUSTER.to_owned(),
        circuit_breakers: Some(circuit_breakers(&Default::default())),
        upstream_bind_config: Some(own_source(*families)),
        ..Cluster::default()
    };
    original_destination(&mut passthrough);
    add_cluster(layer, &passthrough);
    let target = StreamTarget::OnlyPlace(passthrough.name.clone());
    listener.default_filter_chain = Some(any_chain(
        "passthrough",
        tcp_proxy(&passthrough.name, target),
    ));
    listener.listener_filters.push(find_destination());
    if !sniffed.is_empty() {
        // Only there: on every other port a server may speak first and must not wait.
        inspect(
            &mut listener,
            vec![only_for_ports(http_inspector(), &sniffed)],
            Silence::IsBytes,
        );
    }
    add_listener(layer, &listener);
}

/// A listener in front of each port that the application serves on loopback.
fn explicit(key: &SidecarPorts, http_port: u16, layer: &mut Layer) -> Vec<Problem> {
    let SidecarPorts {
        capture: _,
        ports,
        families,
    } = key;
    let mut problems = Vec::new();
    let in_front: Vec<(&WorkloadPort, u16)> = ports
        .iter()
        .filter_map(|port| Some((port, port.app_port?)))
        .collect();
    let listened: BTreeSet<u16> = in_front.iter().map(|(port, _)| port.number).collect();
    for (port, app_port) in in_front {
        let conflict = if listened.contains(&app_port) {
            Some((
                format!(
                    "the application's port {app_port} is one on which the sidecar listens, which would send connections to itself"
                ),
                "let the application listen on a port of its own",
            ))
        } else if port.number == http_port || app_port == http_port {
            Some((
                format!(
                    "port {http_port} is the one on which the sidecar takes the application's HTTP requests"
                ),
                "use another port, or change `mesh.explicit_http_port`",
            ))
        } else {
            None
        };
        if let Some((message, hint)) = conflict {
            let field = format!("ports[{}].app_port", port.number);
            problems.push(
                Report {
                    code: Code::ListenerConflict,
                    object: None,
                    field: &field,
                    message,
                    meanwhile: "the sidecar does not listen in front of this port",
                    hint,
                }
                .error(),
            );
            continue;
        }
        let field = format!("ports[{}].number", port.number);
        problems.extend(admin_port::collision(port.number, None, &field));
        let mut cluster = workload_cluster(port);
        cluster.cluster_discovery_type = Some(discovery(envoy_cluster::DiscoveryType::Static));
        cluster.load_assignment = Some(at_loopback(&cluster.name, app_port));
        cluster.upstream_bind_config = Some(own_source(IpFamilies::V4));
        add_cluster(layer, &cluster);
        let place = Place::Everywhere(*families);
        let mut listener =
            listener::listener(place, port.number, Socket::Bound, TrafficDirection::Inbound);
        listener.filter_chains = chains(port);
        if port.protocol == Protocol::Auto {
            inspect(&mut listener, vec![http_inspector()], Silence::IsBytes);
        }
        add_listener(layer, &listener);
    }
    problems
}

/// The cluster of a port, without where it is.
fn workload_cluster(port: &WorkloadPort) -> Cluster {
    let WorkloadPort {
        number,
        name: _,
        protocol,
        app_port: _,
    } = port;
    Cluster {
        name: name::inbound_cluster(*number),
        // The callers' limits are the callers'; here is only what the application itself can take.
        circuit_breakers: Some(circuit_breakers(&Default::default())),
        typed_extension_protocol_options: protocol_options(
            *protocol,
            Caller::Sidecar(Capture::Explicit),
        ),
        ..Cluster::default()
    }
}

/// Filter chains for a port, of all protocols that it may speak.
fn chains(port: &WorkloadPort) -> Vec<FilterChain> {
    let WorkloadPort {
        number,
        name: _,
        protocol,
        app_port: _,
    } = port;
    let cluster = name::inbound_cluster(*number);
    let http = || {
        let routes = Routes::Inline(Box::new(routes(&cluster)));
        connection_manager(&format!("inbound_{number}"), Downstream::Trusted, routes)
    };
    let bytes = || {
        any_chain(
            &cluster,
            tcp_proxy(&cluster, StreamTarget::OnlyPlace(cluster.clone())),
        )
    };
    match protocol {
        Protocol::Http | Protocol::Http2 | Protocol::Grpc => vec![any_chain(&cluster, http())],
        Protocol::Tls | Protocol::Tcp => vec![bytes()],
        // There is no TLS inspector here: TLS is bytes like others.
        Protocol::Auto => vec![
            http_chain(&format!("{cluster}http"), http()),
            without_tls(bytes()),
        ],
    }
}

fn routes(cluster: &str) -> RouteConfiguration {
    let action = RouteAction {
        cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(cluster.to_owned())),
        // How long it may take is the caller's to say.
        timeout: Some(duration(std::time::Duration::ZERO)),
        retry_policy: Some(retry::inbound()),
        max_stream_duration: Some(route_action::MaxStreamDuration {
            grpc_timeout_header_max: Some(duration(std::time::Duration::ZERO)),
            ..route_action::MaxStreamDuration::default()
        }),
        ..RouteAction::default()
    };
    RouteConfiguration {
        name: cluster.to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: cluster.to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![route::catch_all("default", Action::Route(action))],
            ..VirtualHost::default()
        }],
        ..RouteConfiguration::default()
    }
}

fn at_loopback(cluster: &str, port: u16) -> ClusterLoadAssignment {
    let endpoint = Endpoint {
        address: Some(socket_address(Ipv4Addr::LOCALHOST.into(), port)),
        ..Endpoint::default()
    };
    ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: vec![LbEndpoint {
                host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(endpoint)),
                ..LbEndpoint::default()
            }],
            ..LocalityLbEndpoints::default()
        }],
        ..ClusterLoadAssignment::default()
    }
}

#[cfg(test)]
mod tests;
