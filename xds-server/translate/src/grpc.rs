//! What one service is to gRPC clients that speak xDS themselves (gRFC A27): a listener for each name that a client may dial, the
//! routes behind it, and clusters.
//!
//! A client asks by name: `xds:///cart.shop:80` for the listener `cart.shop:80`, which names the routes, which name clusters. What it
//! does not understand it ignores or refuses, together with all that came along, so only what gRPC defines is written here.

mod assembly;
pub(crate) mod server;

use std::sync::Arc;

use bowline_mesh::{
    Code, Discovery, HttpAction, MergedPort, ObjectKey, Problem, Protocol, Rewrite,
    view::{RouteView, ServiceView},
};
use bowline_proto::{
    any,
    envoy::{
        config::{
            cluster::v3::{Cluster, cluster},
            core::v3::{ApiVersion, ConfigSource, SelfConfigSource, config_source},
            listener::v3::{ApiListener, Listener},
            route::v3::{Route, RouteConfiguration, VirtualHost, route::Action, route_action},
        },
        extensions::filters::network::http_connection_manager::v3::{
            HttpConnectionManager, Rds, http_connection_manager as hcm,
        },
    },
};
use bowline_snapshot::Resource;

use crate::{
    Translated,
    circuit_breaker::circuit_breakers,
    cluster::discovery,
    endpoints, http, name,
    problem::Report,
    retry,
    service::{self, Rank, http_routes},
};

pub use assembly::GrpcAssembly;

/// Everything that one service adds to the outbound layer of gRPC clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcParts {
    /// The object that problems are about.
    pub(crate) object: Option<ObjectKey>,
    pub(crate) clusters: Vec<Resource>,
    pub(crate) routes: Vec<Resource>,
    /// Listeners by the name that clients dial, which other services may claim too.
    pub(crate) listeners: Vec<(Rank, Resource)>,
}

/// What a service adds to the outbound layer of gRPC clients.
pub fn grpc(view: &ServiceView) -> Translated<GrpcParts> {
    let mut problems = Vec::new();
    let service = &view.service;
    let origins = endpoints::origins(service);
    let names = service::names(view);
    let mut parts = GrpcParts {
        object: service.origins.first().cloned(),
        clusters: Vec::new(),
        routes: Vec::new(),
        listeners: Vec::new(),
    };
    for route in &view.routes {
        report_unsupported(route, &mut problems);
    }
    for port in &service.ports {
        let Some(cluster) = cluster(view, port, &mut problems) else {
            continue;
        };
        parts.clusters.push(Resource::encode(
            cluster.name.as_str(),
            &cluster,
            origins.clone(),
        ));
        let number = port.port.number;
        let routes = routes(view, number, &mut problems);
        let routes_name = routes.name.clone();
        parts.routes.push(Resource::encode(
            routes_name.as_str(),
            &routes,
            origins.clone(),
        ));
        let mut add = |name: Arc<str>, rank| {
            let listener = listener(&name, &routes_name);
            let resource = Resource::encode(name, &listener, origins.clone());
            parts.listeners.push((rank, resource));
        };
        for (name, rank) in &names {
            add(format!("{name}:{number}").into(), *rank);
            if is_port_without_number(view, number) {
                add(name.clone(), *rank);
            }
        }
    }
    Translated::new(parts, problems)
}

/// Whether clients that dial a name without a port mean this one: the only one, or the only one for gRPC.
fn is_port_without_number(view: &ServiceView, number: u16) -> bool {
    let ports = &view.service.ports;
    let is_grpc = |port: &&MergedPort| port.port.protocol == Protocol::Grpc;
    let mut grpc = ports.iter().filter(is_grpc);
    match (ports.as_slice(), grpc.next(), grpc.next()) {
        ([only], _, _) => only.port.number == number,
        (_, Some(only), None) => only.port.number == number,
        _ => false,
    }
}

fn listener(name: &str, routes: &str) -> Listener {
    let manager = HttpConnectionManager {
        stat_prefix: name.to_owned(),
        route_specifier: Some(hcm::RouteSpecifier::Rds(Rds {
            config_source: Some(http::ads()),
            route_config_name: routes.to_owned(),
        })),
        http_filters: vec![http::router()],
        ..HttpConnectionManager::default()
    };
    Listener {
        name: name.to_owned(),
        api_listener: Some(ApiListener {
            api_listener: Some(any(&manager)),
        }),
        ..Listener::default()
    }
}

