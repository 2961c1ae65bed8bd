//! Layers that follow a mesh step by step are the layers that are built from it at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bowline_mesh::{
    Address, Balancer, Balancing, Capture, Change, Changed, Endpoint, EndpointGroup, GatewayName,
    Health, HostLookup, Hostname, IpFamilies, Labels, Locality, Mesh, MeshSettings, MeshStore,
    MutualTls, Named, Network, Object, OutboundMode, Protocol, RegionOrder, RegistryEvent,
    RegistrySettings, Role, RouteDelivery, Service, ServicePort, Source, Spec, TrafficSettings,
    view::{EndpointsKey, InboundKey, OutboundKey, SidecarPorts, ViewKey},
};
use bowline_snapshot::{Layer, ResourceType};
use proptest::prelude::*;
use serde_json::Value;

use super::{EndpointLayer, EndpointLayers, StructureLayers};
use crate::testing::json;

fn store() -> MeshStore {
    let settings = MeshSettings {
        trust_domain: "mesh.example".parse().unwrap(),
        domain: "cluster.local".parse().unwrap(),
        outbound: OutboundMode::PassThrough,
        virtual_addresses: "240.0.0.0/8".parse().unwrap(),
        explicit_http_port: 15080,
        east_west_port: 15443,
        mutual_tls: MutualTls::Absent,
        traffic: TrafficSettings::default(),
    };
    let registry = RegistrySettings::new(
        "a".parse().unwrap(),
        settings.trust_domain.clone(),
        settings.domain.clone(),
        "shop".parse().unwrap(),
    );
    MeshStore::new(Arc::new(settings), [registry], [])
}

/// What changes when the registry says something.
fn apply(store: &mut MeshStore, change: Change) -> Changed {
    let event = RegistryEvent {
        registry: "a".parse().unwrap(),
        change,
        problems: vec![],
    };
    store.apply(event, Duration::ZERO).changed
}

fn hostname(name: &str) -> Hostname {
    format!("{name}.shop.svc.cluster.local").parse().unwrap()
}

fn object(namespace: &str, name: &str, spec: Spec) -> Object {
    let source = Source {
        place: "test".into(),
        line: None,
    };
    Object::new(
        "a".parse().unwrap(),
        None,
        namespace.parse().unwrap(),
        name,
        source,
        spec,
    )
}

fn service(
    namespace: &str,
    name: &str,
    port: u16,
    protocol: Protocol,
    balancing: Balancing,
) -> Object {
    let port = ServicePort {
        number: port,
        name: "main".into(),
        protocol,
        local_port: None,
    };
    let spec = Service {
        hostname: hostname(name),
        addresses: Vec::new(),
        ports: vec![port],
        balancing,
        health_check: None,
    };
    object(namespace, name, Spec::Service(Arc::new(spec)))
}

fn endpoint_at(address: Address, zone: &str) -> Endpoint {
    Endpoint {
        address,
        ports: Named::from([("main".into(), 8080)]),
        locality: Locality::new("r", zone, ""),
        network: Network::default(),
        labels: Labels::new(),
        weight: 1,
        health: Health::Healthy,
        identity: None,
    }
}

fn endpoints(of: &str, name: &str, address: Address, zone: &str) -> Object {
    let endpoint = endpoint_at(address, zone);
    let spec = EndpointGroup {
        service: hostname(of),
        endpoints: vec![endpoint],
    };
    object("shop", name, Spec::Endpoints(Arc::new(spec)))
}

fn outbound(role: Role, namespace: &str, route_delivery: RouteDelivery) -> ViewKey {
    let namespace = namespace.parse().unwrap();
    ViewKey::Outbound(OutboundKey {
        role,
        registry: None,
        namespace,
        families: IpFamilies::V4,
        taken_ports: Vec::new(),
        host_lookup: HostLookup::Available,
        route_delivery,
    })
}

fn endpoints_key(zone: &str) -> EndpointsKey {
    EndpointsKey {
        network: Network::default(),
        locality: Locality::new("r", zone, ""),
        families: IpFamilies::V4,
        balancer: Balancer::Proxy,
    }
}

