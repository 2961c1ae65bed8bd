use bowline_mesh::{Mesh, Object, Protocol, RegionOrder, Service, Spec};
use serde_json::{Value, json};

use super::*;
use crate::testing::*;

const HTTP: &[(u16, Protocol)] = &[(80, Protocol::Http)];

fn assignment_of(mesh: &Mesh, network: &str, locality: &str) -> (Value, Vec<Problem>) {
    let view =
        EndpointsView::new(mesh, &endpoints_key(network, locality), &hostname("cart")).unwrap();
    let Translated { value, problems } = endpoints(&view);
    (
        json(bowline_snapshot::ResourceType::ENDPOINT, &value[0]),
        problems,
    )
}

fn cart(endpoints: Vec<Endpoint>) -> Vec<Object> {
    vec![
        service_object("cart", HTTP),
        endpoints_object("one", "cart", endpoints),
    ]
}

fn balanced(balancing: Balancing, endpoints: Vec<Endpoint>) -> Mesh {
    let service = Service {
        balancing,
        ..plain_service("cart", HTTP)
    };
    mesh(vec![
        object("cart", Spec::Service(Arc::new(service))),
        endpoints_object("one", "cart", endpoints),
    ])
}

fn at(address: &str, locality: &str) -> Endpoint {
    Endpoint {
        locality: place(locality),
        ..endpoint(address)
    }
}

#[test]
fn a_service_without_endpoints_has_an_empty_assignment() {
    let (assignment, problems) = assignment_of(&mesh(vec![service_object("cart", HTTP)]), "", "");
    assert_eq!(
        assignment["cluster_name"],
        "outbound|80||cart.shop.svc.cluster.local"
    );
    assert_eq!(assignment["endpoints"], Value::Null);
    assert_eq!(problems, []);
}

#[test]
fn an_endpoint_has_its_weight_and_health() {
    let weighed = Endpoint {
        weight: 7,
        health: Health::Draining,
        ..at("10.0.0.1", "eu/eu-1/rack")
    };
    let (assignment, _) = assignment_of(&mesh(cart(vec![weighed])), "", "");
    assert_eq!(
        assignment["endpoints"],
        json!([{
            "locality": {"region": "eu", "zone": "eu-1", "sub_zone": "rack"},
            "load_balancing_weight": 7,
            "lb_endpoints": [{
                "endpoint": {"address": {"socket_address": {"address": "10.0.0.1", "port_value": 8080}}},
                "health_status": "DRAINING",
                "load_balancing_weight": 7,
            }],
        }])
    );
}

#[test]
fn weight_zero_the_other_family_and_unserved_ports_are_left_out() {
    let none = Endpoint {
        weight: 0,
        ..endpoint("10.0.0.1")
    };
    let elsewhere = Endpoint {
        ports: [("9000".into(), 9000), ("x".into(), 1)].into(),
        ..endpoint("10.0.0.2")
    };
    let (assignment, problems) = assignment_of(
        &mesh(cart(vec![none, elsewhere, endpoint("fd00::1")])),
        "",
        "",
    );
    assert_eq!(assignment["endpoints"], Value::Null);
    assert_eq!(problems, []);
}

