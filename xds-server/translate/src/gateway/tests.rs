use std::sync::Arc;

use bowline_mesh::{
    AllowedRoutes, Gateway, GatewayListener, GatewayName, HttpRoute, IpFamilies, Object, Role,
    RouteParent, Spec, StreamRoute, view::OutboundKey,
};
use serde_json::{Value, json};

use super::*;
use crate::testing::*;

fn name() -> GatewayName {
    GatewayName {
        namespace: "shop".parse().unwrap(),
        name: "edge".into(),
    }
}

fn parent(section: Option<&str>) -> Vec<RouteParent> {
    vec![RouteParent::Gateway {
        gateway: name(),
        section: section.map(Into::into),
        port: None,
    }]
}

/// A gateway with listeners by name, port, protocol and hostname.
fn edge(listeners: &[(&str, u16, GatewayProtocol, &str)]) -> Object {
    let listeners = listeners
        .iter()
        .map(|(name, port, protocol, hostname)| GatewayListener {
            name: (*name).into(),
            port: *port,
            protocol: *protocol,
            hostname: hostname.parse().unwrap(),
            allowed_routes: AllowedRoutes::Same,
        })
        .collect();
    object("edge", Spec::Gateway(Arc::new(Gateway { listeners })))
}

/// A route on a listener for some hosts, to the service of its own name.
fn route(name: &str, section: Option<&str>, hosts: &[&str], matching: &str) -> Object {
    let rules = vec![rule(vec![below(matching)], forward(vec![backend(name, 1)]))];
    let hostnames = hosts.iter().map(|host| host.parse().unwrap()).collect();
    object(
        name,
        Spec::HttpRoute(Arc::new(HttpRoute {
            hostnames,
            ..http_route(parent(section), rules)
        })),
    )
}

fn stream(name: &str, section: Option<&str>, server_names: &[&str], weight: u32) -> Object {
    let server_names = server_names
        .iter()
        .map(|host| host.parse().unwrap())
        .collect();
    let route = StreamRoute {
        parents: parent(section),
        server_names,
        backends: vec![backend(name, weight)],
        created: None,
    };
    object(name, Spec::StreamRoute(Arc::new(route)))
}

fn cart() -> Object {
    service_object("cart", &[(80, bowline_mesh::Protocol::Http)])
}

fn translated(objects: Vec<Object>) -> Translated<Layer> {
    delivered(objects, RouteDelivery::Whole)
}

fn delivered(objects: Vec<Object>, route_delivery: RouteDelivery) -> Translated<Layer> {
    let mesh = mesh(objects);
    let key = OutboundKey {
        role: Role::Gateway(name()),
        route_delivery,
        ..outbound_key(bowline_mesh::Capture::Explicit)
    };
    gateway(&GatewayView::new(&mesh, &key).unwrap())
}

/// Domains with the names of their routes, in order.
fn hosts(layer: &Layer, routes: &str) -> Vec<(String, Vec<String>)> {
    let routes = found(layer, ResourceType::ROUTE, routes);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of = |host: &Value| {
        let routes = host["routes"].as_array().cloned().unwrap_or_default();
        (
            text(&host["domains"][0]),
            routes.iter().map(|route| text(&route["name"])).collect(),
        )
    };
    routes["virtual_hosts"]
        .as_array()
        .unwrap()
        .iter()
        .map(of)
        .collect()
}

fn expect(hosts: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
    hosts
        .iter()
        .map(|(host, routes)| {
            (
                (*host).to_owned(),
                routes
                    .iter()
                    .map(|route| format!("shop/{route}/0"))
                    .collect(),
            )
        })
        .collect()
}

#[test]
fn a_gateway_that_is_not_there_listens_on_nothing() {
    let Translated { value, problems } = translated(vec![cart()]);
    assert!(value.is_empty());
    assert_eq!(problems, []);
}

#[test]
fn a_gateway_has_what_its_routes_need_and_nothing_else() {
    let other = service_object("other", &[(80, bowline_mesh::Protocol::Http)]);
    let Translated { value, problems } = translated(vec![
        cart(),
        other,
        edge(&[("web", 8080, GatewayProtocol::Http, "*")]),
        route("cart", None, &[], "/"),
    ]);
    assert_eq!(problems, []);
    assert_eq!(
        names(&value, ResourceType::CLUSTER),
        ["outbound|80||cart.shop.svc.cluster.local"]
    );
    assert_eq!(names(&value, ResourceType::LISTENER), ["0.0.0.0_8080"]);
    assert_eq!(hosts(&value, "http.8080"), expect(&[("*", &["cart"])]));
}

#[test]
fn a_request_goes_to_the_listener_and_then_to_the_route_that_names_its_host_best() {
    let Translated { value, problems } = translated(vec![
        edge(&[
            ("all", 80, GatewayProtocol::Http, "*"),
            ("shop", 80, GatewayProtocol::Http, "*.shop.example"),
            ("lone", 80, GatewayProtocol::Http, "lone.example"),
        ]),
        route("any", Some("all"), &[], "/"),
        route("wild", Some("shop"), &["*.shop.example"], "/long/path"),
        route("exact", Some("shop"), &["a.shop.example"], "/"),
    ]);
    assert_eq!(problems, []);
    assert_eq!(
        hosts(&value, "http.80"),
        expect(&[
            // The exact host's routes first, though the wildcard's path is longer; never those of the listener for all.
            ("a.shop.example", &["exact", "wild"]),
            // Nothing is attached to it, so nothing answers: 404.
            ("lone.example", &[]),
            ("*.shop.example", &["wild"]),
            ("*", &["any"]),
        ])
    );
}

