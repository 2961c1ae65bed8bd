//! The mesh that events of registries lead to.

mod endpoints;
mod merging;
mod random;
mod routing;
mod standing;

use super::*;
use crate::{
    Address, Backend, Balancing, Destination, Endpoint, EndpointGroup, HeaderChanges, Health,
    HttpAction, HttpRoute, HttpRule, IpFamilies, Labels, Locality, MutualTls, Named, Namespace,
    Network, NetworkGateway, OutboundMode, Policy, Protocol, Rewrite, Role, RouteParent,
    RoutingChange, Service, ServicePort, Timeouts, TrafficSettings, Workload,
    view::{OutboundKey, ServiceView},
};

const NOW: Duration = Duration::from_secs(1000);

fn settings() -> Arc<MeshSettings> {
    Arc::new(MeshSettings {
        trust_domain: "mesh.example".parse().unwrap(),
        domain: "cluster.local".parse().unwrap(),
        outbound: OutboundMode::PassThrough,
        virtual_addresses: "240.0.0.0/8".parse().unwrap(),
        explicit_http_port: 15080,
        east_west_port: 15443,
        mutual_tls: MutualTls::Absent,
        traffic: TrafficSettings::default(),
    })
}

fn registry(name: &str) -> RegistrySettings {
    RegistrySettings::new(
        name.parse().unwrap(),
        "mesh.example".parse().unwrap(),
        "cluster.local".parse().unwrap(),
        "shop".parse().unwrap(),
    )
}

fn store(registries: &[RegistrySettings]) -> MeshStore {
    MeshStore::new(settings(), registries.iter().cloned(), [])
}

fn hostname(name: &str) -> Hostname {
    format!("{name}.shop.svc.cluster.local").parse().unwrap()
}

fn object(registry: &str, name: &str, spec: Spec) -> Object {
    let source = Source {
        place: format!("{registry}.yaml").into(),
        line: Some(1),
    };
    let namespace: Namespace = "shop".parse().unwrap();
    Object::new(
        registry.parse().unwrap(),
        None,
        namespace,
        name,
        source,
        spec,
    )
}

fn service(registry: &str, name: &str, ports: &[(u16, &str, Protocol)]) -> Object {
    let ports = ports
        .iter()
        .map(|(number, name, protocol)| ServicePort {
            number: *number,
            name: (*name).into(),
            protocol: *protocol,
            local_port: None,
        })
        .collect();
    let spec = Service {
        hostname: hostname(name),
        addresses: Vec::new(),
        ports,
        balancing: Balancing::Everywhere,
        health_check: None,
    };
    object(registry, name, Spec::Service(Arc::new(spec)))
}

fn http_service(registry: &str, name: &str) -> Object {
    service(registry, name, &[(80, "http", Protocol::Http)])
}

fn endpoint(address: Address) -> Endpoint {
    Endpoint {
        address,
        ports: Named::from([("http".into(), 8080)]),
        locality: Locality::default(),
        network: Network::default(),
        labels: Labels::new(),
        weight: 1,
        health: Health::Healthy,
        identity: None,
    }
}

fn endpoints(registry: &str, name: &str, of: &str, addresses: &[Address]) -> Object {
    let endpoints = addresses.iter().cloned().map(endpoint).collect();
    let spec = EndpointGroup {
        service: hostname(of),
        endpoints,
    };
    object(registry, name, Spec::Endpoints(Arc::new(spec)))
}

fn address(number: u16) -> Address {
    let [high, low] = number.to_be_bytes();
    Address::Ip([10, 0, high, low].into())
}

fn route(registry: &str, name: &str, parent: &str, backend: &str) -> Object {
    let spec = HttpRoute {
        parents: vec![RouteParent::Service {
            hostname: hostname(parent),
            port: None,
        }],
        hostnames: Vec::new(),
        rules: vec![HttpRule {
            name: None,
            matches: Vec::new(),
            action: HttpAction::Forward {
                backends: vec![Backend {
                    destination: Destination::Service {
                        hostname: hostname(backend),
                        port: 80,
                    },
                    weight: 1,
                    request_headers: HeaderChanges::default(),
                    response_headers: HeaderChanges::default(),
                }],
                rewrite: Rewrite::default(),
            },
            request_headers: HeaderChanges::default(),
            response_headers: HeaderChanges::default(),
            timeouts: Timeouts::default(),
        }],
        created: None,
    };
    object(registry, name, Spec::HttpRoute(Arc::new(spec)))
}

fn replace(registry: &str, objects: Vec<Object>) -> RegistryEvent {
    event(registry, Change::Replace(objects))
}

fn upsert(registry: &str, upserts: Vec<Object>) -> RegistryEvent {
    let removes = Vec::new();
    event(registry, Change::Update { upserts, removes })
}

fn remove(registry: &str, removes: Vec<ObjectKey>) -> RegistryEvent {
    let upserts = Vec::new();
    event(registry, Change::Update { upserts, removes })
}

fn event(registry: &str, change: Change) -> RegistryEvent {
    RegistryEvent {
        registry: registry.parse().unwrap(),
        change,
        problems: Vec::new(),
    }
}

fn codes(store: &MeshStore) -> Vec<Code> {
    store
        .mesh()
        .problems()
        .into_iter()
        .map(|problem| problem.code)
        .collect()
}

fn names(hostnames: &BTreeSet<Hostname>) -> Vec<&str> {
    hostnames
        .iter()
        .map(|name| name.as_str().split('.').next().unwrap())
        .collect()
}

fn key(registry: Option<&str>, namespace: &str) -> OutboundKey {
    OutboundKey {
        role: Role::Sidecar(crate::Capture::Explicit),
        registry: registry.map(|name| name.parse().unwrap()),
        namespace: namespace.parse().unwrap(),
        families: IpFamilies::V4,
        taken_ports: Vec::new(),
        host_lookup: crate::HostLookup::Available,
        route_delivery: crate::RouteDelivery::Whole,
    }
}
