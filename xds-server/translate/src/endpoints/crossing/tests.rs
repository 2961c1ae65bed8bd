use std::sync::Arc;

use bowline_mesh::{
    Balancer, Balancing, Mesh, MeshSettings, MutualTls, NetworkGateway, Object, Protocol,
    RegionOrder, Service, Spec,
    view::{EndpointsKey, EndpointsView},
};

use super::*;
use crate::{endpoints, testing::*};

/// An endpoint `address network place weight health`, with an identity.
fn member(text: &str) -> Endpoint {
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [address, network, locality, weight, health] = parts.as_slice() else {
        panic!("{text}");
    };
    Endpoint {
        network: network.parse().unwrap(),
        locality: place(locality),
        weight: weight.parse().unwrap(),
        health: match *health {
            "degraded" => Health::Degraded,
            "draining" => Health::Draining,
            "unhealthy" => Health::Unhealthy,
            _ => Health::Healthy,
        },
        identity: Some("spiffe://mesh.example/ns/shop/sa/cart".parse().unwrap()),
        ..endpoint(address)
    }
}

fn gateways(network: &str, places: &[&str]) -> Object {
    let gateway = NetworkGateway {
        network: network.parse().unwrap(),
        places: places.iter().map(|place| place.parse().unwrap()).collect(),
    };
    object(network, Spec::NetworkGateway(Arc::new(gateway)))
}

fn world(mutual_tls: MutualTls, balancing: Balancing, members: &[&str], more: Vec<Object>) -> Mesh {
    let service = Service {
        balancing,
        ..plain_service("cart", &[(80, Protocol::Http)])
    };
    let members = members.iter().map(|text| member(text)).collect();
    let mut objects = vec![
        object("cart", Spec::Service(Arc::new(service))),
        endpoints_object("one", "cart", members),
    ];
    objects.extend(more);
    let settings = MeshSettings {
        mutual_tls,
        ..MeshSettings::clone(&settings())
    };
    mesh_with(settings, objects)
}

/// `priority locality address:port weight health` of all that a caller gets.
fn seen(mesh: &Mesh, key: &EndpointsKey) -> (Vec<String>, Vec<Problem>) {
    let view = EndpointsView::new(mesh, key, &hostname("cart")).unwrap();
    let translated = endpoints(&view);
    let assignment = json(
        bowline_snapshot::ResourceType::ENDPOINT,
        &translated.value[0],
    );
    let mut lines = Vec::new();
    for locality in assignment["endpoints"].as_array().into_iter().flatten() {
        for endpoint in locality["lb_endpoints"].as_array().unwrap() {
            let address = &endpoint["endpoint"]["address"]["socket_address"];
            lines.push(format!(
                "{} {} {}:{} {}{}",
                locality["priority"].as_u64().unwrap_or(0),
                locality["locality"]["region"].as_str().unwrap_or("-"),
                address["address"].as_str().unwrap(),
                address["port_value"],
                endpoint["load_balancing_weight"],
                match endpoint["health_status"].as_str() {
                    None | Some("HEALTHY") => String::new(),
                    Some(other) => format!(" {other}"),
                },
            ));
        }
    }
    (lines, translated.problems)
}

fn check(balancing: Balancing, members: &[&str], places: &[&str], expected: &[&str]) {
    let more = vec![gateways("b", places)];
    let mesh = world(MutualTls::Spoken, balancing, members, more);
    let (lines, problems) = seen(&mesh, &endpoints_key("a", "eu/eu-1"));
    assert_eq!(lines, expected, "{members:?} behind {places:?}");
    assert_eq!(problems, []);
}

const ANY: Balancing = Balancing::Everywhere;

fn near() -> Balancing {
    Balancing::PreferRegion(RegionOrder::default())
}

#[test]
fn gateways_share_the_weight_of_what_is_behind_them_and_nothing_is_lost() {
    let one = ["10.0.0.1 a eu 1 -", "10.0.0.2 b eu 1 -"];
    let here = "0 eu 10.0.0.1:8080";
    let gateway = |number: u8, weight: u32| format!("0 eu 9.9.9.{number}:15443 {weight}");
    check(
        ANY,
        &one,
        &["9.9.9.1:15443"],
        &[&format!("{here} 1"), &gateway(1, 1)],
    );
    // A third of 1 is not a weight: all are three times as large.
    let three = ["9.9.9.1:15443", "9.9.9.2:15443", "9.9.9.3:15443"];
    check(
        ANY,
        &one,
        &three,
        &[
            &format!("{here} 3"),
            &gateway(1, 1),
            &gateway(2, 1),
            &gateway(3, 1),
        ],
    );
    let several = [
        "10.0.0.1 a eu 5 -",
        "10.0.0.2 b eu 2 -",
        "10.0.0.2 b eu 4 -",
    ];
    check(
        ANY,
        &several,
        &three,
        &[
            &format!("{here} 5"),
            &gateway(1, 2),
            &gateway(2, 2),
            &gateway(3, 2),
        ],
    );
}

