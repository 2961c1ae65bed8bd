//! What happens to a request.

use std::time::Duration;

use bowline_mesh::{Backend, Destination, HttpAction, HttpRule, PathMatch, Rewrite, Timeouts};
use bowline_proto::{
    duration,
    envoy::config::route::v3::{
        RouteAction, WeightedCluster, route, route_action, weighted_cluster::ClusterWeight,
    },
};

use super::{
    Parent, direct_response, headers,
    path::{EnvoyPathChange, path_change},
    redirect::redirect_action,
};
use crate::{name, retry};

pub(super) struct Made {
    pub(super) action: route::Action,
    /// Why no backend gets a request, where that is so.
    pub(super) no_weight: Option<&'static str>,
}

pub(super) fn action(
    rule: &HttpRule,
    path: &PathMatch,
    parent: Parent,
    refused: &mut Vec<String>,
) -> Made {
    match &rule.action {
        HttpAction::Redirect(redirect) => Made {
            action: route::Action::Redirect(redirect_action(redirect, path, parent, refused)),
            no_weight: None,
        },
        HttpAction::Forward { backends, rewrite } => match clusters(backends, refused) {
            Ok(specifier) => {
                let mut action = forward(specifier, &rule.timeouts);
                rewrite_action(&mut action, rewrite, path, refused);
                Made {
                    action: route::Action::Route(action),
                    no_weight: None,
                }
            }
            Err(why) => Made {
                action: direct_response(500, ""),
                no_weight: Some(why),
            },
        },
    }
}

/// The action that sends to one cluster, with everything at its default.
pub(crate) fn cluster_route(cluster: String) -> RouteAction {
    let timeouts = Timeouts {
        request: None,
        backend_request: None,
    };
    forward(route_action::ClusterSpecifier::Cluster(cluster), &timeouts)
}

fn forward(specifier: route_action::ClusterSpecifier, timeouts: &Timeouts) -> RouteAction {
    let Timeouts {
        request,
        backend_request,
    } = timeouts;
    let mut action = RouteAction {
        cluster_specifier: Some(specifier),
        // Without it Envoy ends every request after 15 s, also a download or a stream.
        timeout: Some(duration(request.unwrap_or(Duration::ZERO))),
        // Other routes have that of their virtual host.
        retry_policy: backend_request.map(|timeout| retry::outbound(Some(timeout))),
        // A gRPC client says by `grpc-timeout` how long it waits; 0 means that it is believed. Only without a timeout of the route:
        // Envoy does not look at `timeout` where this message is there (FilterUtility::finalTimeout).
        max_stream_duration: request.is_none().then(|| route_action::MaxStreamDuration {
            grpc_timeout_header_max: Some(duration(Duration::ZERO)),
            ..route_action::MaxStreamDuration::default()
        }),
        ..RouteAction::default()
    };
    // A backend that is not there (yet) has no cluster, and its share of the requests is answered with 500 (Gateway API,
    // HTTPRouteRule.backendRefs). Envoy's own answer would be 503, "try again".
    action.set_cluster_not_found_response_code(
        route_action::ClusterNotFoundResponseCode::InternalServerError,
    );
    action
}

/// The cluster of a backend.
fn cluster(destination: &Destination) -> String {
    match destination {
        Destination::Service { hostname, port } => name::outbound_cluster(*port, hostname),
        Destination::Unresolved => name::UNRESOLVED_CLUSTER.to_owned(),
    }
}

/// Clusters by weight, without those that have none. Weights are scaled down where their sum does not fit into 32 bits.
pub(crate) fn weights(backends: &[Backend]) -> Vec<(&Backend, String, u32)> {
    let total: u64 = backends
        .iter()
        .map(|backend| u64::from(backend.weight))
        .sum();
    let divisor = total / (u64::from(u32::MAX) / 2) + 1;
    backends
        .iter()
        .filter(|backend| backend.weight > 0)
        .map(|backend| {
            let weight = u64::from(backend.weight).div_ceil(divisor);
            (
                backend,
                cluster(&backend.destination),
                u32::try_from(weight).unwrap_or(u32::MAX),
            )
        })
        .collect()
}

fn clusters(
    backends: &[Backend],
    refused: &mut Vec<String>,
) -> Result<route_action::ClusterSpecifier, &'static str> {
    let weights = weights(backends);
    match weights.as_slice() {
        [] if backends.is_empty() => Err("the rule has no backends"),
        [] => Err("the weights of all backends are 0"),
        [(backend, cluster, _)]
            if backend.request_headers.is_empty() && backend.response_headers.is_empty() =>
        {
            Ok(route_action::ClusterSpecifier::Cluster(cluster.clone()))
        }
        _ => {
            let clusters = weights
                .into_iter()
                .map(|(backend, name, weight)| {
                    let request = headers::changes(&backend.request_headers, refused);
                    let response = headers::changes(&backend.response_headers, refused);
                    ClusterWeight {
                        name,
                        weight: Some(weight),
                        request_headers_to_add: request.add,
                        request_headers_to_remove: request.remove,
                        response_headers_to_add: response.add,
                        response_headers_to_remove: response.remove,
                        ..ClusterWeight::default()
                    }
                })
                .collect();
            Ok(route_action::ClusterSpecifier::WeightedClusters(
                WeightedCluster {
                    clusters,
                    ..WeightedCluster::default()
                },
            ))
        }
    }
}

fn rewrite_action(
    action: &mut RouteAction,
    rewrite: &Rewrite,
    matched: &PathMatch,
    refused: &mut Vec<String>,
) {
    let Rewrite { host, path } = rewrite;
    action.host_rewrite_specifier = host
        .as_ref()
        .map(|host| route_action::HostRewriteSpecifier::HostRewriteLiteral(host.to_string()));
    match path.as_ref().map(|path| path_change(path, matched)) {
        None | Some(Ok(None)) => {}
        Some(Ok(Some(EnvoyPathChange::Prefix(prefix)))) => action.prefix_rewrite = prefix,
        Some(Ok(Some(EnvoyPathChange::Regex(regex)))) => action.regex_rewrite = Some(regex),
        Some(Err(why)) => refused.push(why),
    }
}
