use std::collections::BTreeMap;

use proptest::prelude::*;

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

#[test]
fn one_hostname_in_two_registries_is_one_service_with_all_endpoints() {
    let mut store = store(&[registry("a"), registry("b")]);
    store.apply(
        replace(
            "b",
            vec![
                service(
                    "b",
                    "cart",
                    &[(80, "web", Protocol::Http), (81, "admin", Protocol::Tcp)],
                ),
                endpoints("b", "two", "cart", &[address(2)]),
            ],
        ),
        NOW,
    );
    store.apply(
        replace(
            "a",
            vec![
                http_service("a", "cart"),
                endpoints("a", "one", "cart", &[address(1)]),
            ],
        ),
        NOW,
    );
    let service = store.mesh().service(&hostname("cart")).unwrap().clone();
    assert_eq!(service.origins.len(), 2);
    assert_eq!(&*service.origins[0].registry.to_string(), "a");
    assert_eq!(service.ports.len(), 2);
    assert_eq!(store.mesh().endpoints(&hostname("cart")).len(), 2);
    // Registry b knows port 80 by another name, and its endpoints are found by that one.
    let mut other = endpoint(address(2));
    other.ports = Named::from([("web".into(), 9090)]);
    let port = service.port(80).unwrap();
    assert_eq!(
        service.endpoint_port(port, &"b".parse().unwrap(), &other),
        Some(9090)
    );
    assert_eq!(
        service.endpoint_port(port, &"a".parse().unwrap(), &other),
        None
    );
    // What b itself sent has neither of b's names.
    assert_eq!(codes(&store), [Code::UnresolvedReference]);
}

#[test]
fn a_conflict_is_won_by_the_order_of_registries_and_reported() {
    let one = service("a", "cart", &[(80, "x", Protocol::Http)]);
    let other = service("b", "cart", &[(80, "x", Protocol::Tcp)]);
    for order in [["a", "b"], ["b", "a"]] {
        let mut store = store(&[registry("a"), registry("b")]);
        for name in order {
            let object = if name == "a" { &one } else { &other };
            store.apply(replace(name, vec![object.clone()]), NOW);
        }
        let service = store.mesh().service(&hostname("cart")).unwrap();
        assert_eq!(service.port(80).unwrap().port.protocol, Protocol::Http);
        let problems = store.mesh().problems();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].code, Code::Conflict);
        assert!(
            problems[0].to_string().contains("b.yaml:1"),
            "{}",
            problems[0]
        );
        assert!(
            problems[0].message.contains("a: service shop/cart"),
            "{}",
            problems[0]
        );
    }
}

#[test]
fn a_registry_contributes_only_where_it_may() {
    let mut limited = registry("a");
    limited.allowed_hostnames = Some(vec!["*.shop.svc.cluster.local".parse().unwrap()]);
    limited.allowed_namespaces = Some(vec!["other".parse().unwrap()]);
    let mut store = store(&[limited.clone()]);
    store.apply(replace("a", vec![http_service("a", "cart")]), NOW);
    assert!(store.mesh().service(&hostname("cart")).is_none());
    assert_eq!(codes(&store), [Code::NotAllowed]);
    limited.allowed_namespaces = None;
    store.configure(settings(), [limited]);
    store.apply(replace("a", vec![http_service("a", "cart")]), NOW);
    assert!(store.mesh().service(&hostname("cart")).is_some());
    assert!(codes(&store).is_empty());
}

