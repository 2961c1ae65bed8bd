use bowline_mesh::{Code, HostLookup, Protocol, RouteParent, Service, Spec};
use bowline_snapshot::ResourceType;
use serde_json::{Value, json};

use super::*;
use crate::{
    testing::*,
    unknown_host::{self, UnknownHost},
};

const EXPLICIT: Capture = Capture::Explicit;
const TRANSPARENT: Capture = Capture::Transparent;

fn with_address(name: &str, address: &str, ports: &[(u16, Protocol)]) -> bowline_mesh::Object {
    let service = Service {
        addresses: vec![address.parse().unwrap()],
        ..plain_service(name, ports)
    };
    object(name, Spec::Service(Arc::new(service)))
}

fn domains(layer: &Layer, routes: &str, host: &str) -> Value {
    let routes = found(layer, ResourceType::ROUTE, routes);
    let hosts = routes["virtual_hosts"].as_array().unwrap().clone();
    let host = hosts.into_iter().find(|found| found["name"] == host);
    host.map_or(Value::Null, |host| host["domains"].clone())
}

#[test]
fn explicit_http_is_routed_by_host_and_port() {
    let mesh = mesh(vec![
        service_object("cart", &[(80, Protocol::Http), (9000, Protocol::Auto)]),
        service_object("web", &[(8080, Protocol::Http2)]),
    ]);
    let layer = assembly(&mesh, EXPLICIT).layer();
    assert_eq!(layer.problems, []);
    let layer = layer.value;
    assert_eq!(names(&layer, ResourceType::LISTENER), ["127.0.0.1_15080"]);
    assert_eq!(names(&layer, ResourceType::ROUTE), ["http"]);
    assert_eq!(
        domains(&layer, "http", "http/cart.shop.svc.cluster.local:80"),
        json!([
            "cart.shop.svc.cluster.local",
            "cart.shop.svc.cluster.local:80",
            "cart.shop.svc",
            "cart.shop.svc:80",
            "cart.shop",
            "cart.shop:80",
            "cart",
            "cart:80"
        ])
    );
    let named_with_port = domains(&layer, "http", "http/cart.shop.svc.cluster.local:9000");
    assert_eq!(named_with_port[0], "cart.shop.svc.cluster.local:9000");
    assert_eq!(named_with_port.as_array().unwrap().len(), 4);
    // The only HTTP port needs no number.
    assert_eq!(
        domains(&layer, "http", "http/web.shop.svc.cluster.local:8080")[0],
        "web.shop.svc.cluster.local"
    );
}

#[test]
fn a_name_that_two_services_claim_is_in_the_routes_once() {
    let called_like = |hostname: &str, name: &str| {
        let service = Service {
            hostname: hostname.parse().unwrap(),
            ..plain_service(name, &[(80, Protocol::Http)])
        };
        object(name, Spec::Service(Arc::new(service)))
    };
    // "cart.shop" is the short name of one and the hostname of the other.
    let mesh = mesh(vec![
        service_object("cart", &[(80, Protocol::Http)]),
        called_like("cart.shop", "other"),
    ]);
    let mut assembly = assembly(&mesh, TRANSPARENT);
    let translated = assembly.layer();
    let layer = translated.value;
    let of_cart = domains(&layer, "80", "80/cart.shop.svc.cluster.local");
    assert!(
        !of_cart.as_array().unwrap().contains(&json!("cart.shop")),
        "{of_cart}"
    );
    assert!(
        domains(&layer, "80", "80/cart.shop")
            .as_array()
            .unwrap()
            .contains(&json!("cart.shop"))
    );
    assert!(
        translated
            .problems
            .iter()
            .all(|problem| problem.code == Code::Shadowed)
    );
    assert!(!translated.problems.is_empty());

    // When the owner goes, the short name is free again.
    assembly.set(&"cart.shop".parse().unwrap(), None);
    let translated = assembly.layer();
    assert_eq!(translated.problems, []);
    assert!(
        domains(&translated.value, "80", "80/cart.shop.svc.cluster.local")
            .as_array()
            .unwrap()
            .contains(&json!("cart.shop"))
    );
}

