//! The mesh that is measured.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use bowline_identity::{Claimed, PeerIdentity};
use bowline_mesh::{
    Address, Backend, Balancer, Balancing, Capture, Change, Destination, Endpoint, EndpointGroup,
    HeaderChanges, Health, HostLookup, Hostname, HttpAction, HttpMatch, HttpRoute, HttpRule,
    IpFamilies, Labels, Locality, MeshSettings, MeshStore, MutualTls, Named, NamedMatch, Namespace,
    Network, Object, OutboundMode, PathMatch, Protocol, Proxy, RegionOrder, RegistryEvent,
    RegistryId, RegistrySettings, Rewrite, Role, RouteDelivery, RouteParent, Service, ServicePort,
    Source, Spec, Timeouts, TrafficSettings, ValueMatch, Workload, WorkloadPort,
    view::{EndpointsKey, InboundKey, OutboundKey, SidecarPorts},
};

const NAMESPACES: usize = 50;
const ZONES: usize = 3;
const ENDPOINTS: usize = 10;
const DOMAIN: &str = "cluster.local";
const REGISTRY: &str = "prod";

/// A mesh of so many services, each with ten endpoints in three zones, in fifty namespaces, as one Kubernetes cluster would have it:
/// one group of endpoints a service, an address of its own for every service.
///
/// Of ten services seven speak HTTP on port 80, one the same but with callers that prefer their zone, one gRPC and one TCP.
#[derive(Debug, Clone, Copy)]
pub struct Fleet {
    /// How many.
    pub services: usize,
}

impl Fleet {
    /// A store that knows the registry, but nothing of what is in it.
    pub fn empty_store(self) -> MeshStore {
        let settings = Arc::new(MeshSettings {
            trust_domain: parse("mesh.example"),
            domain: parse(DOMAIN),
            outbound: OutboundMode::PassThrough,
            virtual_addresses: parse("240.0.0.0/8"),
            explicit_http_port: 15080,
            east_west_port: 15443,
            mutual_tls: MutualTls::Absent,
            traffic: TrafficSettings::default(),
        });
        let registry = RegistrySettings::new(
            registry(),
            parse("mesh.example"),
            parse(DOMAIN),
            namespace(0),
        );
        MeshStore::new(settings, [registry], [])
    }

    /// Everything that the registry has.
    pub fn objects(self) -> Vec<Object> {
        let services = (0..self.services).map(|index| self.service(index));
        let endpoints = (0..self.services).map(|index| self.endpoints(index, 100));
        services.chain(endpoints).collect()
    }

    /// One service.
    pub fn service(self, index: usize) -> Object {
        let (number, name, protocol) = port(index);
        let spec = Service {
            hostname: hostname(index),
            addresses: vec![address(10, index)],
            ports: vec![ServicePort {
                number,
                name: name.into(),
                protocol,
                local_port: None,
            }],
            balancing: if Self::prefers_zone(index) {
                Balancing::PreferZone(RegionOrder::default())
            } else {
                Balancing::Everywhere
            },
            health_check: None,
        };
        object(index, Spec::Service(Arc::new(spec)))
    }

    /// The endpoints of one service, the first of which has this weight.
    pub fn endpoints(self, index: usize, weight: u32) -> Object {
        let (number, name, _) = port(index);
        let endpoints = (0..ENDPOINTS)
            .map(|endpoint| Endpoint {
                address: Address::Ip(address(11, index * ENDPOINTS + endpoint)),
                ports: Named::from([(name.into(), number + 8000)]),
                locality: zone(endpoint),
                network: Network::default(),
                labels: Labels::from([("version".into(), "v1".into())]),
                weight: if endpoint == 0 { weight } else { 100 },
                health: Health::Healthy,
                identity: None,
            })
            .collect();
        let spec = EndpointGroup {
            service: hostname(index),
            endpoints,
        };
        object(index, Spec::Endpoints(Arc::new(spec)))
    }

    /// A route of one service's callers: requests with a header go to the next service, all others by weight to the service itself
    /// and the next but one.
    pub fn route(self, index: usize, weight: u32) -> Object {
        let backend = |index: usize, weight: u32| Backend {
            destination: Destination::Service {
                hostname: hostname(index),
                port: port(index).0,
            },
            weight,
            request_headers: HeaderChanges::default(),
            response_headers: HeaderChanges::default(),
        };
        let rule = |matches, backends| HttpRule {
            name: None,
            matches,
            action: HttpAction::Forward {
                backends,
                rewrite: Rewrite::default(),
            },
            request_headers: HeaderChanges::default(),
            response_headers: HeaderChanges::default(),
            timeouts: Timeouts::default(),
        };
        let with_header = HttpMatch {
            path: PathMatch::Below("/".into()),
            method: None,
            headers: vec![NamedMatch {
                name: "x-canary".into(),
                value: ValueMatch::Exact("yes".into()),
            }],
            query: Vec::new(),
        };
        let spec = HttpRoute {
            parents: vec![RouteParent::Service {
                hostname: hostname(index),
                port: None,
            }],
            hostnames: Vec::new(),
            rules: vec![
                rule(vec![with_header], vec![backend(index + 1, 1)]),
                rule(
                    Vec::new(),
                    vec![backend(index, weight), backend(index + 2, 10)],
                ),
            ],
            created: None,
        };
        object(index, Spec::HttpRoute(Arc::new(spec)))
    }