#[test]
fn a_change_names_only_what_it_concerns() {
    let mut store = store(&[registry("a")]);
    let all = vec![
        http_service("a", "cart"),
        http_service("a", "pay"),
        http_service("a", "web"),
        endpoints("a", "one", "cart", &[address(1)]),
        route("a", "web-to-pay", "web", "pay"),
    ];
    let applied = store.apply(replace("a", all.clone()), NOW);
    assert_eq!(names(&applied.changed.services), ["cart", "pay", "web"]);
    assert!(
        store
            .apply(replace("a", all.clone()), NOW)
            .changed
            .is_empty()
    );

    let upserts = vec![endpoints("a", "one", "cart", &[address(2)])];
    let applied = store.apply(
        event(
            "a",
            Change::Update {
                upserts,
                removes: vec![],
            },
        ),
        NOW,
    );
    assert_eq!(names(&applied.changed.endpoints), ["cart"]);
    assert!(applied.changed.services.is_empty());
    assert_eq!(applied.persist.len(), 1);

    // The service that a route sends to disappears: whoever has the route sees something else.
    let removes = vec![all[1].key().clone()];
    let applied = store.apply(
        event(
            "a",
            Change::Update {
                upserts: vec![],
                removes,
            },
        ),
        NOW,
    );
    assert_eq!(names(&applied.changed.services), ["pay", "web"]);
    assert_eq!(codes(&store), [Code::UnknownBackend]);
}

#[test]
fn a_line_that_moved_changes_the_source_and_nothing_else() {
    let mut store = store(&[registry("a")]);
    store.apply(replace("a", vec![http_service("a", "cart")]), NOW);
    let mut moved = http_service("a", "cart");
    moved.source.line = Some(7);
    let applied = store.apply(replace("a", vec![moved.clone()]), NOW);
    assert!(applied.changed.is_empty() && applied.persist.is_empty());
    assert_eq!(store.mesh().source(moved.key()).unwrap().line, Some(7));
}

#[test]
fn endpoints_that_are_names_make_the_service_one_that_proxies_resolve() {
    let mut store = store(&[registry("a")]);
    store.apply(
        replace(
            "a",
            vec![
                http_service("a", "cart"),
                endpoints("a", "one", "cart", &[address(1)]),
            ],
        ),
        NOW,
    );
    assert_eq!(
        store.mesh().service(&hostname("cart")).unwrap().discovery,
        Discovery::Eds
    );
    let by_name = endpoints(
        "a",
        "two",
        "cart",
        &[Address::Dns("db.example".parse().unwrap())],
    );
    let upserts = vec![by_name.clone()];
    let applied = store.apply(
        event(
            "a",
            Change::Update {
                upserts,
                removes: vec![],
            },
        ),
        NOW,
    );
    assert_eq!(names(&applied.changed.services), ["cart"]);
    assert_eq!(
        store.mesh().service(&hostname("cart")).unwrap().discovery,
        Discovery::Dns
    );
    // Now any change of its endpoints is a change of its cluster.
    let upserts = vec![endpoints("a", "one", "cart", &[address(3)])];
    let applied = store.apply(
        event(
            "a",
            Change::Update {
                upserts,
                removes: vec![],
            },
        ),
        NOW,
    );
    assert_eq!(names(&applied.changed.services), ["cart"]);
    let removes = vec![by_name.key().clone()];
    store.apply(
        event(
            "a",
            Change::Update {
                upserts: vec![],
                removes,
            },
        ),
        NOW,
    );
    assert_eq!(
        store.mesh().service(&hostname("cart")).unwrap().discovery,
        Discovery::Eds
    );
}

#[test]
fn endpoints_with_none_of_their_services_ports_are_told_by_what_the_mesh_made_of_the_service() {
    // Registry b's own declaration does not count where it may not contribute: by registry a's, its endpoints are fine.
    let mut limited = registry("b");
    limited.allowed_hostnames = Some(vec![]);
    let declared = service("b", "cart", &[(80, "grpc", Protocol::Grpc)]);
    let mut store = store(&[registry("a"), registry("b")]);
    store.apply(replace("a", vec![http_service("a", "cart")]), NOW);
    store.apply(
        replace("b", vec![endpoints("b", "one", "cart", &[address(1)])]),
        NOW,
    );
    assert!(codes(&store).is_empty());
    // By b's own it is not, if that is what counts.
    store.apply(replace("a", vec![]), NOW);
    store.apply(
        replace(
            "b",
            vec![declared, endpoints("b", "one", "cart", &[address(1)])],
        ),
        NOW,
    );
    let problems = store.mesh().problems();
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0]
            .message
            .contains("has the ports grpc, and this has http"),
        "{}",
        problems[0]
    );
    store.configure(settings(), [registry("a"), limited]);
    assert!(!codes(&store).contains(&Code::UnresolvedReference));
}