fn east_west_key() -> EndpointsKey {
    EndpointsKey {
        balancer: Balancer::EastWest,
        ..endpoints_key("one")
    }
}

const SIDECARS: [(Capture, &str); 4] = [
    (Capture::Explicit, "shop"),
    (Capture::Explicit, "web"),
    (Capture::Transparent, "shop"),
    (Capture::Transparent, "web"),
];

fn all_keys() -> BTreeSet<ViewKey> {
    let gateway = GatewayName {
        namespace: "shop".parse().unwrap(),
        name: "edge".into(),
    };
    let inbound = InboundKey::Sidecar(SidecarPorts {
        capture: Capture::Explicit,
        ports: Vec::new(),
        families: IpFamilies::V4,
    });
    let mut keys = BTreeSet::from([
        outbound(Role::EastWest, "shop", RouteDelivery::Whole),
        outbound(Role::Grpc, "shop", RouteDelivery::Whole),
        outbound(Role::Grpc, "web", RouteDelivery::Whole),
        ViewKey::Inbound(inbound),
        ViewKey::Inbound(InboundKey::Grpc),
    ]);
    for delivery in [RouteDelivery::Whole, RouteDelivery::ByHost] {
        keys.insert(outbound(Role::Gateway(gateway.clone()), "shop", delivery));
        for (capture, namespace) in SIDECARS {
            keys.insert(outbound(Role::Sidecar(capture), namespace, delivery));
        }
    }
    keys
}

/// Everything in a layer that a proxy can tell.
fn content(layer: &Layer) -> Vec<String> {
    layer
        .iter()
        .map(|(of, resource)| format!("{of} {resource:?}"))
        .collect()
}

fn any_object() -> impl Strategy<Value = Object> {
    let name = prop_oneof![Just("cart"), Just("pay"), Just("web")];
    let namespace = prop_oneof![Just("shop"), Just("web")];
    (namespace, name, 0..8u8, 0..3u8).prop_map(|(namespace, name, kind, number)| match kind {
        0 => service(namespace, name, 80, Protocol::Http, Balancing::Everywhere),
        1 => service(namespace, name, 80, Protocol::Tcp, Balancing::Everywhere),
        2 => service(
            namespace,
            name,
            80 + u16::from(number),
            Protocol::Auto,
            Balancing::PreferZone(RegionOrder::default()),
        ),
        3 => service(namespace, name, 443, Protocol::Tls, Balancing::ByAddress),
        4 => {
            let address = Address::Dns(format!("h{number}.example").parse().unwrap());
            endpoints(name, &format!("{name}-dns"), address, "one")
        }
        _ => {
            let zone = if kind == 5 { "one" } else { "two" };
            let address = Address::Ip([10, 0, 0, number].into());
            endpoints(name, &format!("{name}-{number}"), address, zone)
        }
    })
}

/// All route tables by name, each with its virtual hosts by name, however they come.
fn tables(layer: &Layer) -> BTreeMap<String, (Value, BTreeMap<String, Value>)> {
    let mut tables = BTreeMap::new();
    for configuration in layer.of_type(ResourceType::ROUTE).iter() {
        let mut table = json(ResourceType::ROUTE, configuration);
        let fields = table.as_object_mut().unwrap();
        let inline = fields.remove("virtual_hosts").unwrap_or_default();
        let mut hosts: Vec<Value> = inline.as_array().cloned().unwrap_or_default();
        let beginning = format!("{}/", configuration.name());
        let by_themselves = layer.of_type(ResourceType::VIRTUAL_HOST);
        for host in by_themselves.beginning_with(&beginning) {
            let mut host = json(ResourceType::VIRTUAL_HOST, host);
            host.as_object_mut().unwrap().remove("@type");
            hosts.push(host);
        }
        let has_asked = fields.remove("vhds").is_some();
        assert_eq!(
            has_asked,
            by_themselves.beginning_with(&beginning).next().is_some()
        );
        let named = hosts
            .into_iter()
            .map(|host| (host["name"].to_string(), host));
        tables.insert(configuration.name().to_string(), (table, named.collect()));
    }
    tables
}

fn structure_of(mesh: &Mesh) -> BTreeMap<ViewKey, Layer> {
    let mut structure = StructureLayers::default();
    let built = structure.update(mesh, &Changed::default(), &all_keys());
    built.into_iter().collect()
}