    /// One of so many kinds of workload, which differ in the port that they serve.
    pub fn workload(self, index: usize, kinds: usize) -> Object {
        let spec = Workload {
            addresses: vec![address(12, index)],
            locality: zone(index),
            network: Network::default(),
            labels: Labels::from([("app".into(), format!("kind-{}", index % kinds).into())]),
            identity: None,
            ports: vec![workload_port(index % kinds)],
        };
        Object::new(
            registry(),
            None,
            namespace(index % kinds),
            format!("workload-{index}"),
            source(),
            Spec::Workload(Arc::new(spec)),
        )
    }

    /// The sidecar of one workload.
    pub fn sidecar(self, index: usize, kinds: usize) -> Proxy {
        let name = format!("workload-{index}");
        Proxy {
            id: format!("sidecar~{name}").into(),
            role: Role::Sidecar(Capture::Transparent),
            namespace: namespace(index % kinds),
            name: name.into(),
            addresses: vec![address(12, index)],
            network: None,
            locality: None,
            host_lookup: HostLookup::Available,
            route_delivery: RouteDelivery::ByHost,
            identity: PeerIdentity::Claimed(Claimed { spiffe_id: None }),
        }
    }

    /// What the registry says when it has connected.
    pub fn replace(self) -> RegistryEvent {
        event(Change::Replace(self.objects()))
    }

    /// What the registry says about some objects.
    pub fn upsert(self, upserts: impl IntoIterator<Item = Object>) -> RegistryEvent {
        event(Change::Update {
            upserts: upserts.into_iter().collect(),
            removes: Vec::new(),
        })
    }

    /// What the registry says when an object is gone.
    pub fn remove(self, object: &Object) -> RegistryEvent {
        event(Change::Update {
            upserts: Vec::new(),
            removes: vec![object.key().clone()],
        })
    }

    /// The hostname of one service.
    pub fn hostname(self, index: usize) -> Hostname {
        hostname(index)
    }

    /// Whether a service's callers prefer endpoints in their zone, so that there is an assignment for each zone.
    pub fn prefers_zone(index: usize) -> bool {
        index % 10 == 1
    }

    /// What sidecars in one namespace share.
    pub fn outbound_key(self, index: usize) -> OutboundKey {
        OutboundKey {
            role: Role::Sidecar(Capture::Transparent),
            registry: None,
            namespace: namespace(index),
            families: IpFamilies::V4,
            taken_ports: Vec::new(),
            host_lookup: HostLookup::Available,
            route_delivery: RouteDelivery::ByHost,
        }
    }

    /// What proxies in one zone share.
    pub fn endpoints_key(self, index: usize) -> EndpointsKey {
        EndpointsKey {
            network: Network::default(),
            locality: zone(index),
            families: IpFamilies::V4,
            balancer: Balancer::Proxy,
        }
    }

    /// What the sidecars of one kind of workload share.
    pub fn inbound_key(self, index: usize) -> InboundKey {
        InboundKey::Sidecar(SidecarPorts {
            capture: Capture::Transparent,
            ports: vec![workload_port(index)],
            families: IpFamilies::V4,
        })
    }
}

fn hostname(index: usize) -> Hostname {
    parse(&format!(
        "service-{index}.namespace-{}.svc.{DOMAIN}",
        index % NAMESPACES
    ))
}

fn namespace(index: usize) -> Namespace {
    parse(&format!("namespace-{}", index % NAMESPACES))
}

fn registry() -> RegistryId {
    parse(REGISTRY)
}

fn zone(index: usize) -> Locality {
    let zones: [&str; ZONES] = ["a", "b", "c"];
    let zone = zones.iter().cycle().nth(index % ZONES);
    Locality::new(
        "eu-central-1",
        &format!("eu-central-1{}", zone.copied().unwrap_or_default()),
        "",
    )
}

fn port(index: usize) -> (u16, &'static str, Protocol) {
    match index % 10 {
        8 => (9000, "grpc", Protocol::Grpc),
        9 => (5432, "tcp", Protocol::Tcp),
        _ => (80, "http", Protocol::Http),
    }
}

fn workload_port(kind: usize) -> WorkloadPort {
    WorkloadPort {
        number: u16::try_from(8000 + kind).expect("there are fewer kinds than ports"),
        name: "http".into(),
        protocol: Protocol::Http,
        app_port: None,
    }
}

/// An address below `first`, another one for each index.
fn address(first: u8, index: usize) -> IpAddr {
    let number = u32::try_from(index).expect("there are fewer indices than addresses");
    let [_, second, third, fourth] = number.to_be_bytes();
    Ipv4Addr::new(first, second, third, fourth).into()
}

fn object(index: usize, spec: Spec) -> Object {
    Object::new(
        registry(),
        None,
        namespace(index),
        format!("service-{index}"),
        source(),
        spec,
    )
}

fn source() -> Source {
    Source {
        place: REGISTRY.into(),
        line: None,
    }
}

fn event(change: Change) -> RegistryEvent {
    RegistryEvent {
        registry: registry(),
        change,
        problems: Vec::new(),
    }
}

fn parse<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("the fleet's names are valid")
}