#[test]
fn a_local_port_that_the_workload_itself_has_is_in_its_key_and_in_no_other() {
    let workload = |name: &str, number, app_port| {
        let port = crate::WorkloadPort {
            number,
            name: "db".into(),
            protocol: Protocol::Tcp,
            app_port,
        };
        let spec = Workload {
            addresses: Vec::new(),
            locality: Locality::default(),
            network: Network::default(),
            labels: Labels::new(),
            identity: None,
            ports: vec![port],
        };
        object("a", name, Spec::Workload(Arc::new(spec)))
    };
    let mut store = store(&[registry("a")]);
    let machines = vec![
        workload("plain", 5432, None),
        workload("behind", 15432, Some(5432)),
        workload("other", 80, None),
    ];
    store.apply(replace("a", machines), NOW);
    let taken = |store: &MeshStore, name: &str, capture| -> Vec<u16> {
        let proxy = crate::Proxy {
            id: name.into(),
            role: Role::Sidecar(capture),
            namespace: "shop".parse().unwrap(),
            name: name.into(),
            addresses: Vec::new(),
            network: None,
            locality: None,
            host_lookup: crate::HostLookup::Available,
            route_delivery: crate::RouteDelivery::Whole,
            identity: bowline_identity::PeerIdentity::Claimed(bowline_identity::Claimed {
                spiffe_id: None,
            }),
        };
        match &crate::view::ViewKey::of(&proxy, store.mesh())[0] {
            crate::view::ViewKey::Outbound(key) => key.taken_ports.clone(),
            other => panic!("{other}"),
        }
    };
    assert!(taken(&store, "plain", crate::Capture::Explicit).is_empty());
    let db = service("a", "db", &[(5432, "db", Protocol::Tcp)]);
    let change = Change::Update {
        upserts: vec![
            db.clone(),
            service("a", "web", &[(80, "http", Protocol::Http)]),
        ],
        removes: vec![],
    };
    assert!(store.apply(event("a", change), NOW).changed.explicit_ports);
    assert_eq!(taken(&store, "plain", crate::Capture::Explicit), [5432]);
    assert_eq!(taken(&store, "behind", crate::Capture::Explicit), [5432]);
    assert!(taken(&store, "other", crate::Capture::Explicit).is_empty());
    assert!(taken(&store, "plain", crate::Capture::Transparent).is_empty());
    let second = service("a", "db2", &[(5432, "db", Protocol::Tls)]);
    let change = Change::Update {
        upserts: vec![second.clone()],
        removes: vec![],
    };
    assert!(!store.apply(event("a", change), NOW).changed.explicit_ports);
    let change = Change::Update {
        upserts: vec![],
        removes: vec![db.key().clone(), second.key().clone()],
    };
    assert!(store.apply(event("a", change), NOW).changed.explicit_ports);
    assert!(taken(&store, "plain", crate::Capture::Explicit).is_empty());
}

#[test]
fn an_error_is_never_empty() {
    let mut store = store(&[registry("a")]);
    store.apply(replace("a", vec![http_service("a", "cart")]), NOW);
    let error = "connection refused".to_owned();
    let applied = store.apply(event("a", Change::Failing { error }), NOW);
    assert!(applied.changed.is_empty());
    assert!(store.mesh().service(&hostname("cart")).is_some());
    let status = &store.registries()[0];
    assert_eq!(status.state.last_good(), Some(NOW));
    assert!(matches!(status.state, RegistryState::Failing { .. }));
}