fn from_nothing(mesh: &Mesh) -> BTreeMap<ViewKey, Vec<String>> {
    let built = structure_of(mesh);
    let built = built.iter();
    built
        .map(|(key, layer)| (key.clone(), content(layer)))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn following_a_mesh_leads_to_the_same_layers_as_building_them_from_it(
        steps in prop::collection::vec((any_object(), any::<bool>()), 1..25)
    ) {
        let mut store = store();
        let mut structure = StructureLayers::default();
        let mut followed: BTreeMap<ViewKey, Vec<String>> = BTreeMap::new();
        let mut endpoints = EndpointLayers::default();
        let kinds = [endpoints_key("one"), endpoints_key("two"), east_west_key()];
        for key in &kinds {
            let layer = EndpointLayers::build(store.mesh(), key, None);
            endpoints.insert(key.clone(), layer);
        }
        for (object, is_removed) in steps {
            let change = if is_removed {
                Change::Update { upserts: vec![], removes: vec![object.key().clone()] }
            } else {
                Change::Update { upserts: vec![object], removes: vec![] }
            };
            let changed = apply(&mut store, change);
            let update = endpoints.update(store.mesh(), &changed.endpoints);
            endpoints.remove(&update.stale);
            for (key, layer) in structure.update(store.mesh(), &changed, &all_keys()) {
                followed.insert(key, content(&layer));
            }
        }
        prop_assert_eq!(&followed, &from_nothing(store.mesh()));
        let built = structure_of(store.mesh());
        for (capture, namespace) in SIDECARS {
            let [whole, by_host] = [RouteDelivery::Whole, RouteDelivery::ByHost]
                .map(|delivery| tables(&built[&outbound(Role::Sidecar(capture), namespace, delivery)]));
            prop_assert_eq!(whole, by_host);
        }
        let one = EndpointLayers::build(store.mesh(), &endpoints_key("one"), None);
        let like = (&endpoints_key("one"), &one);
        for key in &kinds {
            let cold = EndpointLayers::build(store.mesh(), key, None);
            let from_other = EndpointLayers::build(store.mesh(), key, Some(like));
            prop_assert_eq!(content(endpoints.layer(key).unwrap()), content(&cold.layer));
            prop_assert_eq!(content(&from_other.layer), content(&cold.layer));
        }
    }
}

#[test]
fn the_applications_own_port_has_no_listener_for_its_sidecar_and_for_no_other() {
    let mut store = store();
    let mut layers = StructureLayers::default();
    let key = |taken_ports: &[u16]| {
        let ViewKey::Outbound(key) = outbound(
            Role::Sidecar(Capture::Explicit),
            "shop",
            RouteDelivery::Whole,
        ) else {
            unreachable!("it is an outbound key")
        };
        ViewKey::Outbound(OutboundKey {
            taken_ports: taken_ports.to_vec(),
            ..key
        })
    };
    let db = service("shop", "cart", 5432, Protocol::Tcp, Balancing::Everywhere);
    let changed = apply(&mut store, Change::Replace(vec![db]));
    let mut listens = |wanted: &[ViewKey]| -> Vec<bool> {
        let wanted: BTreeSet<ViewKey> = wanted.iter().cloned().collect();
        let built = layers.update(store.mesh(), &changed, &wanted);
        let has = |layer: &Layer| {
            layer
                .get(ResourceType::LISTENER, "127.0.0.1_5432")
                .is_some()
        };
        built.iter().map(|(_, layer)| has(layer)).collect()
    };
    assert_eq!(listens(&[key(&[])]), [true]);
    // From the other's, and back again.
    assert_eq!(listens(&[key(&[]), key(&[5432])]), [true, false]);
    assert_eq!(listens(&[key(&[5432])]), [false]);
    assert_eq!(listens(&[key(&[5432]), key(&[1])]), [false, true]);
    assert_eq!(layers.problems().len(), 1);
}

