//! Services.
//!
//! What concerns traffic from outside of a cluster (node ports, load balancers) or the making of EndpointSlices (selectors, target
//! ports) means nothing to callers in the mesh.

mod east_west;
mod port;

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use bowline_mesh::{
    Address, Balancing, Code, Endpoint, EndpointGroup, Health, Hostname, Labels, Object,
    RegionOrder, Service as MeshService, ServicePort as MeshPort, Spec,
};
use serde::Deserialize;

use crate::{
    GatewayAddress, Metadata,
    convert::{self, Scope},
    metadata::{null_is_default, shortened},
    network::{NETWORK_LABEL, reported_network},
    references::Exposure,
    report::{Field, Report},
};

use east_west::east_west;
use port::{ServicePort, ports};

pub(crate) use port::Transport;

/// Fields that mean nothing here.
pub(crate) const IGNORED: &[&str] = &[
    "spec.selector",
    "spec.ports[].targetPort",
    "spec.ports[].nodePort",
    "spec.allocateLoadBalancerNodePorts",
    "spec.externalTrafficPolicy",
    "spec.healthCheckNodePort",
    "spec.ipFamilies",
    "spec.ipFamilyPolicy",
    "spec.loadBalancerClass",
    "spec.loadBalancerIP",
    "spec.loadBalancerSourceRanges",
    "spec.publishNotReadyAddresses",
    "spec.sessionAffinityConfig",
];

/// The label by which a Service says which gateway's proxies it exposes.
const GATEWAY_LABEL: &str = "gateway.networking.k8s.io/gateway-name";
/// What the address of a Service without one is.
const HEADLESS: &str = "None";

