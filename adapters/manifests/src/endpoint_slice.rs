//! EndpointSlices.
//!
//! Hints say for which zones and nodes an endpoint is meant; callers choose by their own locality instead, and over all slices of a service.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use bowline_mesh::{
    Address, Code, Endpoint as MeshEndpoint, EndpointGroup, Health, Locality, Named, Object, Spec,
};
use serde::{Deserialize, Deserializer};

use crate::{
    Metadata, PodFacts,
    convert::Scope,
    metadata::{null_is_default, shortened},
    network::reported_network,
    report::{Field, Report},
    service::Transport,
};

/// Fields that mean nothing here.
pub(crate) const IGNORED: &[&str] = &[
    "endpoints[].hostname",
    "endpoints[].hints",
    "endpoints[].deprecatedTopology",
    "endpoints[].targetRef.apiVersion",
    "endpoints[].targetRef.fieldPath",
    "endpoints[].targetRef.resourceVersion",
    "endpoints[].targetRef.uid",
    "ports[].appProtocol",
];

/// The label that names the service of a slice.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// An EndpointSlice, as far as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSlice {
    pub(crate) metadata: Metadata,
    address_type: AddressType,
    #[serde(default, deserialize_with = "endpoints")]
    endpoints: Box<[Endpoint]>,
    #[serde(default, deserialize_with = "null_is_default")]
    ports: Box<[EndpointPort]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum AddressType {
    #[serde(rename = "IPv4")]
    Ipv4,
    #[serde(rename = "IPv6")]
    Ipv6,
    #[serde(rename = "FQDN")]
    Fqdn,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    addresses: Box<[Box<str>]>,
    #[serde(default, deserialize_with = "null_is_default")]
    conditions: Conditions,
    node_name: Option<Arc<str>>,
    zone: Option<Arc<str>>,
    target_ref: Option<TargetRef>,
}

