//! Clusters: how a proxy reaches one port of a service.

use bowline_mesh::{
    Balancing, Capture, Discovery, IpFamilies, MergedPort, Problem, Protocol, ServicePort,
    view::ServiceView,
};
use bowline_proto::{
    Any, any, duration,
    envoy::{
        config::{
            cluster::v3::{Cluster, cluster},
            core::v3::{Http1ProtocolOptions, Http2ProtocolOptions},
        },
        extensions::{
            clusters::{common::dns::v3::DnsLookupFamily, dns::v3::DnsCluster},
            upstreams::http::v3::{
                HttpProtocolOptions,
                http_protocol_options::{
                    ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
                    explicit_http_config::ProtocolConfig,
                },
            },
        },
        r#type::v3::Percent,
    },
};

use crate::{circuit_breaker::circuit_breakers, endpoints, health_check::health_check, http, name};

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    Sidecar(Capture),
    Gateway,
}

/// The cluster of one port of a service.
pub(crate) fn outbound(
    view: &ServiceView,
    port: &MergedPort,
    caller: Caller,
    problems: &mut Vec<Problem>,
) -> Cluster {
    let service = &view.service;
    let ServicePort {
        number,
        protocol,
        name: _,
        local_port: _,
    } = &port.port;
    let mut cluster = limited(name::outbound_cluster(*number, &service.hostname), view);
    cluster.typed_extension_protocol_options = protocol_options(*protocol, caller);
    if goes_where_it_wants(view, *protocol, caller) {
        original_destination(&mut cluster);
        return cluster;
    }
    balance(&mut cluster);
    if let Some(check) = &service.health_check {
        cluster
            .health_checks
            .push(health_check(check, &service.hostname, *protocol));
    }
    match service.discovery {
        Discovery::Eds => discover(&mut cluster),
        Discovery::Dns => {
            cluster.cluster_discovery_type = Some(cluster::ClusterDiscoveryType::ClusterType(
                resolving(view.families),
            ));
            cluster.load_assignment = Some(endpoints::inline(view, port, problems));
        }
    }
    cluster
}

/// The cluster of an east-west gateway for one port of a service: bytes as they come, for the endpoints of its network. Health is its
/// registry's word: the gateway cannot speak to what expects the caller's certificate.
pub(crate) fn passed_through(view: &ServiceView, port: &MergedPort) -> Cluster {
    let name = name::server_name(port.port.number, &view.service.hostname);
    let mut cluster = limited(name, view);
    balance(&mut cluster);
    discover(&mut cluster);
    cluster
}

/// A cluster with the limits and timeouts of a service.
fn limited(name: String, view: &ServiceView) -> Cluster {
    Cluster {
        name,
        // Envoy refuses 0, and takes its own 5 s where nothing is said.
        connect_timeout: view
            .traffic
            .connect_timeout
            .filter(|timeout| !timeout.is_zero())
            .map(duration),
        circuit_breakers: Some(circuit_breakers(&view.traffic)),
        ..Cluster::default()
    }
}

fn balance(cluster: &mut Cluster) {
    cluster.set_lb_policy(cluster::LbPolicy::LeastRequest);
    cluster.common_lb_config = Some(cluster::CommonLbConfig {
        // Envoy's panic mode sends to endpoints known to be bad when half of them are. An endpoint that is being drained is one of
        // these, so a rolling restart of few endpoints would send requests to those that are leaving.
        healthy_panic_threshold: Some(Percent { value: 0.0 }),
        ..cluster::CommonLbConfig::default()
    });
    // An endpoint that its registry has taken away is gone, also where health checks still succeed.
    cluster.ignore_health_on_host_removal = true;
}

/// Endpoints come from us.
fn discover(cluster: &mut Cluster) {
    cluster.cluster_discovery_type = Some(discovery(cluster::DiscoveryType::Eds));
    cluster.eds_cluster_config = Some(cluster::EdsClusterConfig {
        eds_config: Some(http::ads()),
        ..cluster::EdsClusterConfig::default()
    });
}

/// What Envoy calls strict DNS: every address that a name resolves to is an endpoint, as long as the DNS server says.
fn resolving(families: IpFamilies) -> cluster::CustomClusterType {
    let family = match families {
        IpFamilies::V4 => DnsLookupFamily::V4Only,
        IpFamilies::V6 => DnsLookupFamily::V6Only,
        IpFamilies::Dual => DnsLookupFamily::V4Preferred,
    };
    let config = DnsCluster {
        respect_dns_ttl: true,
        dns_lookup_family: family.into(),
        ..DnsCluster::default()
    };
    cluster::CustomClusterType {
        name: "envoy.clusters.dns".to_owned(),
        typed_config: Some(any(&config)),
    }
}

/// Whether connections go to the address that the caller has looked up.
///
/// Only where that address is known (transparent capture) and nothing looks into the connection: HTTP requests to a headless service
/// are routed by their Host and balanced over its endpoints.
pub(crate) fn goes_where_it_wants(view: &ServiceView, protocol: Protocol, caller: Caller) -> bool {
    view.service.balancing == Balancing::ByAddress
        && caller == Caller::Sidecar(Capture::Transparent)
        && !protocol.is_http()
}

/// A cluster that sends each connection to its original destination.
pub(crate) fn original_destination(cluster: &mut Cluster) {
    cluster.cluster_discovery_type = Some(discovery(cluster::DiscoveryType::OriginalDst));
    cluster.set_lb_policy(cluster::LbPolicy::ClusterProvided);
}

/// Which HTTP is spoken towards the endpoints; nothing where it is not HTTP.
pub(crate) fn protocol_options(
    protocol: Protocol,
    caller: Caller,
) -> std::collections::BTreeMap<String, Any> {
    let explicit = |protocol_config| {
        UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(protocol_config),
        })
    };
    let upstream = match (protocol, caller) {
        (Protocol::Http, _) => explicit(ProtocolConfig::HttpProtocolOptions(http1())),
        (Protocol::Http2 | Protocol::Grpc, _) => {
            explicit(ProtocolConfig::Http2ProtocolOptions(http2()))
        }
        // What a workload speaks to its own sidecar is what the endpoint should get. What a stranger speaks to a gateway says
        // nothing about the endpoint, and HTTP/1.1 is understood by nearly all.
        (Protocol::Auto, Caller::Sidecar(_)) => {
            UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
                http_protocol_options: Some(http1()),
                http2_protocol_options: Some(http2()),
                ..UseDownstreamHttpConfig::default()
            })
        }
        (Protocol::Auto, Caller::Gateway) => explicit(ProtocolConfig::HttpProtocolOptions(http1())),
        (Protocol::Tls | Protocol::Tcp, _) => return Default::default(),
    };
    let options = HttpProtocolOptions {
        upstream_protocol_options: Some(upstream),
        ..HttpProtocolOptions::default()
    };
    [(
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned(),
        any(&options),
    )]
    .into()
}

fn http1() -> Http1ProtocolOptions {
    Http1ProtocolOptions::default()
}

fn http2() -> Http2ProtocolOptions {
    Http2ProtocolOptions::default()
}

/// The discovery type as the field wants it.
pub(crate) fn discovery(kind: cluster::DiscoveryType) -> cluster::ClusterDiscoveryType {
    cluster::ClusterDiscoveryType::Type(kind.into())
}
