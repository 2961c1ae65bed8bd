use bowline_mesh::{
    Capture, HeaderChanges, HostLookup, IpFamilies, Mesh, Object, PathMatch, Protocol, Role,
    RouteDelivery, RouteParent, Spec, Timeouts, view::OutboundKey,
};
use bowline_snapshot::{Layer, ResourceType};
use serde_json::{Value, json};
use std::time::Duration;

use super::*;
use crate::testing::*;

fn key(namespace: &str) -> OutboundKey {
    OutboundKey {
        role: Role::Grpc,
        registry: None,
        namespace: namespace.parse().unwrap(),
        families: IpFamilies::V4,
        taken_ports: Vec::new(),
        host_lookup: HostLookup::Available,
        route_delivery: RouteDelivery::Whole,
    }
}

/// What clients in a namespace get of a whole mesh.
fn layer(mesh: &Mesh, namespace: &str) -> Translated<Layer> {
    let key = key(namespace);
    let mut assembly = GrpcAssembly::new(mesh.settings(), &key);
    let mut problems = Vec::new();
    for service in mesh.services() {
        let view = ServiceView::new(mesh, &key, &service.hostname).unwrap();
        let translated = grpc(&view);
        problems.extend(translated.problems);
        assembly.set(&service.hostname, Some(Arc::new(translated.value)));
    }
    let Translated {
        value,
        problems: of_layer,
    } = assembly.layer();
    problems.extend(of_layer);
    Translated::new(value, problems)
}

fn names_in(objects: Vec<Object>, namespace: &str) -> Vec<String> {
    names(
        &layer(&mesh(objects), namespace).value,
        ResourceType::LISTENER,
    )
}

#[test]
fn a_service_is_dialled_by_each_of_its_names_with_its_port() {
    let objects = || {
        vec![service_object(
            "cart",
            &[(50051, Protocol::Grpc), (9090, Protocol::Http)],
        )]
    };
    let everywhere = [
        "cart.shop",
        "cart.shop.svc",
        "cart.shop.svc.cluster.local",
        "cart.shop.svc.cluster.local:50051",
        "cart.shop.svc.cluster.local:9090",
        "cart.shop.svc:50051",
        "cart.shop.svc:9090",
        "cart.shop:50051",
        "cart.shop:9090",
    ];
    assert_eq!(names_in(objects(), "web"), everywhere);
    let mut in_its_namespace =
        [&["cart", "cart:50051", "cart:9090"], everywhere.as_slice()].concat();
    in_its_namespace.sort_unstable();
    assert_eq!(names_in(objects(), "shop"), in_its_namespace);
}

#[test]
fn a_name_without_a_port_needs_one_port_that_it_can_mean() {
    let has_it = |ports: &[(u16, Protocol)]| {
        let listeners = names_in(vec![service_object("cart", ports)], "web");
        listeners.contains(&"cart.shop".to_owned())
    };
    assert!(has_it(&[(1, Protocol::Tcp)]));
    assert!(has_it(&[(1, Protocol::Http), (2, Protocol::Grpc)]));
    assert!(!has_it(&[(1, Protocol::Grpc), (2, Protocol::Grpc)]));
    assert!(!has_it(&[(1, Protocol::Http), (2, Protocol::Http)]));
}