#[test]
fn what_came_in_steps_is_what_comes_at_once() {
    let all = mesh(vec![
        service_object(
            "cart",
            &[
                (80, Protocol::Http),
                (443, Protocol::Tls),
                (9000, Protocol::Auto),
            ],
        ),
        with_address(
            "db",
            "10.0.0.9",
            &[(80, Protocol::Tcp), (5432, Protocol::Tcp)],
        ),
        with_address(
            "web",
            "10.0.0.8",
            &[(80, Protocol::Http), (9000, Protocol::Auto)],
        ),
    ]);
    for capture in [EXPLICIT, TRANSPARENT] {
        let at_once = assembly(&all, capture).layer();
        let mut in_steps = OutboundAssembly::new(all.settings(), &outbound_key(capture));
        let empty = in_steps.layer().value;
        let names = ["web", "cart", "db"].map(hostname);
        for name in &names {
            in_steps.set(name, Some(parts(&all, capture, name)));
            in_steps.layer();
        }
        for name in &names {
            in_steps.set(name, None);
            in_steps.layer();
            in_steps.set(name, Some(parts(&all, capture, name)));
        }
        let steps = in_steps.layer();
        let versions = |layer: &Layer| -> Vec<_> {
            layer
                .iter()
                .map(|(of, resource)| (of, resource.name().clone(), resource.version()))
                .collect()
        };
        assert_eq!(
            versions(&at_once.value),
            versions(&steps.value),
            "{capture:?}"
        );
        assert_eq!(at_once.problems, steps.problems);
        names.iter().for_each(|name| in_steps.set(name, None));
        assert_eq!(
            versions(&in_steps.layer().value),
            versions(&empty),
            "{capture:?}"
        );
    }
}

#[test]
fn the_same_parts_again_change_nothing() {
    let mesh = mesh(vec![service_object("cart", &[(80, Protocol::Http)])]);
    let cart = hostname("cart");
    let shared = parts(&mesh, TRANSPARENT, &cart);
    let mut assembly = OutboundAssembly::new(mesh.settings(), &outbound_key(TRANSPARENT));
    assembly.set(&cart, Some(shared.clone()));
    let before = assembly.layer().value;
    let mut other = assembly.for_key(mesh.settings(), &outbound_key(TRANSPARENT));
    other.set(&cart, Some(shared));
    assert!(other.layer().value.is_same(&before));
    // Parts that are equal but not the same are looked at, and found to change nothing.
    other.set(&cart, Some(parts(&mesh, TRANSPARENT, &cart)));
    assert!(other.layer().value.is_same(&before));
}

#[test]
fn two_tcp_services_on_one_local_port_are_a_problem_of_the_second() {
    let mesh = mesh(vec![
        service_object("a", &[(5432, Protocol::Tcp)]),
        service_object("b", &[(5432, Protocol::Tcp)]),
        service_object("c", &[(5432, Protocol::Tls)]),
        service_object("d", &[(15080, Protocol::Tcp)]),
    ]);
    let translated = assembly(&mesh, EXPLICIT).layer();
    let layer = translated.value;
    assert_eq!(
        names(&layer, ResourceType::LISTENER),
        ["127.0.0.1_15080", "127.0.0.1_5432"]
    );
    let listener = found(&layer, ResourceType::LISTENER, "127.0.0.1_5432");
    assert!(
        listener.to_string().contains("outbound|5432||a.shop"),
        "{listener}"
    );
    let who: Vec<_> = translated
        .problems
        .iter()
        .map(|problem| (problem.code, &*problem.object.as_ref().unwrap().name))
        .collect();
    assert_eq!(
        who,
        ["b", "c", "d"].map(|name| (Code::ListenerConflict, name))
    );
}

#[test]
fn tls_services_share_a_local_port_by_server_name() {
    let mesh = mesh(vec![
        service_object("a", &[(443, Protocol::Tls)]),
        service_object("b", &[(443, Protocol::Tls)]),
    ]);
    let translated = assembly(&mesh, EXPLICIT).layer();
    assert_eq!(translated.problems, []);
    let listener = found(&translated.value, ResourceType::LISTENER, "127.0.0.1_443");
    let names = |chain: usize| {
        listener["filter_chains"][chain]["filter_chain_match"]["server_names"].clone()
    };
    assert_eq!(
        names(0),
        json!(["a.shop.svc.cluster.local", "a.shop.svc", "a.shop", "a"])
    );
    assert_eq!(names(1)[0], "b.shop.svc.cluster.local");
}