#[test]
fn what_is_served_ages_from_the_failure_on_and_not_while_nothing_changes() {
    let later = |seconds| NOW + Duration::from_secs(seconds);
    let failing = || {
        let error = "connection refused".to_owned();
        event("a", Change::Failing { error })
    };
    let mut store = store(&[registry("a")]);
    let age = |store: &MeshStore, seconds| store.registries()[0].state.age(later(seconds));
    assert_eq!(age(&store, 0), None);
    store.apply(replace("a", vec![http_service("a", "cart")]), NOW);
    assert_eq!(age(&store, 3600), Some(Duration::ZERO));
    store.apply(failing(), later(3600));
    store.apply(failing(), later(3660));
    assert_eq!(age(&store, 3700), Some(Duration::from_secs(100)));
}

#[test]
fn what_cannot_be_read_now_keeps_its_last_good_version() {
    let mut store = store(&[registry("a")]);
    let all = vec![http_service("a", "cart"), http_service("a", "pay")];
    store.apply(replace("a", all.clone()), NOW);
    let problem = |object: Option<ObjectKey>, code, place: &str| Problem {
        code,
        severity: Severity::Error,
        object,
        source: Some(Source {
            place: place.into(),
            line: Some(3),
        }),
        field: "".into(),
        message: "broken".into(),
        meanwhile: "".into(),
        hint: "".into(),
    };
    // One object is broken.
    let mut broken = replace("a", vec![all[1].clone()]);
    broken.problems = vec![problem(
        Some(all[0].key().clone()),
        Code::InvalidField,
        "a.yaml",
    )];
    assert!(store.apply(broken, NOW).changed.is_empty());
    // The whole file is.
    let mut broken = replace("a", vec![]);
    broken.problems = vec![problem(None, Code::Malformed, "a.yaml")];
    assert!(store.apply(broken, NOW).changed.is_empty());
    // Another file says nothing about this one's objects.
    let mut gone = replace("a", vec![]);
    gone.problems = vec![problem(None, Code::Malformed, "b.yaml")];
    assert_eq!(
        names(&store.apply(gone, NOW).changed.services),
        ["cart", "pay"]
    );
}

fn many(count: u16) -> Vec<Object> {
    let groups = (0..count)
        .map(|number| endpoints("a", &format!("vm-{number}"), "cart", &[address(number)]));
    std::iter::once(http_service("a", "cart"))
        .chain(groups)
        .collect()
}

fn endpoints_of_cart(store: &MeshStore) -> usize {
    store.mesh().endpoints(&hostname("cart")).len()
}

#[test]
fn a_sudden_loss_is_held_back_until_its_time_has_passed() {
    let mut store = store(&[registry("a")]);
    store.apply(replace("a", many(40)), NOW);
    store.apply(replace("a", many(10)), NOW);
    assert_eq!(endpoints_of_cart(&store), 40);
    assert_eq!(codes(&store), [Code::HeldBack]);
    let held = store.registries()[0].held.clone().unwrap();
    assert_eq!(held.endpoints, 30);

    // The same answer again neither confirms nor prolongs it.
    store.apply(replace("a", many(10)), NOW + Duration::from_secs(599));
    assert_eq!(endpoints_of_cart(&store), 40);
    let (applied, next) = store.release_expired(NOW + Duration::from_secs(599));
    assert!(applied.changed.is_empty());
    assert_eq!(next, Some(held.until));
    store.release_expired(held.until);
    assert_eq!(endpoints_of_cart(&store), 10);
    assert!(codes(&store).is_empty());
}

#[test]
fn a_held_loss_ends_when_a_person_says_so_or_the_endpoints_are_back() {
    for is_released in [true, false] {
        let mut store = store(&[registry("a")]);
        store.apply(replace("a", many(40)), NOW);
        store.apply(replace("a", vec![]), NOW);
        assert_eq!(endpoints_of_cart(&store), 40);
        if is_released {
            let applied = store.release(&"a".parse().unwrap());
            assert_eq!(names(&applied.changed.endpoints), ["cart"]);
            assert_eq!(endpoints_of_cart(&store), 0);
        } else {
            store.apply(replace("a", many(39)), NOW);
            assert_eq!(endpoints_of_cart(&store), 39);
        }
        assert!(store.registries()[0].held.is_none());
        assert!(codes(&store).is_empty());
    }
}

