//! What a sidecar with explicit listeners does with requests for hosts that no service has.
//!
//! They were sent to the proxy itself, so that nothing but their host says where they want to go: Envoy looks it up and forwards them
//! there. That might be the very listener that they came to, over and over. No address would tell: a machine has many, and a name may
//! resolve to several, of which Envoy tries one after the other. So the port alone decides: no request for an unknown host is forwarded
//! to the number of the listener, at whatever address, and none whose host Envoy might read otherwise than these routes do.

use bowline_mesh::{Capture, IpFamilies, Protocol};
use bowline_proto::{
    any,
    envoy::{
        config::{
            cluster::v3::{Cluster, cluster},
            core::v3::TypedExtensionConfig,
            route::v3::{
                HeaderMatcher, Route, RouteAction, RouteMatch,
                header_matcher::HeaderMatchSpecifier,
                route::Action,
                route_action::{UpgradeConfig, upgrade_config::ConnectConfig},
                route_match::{ConnectMatcher, PathSpecifier},
            },
        },
        extensions::{
            clusters::dynamic_forward_proxy::v3::{
                ClusterConfig, cluster_config::ClusterImplementationSpecifier,
            },
            common::dynamic_forward_proxy::v3::DnsCacheConfig,
            filters::{
                http::dynamic_forward_proxy::v3::{
                    FilterConfig, PerRouteConfig, filter_config::ImplementationSpecifier,
                },
                network::http_connection_manager::v3::{HttpFilter, http_filter::ConfigType},
            },
            network::dns_resolver::cares::v3::CaresDnsResolverConfig,
        },
        r#type::matcher::v3::{RegexMatcher, StringMatcher, string_matcher::MatchPattern},
    },
};

use crate::{
    circuit_breaker::circuit_breakers,
    cluster::{Caller, protocol_options},
    name, route,
};

/// What happens to a request for a host that no service has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum UnknownHost {
    /// It is forwarded to that host.
    IsLookedUp,
    /// It is answered with 502. Not with 404, which an application would take for an answer of the service.
    IsRefused,
}

/// What an application reads whose request is refused.
const REFUSED: &str = "bowline: no service here has the host and port of this request. \
    Ask for HOSTNAME:PORT of a service as its registry has them.\n";

/// What an application reads whose request would come back to the listener that it was sent to.
const LOOP: &str = "bowline: no service here has the host and port of this request, and forwarding it to this port, which is the \
    proxy's own, would be a loop. Ask for HOSTNAME:PORT of a service, or for the host and port of a server.\n";

/// The filter's name, by which a route switches it on.
const FILTER: &str = "envoy.filters.http.dynamic_forward_proxy";

/// Where the filter puts what it has looked up, and the cluster finds it.
const DNS_CACHE: &str = "unknown_hosts";

/// How many hosts are remembered. With Envoy's own 1,024, an application that calls more within five minutes would be answered 503.
const HOSTS_MAX: u32 = 10_000;

/// The port of a host that names none.
const DEFAULT_PORT: u16 = 80;

/// Hosts that can be read in one way only: a name or an IPv4 address, or an IPv6 address in brackets.
const HOST: &str = r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z_.-]+)";

/// The routes of requests that no service's virtual host is for. `listener_port` is where they came to.
pub(crate) fn routes(unknown_host: UnknownHost, listener_port: u16) -> Vec<Route> {
    let refused = route::catch_all("unknown", route::direct_response(502, REFUSED));
    let looked_up = match unknown_host {
        UnknownHost::IsRefused => return vec![refused],
        UnknownHost::IsLookedUp => route::cluster_route(name::HOST_PASSTHROUGH_CLUSTER.to_owned()),
    };
    let tunnelled = RouteAction {
        upgrade_configs: vec![UpgradeConfig {
            upgrade_type: "CONNECT".to_owned(),
            connect_config: Some(ConnectConfig::default()),
            ..UpgradeConfig::default()
        }],
        ..looked_up.clone()
    };
    let is_own = own_port(listener_port);
    let is_clear = expression(format!("{HOST}(:[1-9][0-9]{{0,4}})?"));
    let refused_loop = route::direct_response(508, LOOP);
    vec![
        for_hosts(&is_own, route::catch_all("loop", refused_loop.clone())),
        for_hosts(&is_own, tunnel("loop by tunnel", refused_loop)),
        with_lookup(for_hosts(
            &is_clear,
            route::catch_all("lookup", Action::Route(looked_up)),
        )),
        with_lookup(for_hosts(
            &is_clear,
            tunnel("tunnel", Action::Route(tunnelled)),
        )),
        refused,
    ]
}

