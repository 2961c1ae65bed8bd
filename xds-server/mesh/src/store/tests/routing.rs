//! What acts on which services, and who has to look again.

use super::*;

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
        let upserts = vec![network_gateway("east-west", network, "9.9.9.9:15443")];
        store.apply(upsert("a", upserts), NOW).changed
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
    let upserts = vec![network_gateway("two", "c", "9.9.9.9:15443")];
    store.apply(upsert("a", upserts), NOW);
    assert_eq!(codes(&store), [Code::Conflict]);
}

#[test]
fn what_of_routing_is_different_is_known_by_the_services_that_are() {
    let settings = [registry("vms")];
    let mut store = store(&settings);
    let mut change = |objects: Vec<Object>| {
        let before = store.mesh().clone();
        store.apply(upsert("vms", objects), NOW);
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
        let upserts = vec![looking(balancing)];
        let applied = store.apply(upsert("a", upserts), NOW);
        assert_eq!(applied.changed.nodes, changes);
        assert_eq!(place(&store), expected);
    }
}