#[test]
fn networks_with_different_numbers_of_gateways_keep_their_shares() {
    let members = [
        "10.0.0.1 a eu 1 -",
        "10.0.0.1 b eu 1 -",
        "10.0.0.1 c eu 1 -",
    ];
    let more = vec![
        gateways("b", &["9.9.9.1:1", "9.9.9.2:1"]),
        gateways("c", &["8.8.8.1:1", "8.8.8.2:1", "8.8.8.3:1"]),
    ];
    let mesh = world(MutualTls::Spoken, ANY, &members, more);
    let (lines, _) = seen(&mesh, &endpoints_key("a", ""));
    let expected = [
        "0 eu 10.0.0.1:8080 6",
        "0 eu 9.9.9.1:1 3",
        "0 eu 9.9.9.2:1 3",
        "0 eu 8.8.8.1:1 2",
        "0 eu 8.8.8.2:1 2",
        "0 eu 8.8.8.3:1 2",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn weights_that_do_not_fit_are_divided_and_the_relation_stays() {
    let members = ["10.0.0.1 a eu 4294967295 -", "10.0.0.2 b eu 4294967295 -"];
    let more = vec![gateways("b", &["9.9.9.1:1", "9.9.9.2:1"])];
    let mesh = world(MutualTls::Spoken, ANY, &members, more);
    let (lines, _) = seen(&mesh, &endpoints_key("a", ""));
    let weights: Vec<u64> = lines
        .iter()
        .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(
        weights.iter().sum::<u64>() <= u64::from(u32::MAX),
        "{weights:?}"
    );
    assert!(weights[0].abs_diff(2 * weights[1]) <= 2, "{weights:?}");
}

#[test]
fn a_gateway_stands_where_what_is_behind_it_does_and_only_once() {
    let gateway = ["9.9.9.1:15443"];
    let members = [
        "10.0.0.1 a us 1 -",
        "10.0.0.2 b eu 2 -",
        "10.0.0.3 b us 3 -",
    ];
    // Alike: one address has the weight of both places.
    let alike = ["0 eu 9.9.9.1:15443 5", "0 us 10.0.0.1:8080 1"];
    check(ANY, &members, &gateway, &alike);
    // In order: it would not be another one behind.
    let ordered = ["0 eu 9.9.9.1:15443 2", "1 us 10.0.0.1:8080 1"];
    check(near(), &members, &gateway, &ordered);
    let behind = ["10.0.0.1 a eu 1 -", "10.0.0.3 b us 3 -"];
    check(
        near(),
        &behind,
        &gateway,
        &["0 eu 10.0.0.1:8080 1", "1 us 9.9.9.1:15443 3"],
    );
}

#[test]
fn what_should_get_nothing_gives_its_gateway_no_weight() {
    let gateway = ["9.9.9.1:15443"];
    let leaving = ["10.0.0.1 b eu 1 draining", "10.0.0.2 b eu 1 unhealthy"];
    check(ANY, &leaving, &gateway, &[]);
    let mixed = [
        "10.0.0.1 b eu 1 draining",
        "10.0.0.2 b eu 4 -",
        "10.0.0.3 b eu 7 degraded",
    ];
    check(ANY, &mixed, &gateway, &["0 eu 9.9.9.1:15443 4"]);
    let degraded = ["10.0.0.3 b eu 7 degraded"];
    check(ANY, &degraded, &gateway, &["0 eu 9.9.9.1:15443 7 DEGRADED"]);
    check(ANY, &["10.0.0.3 b eu 0 -"], &gateway, &[]);
}

#[test]
fn who_cannot_cross_is_told_why() {
    let members = [
        "10.0.0.1 a eu 1 -",
        "10.0.0.2 b eu 1 -",
        "10.0.0.3 b eu 1 -",
    ];
    let caller = endpoints_key("a", "");
    let gateway = || vec![gateways("b", &["[fd00::9]:15443"])];
    let application = EndpointsKey {
        balancer: Balancer::Grpc,
        ..caller.clone()
    };
    let cases = [
        (
            MutualTls::Absent,
            &caller,
            gateway(),
            "2 endpoints",
            "only mutual TLS crosses",
        ),
        (
            MutualTls::Spoken,
            &application,
            gateway(),
            "2 endpoints",
            "without a proxy",
        ),
        (
            MutualTls::Spoken,
            &caller,
            vec![],
            "2 endpoints",
            "no east-west gateway",
        ),
        // It has none that an IPv4 caller could connect to.
        (
            MutualTls::Spoken,
            &caller,
            gateway(),
            "2 endpoints",
            "no east-west gateway",
        ),
    ];
    for (mutual_tls, key, more, count, why) in cases {
        let mesh = world(mutual_tls, ANY, &members, more);
        let (lines, problems) = seen(&mesh, key);
        assert_eq!(lines, ["0 eu 10.0.0.1:8080 1"], "{why}");
        let [problem] = problems.as_slice() else {
            panic!("{problems:?}")
        };
        assert_eq!(problem.code, Code::Unreachable);
        assert!(
            problem.message.contains(count) && problem.message.contains(why),
            "{problem}"
        );
    }
}

#[test]
fn what_nobody_can_verify_is_left_behind() {
    let stranger = Endpoint {
        identity: None,
        ..member("10.0.0.3 b eu 1 -")
    };
    let more = vec![
        gateways("b", &["9.9.9.1:15443"]),
        endpoints_object("strangers", "cart", vec![stranger]),
    ];
    let mesh = world(MutualTls::Spoken, ANY, &["10.0.0.2 b eu 1 -"], more);
    let (lines, problems) = seen(&mesh, &endpoints_key("a", ""));
    assert_eq!(lines, ["0 eu 9.9.9.1:15443 1"]);
    assert!(
        problems[0].message.contains("1 endpoint of"),
        "{problems:?}"
    );
}

#[test]
fn who_must_stay_on_its_node_goes_through_no_gateway() {
    let members = [
        "10.0.0.1 a eu@prod/one 1 -",
        "10.0.0.2 b eu@prod/one 1 -",
        "10.0.0.3 b us@other/one 1 -",
    ];
    let own = ["0 eu 10.0.0.1:8080 1"];
    let cases: [(&str, &str, &[&str]); 4] = [
        ("a", "eu@prod/one", &own),
        ("a", "eu@prod/two", &[]),
        // No node is known; nobody serves in its network.
        ("a", "eu", &own),
        ("c", "eu", &[]),
    ];
    for mutual_tls in [MutualTls::Absent, MutualTls::Spoken] {
        let more = vec![gateways("b", &["9.9.9.1:15443"])];
        let mesh = world(mutual_tls, Balancing::OnNode, &members, more);
        for (network, place, expected) in cases {
            let (lines, problems) = seen(&mesh, &endpoints_key(network, place));
            assert_eq!(lines, expected, "{network} {place}");
            // Nobody lacks what should not be had.
            assert_eq!(problems, []);
        }
    }
}

#[test]
fn behind_a_gateway_nodes_are_not_told_apart() {
    let members = [
        "10.0.0.1 a eu/eu-1@prod/two 1 -",
        "10.0.0.2 b eu/eu-1@prod/one 1 -",
        "10.0.0.3 b eu/eu-1@prod/two 2 -",
        "10.0.0.4 a us/us-1@prod/three 1 -",
    ];
    let more = vec![gateways("b", &["9.9.9.1:15443"])];
    let mesh = world(MutualTls::Spoken, Balancing::PreferNode, &members, more);
    let (lines, problems) = seen(&mesh, &endpoints_key("a", "eu/eu-1@prod/one"));
    let expected = [
        "0 eu 10.0.0.1:8080 1",
        "0 eu 9.9.9.1:15443 3",
        "1 us 10.0.0.4:8080 1",
    ];
    assert_eq!(lines, expected);
    assert_eq!(problems, []);
}

#[test]
fn an_east_west_gateway_leads_to_its_own_network_and_never_to_itself() {
    let itself = Endpoint {
        ports: [("80".into(), 15443)].into(),
        ..member("10.0.0.9 b eu 1 -")
    };
    let more = vec![
        gateways("a", &["9.9.9.1:15443"]),
        endpoints_object("itself", "cart", vec![itself]),
    ];
    let members = ["10.0.0.1 a eu 1 -", "10.0.0.2 b eu 1 -"];
    let mesh = world(MutualTls::Spoken, ANY, &members, more);
    let key = EndpointsKey {
        balancer: Balancer::EastWest,
        ..endpoints_key("b", "")
    };
    let (lines, problems) = seen(&mesh, &key);
    assert_eq!(lines, ["0 eu 10.0.0.2:8080 1"]);
    assert_eq!(problems, []);
}

#[test]
fn callers_in_networks_without_endpoints_see_alike() {
    let mesh = world(MutualTls::Absent, ANY, &["10.0.0.1 c eu 1 -"], vec![]);
    let view = |network| EndpointsView::new(&mesh, &endpoints_key(network, ""), &hostname("cart"));
    assert_eq!(view("a"), view("b"));
    assert_ne!(view("a"), view("c"));
}