#[test]
fn an_endpoint_out_of_reach_is_left_out_and_said_once() {
    let far = |address| Endpoint {
        network: "vpc-2".parse().unwrap(),
        ..endpoint(address)
    };
    let mesh = mesh(cart(vec![
        endpoint("10.0.0.1"),
        far("10.0.0.2"),
        far("10.0.0.3"),
    ]));
    let (assignment, problems) = assignment_of(&mesh, "", "");
    assert_eq!(
        assignment["endpoints"][0]["lb_endpoints"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let codes: Vec<_> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, [Code::Unreachable]);
    let (assignment, _) = assignment_of(&mesh, "vpc-2", "");
    assert_eq!(
        assignment["endpoints"][0]["lb_endpoints"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn an_address_is_there_once() {
    let mut objects = cart(vec![endpoint("10.0.0.1"), endpoint("10.0.0.1")]);
    objects.push(endpoints_object(
        "two",
        "cart",
        vec![Endpoint {
            weight: 5,
            ..at("10.0.0.1", "eu")
        }],
    ));
    let (assignment, _) = assignment_of(&mesh(objects), "", "");
    assert_eq!(assignment["endpoints"].as_array().unwrap().len(), 1);
    assert_eq!(assignment["endpoints"][0]["load_balancing_weight"], 1);
}

#[test]
fn weights_fit_into_32_bits() {
    let heavy = |address| Endpoint {
        weight: u32::MAX,
        ..endpoint(address)
    };
    let (assignment, _) = assignment_of(
        &mesh(cart(vec![
            heavy("10.0.0.1"),
            heavy("10.0.0.2"),
            endpoint("10.0.0.3"),
        ])),
        "",
        "",
    );
    let locality = &assignment["endpoints"][0];
    let sum: u64 = locality["lb_endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|endpoint| endpoint["load_balancing_weight"].as_u64().unwrap())
        .sum();
    assert_eq!(Some(sum), locality["load_balancing_weight"].as_u64());
    assert!(sum <= u64::from(u32::MAX));
}

#[test]
fn near_endpoints_come_first_without_gaps() {
    let places = vec![
        at("10.0.0.1", "eu/eu-1"),
        at("10.0.0.2", "eu/eu-2"),
        at("10.0.0.3", "us/us-1"),
    ];
    let priorities = |balancing, caller: &str| -> Vec<(String, u64)> {
        let (assignment, _) = assignment_of(&balanced(balancing, places.clone()), "", caller);
        let localities = assignment["endpoints"].as_array().unwrap().clone();
        let of = |locality: &Value| {
            (
                locality["locality"]["zone"].as_str().unwrap().to_owned(),
                locality["priority"].as_u64().unwrap_or(0),
            )
        };
        localities.iter().map(of).collect()
    };
    let zone = || Balancing::PreferZone(RegionOrder::default());
    let expect = |list: [(&str, u64); 3]| {
        list.map(|(zone, priority)| (zone.to_owned(), priority))
            .to_vec()
    };
    assert_eq!(
        priorities(zone(), "eu/eu-2"),
        expect([("eu-2", 0), ("eu-1", 1), ("us-1", 2)])
    );
    assert_eq!(
        priorities(zone(), "us/us-1"),
        expect([("us-1", 0), ("eu-1", 1), ("eu-2", 1)])
    );
    assert_eq!(
        priorities(Balancing::PreferRegion(RegionOrder::default()), "eu/eu-9"),
        expect([("eu-1", 0), ("eu-2", 0), ("us-1", 1)])
    );
    // Nothing near: no gap. Nothing known of the caller: no preference.
    assert_eq!(
        priorities(zone(), "asia/a"),
        expect([("eu-1", 0), ("eu-2", 0), ("us-1", 0)])
    );
    assert_eq!(
        priorities(zone(), ""),
        expect([("eu-1", 0), ("eu-2", 0), ("us-1", 0)])
    );
    assert_eq!(
        priorities(Balancing::Everywhere, "eu/eu-1"),
        expect([("eu-1", 0), ("eu-2", 0), ("us-1", 0)])
    );
}

/// The addresses of a service's endpoints on three nodes, by priority, as a caller on a node sees them.
fn by_node(balancing: Balancing, caller: &str) -> Vec<(u64, String)> {
    let places = [
        ("10.0.0.1", "eu/eu-1@prod/one"),
        ("10.0.0.2", "eu/eu-1@prod/two"),
        ("10.0.0.3", "eu/eu-2@prod/three"),
        ("10.0.0.4", "us/us-1@prod/four"),
        ("10.0.0.5", "eu/eu-1@other/one"),
    ];
    let places = places.map(|(address, place)| at(address, place));
    let mesh = balanced(balancing, places.to_vec());
    let (assignment, _) = assignment_of(&mesh, "", caller);
    let mut addresses = Vec::new();
    for locality in assignment["endpoints"].as_array().into_iter().flatten() {
        for endpoint in locality["lb_endpoints"].as_array().unwrap() {
            let address = &endpoint["endpoint"]["address"]["socket_address"]["address"];
            let priority = locality["priority"].as_u64().unwrap_or(0);
            addresses.push((priority, address.as_str().unwrap().to_owned()));
        }
    }
    addresses
}

#[test]
fn endpoints_on_the_callers_node_come_first_or_are_the_only_ones() {
    let check = |balancing: Balancing, caller: &str, expected: &[(u64, &str)]| {
        let expected: Vec<_> = expected
            .iter()
            .map(|(priority, last)| (*priority, format!("10.0.0.{last}")))
            .collect();
        assert_eq!(by_node(balancing, caller), expected, "{caller}");
    };
    let node = || Balancing::PreferNode;
    let first = [(0, "1"), (1, "2"), (1, "5"), (2, "3"), (3, "4")];
    check(node(), "eu/eu-1@prod/one", &first);
    // Nobody on the node, no node known, nothing known.
    let zone = [(0, "1"), (0, "2"), (0, "5"), (1, "3"), (2, "4")];
    check(node(), "eu/eu-1@prod/nine", &zone);
    check(node(), "eu/eu-1", &zone);
    check(
        node(),
        "",
        &[(0, "1"), (0, "2"), (0, "5"), (0, "3"), (0, "4")],
    );
    check(Balancing::OnNode, "eu/eu-1@prod/one", &[(0, "1")]);
    check(Balancing::OnNode, "@other/one", &[(0, "5")]);
    check(Balancing::OnNode, "eu/eu-1@prod/nine", &[]);
    let all = [(0, "1"), (0, "2"), (0, "5"), (0, "3"), (0, "4")];
    check(Balancing::OnNode, "eu/eu-1", &all);
}

#[test]
fn nodes_make_no_difference_to_services_that_do_not_look_at_them() {
    let zone = || Balancing::PreferZone(RegionOrder::default());
    let one = by_node(zone(), "eu/eu-1@prod/one");
    assert_eq!(one, by_node(zone(), "eu/eu-1@prod/two"));
    let priorities: Vec<u64> = one.iter().map(|(priority, _)| *priority).collect();
    assert_eq!(priorities, [0, 0, 0, 1, 2]);
}

#[test]
fn other_regions_come_in_their_order_and_after_them_those_that_it_does_not_name() {
    let places = [
        "eu/eu-1",
        "eu/eu-2",
        "us/us-1",
        "asia/asia-1",
        "africa/africa-1",
    ];
    let places: Vec<Endpoint> = (1..)
        .zip(places)
        .map(|(number, place)| at(&format!("10.0.0.{number}"), place))
        .collect();
    let order = RegionOrder::new(["us", "eu", "us", "asia"].map(Into::into));
    let priorities = |balancing: Balancing, caller: &str| -> Vec<String> {
        let (assignment, _) = assignment_of(&balanced(balancing, places.clone()), "", caller);
        let localities = assignment["endpoints"].as_array().unwrap().clone();
        let zone = |locality: &Value| {
            format!(
                "{} {}",
                locality["priority"].as_u64().unwrap_or(0),
                locality["locality"]["zone"].as_str().unwrap()
            )
        };
        localities.iter().map(zone).collect()
    };
    let by_region = Balancing::PreferRegion(order.clone());
    let by_zone = Balancing::PreferZone(order);
    let expected: [(&Balancing, &str, &[&str]); 5] = [
        (
            &by_region,
            "us/us-9",
            &["0 us-1", "1 eu-1", "1 eu-2", "2 asia-1", "3 africa-1"],
        ),
        (
            &by_region,
            "asia",
            &["0 asia-1", "1 us-1", "2 eu-1", "2 eu-2", "3 africa-1"],
        ),
        (
            &by_region,
            "mars",
            &["0 us-1", "1 eu-1", "1 eu-2", "2 asia-1", "3 africa-1"],
        ),
        (
            &by_region,
            "",
            &["0 africa-1", "0 asia-1", "0 eu-1", "0 eu-2", "0 us-1"],
        ),
        (
            &by_zone,
            "eu/eu-2",
            &["0 eu-2", "1 eu-1", "2 us-1", "3 asia-1", "4 africa-1"],
        ),
    ];
    for (balancing, caller, expected) in expected {
        assert_eq!(
            priorities(balancing.clone(), caller),
            expected,
            "{balancing:?} from {caller}"
        );
    }
}

#[test]
fn names_are_written_into_the_cluster() {
    let socket = Endpoint {
        address: Address::Unix("/run/cart.sock".into()),
        ..endpoint("10.0.0.9")
    };
    let mesh = mesh(cart(vec![
        endpoint("vm-1.example"),
        endpoint("10.0.0.1"),
        socket,
    ]));
    assert!(EndpointsView::new(&mesh, &endpoints_key("", ""), &hostname("cart")).is_none());
    let key = outbound_key(bowline_mesh::Capture::Explicit);
    let view = ServiceView::new(&mesh, &key, &hostname("cart")).unwrap();
    let translated = crate::service(&view, bowline_mesh::Capture::Explicit);
    let cluster = json(
        bowline_snapshot::ResourceType::CLUSTER,
        &translated.value.clusters[0],
    );
    assert_eq!(
        cluster["cluster_type"]["typed_config"]["dns_lookup_family"],
        "V4_ONLY"
    );
    let endpoints = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
        .as_array()
        .unwrap();
    assert_eq!(endpoints.len(), 2);
    assert_eq!(
        endpoints[0]["endpoint"]["address"]["socket_address"]["address"],
        "vm-1.example"
    );
    let codes: Vec<_> = translated
        .problems
        .iter()
        .map(|problem| problem.code)
        .collect();
    assert_eq!(codes, [Code::Unreachable]);
}

#[test]
fn a_socket_of_the_machine_is_an_endpoint() {
    let socket = Endpoint {
        address: Address::Unix("/run/cart.sock".into()),
        ..endpoint("10.0.0.9")
    };
    let (assignment, _) = assignment_of(&mesh(cart(vec![socket])), "", "");
    assert_eq!(
        assignment["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"],
        json!({"pipe": {"path": "/run/cart.sock"}})
    );
}