fn routes(view: &ServiceView, port: u16, problems: &mut Vec<Problem>) -> RouteConfiguration {
    let mut routes = http_routes(view, port, problems);
    routes.iter_mut().for_each(limit_as_grpc_does);
    let name = name::sniffed_routes(&view.service.hostname, port);
    RouteConfiguration {
        name: name.clone(),
        virtual_hosts: vec![VirtualHost {
            name,
            // Whoever has these routes has dialled this service, by whichever of its names.
            domains: vec!["*".to_owned()],
            routes,
            retry_policy: Some(retry::outbound(None)),
            ..VirtualHost::default()
        }],
        ..RouteConfiguration::default()
    }
}

/// gRPC does not look at a route's `timeout`, but at `max_stream_duration` (gRFC A31).
fn limit_as_grpc_does(route: &mut Route) {
    if let Some(Action::Route(action)) = &mut route.action
        && action.max_stream_duration.is_none()
    {
        action.max_stream_duration =
            action
                .timeout
                .take()
                .map(|timeout| route_action::MaxStreamDuration {
                    max_stream_duration: Some(timeout),
                    ..route_action::MaxStreamDuration::default()
                });
    }
}

/// The cluster of one port; `None` where gRPC has no means to find its endpoints.
fn cluster(view: &ServiceView, port: &MergedPort, problems: &mut Vec<Problem>) -> Option<Cluster> {
    let service = &view.service;
    let mut cluster = Cluster {
        name: name::outbound_cluster(port.port.number, &service.hostname),
        // Without it gRPC takes a limit of 1,024 requests (gRFC A32).
        circuit_breakers: Some(circuit_breakers(&view.traffic)),
        // Loads are reported to whoever sent this.
        lrs_server: Some(ConfigSource {
            resource_api_version: ApiVersion::V3.into(),
            config_source_specifier: Some(config_source::ConfigSourceSpecifier::Self_(
                SelfConfigSource::default(),
            )),
            ..ConfigSource::default()
        }),
        ..Cluster::default()
    };
    // The one policy that all clients have, and that lets them choose localities by weight.
    cluster.set_lb_policy(cluster::LbPolicy::RoundRobin);
    match service.discovery {
        Discovery::Eds => {
            cluster.cluster_discovery_type = Some(discovery(cluster::DiscoveryType::Eds));
            cluster.eds_cluster_config = Some(cluster::EdsClusterConfig {
                eds_config: Some(http::ads()),
                ..cluster::EdsClusterConfig::default()
            });
        }
        Discovery::Dns => {
            let assignment = endpoints::inline(view, port, problems);
            let len: usize = assignment
                .endpoints
                .iter()
                .map(|locality| locality.lb_endpoints.len())
                .sum();
            if len != 1 {
                problems.push(several_names(view, port, len));
                return None;
            }
            cluster.cluster_discovery_type = Some(discovery(cluster::DiscoveryType::LogicalDns));
            cluster.load_assignment = Some(assignment);
        }
    }
    Some(cluster)
}

fn several_names(view: &ServiceView, port: &MergedPort, len: usize) -> Problem {
    let service = &view.service;
    Report {
        code: Code::NotTranslatable,
        object: service.origins.first(),
        field: "",
        message: format!(
            "port {} of {} has {len} endpoints, some with DNS names, of which gRPC clients without a proxy take exactly one",
            port.port.number, service.hostname
        ),
        meanwhile: "to them there is no such service; other callers reach it",
        hint: "give all its endpoints addresses, or only one endpoint",
    }
    .warning()
}

/// What gRPC has no means for: it would be passed over in silence.
fn report_unsupported(view: &RouteView, problems: &mut Vec<Problem>) {
    for (index, rule) in view.route.rules.iter().enumerate() {
        let (rewrites, redirects, changes_at_backends) = match &rule.action {
            HttpAction::Redirect(_) => (false, true, false),
            HttpAction::Forward { backends, rewrite } => {
                let Rewrite { host, path } = rewrite;
                let changes = backends.iter().any(|backend| {
                    !backend.request_headers.is_empty() || !backend.response_headers.is_empty()
                });
                (host.is_some() || path.is_some(), false, changes)
            }
        };
        let changes_headers = changes_at_backends
            || !rule.request_headers.is_empty()
            || !rule.response_headers.is_empty();
        let looks_at_query = rule.matches.iter().any(|one| !one.query.is_empty());
        let unsupported = [
            (
                changes_headers,
                "change headers",
                "headers stay as they are",
            ),
            (rewrites, "rewrite", "requests stay as they are"),
            (redirects, "redirect", "their requests fail"),
            (
                looks_at_query,
                "match query parameters",
                "these matches are passed over",
            ),
        ];
        for (is_used, what, meanwhile) in unsupported {
            if is_used {
                problems.push(
                    Report {
                        code: Code::NotTranslatable,
                        object: Some(&view.key),
                        field: &format!("rules[{index}]"),
                        message: format!("gRPC clients without a proxy do not {what}"),
                        meanwhile,
                        hint: "have requests that need it go through a proxy",
                    }
                    .warning(),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