#[test]
fn http_and_tcp_share_a_captured_port() {
    let mesh = mesh(vec![
        with_address("web", "10.0.0.8", &[(80, Protocol::Http)]),
        with_address("db", "10.0.0.9", &[(80, Protocol::Tcp)]),
    ]);
    let translated = assembly(&mesh, TRANSPARENT).layer();
    assert_eq!(translated.problems, []);
    assert_eq!(
        names(&translated.value, ResourceType::LISTENER),
        [
            "0.0.0.0_80",
            "10.0.0.9_80",
            name::DNS_LISTENER,
            name::VIRTUAL_OUTBOUND
        ]
    );
    assert_eq!(
        domains(&translated.value, "80", "80/web.shop.svc.cluster.local"),
        json!([
            "web.shop.svc.cluster.local",
            "web.shop.svc",
            "web.shop",
            "web",
            "10.0.0.8"
        ])
    );
}

#[test]
fn a_services_port_is_never_the_sidecars_own() {
    let mesh = mesh(vec![with_address(
        "web",
        "10.0.0.8",
        &[(15001, Protocol::Http), (15006, Protocol::Tcp)],
    )]);
    let view =
        bowline_mesh::view::ServiceView::new(&mesh, &outbound_key(TRANSPARENT), &hostname("web"))
            .unwrap();
    let translated = crate::service(&view, TRANSPARENT);
    let codes: Vec<_> = translated
        .problems
        .iter()
        .map(|problem| problem.code)
        .collect();
    assert_eq!(codes, [Code::ListenerConflict; 2]);
    let layer = assembly(&mesh, TRANSPARENT).layer().value;
    assert_eq!(
        names(&layer, ResourceType::LISTENER),
        [name::DNS_LISTENER, name::VIRTUAL_OUTBOUND]
    );
}

#[test]
fn the_dns_table_has_virtual_addresses_by_all_names() {
    let mesh = mesh(vec![
        service_object("cart", &[(80, Protocol::Http)]),
        with_address("web", "10.0.0.8", &[(80, Protocol::Http)]),
    ]);
    let layer = assembly(&mesh, TRANSPARENT).layer().value;
    let listener = found(&layer, ResourceType::LISTENER, name::DNS_LISTENER);
    let config = &listener["listener_filters"][0]["typed_config"];
    let table = config["server_config"]["inline_dns_table"]["virtual_domains"]
        .as_array()
        .unwrap();
    let found: Vec<_> = table
        .iter()
        .map(|domain| domain["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        found,
        [
            "cart",
            "cart.shop",
            "cart.shop.svc",
            "cart.shop.svc.cluster.local"
        ]
    );
    assert_eq!(config["client_config"]["max_pending_lookups"], 256);
}

#[test]
fn what_a_registry_says_twice_or_oddly_is_there_once() {
    let service = Service {
        addresses: vec!["10.0.0.8".parse().unwrap(); 2],
        ..plain_service(
            "web",
            &[
                (80, Protocol::Http),
                (81, Protocol::Tcp),
                (443, Protocol::Tls),
            ],
        )
    };
    let mut local = plain_service(
        "local",
        &[
            (80, Protocol::Tcp),
            (81, Protocol::Tcp),
            (82, Protocol::Tls),
        ],
    );
    local
        .ports
        .iter_mut()
        .for_each(|port| port.local_port = Some(6000));
    let mesh = mesh(vec![
        object("*", Spec::Service(Arc::new(service))),
        object("local", Spec::Service(Arc::new(local))),
    ]);
    let layer = assembly(&mesh, TRANSPARENT).layer().value;
    assert_eq!(
        domains(&layer, "80", "80/web.shop.svc.cluster.local"),
        json!(["web.shop.svc.cluster.local", "10.0.0.8"])
    );
    let key = outbound_key(EXPLICIT);
    let view = bowline_mesh::view::ServiceView::new(&mesh, &key, &hostname("local")).unwrap();
    let codes: Vec<_> = crate::service(&view, EXPLICIT)
        .problems
        .iter()
        .map(|problem| problem.code)
        .collect();
    assert_eq!(codes, [Code::ListenerConflict]);
    let layer = assembly(&mesh, EXPLICIT).layer().value;
    let listener = found(&layer, ResourceType::LISTENER, "127.0.0.1_6000");
    assert!(
        listener.to_string().contains("outbound|80||local"),
        "{listener}"
    );
}

#[test]
fn bytes_on_a_sniffed_port_have_a_chain_that_envoy_finds() {
    let mesh = mesh(vec![with_address(
        "any",
        "10.0.0.8",
        &[(9000, Protocol::Auto)],
    )]);
    let layer = assembly(&mesh, TRANSPARENT).layer().value;
    let listener = found(&layer, ResourceType::LISTENER, "10.0.0.8_9000");
    // Beside a chain for HTTP without TLS, one that matches everything is never looked at; the default chain is.
    assert_eq!(listener["filter_chains"].as_array().unwrap().len(), 1);
    assert!(
        listener["default_filter_chain"]
            .to_string()
            .contains("tcp_proxy"),
        "{listener}"
    );
}

#[test]
fn only_a_proxy_that_can_look_hosts_up_forwards_requests_to_unknown_ones() {
    let mesh = mesh(vec![service_object("cart", &[(80, Protocol::Http)])]);
    let with = assembly(&mesh, EXPLICIT);
    let key = OutboundKey {
        host_lookup: HostLookup::Unavailable,
        ..outbound_key(EXPLICIT)
    };
    let mut without = with.for_key(mesh.settings(), &key);
    let has_lookup = |assembly: &mut OutboundAssembly| {
        let layer = assembly.layer().value;
        [
            json!(names(&layer, ResourceType::CLUSTER)),
            found(&layer, ResourceType::LISTENER, "127.0.0.1_15080"),
            found(&layer, ResourceType::ROUTE, "http"),
        ]
        .map(|value| {
            let text = value.to_string();
            text.contains("HostPassthroughCluster") || text.contains("dynamic_forward_proxy")
        })
    };
    assert_eq!(has_lookup(&mut with.clone()), [true; 3]);
    assert_eq!(has_lookup(&mut without), [false; 3]);
}

#[test]
fn hosts_without_a_port_are_a_loop_where_the_listener_has_the_port_that_they_mean() {
    let loops = |listener_port| {
        let routes = unknown_host::routes(UnknownHost::IsLookedUp, listener_port);
        json_of(&routes[0])["match"]["headers"][0]["string_match"].clone()
    };
    let with_or_without = r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z_.-]+)(:80)?";
    assert_eq!(loops(80), json!({"safe_regex": {"regex": with_or_without}}));
    assert_eq!(loops(15080), json!({"suffix": ":15080"}));
}