#[test]
fn a_listener_leads_to_routes_and_those_to_a_cluster() {
    let mesh = mesh(vec![service_object("cart", &[(80, Protocol::Grpc)])]);
    let layer = layer(&mesh, "web").value;
    let full = "cart.shop.svc.cluster.local:80";
    let listener = found(&layer, ResourceType::LISTENER, "cart.shop");
    assert_eq!(
        listener["api_listener"]["api_listener"]["rds"],
        json!({"config_source": {"ads": {}, "resource_api_version": "V3"}, "route_config_name": full})
    );
    let filters = listener["api_listener"]["api_listener"]["http_filters"]
        .as_array()
        .unwrap();
    assert_eq!(filters.len(), 1);
    assert_eq!(
        filters[0]["typed_config"]["@type"],
        "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    );
    let routes = found(&layer, ResourceType::ROUTE, full);
    let host = &routes["virtual_hosts"][0];
    assert_eq!(host["domains"], json!(["*"]));
    let cluster = "outbound|80||cart.shop.svc.cluster.local";
    assert_eq!(host["routes"][0]["route"]["cluster"], cluster);
    let cluster = found(&layer, ResourceType::CLUSTER, cluster);
    assert_eq!(cluster["type"], "EDS");
    assert_eq!(
        cluster["eds_cluster_config"]["eds_config"]["ads"],
        json!({})
    );
    assert_eq!(cluster["lrs_server"]["self"], json!({}));
    // Round robin is the default of the field.
    assert_eq!(cluster["lb_policy"], Value::Null);
}

#[test]
fn a_services_own_name_goes_before_anothers_short_one() {
    let other = bowline_mesh::Service {
        hostname: "cart.shop".parse().unwrap(),
        ..plain_service("other", &[(80, Protocol::Grpc)])
    };
    let mesh = mesh(vec![
        service_object("cart", &[(80, Protocol::Grpc)]),
        object("other", Spec::Service(Arc::new(other))),
    ]);
    let Translated { value, problems } = layer(&mesh, "web");
    let listener = found(&value, ResourceType::LISTENER, "cart.shop:80");
    assert_eq!(
        listener["api_listener"]["api_listener"]["rds"]["route_config_name"],
        "cart.shop:80"
    );
    let shadowed = problems
        .iter()
        .filter(|problem| problem.code == Code::Shadowed);
    // With and without the port.
    assert_eq!(shadowed.count(), 2);
}

#[test]
fn a_service_that_goes_takes_everything_along() {
    let mesh = mesh(vec![
        service_object("cart", &[(80, Protocol::Grpc)]),
        service_object("web", &[(80, Protocol::Grpc)]),
    ]);
    let mut both = GrpcAssembly::new(mesh.settings(), &key("shop"));
    let mut one = both.clone();
    for service in mesh.services() {
        let view = ServiceView::new(&mesh, &key("shop"), &service.hostname).unwrap();
        let parts = Arc::new(grpc(&view).value);
        both.set(&service.hostname, Some(parts.clone()));
        if service.hostname == hostname("web") {
            one.set(&service.hostname, Some(parts));
        }
    }
    let before = both.layer().value;
    assert!(before.len() > one.layer().value.len());
    both.set(&hostname("cart"), None);
    let (both, one) = (both.layer().value, one.layer().value);
    for resource_type in ResourceType::ALL {
        assert_eq!(
            both.of_type(resource_type).digest(),
            one.of_type(resource_type).digest()
        );
    }
}

/// The routes of `cart` with one rule attached to it, and the problems.
fn routed(rule: bowline_mesh::HttpRule) -> (Value, Vec<Problem>) {
    let parent = RouteParent::Service {
        hostname: hostname("cart"),
        port: None,
    };
    let route = http_route(vec![parent], vec![rule]);
    let mesh = mesh(vec![
        service_object("cart", &[(80, Protocol::Grpc)]),
        service_object("other", &[(80, Protocol::Grpc)]),
        object("split", Spec::HttpRoute(Arc::new(route))),
    ]);
    let Translated { value, problems } = layer(&mesh, "web");
    let routes = found(
        &value,
        ResourceType::ROUTE,
        "cart.shop.svc.cluster.local:80",
    );
    (routes["virtual_hosts"][0]["routes"].clone(), problems)
}

#[test]
fn attached_routes_split_requests_and_limit_their_time() {
    let mut split = rule(
        vec![below("/shop.Cart")],
        forward(vec![backend("cart", 3), backend("other", 1)]),
    );
    split.timeouts = Timeouts {
        request: Some(Duration::from_secs(3)),
        backend_request: None,
    };
    let (routes, problems) = routed(split);
    assert_eq!(problems, []);
    let action = &routes[0]["route"];
    assert_eq!(
        action["max_stream_duration"],
        json!({"max_stream_duration": "3s"})
    );
    let clusters = action["weighted_clusters"]["clusters"].as_array().unwrap();
    let weights: Vec<_> = clusters.iter().map(|cluster| &cluster["weight"]).collect();
    assert_eq!(weights, [3, 1]);
}

#[test]
fn what_grpc_has_no_means_for_is_said() {
    let mut changes = rule(
        vec![path(PathMatch::Below("/".into()))],
        forward(vec![backend("cart", 1)]),
    );
    changes.request_headers = HeaderChanges {
        remove: vec!["x".into()],
        ..HeaderChanges::default()
    };
    let (_, problems) = routed(changes);
    let codes: Vec<_> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, [Code::NotTranslatable]);
    assert_eq!(&*problems[0].field, "rules[0]");
}

#[test]
fn a_name_is_resolved_by_the_client_where_it_is_the_only_endpoint() {
    let with = |endpoints: Vec<bowline_mesh::Endpoint>| {
        mesh(vec![
            service_object("cart", &[(80, Protocol::Grpc)]),
            endpoints_object("one", "cart", endpoints),
        ])
    };
    let Translated { value, problems } = layer(&with(vec![endpoint("db.example")]), "web");
    let cluster = found(
        &value,
        ResourceType::CLUSTER,
        "outbound|80||cart.shop.svc.cluster.local",
    );
    assert_eq!(cluster["type"], "LOGICAL_DNS");
    assert_eq!(problems, []);
    let several = with(vec![endpoint("db.example"), endpoint("10.0.0.1")]);
    let Translated { value, problems } = layer(&several, "web");
    assert!(
        value.is_empty(),
        "{:?}",
        names(&value, ResourceType::LISTENER)
    );
    let codes: Vec<_> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, [Code::NotTranslatable]);
    // Sidecars take it all the same.
    assert!(
        !parts(&several, Capture::Explicit, &hostname("cart"))
            .clusters
            .is_empty()
    );
}