/// A Service, as far as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Service {
    pub(crate) metadata: Metadata,
    #[serde(default)]
    spec: ServiceSpec,
    #[serde(default, deserialize_with = "null_is_default")]
    status: ServiceStatus,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServiceStatus {
    #[serde(default, deserialize_with = "null_is_default")]
    load_balancer: LoadBalancer,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
struct LoadBalancer {
    #[serde(default, deserialize_with = "null_is_default")]
    ingress: Vec<LoadBalancerAddress>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct LoadBalancerAddress {
    ip: Option<Arc<str>>,
    hostname: Option<Arc<str>>,
}

impl Service {
    /// The names and numbers of its ports.
    pub(crate) fn port_names(&self) -> impl Iterator<Item = (Arc<str>, u16)> {
        let ports = self.spec.ports.iter();
        ports.map(|port| (port.name.clone(), port.port))
    }

    /// Whose proxies it exposes, if it says so, and where.
    pub(crate) fn exposure(&self) -> Option<(Arc<str>, Exposure)> {
        let gateway = self.metadata.labels.get(GATEWAY_LABEL)?;
        let balanced = self.status.load_balancer.ingress.iter();
        let balanced = balanced.filter_map(|address| match address {
            LoadBalancerAddress { ip: Some(ip), .. } if !ip.is_empty() => {
                Some(GatewayAddress::Ip(ip.clone()))
            }
            LoadBalancerAddress { hostname, .. } => hostname.clone().map(GatewayAddress::Hostname),
        });
        let own = self.spec.cluster_ips.iter().chain(&self.spec.cluster_ip);
        let own = own.filter(|address| !address.is_empty() && *address != HEADLESS);
        let addresses: BTreeSet<GatewayAddress> = match self.spec.r#type {
            ServiceType::LoadBalancer => balanced.collect(),
            ServiceType::ClusterIp | ServiceType::NodePort => own
                .map(|address| GatewayAddress::Ip(address.as_str().into()))
                .collect(),
            ServiceType::ExternalName => BTreeSet::new(),
        };
        let exposure = Exposure {
            waits: self.spec.r#type == ServiceType::LoadBalancer && addresses.is_empty(),
            addresses: addresses.into_iter().collect(),
        };
        Some((gateway.clone(), exposure))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServiceSpec {
    #[serde(default)]
    r#type: ServiceType,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(default, rename = "clusterIPs", deserialize_with = "null_is_default")]
    cluster_ips: Vec<String>,
    external_name: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    ports: Vec<ServicePort>,
    traffic_distribution: Option<String>,
    internal_traffic_policy: Option<TrafficPolicy>,
    session_affinity: Option<SessionAffinity>,
    #[serde(default, rename = "externalIPs", deserialize_with = "null_is_default")]
    external_ips: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
enum ServiceType {
    #[default]
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    NodePort,
    LoadBalancer,
    ExternalName,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum TrafficPolicy {
    Cluster,
    Local,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum SessionAffinity {
    None,
    #[serde(rename = "ClientIP")]
    ClientIp,
}

pub(crate) fn objects(
    service: &Service,
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) -> Vec<Object> {
    let spec = &service.spec;
    let field = Field::root("spec");
    let metadata = Field::root("metadata");
    let name = metadata.key("name");
    let Some(hostname) = scope.hostname(scope.name, scope.namespace, &name, report) else {
        return Vec::new();
    };
    not_honoured(service, &field, report);
    let ports = ports(&spec.ports, &field.key("ports"), report);
    if ports.is_empty() {
        report.warning(
            Code::UnsupportedField,
            &field.key("ports"),
            "the service has no TCP port",
            "the service is not in the mesh",
            "give it the ports on which it is called",
        );
        return Vec::new();
    }
    let addresses = addresses(spec, &field, report);
    let external = match spec.r#type {
        ServiceType::ExternalName => external_name(spec, &field, report),
        ServiceType::ClusterIp | ServiceType::NodePort | ServiceType::LoadBalancer => None,
    };
    let external =
        external.map(|target| external_endpoint(target, &hostname, &ports, scope, report));
    let gateway = east_west(service, &ports, scope, report);
    let service = MeshService {
        hostname,
        balancing: match addresses {
            ClusterAddresses::Headless => Balancing::ByAddress,
            ClusterAddresses::Own(_) => balancing(spec, &field, report),
        },
        addresses: match addresses {
            ClusterAddresses::Headless => Vec::new(),
            ClusterAddresses::Own(addresses) => addresses,
        },
        ports,
        health_check: None,
    };
    let service = scope.object(Spec::Service(Arc::new(service)));
    std::iter::once(service)
        .chain(external)
        .chain(gateway)
        .collect()
}

fn not_honoured(service: &Service, field: &Field<'_>, report: &mut Report<'_>) {
    let spec = &service.spec;
    if spec.session_affinity == Some(SessionAffinity::ClientIp) {
        report.unsupported(
            &field.key("sessionAffinity"),
            "requests of one client do not stay with one endpoint",
            "requests go to any endpoint",
            "set it to None",
        );
    }
    let is_gateway = service.metadata.labels.contains_key(NETWORK_LABEL);
    if !spec.external_ips.is_empty() && !is_gateway {
        report.unsupported(
            &field.key("externalIPs"),
            "external addresses are not captured",
            "calls of these addresses are calls of an unknown destination",
            "call the service by its name",
        );
    }
}

enum ClusterAddresses {
    /// `clusterIP: None`.
    Headless,
    /// None where Kubernetes has not given one.
    Own(Vec<IpAddr>),
}

fn addresses(spec: &ServiceSpec, field: &Field<'_>, report: &mut Report<'_>) -> ClusterAddresses {
    if spec.r#type == ServiceType::ExternalName {
        return ClusterAddresses::Own(Vec::new());
    }
    let single = spec.cluster_ip.as_deref().filter(|text| !text.is_empty());
    if single == Some(HEADLESS) {
        return ClusterAddresses::Headless;
    }
    let all = spec.cluster_ips.iter().map(String::as_str);
    let texts: Vec<&str> = if spec.cluster_ips.is_empty() {
        single.into_iter().collect()
    } else {
        all.collect()
    };
    let mut addresses = Vec::with_capacity(texts.len());
    for text in texts {
        match text.parse::<IpAddr>() {
            Ok(address) if !address.is_unspecified() && !address.is_multicast() => {
                addresses.push(address);
            }
            Ok(_) | Err(_) => report.invalid(
                &field.key("clusterIP"),
                format!("'{}' is not the address of a service", shortened(text)),
                "give an IP address, or None for a headless service",
            ),
        }
    }
    ClusterAddresses::Own(addresses)
}

fn balancing(spec: &ServiceSpec, field: &Field<'_>, report: &mut Report<'_>) -> Balancing {
    if spec.internal_traffic_policy == Some(TrafficPolicy::Local) {
        return Balancing::OnNode;
    }
    match spec.traffic_distribution.as_deref() {
        None | Some("") => Balancing::Everywhere,
        Some("PreferClose" | "PreferSameZone") => Balancing::PreferZone(RegionOrder::default()),
        Some("PreferSameNode") => Balancing::PreferNode,
        Some(other) => {
            report.unsupported(
                &field.key("trafficDistribution"),
                format!("'{}' is not known", shortened(other)),
                "requests go to any endpoint",
                "say PreferSameZone, or leave it out",
            );
            Balancing::Everywhere
        }
    }
}

fn external_name(
    spec: &ServiceSpec,
    field: &Field<'_>,
    report: &mut Report<'_>,
) -> Option<Hostname> {
    let text = spec.external_name.as_deref().unwrap_or_default();
    match text.strip_suffix('.').unwrap_or(text).parse() {
        Ok(hostname) => Some(hostname),
        Err(error) => {
            report.invalid(
                &field.key("externalName"),
                error.to_string(),
                "give the DNS name that the service stands for",
            );
            None
        }
    }
}

/// An ExternalName is served at a DNS name, on the ports on which it is called.
fn external_endpoint(
    target: Hostname,
    service: &Hostname,
    ports: &[MeshPort],
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) -> Object {
    let settings = scope.context.settings;
    let metadata = Field::root("metadata");
    let network = reported_network(None, &metadata.key("namespace"), scope, report);
    let ports = ports
        .iter()
        .map(|port| (port.name.clone(), port.number))
        .collect();
    let group = EndpointGroup {
        service: service.clone(),
        endpoints: vec![Endpoint {
            address: Address::Dns(target),
            ports,
            locality: settings.locality.clone(),
            network,
            labels: Labels::new(),
            weight: 1,
            health: Health::Unknown,
            identity: None,
        }],
    };
    let name = convert::external_name(scope.name);
    scope.object_named(name, Spec::Endpoints(Arc::new(group)))
}
