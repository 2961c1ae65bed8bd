//! The HTTP connection manager.

use std::time::Duration;

use bowline_proto::{
    any, duration,
    envoy::{
        config::{
            core::v3::{
                AggregatedConfigSource, ApiVersion, ConfigSource, Http1ProtocolOptions,
                Http2ProtocolOptions, config_source,
            },
            listener::v3::{Filter, filter},
            route::v3::{RouteConfiguration, Vhds},
        },
        extensions::filters::{
            http::router::v3::Router,
            network::http_connection_manager::v3::{
                HttpConnectionManager, HttpFilter, Rds, http_connection_manager as hcm, http_filter,
            },
        },
    },
};

/// Where a connection manager takes its routes from.
pub(crate) enum Routes {
    /// By RDS, under this name: they change without a connection being closed.
    Named(String),
    /// From here: for routes that never change by themselves.
    Inline(Box<RouteConfiguration>),
}

/// Whom a connection manager serves.
#[derive(Clone, Copy)]
pub(crate) enum Downstream {
    /// The workload beside which the proxy stands, or another proxy.
    Trusted,
    /// Anybody.
    Anybody,
}

/// Configuration comes over the stream that brought this.
///
/// `initial_fetch_timeout` stays at Envoy's 15 s. With 0, as others have it, a resource that never comes leaves a cluster warming or
/// a listener waiting forever, which nobody sees; after 15 s it is seen in statistics and the rest goes on.
pub(crate) fn ads() -> ConfigSource {
    ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(config_source::ConfigSourceSpecifier::Ads(
            AggregatedConfigSource {},
        )),
        ..ConfigSource::default()
    }
}

/// The virtual hosts of a route configuration come by themselves, behind it on the same stream.
///
/// Envoy is given all of them, as it is without this. Its filter that fetches a host when the first request for it comes would save
/// memory where proxies call few of many services, but holds up that request, answers it with 404 when the control plane is away,
/// and changes what a request for an unknown host costs: that is to be asked for, and not how routes come.
pub(crate) fn hosts_by_themselves() -> Vhds {
    Vhds {
        config_source: Some(ads()),
    }
}

/// A filter that speaks HTTP/1.1 and HTTP/2 and routes requests one by one.
pub(crate) fn connection_manager(
    stat_prefix: &str,
    downstream: Downstream,
    routes: Routes,
) -> Filter {
    manager_filter(&config(stat_prefix, downstream, routes))
}

/// The same for a workload whose routes may forward requests to any host, and open tunnels: `lookup` finds the host.
pub(crate) fn forward_proxy(stat_prefix: &str, routes: Routes, lookup: HttpFilter) -> Filter {
    let mut config = config(stat_prefix, Downstream::Trusted, routes);
    config.http_filters.insert(0, lookup);
    config.upgrade_configs.push(upgrade("CONNECT"));
    manager_filter(&config)
}

/// The filter that is this connection manager.
pub(crate) fn manager_filter(config: &HttpConnectionManager) -> Filter {
    Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(any(config))),
    }
}

/// The HTTP filter that sends requests where their routes say: the last of all.
pub(crate) fn router() -> HttpFilter {
    HttpFilter {
        name: "envoy.filters.http.router".to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(
            any(&Router::default()),
        )),
        ..HttpFilter::default()
    }
}

fn upgrade(to: &str) -> hcm::UpgradeConfig {
    hcm::UpgradeConfig {
        upgrade_type: to.to_owned(),
        ..hcm::UpgradeConfig::default()
    }
}

fn config(stat_prefix: &str, downstream: Downstream, routes: Routes) -> HttpConnectionManager {
    let route_specifier = match routes {
        Routes::Named(route_config_name) => hcm::RouteSpecifier::Rds(Rds {
            config_source: Some(ads()),
            route_config_name,
        }),
        Routes::Inline(configuration) => hcm::RouteSpecifier::RouteConfig(*configuration),
    };
    let mut config = HttpConnectionManager {
        stat_prefix: stat_prefix.to_owned(),
        route_specifier: Some(route_specifier),
        http_filters: vec![router()],
        upgrade_configs: vec![upgrade("websocket")],
        // `/a/../b` must not be routed by one reading and served by another. Escaped slashes and double slashes stay: there are
        // APIs to which they mean something.
        normalize_path: Some(true),
        ..HttpConnectionManager::default()
    };
    match downstream {
        Downstream::Trusted => trusted(&mut config),
        Downstream::Anybody => anybody(&mut config),
    }
    config
}

/// A sidecar is invisible: what the applications say to each other is theirs, how long they are silent too.
fn trusted(config: &mut HttpConnectionManager) {
    config.use_remote_address = Some(false);
    config.server_header_transformation = hcm::ServerHeaderTransformation::PassThrough.into();
    // A stream of events may be silent for longer than Envoy's 5 minutes.
    config.stream_idle_timeout = Some(duration(Duration::ZERO));
    // HTTP/1.0 is what an nginx in front of its upstreams speaks unless told otherwise; without this it is answered with 426.
    config.http_protocol_options = Some(Http1ProtocolOptions {
        accept_http_10: true,
        ..Http1ProtocolOptions::default()
    });
}

/// Envoy's advice for edge proxies ("Configuring Envoy as an edge proxy"): believe no address that a header claims, and let nobody
/// hold a connection or memory for free.
fn anybody(config: &mut HttpConnectionManager) {
    config.use_remote_address = Some(true);
    config.stream_idle_timeout = Some(duration(Duration::from_secs(300)));
    config.request_headers_timeout = Some(duration(Duration::from_secs(10)));
    config.http2_protocol_options = Some(Http2ProtocolOptions {
        max_concurrent_streams: Some(100),
        initial_stream_window_size: Some(64 * 1024),
        initial_connection_window_size: Some(1024 * 1024),
        ..Http2ProtocolOptions::default()
    });
}