#[test]
fn listeners_that_cannot_be_together_are_a_problem_and_the_first_is_served() {
    let Translated { value, problems } = translated(vec![
        cart(),
        edge(&[
            ("web", 80, GatewayProtocol::Http, "*"),
            ("same", 80, GatewayProtocol::Http, "*"),
            ("tls", 80, GatewayProtocol::TlsPassthrough, "a.example"),
            ("good", 80, GatewayProtocol::Http, "b.example"),
        ]),
        route("cart", Some("web"), &[], "/"),
    ]);
    let fields: Vec<_> = problems
        .iter()
        .map(|problem| (problem.code, &*problem.field))
        .collect();
    assert_eq!(
        fields,
        [
            (Code::ListenerConflict, "listeners[same]"),
            (Code::ListenerConflict, "listeners[tls]")
        ]
    );
    assert_eq!(
        hosts(&value, "http.80"),
        expect(&[("b.example", &[]), ("*", &["cart"])])
    );
}

#[test]
fn tls_is_passed_through_by_server_name() {
    let Translated { value, problems } = translated(vec![
        cart(),
        edge(&[("tls", 443, GatewayProtocol::TlsPassthrough, "*")]),
        stream("cart", None, &["cart.example", "*.cart.example"], 1),
        stream("second", None, &["cart.example", "second.example"], 1),
        stream("weightless", None, &["weightless.example"], 0),
    ]);
    let codes: Vec<_> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, [Code::NoWeight, Code::Shadowed]);
    let listener = found(&value, ResourceType::LISTENER, "0.0.0.0_443");
    let chains = listener["filter_chains"].as_array().unwrap();
    let server_names: Vec<_> = chains
        .iter()
        .map(|chain| chain["filter_chain_match"]["server_names"].clone())
        .collect();
    assert_eq!(
        server_names,
        [
            json!(["cart.example", "*.cart.example"]),
            json!(["second.example"])
        ]
    );
    assert_eq!(
        names(&value, ResourceType::CLUSTER),
        ["outbound|80||cart.shop.svc.cluster.local"]
    );
}

#[test]
fn bytes_go_to_the_first_route() {
    let Translated { value, problems } = translated(vec![
        cart(),
        edge(&[("tcp", 9000, GatewayProtocol::Tcp, "*")]),
        stream("cart", None, &[], 1),
        stream("second", None, &[], 1),
    ]);
    let codes: Vec<_> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, [Code::Shadowed]);
    let listener = found(&value, ResourceType::LISTENER, "0.0.0.0_9000");
    assert_eq!(listener["filter_chains"].as_array().unwrap().len(), 1);
}

#[test]
fn a_listener_is_on_all_addresses_of_its_families() {
    let mesh = mesh(vec![
        cart(),
        edge(&[("web", 80, GatewayProtocol::Http, "*")]),
    ]);
    let listener = |families| {
        let key = OutboundKey {
            role: Role::Gateway(name()),
            families,
            ..outbound_key(bowline_mesh::Capture::Explicit)
        };
        let layer = gateway(&GatewayView::new(&mesh, &key).unwrap()).value;
        let names = names(&layer, ResourceType::LISTENER);
        let listener = found(&layer, ResourceType::LISTENER, &names[0]);
        (
            names[0].clone(),
            listener["additional_addresses"]
                .as_array()
                .map_or(0, Vec::len),
        )
    };
    assert_eq!(listener(IpFamilies::V4), ("0.0.0.0_80".to_owned(), 0));
    assert_eq!(listener(IpFamilies::V6), ("[::]_80".to_owned(), 0));
    assert_eq!(listener(IpFamilies::Dual), ("0.0.0.0_80".to_owned(), 1));
}

#[test]
fn hosts_of_a_gateway_come_by_themselves_where_the_key_says_so() {
    let objects = || {
        vec![
            cart(),
            edge(&[("web", 8080, GatewayProtocol::Http, "*")]),
            route("cart", None, &["a.example", "b.example"], "/"),
        ]
    };
    let layer = delivered(objects(), RouteDelivery::ByHost).value;
    let hosts = ["http.8080/*", "http.8080/a.example", "http.8080/b.example"];
    assert_eq!(names(&layer, ResourceType::VIRTUAL_HOST), hosts);
    let configuration = found(&layer, ResourceType::ROUTE, "http.8080");
    assert!(configuration["vhds"].is_object() && configuration["virtual_hosts"].is_null());

    let whole = delivered(objects(), RouteDelivery::Whole).value;
    let inline = &found(&whole, ResourceType::ROUTE, "http.8080")["virtual_hosts"];
    for inline in inline.as_array().unwrap() {
        let name = inline["name"].as_str().unwrap();
        let mut by_itself = found(&layer, ResourceType::VIRTUAL_HOST, name);
        by_itself.as_object_mut().unwrap().remove("@type");
        assert_eq!(by_itself, *inline);
    }
    // The one that no route is about is the gateway's.
    let origins = |host: &str| {
        let host = layer.get(ResourceType::VIRTUAL_HOST, host).unwrap();
        host.origins().len()
    };
    assert_eq!(hosts.map(origins), [1, 2, 2]);
}