#[test]
fn assignments_are_named_stale_and_served_until_they_are_taken_out() {
    let mut store = store();
    let mut layers = EndpointLayers::default();
    layers.insert(endpoints_key("one"), EndpointLayer::default());
    let cart = service("shop", "cart", 80, Protocol::Http, Balancing::Everywhere);
    let changed = apply(&mut store, Change::Replace(vec![cart]));
    let update = layers.update(store.mesh(), &changed.endpoints);
    assert_eq!(update.current.len(), 1);
    let changed = apply(&mut store, Change::Replace(vec![]));
    let update = layers.update(store.mesh(), &changed.endpoints);
    assert_eq!(update.stale.len(), 1);
    assert!(update.changed.is_empty());
    let served = |layers: &EndpointLayers| {
        layers
            .layer(&endpoints_key("one"))
            .unwrap()
            .of_type(ResourceType::ENDPOINT)
            .len()
    };
    assert_eq!(served(&layers), 1);
    assert_eq!(layers.remove(&update.stale).len(), 1);
    assert_eq!(served(&layers), 0);
}

#[test]
fn assignments_of_a_kind_of_proxy_that_came_later_are_named_stale_too() {
    let mut store = store();
    let db = service("shop", "db", 443, Protocol::Tls, Balancing::Everywhere);
    apply(&mut store, Change::Replace(vec![db]));
    let mut layers = EndpointLayers::default();
    for key in [endpoints_key("one"), east_west_key()] {
        let layer = EndpointLayers::build(store.mesh(), &key, None);
        layers.insert(key, layer);
    }
    let changed = apply(&mut store, Change::Replace(vec![]));
    let stale = layers.update(store.mesh(), &changed.endpoints).stale;
    let expected = ["outbound_.443_._.db", "outbound|443||db"]
        .map(|name| Arc::from(format!("{name}.shop.svc.cluster.local")));
    assert_eq!(stale, BTreeSet::from(expected));
    layers.remove(&stale);
    assert!(layers.layer(&east_west_key()).unwrap().is_empty());
}

#[test]
fn what_is_wrong_in_a_layer_is_told_while_it_is_there_however_it_was_built() {
    let mut store = store();
    let away = Endpoint {
        network: "away".parse().unwrap(),
        ..endpoint_at(Address::Ip([10, 0, 0, 1].into()), "one")
    };
    let group = EndpointGroup {
        service: hostname("cart"),
        endpoints: vec![away],
    };
    let objects = vec![
        service("shop", "cart", 80, Protocol::Http, Balancing::Everywhere),
        object("shop", "cart-1", Spec::Endpoints(Arc::new(group))),
    ];
    apply(&mut store, Change::Replace(objects));
    let mut layers = EndpointLayers::default();
    let (one, two) = (endpoints_key("one"), endpoints_key("two"));
    layers.insert(one.clone(), EndpointLayers::build(store.mesh(), &one, None));
    assert_eq!(layers.problems().len(), 1);
    let like = layers.like(&two);
    let like = like.as_ref().map(|(key, layer)| (key, layer));
    let built = EndpointLayers::build(store.mesh(), &two, like);
    layers.insert(two.clone(), built);
    layers.retain(|key| *key == two);
    assert_eq!(layers.problems().len(), 1);
    layers.retain(|_| false);
    assert_eq!(layers.problems().len(), 0);
}

#[test]
fn what_is_wrong_for_one_kind_of_sidecar_is_told_whoever_connects_next() {
    let mut store = store();
    let mut layers = StructureLayers::default();
    // The port of Envoy's admin interface: a listener of its own with explicit listeners only.
    let db = service("shop", "cart", 15000, Protocol::Tcp, Balancing::Everywhere);
    let changed = apply(&mut store, Change::Replace(vec![db]));
    let explicit = outbound(
        Role::Sidecar(Capture::Explicit),
        "shop",
        RouteDelivery::Whole,
    );
    let transparent = outbound(
        Role::Sidecar(Capture::Transparent),
        "shop",
        RouteDelivery::Whole,
    );
    layers.update(store.mesh(), &changed, &[explicit.clone()].into());
    assert_eq!(layers.problems().len(), 1);
    let both = [explicit, transparent].into();
    layers.update(store.mesh(), &Changed::default(), &both);
    assert_eq!(layers.problems().len(), 1);
}
