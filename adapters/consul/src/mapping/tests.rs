use bowline_mesh::{Address, Balancing, Locality, Protocol};
use proptest::prelude::*;

use super::*;
use crate::wire;

fn settings() -> RegistrySettings {
    RegistrySettings::new(
        "dc".parse().unwrap(),
        "mesh.example".parse().unwrap(),
        "cluster.local".parse().unwrap(),
        "default".parse().unwrap(),
    )
}

fn scope(datacenter: &str, is_own: bool) -> Scope {
    Scope {
        datacenter: datacenter.into(),
        is_own,
        partition: None,
        namespace: None,
        peer: None,
    }
}

fn mapped(scope: &Scope, service: &str, json: &str) -> Mapped {
    let context = Context {
        settings: &settings(),
        scope,
        service,
    };
    map(context, wire::list(json.as_bytes()).unwrap(), None)
}

/// An instance on a usual node, with what differs.
fn entry(service: &str, checks: &str) -> String {
    format!(
        r#"[{{"Node": {{"Node": "n1", "Address": "10.1.0.1", "Datacenter": "dc1",
            "TaggedAddresses": {{"lan": "10.1.0.1", "wan": "198.51.100.1"}}, "Meta": {{"zone": "z1"}}}},
            "Service": {{"ID": "cart-1", "Service": "cart", "Port": 8080, {service}}}, "Checks": [{checks}]}}]"#
    )
}

fn endpoint_in(scope: &Scope, service: &str, checks: &str) -> Endpoint {
    let mapped = mapped(scope, "cart", &entry(service, checks));
    assert_eq!(mapped.problems, [], "{service}");
    endpoint_of(&mapped).unwrap()
}

fn endpoint_of(mapped: &Mapped) -> Option<Endpoint> {
    match mapped.instances.values().next()?.object.spec() {
        Spec::Endpoints(group) => group.endpoints.first().cloned(),
        _ => None,
    }
}

