//! What endpoints make of their services.

use super::*;

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
    let applied = store.apply(upsert("a", upserts), NOW);
    assert_eq!(names(&applied.changed.services), ["cart"]);
    assert_eq!(
        store.mesh().service(&hostname("cart")).unwrap().discovery,
        Discovery::Dns
    );
    // Now any change of its endpoints is a change of its cluster.
    let upserts = vec![endpoints("a", "one", "cart", &[address(3)])];
    let applied = store.apply(upsert("a", upserts), NOW);
    assert_eq!(names(&applied.changed.services), ["cart"]);
    let removes = vec![by_name.key().clone()];
    store.apply(remove("a", removes), NOW);
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
    let upserts = vec![
        db.clone(),
        service("a", "web", &[(80, "http", Protocol::Http)]),
    ];
    let applied = store.apply(upsert("a", upserts), NOW);
    assert!(applied.changed.explicit_ports);
    assert_eq!(taken(&store, "plain", crate::Capture::Explicit), [5432]);
    assert_eq!(taken(&store, "behind", crate::Capture::Explicit), [5432]);
    assert!(taken(&store, "other", crate::Capture::Explicit).is_empty());
    assert!(taken(&store, "plain", crate::Capture::Transparent).is_empty());
    let second = service("a", "db2", &[(5432, "db", Protocol::Tls)]);
    let upserts = vec![second.clone()];
    let applied = store.apply(upsert("a", upserts), NOW);
    assert!(!applied.changed.explicit_ports);
    let removes = vec![db.key().clone(), second.key().clone()];
    let applied = store.apply(remove("a", removes), NOW);
    assert!(applied.changed.explicit_ports);
    assert!(taken(&store, "plain", crate::Capture::Explicit).is_empty());
}