#[test]
fn a_local_listener_on_the_port_of_envoys_admin_interface_is_warned_of() {
    let mesh = mesh(vec![
        service_object("db", &[(15000, Protocol::Tcp)]),
        service_object("web", &[(15000, Protocol::Http)]),
    ]);
    let key = outbound_key(EXPLICIT);
    let codes = |name, capture| -> Vec<String> {
        let view = bowline_mesh::view::ServiceView::new(&mesh, &key, &hostname(name)).unwrap();
        let problems = crate::service(&view, capture).problems;
        problems.iter().map(ToString::to_string).collect()
    };
    let warned = codes("db", EXPLICIT);
    assert_eq!(warned.len(), 1);
    assert!(warned[0].starts_with("BW0401 warning"), "{warned:?}");
    assert!(warned[0].contains("port 15000 is that of Envoy's admin interface"));
    // Nobody listens there for these.
    assert!(codes("web", EXPLICIT).is_empty());
    assert!(codes("db", TRANSPARENT).is_empty());
}

fn by_host(capture: Capture) -> OutboundKey {
    OutboundKey {
        route_delivery: RouteDelivery::ByHost,
        ..outbound_key(capture)
    }
}

#[test]
fn a_host_that_comes_by_itself_changes_nothing_else() {
    let one = mesh(vec![service_object("cart", &[(80, Protocol::Http)])]);
    let both = mesh(vec![
        service_object("cart", &[(80, Protocol::Http)]),
        service_object("web", &[(80, Protocol::Http)]),
    ]);
    for (capture, routes, host) in [
        (EXPLICIT, "http", "http/web.shop.svc.cluster.local:80"),
        (TRANSPARENT, "80", "80/web.shop.svc.cluster.local"),
    ] {
        let mut assembly = assembly(&one, capture).for_key(one.settings(), &by_host(capture));
        let before = assembly.layer().value;
        let web = hostname("web");
        assembly.set(&web, Some(parts(&both, capture, &web)));
        let after = assembly.layer().value;
        let changed = |of: ResourceType| -> Vec<_> {
            let changes = after.of_type(of).changes_since(before.of_type(of));
            changes
                .map(|change| change.resource().name().to_string())
                .collect()
        };
        assert_eq!(changed(ResourceType::ROUTE), [""; 0], "{capture:?}");
        assert_eq!(changed(ResourceType::VIRTUAL_HOST), [host]);
        assert_eq!(
            changed(ResourceType::CLUSTER),
            ["outbound|80||web.shop.svc.cluster.local"]
        );

        let configuration = found(&after, ResourceType::ROUTE, routes);
        assert!(
            configuration["vhds"]["config_source"]["ads"].is_object(),
            "{configuration}"
        );
        assert!(configuration["virtual_hosts"].is_null(), "{configuration}");
        // Envoy takes a virtual host away by the name of its resource.
        assert_eq!(
            found(&after, ResourceType::VIRTUAL_HOST, host)["name"],
            host
        );
    }
}