#[test]
fn thousands_of_machines_are_held_back_and_scaled_alike() {
    let mut store = store(&[registry("a")]);
    store.apply(replace("a", many(5000)), NOW);
    // A rolling change of less than half is believed, whatever its size.
    store.apply(replace("a", many(2600)), NOW);
    assert_eq!(endpoints_of_cart(&store), 2600);
    store.apply(replace("a", many(1300)), NOW);
    assert_eq!(endpoints_of_cart(&store), 2600);
    // What the registry says while a loss is held back is applied.
    let upserts = vec![endpoints("a", "new", "cart", &[address(9999)])];
    store.apply(
        event(
            "a",
            Change::Update {
                upserts,
                removes: vec![],
            },
        ),
        NOW,
    );
    assert_eq!(endpoints_of_cart(&store), 2601);
    store.release(&"a".parse().unwrap());
    assert_eq!(endpoints_of_cart(&store), 1301);
}

#[test]
fn two_machines_and_removals_by_name_are_always_believed() {
    let mut few = store(&[registry("a")]);
    few.apply(replace("a", many(2)), NOW);
    few.apply(replace("a", many(0)), NOW);
    assert_eq!(endpoints_of_cart(&few), 0);

    let mut all = store(&[registry("a")]);
    all.apply(replace("a", many(40)), NOW);
    let removes = many(40)
        .iter()
        .skip(1)
        .map(|object| object.key().clone())
        .collect();
    all.apply(
        event(
            "a",
            Change::Update {
                upserts: vec![],
                removes,
            },
        ),
        NOW,
    );
    assert_eq!(endpoints_of_cart(&all), 0);

    // Unless the source is read as a whole each time, so that a removal is only an absence.
    let mut file = registry("a");
    file.guard.doubts_updates = true;
    let mut doubted = store(&[file]);
    doubted.apply(replace("a", many(40)), NOW);
    let removes = many(40)
        .iter()
        .skip(1)
        .map(|object| object.key().clone())
        .collect();
    doubted.apply(
        event(
            "a",
            Change::Update {
                upserts: vec![],
                removes,
            },
        ),
        NOW,
    );
    assert_eq!(endpoints_of_cart(&doubted), 40);
}

#[test]
fn a_restart_serves_what_was_saved_and_doubts_a_first_answer_that_lost_half() {
    let mut before = store(&[registry("a")]);
    let persist = before.apply(replace("a", many(40)), NOW).persist;
    let saved: Vec<Object> = persist
        .iter()
        .filter_map(|persist| match persist {
            Persist::Put(object) => Some(object.clone()),
            _ => None,
        })
        .collect();
    let saved: Vec<Object> = serde_json::from_slice(&serde_json::to_vec(&saved).unwrap()).unwrap();
    let addresses: Vec<_> = persist
        .iter()
        .filter_map(|persist| match persist {
            Persist::VirtualAddress(hostname, address) => Some((hostname.clone(), *address)),
            _ => None,
        })
        .collect();
    let mut after = MeshStore::new(settings(), [registry("a")], addresses);
    assert!(!after.registries()[0].state.is_known());
    after.restore(&"a".parse().unwrap(), saved, NOW);
    assert_eq!(
        after.registries()[0].state,
        RegistryState::Restored { saved_at: NOW }
    );
    assert_eq!(
        after.mesh().service(&hostname("cart")),
        before.mesh().service(&hostname("cart"))
    );
    after.apply(replace("a", many(1)), NOW);
    assert_eq!(endpoints_of_cart(&after), 40);
}