#[test]
fn an_address_is_the_instances_own_its_machines_or_for_other_datacenters_theirs() {
    let wan = r#""TaggedAddresses": {"wan": {"Address": "203.0.113.9", "Port": 18080}}"#;
    let cases = [
        (
            true,
            r#""Address": "10.2.0.1""#.to_owned(),
            "10.2.0.1",
            8080,
        ),
        (true, r#""Address": """#.to_owned(), "10.1.0.1", 8080),
        (true, wan.to_owned(), "10.1.0.1", 8080),
        (
            true,
            r#""Address": "cart.example.""#.to_owned(),
            "cart.example",
            8080,
        ),
        (true, r#""Address": "fd00::1""#.to_owned(), "fd00::1", 8080),
        (
            true,
            r#""SocketPath": "/run/cart.sock""#.to_owned(),
            "unix:/run/cart.sock",
            1,
        ),
        (
            false,
            format!(r#""Address": "10.2.0.1", {wan}"#),
            "203.0.113.9",
            18080,
        ),
        (
            false,
            r#""Address": "10.2.0.1""#.to_owned(),
            "10.2.0.1",
            8080,
        ),
        (false, r#""Address": """#.to_owned(), "198.51.100.1", 8080),
    ];
    for (is_own, service, address, port) in cases {
        let endpoint = endpoint_in(&scope("dc1", is_own), &service, "");
        let expected = (address.to_owned(), Some(&port));
        let found = (endpoint.address.to_string(), endpoint.ports.get("main"));
        assert_eq!(found, expected, "{service}");
        if address.starts_with("unix:") {
            assert!(matches!(endpoint.address, Address::Unix(_)));
        }
    }
}

#[test]
fn health_is_the_worst_of_all_checks_and_maintenance_drains() {
    let check = |id: &str, status: &str| format!(r#"{{"CheckID": "{id}", "Status": "{status}"}}"#);
    let cases = [
        (vec![], Health::Healthy, 10),
        (vec![check("a", "passing")], Health::Healthy, 10),
        (
            vec![check("a", "passing"), check("b", "warning")],
            Health::Healthy,
            3,
        ),
        (
            vec![check("a", "warning"), check("b", "critical")],
            Health::Unhealthy,
            10,
        ),
        (vec![check("serfHealth", "critical")], Health::Unhealthy, 10),
        (
            vec![check("_node_maintenance", "critical")],
            Health::Draining,
            10,
        ),
        (
            vec![
                check("a", "critical"),
                check("_service_maintenance:cart-1", "critical"),
            ],
            Health::Draining,
            10,
        ),
    ];
    let weights = r#""Weights": {"Passing": 10, "Warning": 3}"#;
    for (checks, health, weight) in cases {
        let endpoint = endpoint_in(&scope("dc1", true), weights, &checks.join(","));
        assert_eq!(
            (endpoint.health, endpoint.weight),
            (health, weight),
            "{checks:?}"
        );
    }
    let warning = check("a", "warning");
    for (weights, health, weight) in [
        (r#"{"Passing": 1, "Warning": 0}"#, Health::Unhealthy, 1),
        (
            r#"{"Passing": 1, "Warning": 9999999999}"#,
            Health::Healthy,
            65535,
        ),
        (r#"{"Passing": 1, "Warning": -3}"#, Health::Unhealthy, 1),
    ] {
        let service = format!(r#""Weights": {weights}"#);
        let endpoint = endpoint_in(&scope("dc1", true), &service, &warning);
        assert_eq!(
            (endpoint.health, endpoint.weight),
            (health, weight),
            "{weights}"
        );
    }
}

#[test]
fn a_locality_is_said_by_the_instance_its_machine_the_entry_or_the_datacenter() {
    let cases = [
        ("\"Meta\": {}", "dc1/z1"),
        (r#""Meta": {"region": "eu", "zone": "eu-1"}"#, "eu/eu-1"),
        (
            r#""Meta": {"zone": "a", "subzone": "rack-7"}"#,
            "dc1/a/rack-7",
        ),
        (r#""Tags": ["zone=a", "noise"]"#, "dc1/a"),
        (r#""Locality": {"Region": "us", "Zone": "us-1"}"#, "us/us-1"),
    ];
    for (service, expected) in cases {
        let endpoint = endpoint_in(&scope("dc1", true), service, "");
        assert_eq!(
            endpoint.locality,
            expected.parse::<Locality>().unwrap(),
            "{service}"
        );
    }
}

#[test]
fn metadata_says_protocol_ports_identity_network_and_namespace_and_all_of_it_are_labels() {
    let meta = r#""Meta": {"protocol": "grpc", "version": "v2", "service-account": "cart", "network": "vpc-1",
        "namespace": "shop", "service-port": "80", "port-metrics": "9102", "protocol-metrics": "http"}, "Tags": ["version=v1", "canary=true"]"#;
    let mapped = mapped(&scope("dc1", true), "cart", &entry(meta, ""));
    assert_eq!(mapped.problems, []);
    let endpoint = endpoint_of(&mapped).unwrap();
    assert_eq!(
        endpoint.identity.unwrap().to_string(),
        "spiffe://mesh.example/ns/shop/sa/cart"
    );
    assert_eq!(endpoint.network.as_str(), "vpc-1");
    assert_eq!(
        endpoint.labels.get("version").map(|value| &**value),
        Some("v2")
    );
    assert_eq!(
        endpoint.labels.get("canary").map(|value| &**value),
        Some("true")
    );
    assert_eq!(endpoint.ports.get("metrics"), Some(&9102));
    let instance = mapped.instances.values().next().unwrap();
    let key = instance.object.key();
    assert_eq!(
        (key.namespace.as_str(), &*key.name),
        ("shop", "cart/dc1/n1/cart-1")
    );
    let hostname = "cart.shop.svc.cluster.local".parse().unwrap();
    let service = service(hostname, [&**instance], None, Balancing::Everywhere).unwrap();
    let ports: Vec<_> = service
        .ports
        .iter()
        .map(|port| (port.number, &*port.name, port.protocol))
        .collect();
    assert_eq!(
        ports,
        [
            (80, "main", Protocol::Grpc),
            (9102, "metrics", Protocol::Http)
        ]
    );
}

#[test]
fn most_instances_say_how_a_service_is_called() {
    let instance = |id: &str, port: u16, meta: &str| {
        format!(
            r#"{{"Node": {{"Node": "{id}", "Address": "10.0.0.1"}}, "Service": {{"ID": "{id}", "Port": {port}, "Meta": {{{meta}}}}}}}"#
        )
    };
    let called = |instances: &[String], service_port: Option<u16>| {
        let mapped = mapped(
            &scope("dc1", true),
            "cart",
            &format!("[{}]", instances.join(",")),
        );
        let instances: Vec<_> = mapped
            .instances
            .values()
            .map(|instance| &**instance)
            .collect();
        let hostname = "cart.default.svc.cluster.local".parse().unwrap();
        service(hostname, instances, service_port, Balancing::Everywhere)
            .map(|service| service.ports[0].number)
    };
    let (a, b, c) = (
        instance("a", 8080, ""),
        instance("b", 9090, ""),
        instance("c", 9090, ""),
    );
    assert_eq!(called(&[a.clone(), b.clone(), c.clone()], None), Some(9090));
    assert_eq!(called(&[a.clone(), b.clone()], None), Some(8080));
    assert_eq!(called(&[a.clone(), b.clone()], Some(80)), Some(80));
    assert_eq!(
        called(
            &[a, instance("d", 7000, r#""service-port": "81""#)],
            Some(80)
        ),
        Some(81)
    );
    assert_eq!(called(&[], None), None);
}

#[test]
fn what_is_wrong_with_an_instance_is_one_problem_and_the_others_are_taken() {
    let good =
        r#"{"Node": {"Node": "n2", "Address": "10.0.0.2"}, "Service": {"ID": "good", "Port": 80}}"#;
    for (wrong, field) in [
        (r#""Address": "no address""#, "Service.Address"),
        (r#""Address": "0.0.0.0""#, "Service.Address"),
        (r#""Address": "239.1.1.1""#, "Service.Address"),
        (r#""Port": 70000"#, "Service.Port"),
        (r#""Port": 0"#, "Service.Port"),
        (r#""Port": -1"#, "Service.Port"),
        (r#""SocketPath": "relative""#, "Service.SocketPath"),
        (r#""Meta": {"protocol": "smtp?"}"#, "Service.Meta.protocol"),
        (
            r#""Meta": {"namespace": "No Namespace"}"#,
            "Service.Meta.namespace",
        ),
        (
            r#""Meta": {"spiffe-id": "http://x"}"#,
            "Service.Meta.spiffe-id",
        ),
        (
            r#""Meta": {"service-account": "a/b"}"#,
            "Service.Meta.service-account",
        ),
        (
            r#""Meta": {"network": "No Network"}"#,
            "Service.Meta.network",
        ),
        (
            r#""Meta": {"service-port": "0"}"#,
            "Service.Meta.service-port",
        ),
        (r#""Meta": {"port-x": "many"}"#, "Service.Meta.port-x"),
        (r#""Meta": {"port-main": "1"}"#, "Service.Meta.port-main"),
        (r#""Port": "eighty""#, ""),
    ] {
        let wrong = format!(r#"{{"Node": {{"Node": "n1", "Address": "10.0.0.1"}}, "Service": {{"ID": "bad", "Port": 80, {wrong}}}}}"#)
            .replace(r#""Port": 80, "Port""#, r#""Port""#);
        let mapped = mapped(&scope("dc1", true), "cart", &format!("[{wrong},{good}]"));
        assert_eq!(mapped.instances.len(), 1, "{wrong}");
        let fields: Vec<_> = mapped
            .problems
            .iter()
            .map(|problem| &*problem.field)
            .collect();
        assert_eq!(fields, [field], "{wrong}");
    }
}

#[test]
fn an_instance_that_became_wrong_stays_as_it_was() {
    let scope = scope("dc1", true);
    let settings = settings();
    let context = Context {
        settings: &settings,
        scope: &scope,
        service: "cart",
    };
    let read = |service: &str| wire::list::<Entry>(entry(service, "").as_bytes()).unwrap();
    let good = map(context, read(r#""Address": "10.0.0.1""#), None);
    let wrong = map(context, read(r#""Address": "?""#), Some(&good));
    assert_eq!(wrong.instances, good.instances);
    assert_eq!(wrong.problems.len(), 1);
}

#[test]
fn proxies_of_consuls_own_mesh_are_left_out() {
    let mapped = mapped(
        &scope("dc1", true),
        "cart",
        &entry(r#""Kind": "connect-proxy""#, ""),
    );
    assert!(mapped.instances.is_empty() && mapped.is_foreign);
}

proptest! {
    #[test]
    fn whatever_consul_says_nothing_breaks(json in any_json()) {
        if let Ok(list) = wire::list::<Entry>(json.to_string().as_bytes()) {
            let settings = settings();
            let scope = scope("dc1", false);
            let context = Context { settings: &settings, scope: &scope, service: "cart" };
            let mapped = map(context, list, None);
            for (key, instance) in &mapped.instances {
                prop_assert_eq!(InstanceName::parse(&key.name).unwrap().service, "cart");
                prop_assert!(!instance.ports.is_empty());
            }
        }
    }
}

/// Lists of entries whose fields are nearly right.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::{Value, json};
    let text = prop_oneof![
        "[a-z0-9.:/ -]{0,12}",
        "\\PC{0,6}",
        Just("10.0.0.1".to_owned())
    ];
    let value = prop_oneof![
        text.clone().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        Just(Value::Null),
        Just(json!({})),
        Just(json!([])),
    ];
    let meta =
        prop::collection::btree_map("namespace|protocol|port-[a-z]|spiffe-id|zone", text, 0..4);
    let entry = (value.clone(), value.clone(), value.clone(), value.clone(), meta).prop_map(
        |(node, address, id, port, meta)| {
            json!({"Node": {"Node": node, "Address": address}, "Service": {"ID": id, "Port": port, "Address": "10.0.0.1", "Meta": meta},
                "Checks": [{"CheckID": "a", "Status": "passing"}]})
        },
    );
    prop::collection::vec(prop_oneof![4 => entry, 1 => value], 0..5).prop_map(Value::from)
}