/// Kubernetes: a condition that is not given is ready, serves as it is ready, and is not terminating.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct TargetRef {
    kind: Option<TargetKind>,
    name: Option<Arc<str>>,
    namespace: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum TargetKind {
    Pod,
    #[serde(other)]
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct EndpointPort {
    #[serde(default)]
    name: Option<Arc<str>>,
    port: Option<u16>,
    #[serde(default)]
    protocol: Option<Transport>,
}

impl EndpointSlice {
    /// The service that it belongs to, in its own namespace.
    pub fn service_name(&self) -> Option<&Arc<str>> {
        self.metadata.labels.get(SERVICE_LABEL)
    }

    /// The pods that it points to, by namespace (its own where not given) and name.
    pub fn pods(&self) -> impl Iterator<Item = (Option<&str>, &Arc<str>)> {
        self.endpoints.iter().filter_map(Endpoint::pod)
    }

    /// Whether an endpoint runs on a node.
    pub fn uses_node(&self, node: &str) -> bool {
        let mut nodes = self
            .endpoints
            .iter()
            .map(|endpoint| endpoint.node_name.as_deref());
        nodes.any(|name| name == Some(node))
    }

    /// Names and numbers of its TCP ports.
    pub fn tcp_ports(&self) -> impl Iterator<Item = (Arc<str>, u16)> {
        self.ports.iter().filter_map(|port| {
            let is_tcp = port.protocol.unwrap_or_default() == Transport::Tcp;
            let number = port.port.filter(|number| is_tcp && *number != 0)?;
            Some((port.name.clone().unwrap_or_default(), number))
        })
    }
}

impl Endpoint {
    fn pod(&self) -> Option<(Option<&str>, &Arc<str>)> {
        let target = self.target_ref.as_ref()?;
        let name = target.name.as_ref()?;
        match target.kind? {
            TargetKind::Pod => Some((target.namespace.as_deref(), name)),
            TargetKind::Other => None,
        }
    }
}

/// What stands in a slice again and again is kept once for all of its endpoints: there are many thousands of them.
fn endpoints<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<[Endpoint]>, D::Error> {
    let mut endpoints: Vec<Endpoint> = null_is_default(deserializer)?;
    let mut texts: BTreeSet<Arc<str>> = BTreeSet::new();
    for endpoint in &mut endpoints {
        let Endpoint {
            addresses: _,
            conditions: _,
            node_name,
            zone,
            target_ref,
        } = endpoint;
        let namespace = target_ref.as_mut().map(|target| &mut target.namespace);
        let repeated = [Some(node_name), Some(zone), namespace];
        for text in repeated.into_iter().flatten().flatten() {
            match texts.get(text) {
                Some(known) => *text = known.clone(),
                None => drop(texts.insert(text.clone())),
            }
        }
    }
    Ok(endpoints.into_boxed_slice())
}

impl Conditions {
    fn health(self) -> Health {
        let ready = self.ready.unwrap_or(true);
        let serving = self.serving.unwrap_or(ready);
        match (ready, serving, self.terminating.unwrap_or(false)) {
            (true, _, false) => Health::Healthy,
            (_, true, true) => Health::Draining,
            (false, _, false) | (_, false, true) => Health::Unhealthy,
        }
    }
}

pub(crate) fn objects(
    slice: &EndpointSlice,
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) -> Vec<Object> {
    let labels = Field::root("metadata");
    let labels = labels.key("labels");
    let Some(service) = slice.service_name() else {
        report.warning(
            Code::UnresolvedReference,
            &labels,
            "the slice belongs to no service",
            "its endpoints are not in the mesh",
            "give it the label kubernetes.io/service-name",
        );
        return Vec::new();
    };
    let Some(service) = scope.hostname(service, scope.namespace, &labels, report) else {
        return Vec::new();
    };
    let ports = ports(&slice.ports, report);
    let mut endpoints = Vec::with_capacity(slice.endpoints.len());
    let field = Field::root("endpoints");
    for (index, endpoint) in slice.endpoints.iter().enumerate() {
        let field = field.index(index);
        let Some(address) = address(endpoint, slice.address_type, &field, report) else {
            continue;
        };
        let pod = pod(endpoint, scope).cloned().unwrap_or_default();
        let network = reported_network(Some(&pod.labels), &field, scope, report);
        endpoints.push(MeshEndpoint {
            address,
            ports: ports.clone(),
            locality: locality(endpoint, scope),
            network,
            labels: pod.labels,
            weight: 1,
            health: endpoint.conditions.health(),
            identity: pod.identity,
        });
    }
    vec![scope.object(Spec::Endpoints(Arc::new(EndpointGroup {
        service,
        endpoints,
    })))]
}

/// Ports by name. Those that are not TCP have been reported for the service.
fn ports(ports: &[EndpointPort], report: &mut Report<'_>) -> Named<u16> {
    let mut by_name = BTreeMap::new();
    let field = Field::root("ports");
    for (index, port) in ports.iter().enumerate() {
        let field = field.index(index);
        if port.protocol.unwrap_or_default() != Transport::Tcp {
            continue;
        }
        match port.port {
            Some(0) => {
                report.invalid(
                    &field.key("port"),
                    "0 is not a port",
                    "give a number from 1 to 65535",
                );
            }
            Some(number) => {
                let name = port.name.clone().unwrap_or_default();
                if by_name.insert(name, number).is_some() {
                    report.invalid(
                        &field.key("name"),
                        "another port has this name too",
                        "give each port a name of its own",
                    );
                }
            }
            None => report.unsupported(
                &field.key("port"),
                "a port without a number means all ports",
                "the port is left out; the others act",
                "give the number",
            ),
        }
    }
    by_name.into()
}

/// The first address: Kubernetes gives no meaning to further ones.
fn address(
    endpoint: &Endpoint,
    address_type: AddressType,
    field: &Field<'_>,
    report: &mut Report<'_>,
) -> Option<Address> {
    let field = field.key("addresses");
    let Some(text) = endpoint.addresses.first() else {
        report.invalid(&field, "the endpoint has no address", "give one");
        return None;
    };
    if endpoint.addresses.len() > 1 {
        report.unsupported(
            &field,
            "the endpoint has several addresses",
            "only the first is used",
            "write an endpoint for each address",
        );
    }
    let is_target = |address: &IpAddr| !address.is_unspecified() && !address.is_multicast();
    let (address, expected) = match address_type {
        AddressType::Ipv4 => {
            let address = text.parse::<Ipv4Addr>().ok().map(IpAddr::V4);
            (
                address.filter(is_target).map(Address::Ip),
                "an IPv4 address",
            )
        }
        AddressType::Ipv6 => {
            let address = text.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
            (
                address.filter(is_target).map(Address::Ip),
                "an IPv6 address",
            )
        }
        AddressType::Fqdn => {
            let name = text.strip_suffix('.').unwrap_or(text);
            (name.parse().ok().map(Address::Dns), "a DNS name")
        }
    };
    if address.is_none() {
        report.invalid(
            &field.index(0),
            format!("'{}' is not {expected} that can be called", shortened(text)),
            "correct it, or the addressType",
        );
    }
    address
}

fn pod<'a>(endpoint: &Endpoint, scope: &Scope<'a>) -> Option<&'a PodFacts> {
    let (namespace, name) = endpoint.pod()?;
    let namespace = namespace.unwrap_or(scope.namespace.as_str());
    scope.context.references.pod(namespace, name)
}

/// The node's, where it says so; otherwise the slice's zone in the registry's region.
fn locality(endpoint: &Endpoint, scope: &Scope<'_>) -> Locality {
    let settings = &scope.context.settings;
    let default = &settings.locality;
    let references = scope.context.references;
    let node = endpoint.node_name.as_deref();
    let is_placed = node.is_some_and(|node| references.is_placed(node));
    let place = match &endpoint.zone {
        Some(zone) if !is_placed && *zone != default.zone => Locality {
            zone: zone.clone(),
            subzone: Arc::default(),
            ..default.clone()
        },
        Some(_) | None => default.clone(),
    };
    match node {
        Some(node) => references.on_node(&settings.id, node, &place),
        None => place,
    }
}