#[test]
fn a_registry_that_leaves_the_configuration_takes_its_objects_with_it() {
    let mut store = store(&[registry("a"), registry("b")]);
    store.apply(replace("a", many(40)), NOW);
    store.apply(replace("b", vec![http_service("b", "pay")]), NOW);
    let applied = store.configure(settings(), [registry("b")]);
    assert!(applied.changed.everything);
    assert_eq!(applied.persist, [Persist::Forget("a".parse().unwrap())]);
    assert!(store.mesh().service(&hostname("cart")).is_none());
    assert!(store.mesh().service(&hostname("pay")).is_some());
    assert!(store.apply(replace("a", many(1)), NOW).changed.is_empty());
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

#[test]
fn a_policy_acts_on_the_proxies_of_its_registry_or_on_all_where_marked() {
    let policy = |registry: &str, seconds| {
        let settings = TrafficSettings {
            connect_timeout: Some(Duration::from_secs(seconds)),
            ..TrafficSettings::default()
        };
        let spec = Policy {
            service: hostname("cart"),
            settings,
        };
        object(registry, "cart", Spec::Policy(Arc::new(spec)))
    };
    let mut marked = registry("b");
    marked.policies_for_mesh = true;
    let mut store = store(&[registry("a"), marked]);
    store.apply(
        replace("a", vec![http_service("a", "cart"), policy("a", 1)]),
        NOW,
    );
    store.apply(replace("b", vec![policy("b", 2)]), NOW);
    let timeout = |registry: Option<&str>| {
        ServiceView::new(store.mesh(), &key(registry, "shop"), &hostname("cart"))
            .unwrap()
            .traffic
            .connect_timeout
            .map(|timeout| timeout.as_secs())
    };
    assert_eq!(timeout(Some("a")), Some(1));
    assert_eq!(timeout(None), Some(2));
}

#[test]
fn a_consumers_route_acts_in_its_own_namespace_only_and_goes_first() {
    let mut store = store(&[registry("a")]);
    let mut consumer = route("a", "mine", "cart", "pay");
    let (consumer_key, source, spec) = consumer.into_parts();
    consumer = Object::new(
        consumer_key.registry,
        None,
        "web".parse().unwrap(),
        "mine",
        source,
        spec,
    );
    let producer = route("a", "all", "cart", "pay");
    store.apply(
        replace("a", vec![http_service("a", "cart"), producer, consumer]),
        NOW,
    );
    let routes = |namespace| -> Vec<String> {
        ServiceView::new(store.mesh(), &key(None, namespace), &hostname("cart"))
            .unwrap()
            .routes
            .iter()
            .map(|view| format!("{} missing {}", view.key.name, view.missing.len()))
            .collect()
    };
    assert_eq!(routes("web"), ["mine missing 1", "all missing 1"]);
    assert_eq!(routes("shop"), ["all missing 1"]);
}

/// A random object of a small world, so that collisions of all kinds happen.
fn network_gateway(name: &str, network: &str, place: &str) -> Object {
    let spec = NetworkGateway {
        network: network.parse().unwrap(),
        places: BTreeSet::from([place.parse().unwrap()]),
    };
    object("a", name, Spec::NetworkGateway(Arc::new(spec)))
}

#[test]
fn gateways_of_a_network_concern_services_that_are_reached_through_them_and_no_others() {
    let changed_by = |mutual_tls, network| {
        let settings = MeshSettings {
            mutual_tls,
            ..MeshSettings::clone(&settings())
        };
        let mut store = MeshStore::new(Arc::new(settings), [registry("a")], []);
        let mut there = endpoint(address(1));
        there.network = "b".parse().unwrap();
        let group = EndpointGroup {
            service: hostname("cart"),
            endpoints: vec![there],
        };
        let objects = vec![
            http_service("a", "cart"),
            http_service("a", "pay"),
            object("a", "cart-1", Spec::Endpoints(Arc::new(group))),
            endpoints("a", "pay-1", "pay", &[address(2)]),
        ];
        store.apply(replace("a", objects), NOW);
        let change = Change::Update {
            upserts: vec![network_gateway("east-west", network, "9.9.9.9:15443")],
            removes: vec![],
        };
        store.apply(event("a", change), NOW).changed
    };
    let changed = changed_by(MutualTls::Spoken, "b");
    assert_eq!(names(&changed.endpoints), ["cart"]);
    assert!(changed.services.is_empty() && !changed.everything);
    assert!(changed_by(MutualTls::Spoken, "c").is_empty());
    // Nothing goes through it.
    assert!(changed_by(MutualTls::Absent, "b").is_empty());
}

#[test]
fn one_place_cannot_lead_into_two_networks() {
    let mut store = store(&[registry("a")]);
    let gateways = vec![
        network_gateway("one", "b", "9.9.9.9:15443"),
        network_gateway("same", "b", "9.9.9.9:15443"),
        network_gateway("other-port", "c", "9.9.9.9:8443"),
    ];
    store.apply(replace("a", gateways), NOW);
    assert_eq!(codes(&store), []);
    let change = Change::Update {
        upserts: vec![network_gateway("two", "c", "9.9.9.9:15443")],
        removes: vec![],
    };
    store.apply(event("a", change), NOW);
    assert_eq!(codes(&store), [Code::Conflict]);
}

fn any_object() -> impl Strategy<Value = Object> {
    let registry = prop_oneof![Just("a"), Just("b")];
    let name = prop_oneof![Just("cart"), Just("pay"), Just("web")];
    (registry, name.clone(), name, 0..6u8, 0..3u16).prop_map(
        |(registry, name, other, kind, number)| match kind {
            0 => http_service(registry, name),
            1 => service(registry, name, &[(80 + number, "x", Protocol::Tcp)]),
            2 => endpoints(registry, name, other, &[address(number)]),
            3 => {
                let by_name = Address::Dns(format!("h{number}.example").parse().unwrap());
                endpoints(registry, name, other, &[by_name, address(number)])
            }
            4 => route(registry, name, other, name),
            _ => {
                let spec = Workload {
                    addresses: vec![[10, 0, 0, u8::try_from(number).unwrap()].into()],
                    locality: Locality::default(),
                    network: Network::default(),
                    labels: Labels::new(),
                    identity: None,
                    ports: Vec::new(),
                };
                object(registry, name, Spec::Workload(Arc::new(spec)))
            }
        },
    )
}

proptest! {
    /// Whatever the way to it, the same objects make the same mesh; and what a change does not name is not different.
    #[test]
    fn the_mesh_is_a_function_of_its_objects(
        steps in prop::collection::vec((any_object(), any::<bool>()), 1..60)
    ) {
        let registries = [registry("a"), registry("b")];
        let mut live = store(&registries);
        let mut objects: BTreeMap<ObjectKey, Object> = BTreeMap::new();
        for (object, is_removed) in steps {
            let before = live.mesh().clone();
            let id = object.key().registry.clone();
            let change = if is_removed {
                objects.remove(object.key());
                Change::Update { upserts: vec![], removes: vec![object.key().clone()] }
            } else {
                objects.insert(object.key().clone(), object.clone());
                Change::Update { upserts: vec![object], removes: vec![] }
            };
            let changed =
                live.apply(RegistryEvent { registry: id, change, problems: vec![] }, NOW).changed;
            for name in ["cart", "pay", "web"].map(hostname) {
                let view = |mesh: &Mesh| ServiceView::new(mesh, &key(None, "shop"), &name);
                prop_assert!(changed.services.contains(&name) || view(&before) == view(live.mesh()));
                prop_assert!(
                    changed.endpoints.contains(&name)
                        || before.endpoints(&name) == live.mesh().endpoints(&name)
                );
            }
        }
        let mut cold = store(&registries);
        for name in ["b", "a"] {
            let of_registry =
                objects.values().filter(|object| object.key().registry.as_str() == name);
            cold.apply(replace(name, of_registry.cloned().collect()), NOW);
        }
        let services = |store: &MeshStore| -> Vec<_> { store.mesh().services().cloned().collect() };
        prop_assert_eq!(services(&live), services(&cold));
        prop_assert_eq!(live.mesh().problems(), cold.mesh().problems());
        let counts = |store: &MeshStore| -> Vec<_> {
            store.registries().iter().map(|status| (status.objects, status.endpoints)).collect()
        };
        prop_assert_eq!(counts(&live), counts(&cold));
        for number in 0..3u8 {
            let at = |store: &MeshStore| {
                store.mesh().workload_at([10, 0, 0, number].into()).map(|(key, _)| key.clone())
            };
            prop_assert_eq!(at(&live), at(&cold));
        }
    }
}

#[test]
fn what_of_routing_is_different_is_known_by_the_services_that_are() {
    let settings = [registry("vms")];
    let mut store = store(&settings);
    let mut change = |objects: Vec<Object>| {
        let before = store.mesh().clone();
        let event = RegistryEvent {
            registry: "vms".parse().unwrap(),
            change: Change::Update {
                upserts: objects,
                removes: Vec::new(),
            },
            problems: Vec::new(),
        };
        store.apply(event, Duration::ZERO);
        store.mesh().routing_change(&before)
    };
    let web = route("vms", "web", "shop", "cart");
    let other = route("vms", "other", "stock", "stock");
    let found = change(vec![web.clone(), other]);
    assert!(found.routes && !found.gateways && found.referring.is_empty());
    // A service that is new concerns the routes that refer to it, and no others.
    let found = change(vec![http_service("vms", "cart")]);
    assert_eq!(found.referring, [web.key().clone()].into());
    assert!(!found.routes && !found.gateways);
    let found = change(vec![endpoints("vms", "cart-1", "cart", &[address(1)])]);
    assert_eq!(found, RoutingChange::default());
}

#[test]
fn nodes_are_in_keys_as_long_as_a_service_looks_at_them() {
    let registry_id: RegistryId = "a".parse().unwrap();
    let machine = Workload {
        addresses: vec!["10.0.0.1".parse().unwrap()],
        locality: Locality::new("eu", "eu-1", "").on_node(&registry_id, "one"),
        network: Default::default(),
        labels: Labels::new(),
        identity: None,
        ports: vec![],
    };
    let machine = object("a", "web-1", Spec::Workload(Arc::new(machine)));
    let looking = |balancing: Balancing| {
        let cart = service("a", "cart", &[(80, "http", Protocol::Http)]);
        let Spec::Service(spec) = cart.spec() else {
            panic!("a service")
        };
        let spec = Service {
            balancing,
            ..Service::clone(spec)
        };
        object("a", "cart", Spec::Service(Arc::new(spec)))
    };
    let proxy = crate::Proxy {
        id: "web-1".into(),
        role: Role::Sidecar(crate::Capture::Explicit),
        namespace: "shop".parse().unwrap(),
        name: "web-1".into(),
        addresses: Vec::new(),
        network: None,
        locality: Some(Locality::new("eu", "eu-2", "")),
        host_lookup: crate::HostLookup::Available,
        route_delivery: crate::RouteDelivery::Whole,
        identity: bowline_identity::PeerIdentity::Claimed(bowline_identity::Claimed {
            spiffe_id: None,
        }),
    };
    let place = |store: &MeshStore| match &crate::view::ViewKey::of(&proxy, store.mesh())[1] {
        crate::view::ViewKey::Endpoints(key) => key.locality.to_string(),
        other => panic!("{other}"),
    };
    let mut store = store(&[registry("a")]);
    store.apply(replace("a", vec![machine]), NOW);
    assert_eq!(place(&store), "eu/eu-2");
    // Whether that changes keys, and what the key is then.
    for (balancing, changes, expected) in [
        (Balancing::Everywhere, false, "eu/eu-2"),
        (Balancing::OnNode, true, "eu/eu-2//a/one"),
        (Balancing::PreferNode, false, "eu/eu-2//a/one"),
        (Balancing::Everywhere, true, "eu/eu-2"),
    ] {
        let change = Change::Update {
            upserts: vec![looking(balancing)],
            removes: vec![],
        };
        let applied = store.apply(event("a", change), NOW);
        assert_eq!(applied.changed.nodes, changes);
        assert_eq!(place(&store), expected);
    }
}