/// Looks hosts up, on routes that ask for it: requests to services do not pass through it.
pub(crate) fn http_filter(families: IpFamilies) -> HttpFilter {
    let config = FilterConfig {
        implementation_specifier: Some(ImplementationSpecifier::DnsCacheConfig(dns_cache(
            families,
        ))),
        ..FilterConfig::default()
    };
    HttpFilter {
        name: FILTER.to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(&config))),
        disabled: true,
        ..HttpFilter::default()
    }
}

/// The cluster that sends each request to the host that the filter has looked up.
pub(crate) fn cluster(families: IpFamilies) -> Cluster {
    let config = ClusterConfig {
        cluster_implementation_specifier: Some(ClusterImplementationSpecifier::DnsCacheConfig(
            dns_cache(families),
        )),
        // These are about TLS, which is not begun here.
        allow_insecure_cluster_options: true,
        ..ClusterConfig::default()
    };
    let mut cluster = Cluster {
        name: name::HOST_PASSTHROUGH_CLUSTER.to_owned(),
        cluster_discovery_type: Some(cluster::ClusterDiscoveryType::ClusterType(
            cluster::CustomClusterType {
                name: "envoy.clusters.dynamic_forward_proxy".to_owned(),
                typed_config: Some(any(&config)),
            },
        )),
        circuit_breakers: Some(circuit_breakers(&Default::default())),
        // Unknown destinations get what they would get without us.
        typed_extension_protocol_options: protocol_options(
            Protocol::Auto,
            Caller::Sidecar(Capture::Explicit),
        ),
        ..Cluster::default()
    };
    cluster.set_lb_policy(cluster::LbPolicy::ClusterProvided);
    cluster
}

/// Envoy wants it to be the same wherever it is named.
fn dns_cache(families: IpFamilies) -> DnsCacheConfig {
    let mut cache = DnsCacheConfig {
        name: DNS_CACHE.to_owned(),
        max_hosts: Some(HOSTS_MAX),
        // Without resolvers of its own it asks those of /etc/resolv.conf, and /etc/hosts before them.
        typed_dns_resolver_config: Some(TypedExtensionConfig {
            name: "envoy.network.dns_resolver.cares".to_owned(),
            typed_config: Some(any(&CaresDnsResolverConfig::default())),
        }),
        ..DnsCacheConfig::default()
    };
    // The proxy may reach more than the families of its addresses: they only say what to try first.
    cache.set_dns_lookup_family(match families {
        IpFamilies::V4 => cluster::DnsLookupFamily::V4Preferred,
        IpFamilies::V6 => cluster::DnsLookupFamily::Auto,
        IpFamilies::Dual => cluster::DnsLookupFamily::All,
    });
    cache
}

/// Matches hosts at the listener's own port.
fn own_port(port: u16) -> MatchPattern {
    match port {
        DEFAULT_PORT => expression(format!("{HOST}(:{port})?")),
        _ => MatchPattern::Suffix(format!(":{port}")),
    }
}

fn expression(regex: String) -> MatchPattern {
    MatchPattern::SafeRegex(RegexMatcher {
        regex,
        ..RegexMatcher::default()
    })
}

/// Limits a route to requests for some hosts.
fn for_hosts(pattern: &MatchPattern, mut route: Route) -> Route {
    let header = HeaderMatcher {
        name: ":authority".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(StringMatcher {
            match_pattern: Some(pattern.clone()),
            ..StringMatcher::default()
        })),
        ..HeaderMatcher::default()
    };
    route.r#match.get_or_insert_default().headers.push(header);
    route
}

/// A route for connections to a host that the application asks for, so that it can speak TLS with it.
fn tunnel(name: &str, action: Action) -> Route {
    Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::ConnectMatcher(ConnectMatcher {})),
            ..RouteMatch::default()
        }),
        ..route::catch_all(name, action)
    }
}

/// Switches the filter on, which any configuration for a route does.
fn with_lookup(mut route: Route) -> Route {
    route
        .typed_per_filter_config
        .insert(FILTER.to_owned(), any(&PerRouteConfig::default()));
    route
}