#[test]
fn a_table_without_services_has_a_host_to_wait_for() {
    let mesh = mesh(vec![service_object("cart", &[(80, Protocol::Http)])]);
    let cart = hostname("cart");
    let mut explicit = OutboundAssembly::new(mesh.settings(), &by_host(EXPLICIT));
    let empty = explicit.layer().value;
    assert_eq!(names(&empty, ResourceType::VIRTUAL_HOST), ["http/*"]);
    explicit.set(&cart, Some(parts(&mesh, EXPLICIT, &cart)));
    explicit.layer();
    explicit.set(&cart, None);
    let again = explicit.layer().value;
    let versions = |layer: &Layer| ResourceType::ALL.map(|of| layer.of_type(of).digest());
    assert_eq!(versions(&empty), versions(&again));

    let mut transparent = OutboundAssembly::new(mesh.settings(), &by_host(TRANSPARENT));
    let hosts = |assembly: &mut OutboundAssembly| {
        let layer = assembly.layer().value;
        [ResourceType::ROUTE, ResourceType::VIRTUAL_HOST].map(|of| layer.of_type(of).len())
    };
    assert_eq!(hosts(&mut transparent), [0, 0]);
    transparent.set(&cart, Some(parts(&mesh, TRANSPARENT, &cart)));
    assert_eq!(hosts(&mut transparent), [1, 2]);
    transparent.set(&cart, None);
    assert_eq!(hosts(&mut transparent), [0, 0]);
}

#[test]
fn services_are_encoded_once_for_both_ways_in_which_routes_come() {
    let mesh = mesh(vec![service_object("cart", &[(80, Protocol::Http)])]);
    let whole = assembly(&mesh, EXPLICIT);
    let by_host = whole.for_key(mesh.settings(), &by_host(EXPLICIT));
    let cart = hostname("cart");
    let [one, other] = [&whole, &by_host].map(|assembly| &assembly.services[&cart]);
    assert!(Arc::ptr_eq(one, other));
    let host = &one.virtual_hosts[0];
    let [field, message, rest] =
        [&host.whole.field, &host.whole.message, &host.rest].map(|bytes| bytes.as_ptr_range().end);
    assert!(field == message && message == rest);
}

#[test]
fn a_virtual_host_names_the_routes_that_it_is_made_from() {
    let parent = RouteParent::Service {
        hostname: hostname("cart"),
        port: None,
    };
    let rules = vec![rule(vec![below("/")], forward(vec![backend("cart", 1)]))];
    let route = http_route(vec![parent], rules);
    let mesh = mesh(vec![
        service_object("cart", &[(80, Protocol::Http)]),
        object("split", Spec::HttpRoute(Arc::new(route))),
    ]);
    let mut assembly = assembly(&mesh, EXPLICIT).for_key(mesh.settings(), &by_host(EXPLICIT));
    let layer = assembly.layer().value;
    let name = "http/cart.shop.svc.cluster.local:80";
    let host = layer.get(ResourceType::VIRTUAL_HOST, name).unwrap();
    let origins: Vec<_> = host.origins().iter().map(|key| &**key).collect();
    assert_eq!(origins.len(), 2);
    assert!(
        origins[0].contains("cart") && origins[1].contains("split"),
        "{origins:?}"
    );
}
