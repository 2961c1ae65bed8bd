//! Small meshes for tests.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bowline_mesh::{
    Address, Backend, Balancer, Balancing, Capture, Change, Destination, Endpoint, EndpointGroup,
    HeaderChanges, Health, HostLookup, Hostname, HttpAction, HttpMatch, HttpRoute, HttpRule,
    IpFamilies, Labels, Locality, Mesh, MeshSettings, MeshStore, MutualTls, Named, Network, Object,
    OutboundMode, PathMatch, Protocol, RegistryEvent, RegistryId, RegistrySettings, Rewrite, Role,
    RouteDelivery, RouteParent, Service, ServicePort, Source, Spec, Timeouts, TrafficSettings,
    view::{EndpointsKey, OutboundKey, ServiceView},
};
use bowline_proto::{Any, Name, print::to_json};
use bowline_snapshot::{Layer, Resource, ResourceType};
use serde_json::Value;

use crate::{OutboundAssembly, ServiceParts, service};

pub(crate) fn settings() -> Arc<MeshSettings> {
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

/// A mesh of one registry, `vms`.
pub(crate) fn mesh(objects: Vec<Object>) -> Mesh {
    mesh_with(MeshSettings::clone(&settings()), objects)
}

/// The same with other settings.
pub(crate) fn mesh_with(settings: MeshSettings, objects: Vec<Object>) -> Mesh {
    let registry: RegistryId = "vms".parse().unwrap();
    let settings_of_registry = RegistrySettings::new(
        registry.clone(),
        "mesh.example".parse().unwrap(),
        "cluster.local".parse().unwrap(),
        "shop".parse().unwrap(),
    );
    let mut store = MeshStore::new(Arc::new(settings), [settings_of_registry], []);
    let event = RegistryEvent {
        registry,
        change: Change::Replace(objects),
        problems: Vec::new(),
    };
    store.apply(event, Duration::ZERO);
    store.mesh().clone()
}

pub(crate) fn object(name: &str, spec: Spec) -> Object {
    let source = Source {
        place: "inventory.yaml".into(),
        line: Some(1),
    };
    Object::new(
        "vms".parse().unwrap(),
        None,
        "shop".parse().unwrap(),
        name,
        source,
        spec,
    )
}

pub(crate) fn hostname(name: &str) -> Hostname {
    format!("{name}.shop.svc.cluster.local").parse().unwrap()
}

/// A service in namespace `shop` with ports by number; their names are their numbers.
pub(crate) fn plain_service(name: &str, ports: &[(u16, Protocol)]) -> Service {
    Service {
        hostname: hostname(name),
        addresses: Vec::new(),
        ports: ports
            .iter()
            .map(|(number, protocol)| ServicePort {
                number: *number,
                name: number.to_string().into(),
                protocol: *protocol,
                local_port: None,
            })
            .collect(),
        balancing: Balancing::Everywhere,
        health_check: None,
    }
}

pub(crate) fn service_object(name: &str, ports: &[(u16, Protocol)]) -> Object {
    object(name, Spec::Service(Arc::new(plain_service(name, ports))))
}

/// An endpoint that serves port 80 at 8080.
pub(crate) fn endpoint(address: &str) -> Endpoint {
    let address = match address.parse::<IpAddr>() {
        Ok(ip) => Address::Ip(ip),
        Err(_) => Address::Dns(address.parse().unwrap()),
    };
    Endpoint {
        address,
        ports: Named::from([("80".into(), 8080)]),
        locality: Locality::default(),
        network: Network::default(),
        labels: Labels::new(),
        weight: 1,
        health: Health::Unknown,
        identity: None,
    }
}

pub(crate) fn endpoints_object(name: &str, service: &str, endpoints: Vec<Endpoint>) -> Object {
    let group = EndpointGroup {
        service: hostname(service),
        endpoints,
    };
    object(name, Spec::Endpoints(Arc::new(group)))
}

pub(crate) fn backend(service: &str, weight: u32) -> Backend {
    Backend {
        destination: Destination::Service {
            hostname: hostname(service),
            port: 80,
        },
        weight,
        request_headers: HeaderChanges::default(),
        response_headers: HeaderChanges::default(),
    }
}

pub(crate) fn forward(backends: Vec<Backend>) -> HttpAction {
    HttpAction::Forward {
        backends,
        rewrite: Rewrite::default(),
    }
}

pub(crate) fn path(path: PathMatch) -> HttpMatch {
    HttpMatch {
        path,
        method: None,
        headers: Vec::new(),
        query: Vec::new(),
    }
}

pub(crate) fn below(prefix: &str) -> HttpMatch {
    path(PathMatch::Below(prefix.into()))
}

pub(crate) fn rule(matches: Vec<HttpMatch>, action: HttpAction) -> HttpRule {
    HttpRule {
        name: None,
        matches,
        action,
        request_headers: HeaderChanges::default(),
        response_headers: HeaderChanges::default(),
        timeouts: Timeouts {
            request: None,
            backend_request: None,
        },
    }
}

pub(crate) fn http_route(parents: Vec<RouteParent>, rules: Vec<HttpRule>) -> HttpRoute {
    HttpRoute {
        parents,
        hostnames: Vec::new(),
        rules,
        created: None,
    }
}

pub(crate) fn outbound_key(capture: Capture) -> OutboundKey {
    OutboundKey {
        role: Role::Sidecar(capture),
        registry: None,
        namespace: "shop".parse().unwrap(),
        families: IpFamilies::V4,
        taken_ports: Vec::new(),
        host_lookup: HostLookup::Available,
        route_delivery: RouteDelivery::Whole,
    }
}

/// A locality as it is written, `@registry/node` behind it where it has a node.
pub(crate) fn place(text: &str) -> Locality {
    let (place, node) = text.split_once('@').unwrap_or((text, ""));
    let place: Locality = place.parse().unwrap();
    match node.split_once('/') {
        Some((registry, node)) => place.on_node(&registry.parse().unwrap(), node),
        None => place,
    }
}

pub(crate) fn endpoints_key(network: &str, locality: &str) -> EndpointsKey {
    EndpointsKey {
        network: network.parse().unwrap(),
        locality: place(locality),
        families: IpFamilies::V4,
        balancer: Balancer::Proxy,
    }
}

pub(crate) fn parts(mesh: &Mesh, capture: Capture, hostname: &Hostname) -> Arc<ServiceParts> {
    let view = ServiceView::new(mesh, &outbound_key(capture), hostname).unwrap();
    Arc::new(service(&view, capture).value)
}

/// An assembly with all services of a mesh.
pub(crate) fn assembly(mesh: &Mesh, capture: Capture) -> OutboundAssembly {
    let mut assembly = OutboundAssembly::new(mesh.settings(), &outbound_key(capture));
    for service in mesh.services() {
        assembly.set(
            &service.hostname,
            Some(parts(mesh, capture, &service.hostname)),
        );
    }
    assembly
}

/// A message as JSON, for looking into.
pub(crate) fn json_of<M: Name>(message: &M) -> Value {
    to_json(&bowline_proto::any(message))
}

/// A resource as JSON.
pub(crate) fn json(resource_type: ResourceType, resource: &Resource) -> Value {
    to_json(&Any {
        type_url: resource_type.url().to_owned(),
        value: resource.body().to_bytes(),
    })
}

/// A resource of a layer as JSON; fails the test where it is not there.
pub(crate) fn found(layer: &Layer, resource_type: ResourceType, name: &str) -> Value {
    let resource = layer.get(resource_type, name);
    let resource =
        resource.unwrap_or_else(|| panic!("{name} is not in {:?}", names(layer, resource_type)));
    json(resource_type, resource)
}

/// The names of a layer's resources of one type.
pub(crate) fn names(layer: &Layer, resource_type: ResourceType) -> Vec<String> {
    layer
        .of_type(resource_type)
        .iter()
        .map(|resource| resource.name().to_string())
        .collect()
}
