//! Every protocol reaches its backend.

use bowline_harness::{HttpBackend, Request, TcpBackend, TlsBackend, eventually, free_port};

use crate::world::{NAMESPACE, Protocol, World, answered, http_services, loopback};

#[tokio::test]
async fn a_sidecar_finds_a_service_by_all_its_names() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let other = HttpBackend::start("other").await.unwrap();
    let services: &[(&str, &[u16])] = &[("cart", &[cart.port()]), ("other", &[other.port()])];
    let world = World::start(&http_services(services), "").await;
    let _sidecar = world.sidecar("caller", Protocol::Delta).await;
    for host in [
        "cart",
        "cart.shop",
        "cart.shop.svc",
        "cart.shop.svc.cluster.local",
        "cart:80",
        "cart.shop.svc.cluster.local:80",
    ] {
        assert_eq!(
            answered(&world.request_to(host)).await.backend(),
            Some("cart"),
            "{host}"
        );
    }
    assert_eq!(
        answered(&world.request_to("other.shop")).await.backend(),
        Some("other")
    );
}

#[tokio::test]
async fn grpc_calls_keep_their_trailers() {
    let calls = HttpBackend::start("calls").await.unwrap();
    let inventory = http_services(&[("calls", &[calls.port()])])
        .replace("protocol: http", "protocol: grpc")
        .replace("{http:", "{grpc:");
    let world = World::start(&inventory, "").await;
    let _sidecar = world.sidecar("caller", Protocol::Delta).await;
    let address = world.request_to("calls").address;
    let call = Request::grpc(address, "calls:80", "/shop.Cart/Add", b"three");
    let answer = answered(&call).await;
    assert_eq!(answer.trailers["grpc-status"], "0");
    assert_eq!(&answer.body[5..], b"three");
}

#[tokio::test]
async fn http2_reaches_the_backend_as_http2() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let inventory = http_services(&[("cart", &[cart.port()])])
        .replace("protocol: http", "protocol: http2")
        .replace("{http:", "{http2:");
    let world = World::start(&inventory, "").await;
    let _sidecar = world.sidecar("caller", Protocol::Delta).await;
    let answer = answered(&world.request_to("cart")).await;
    assert_eq!(answer.json().unwrap()["protocol"], "HTTP/2.0");
}

fn stream_service(protocol: &str, services: &[(&str, u16)], local_port: u16) -> String {
    let mut text = "services:\n".to_owned();
    for (service, _) in services {
        text += &format!(
            "- {{hostname: {service}, ports: [{{number: 443, name: stream, protocol: {protocol}, local_port: {local_port}}}]}}\n"
        );
    }
    text += "workloads:\n- {name: caller, address: 127.0.0.1}\n";
    for (service, port) in services {
        text += &format!(
            "- {{name: m-{service}, address: 127.0.0.1, services: [{service}], ports: {{stream: {port}}}}}\n"
        );
    }
    text
}

#[tokio::test]
async fn tcp_connections_reach_their_service_through_a_sidecar() {
    let database = TcpBackend::start("database").await.unwrap();
    let local = free_port().unwrap();
    let inventory = stream_service("tcp", &[("db.example", database.port())], local);
    let world = World::start(&inventory, "").await;
    let sidecar = world.sidecar("caller", Protocol::Delta).await;
    let name = eventually("the database answers", async || {
        TcpBackend::who_is_behind(loopback(local)).await
    })
    .await
    .unwrap();
    assert_eq!(name, "database");
    sidecar.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn tls_connections_are_told_apart_by_server_name_through_a_sidecar() {
    let one = TlsBackend::start("one.example").await.unwrap();
    let two = TlsBackend::start("two.example").await.unwrap();
    let local = free_port().unwrap();
    let services = [("one.example", one.port()), ("two.example", two.port())];
    let world = World::start(&stream_service("tls", &services, local), "").await;
    let _sidecar = world.sidecar("caller", Protocol::Delta).await;
    for (backend, name) in [(&one, "one.example"), (&two, "two.example")] {
        let behind = eventually("the backend answers", async || {
            backend.who_is_behind(loopback(local), name).await
        })
        .await
        .unwrap();
        assert_eq!(behind, name);
    }
}

#[tokio::test]
async fn a_gateway_passes_tls_through_by_server_name_and_tcp_by_port() {
    let one = TlsBackend::start("one.example").await.unwrap();
    let two = TlsBackend::start("two.example").await.unwrap();
    let plain = TcpBackend::start("plain").await.unwrap();
    let (tls_port, tcp_port) = (free_port().unwrap(), free_port().unwrap());
    let inventory = format!(
        "
services:
- {{name: one, ports: [{{number: 443, name: tls, protocol: tls}}]}}
- {{name: two, ports: [{{number: 443, name: tls, protocol: tls}}]}}
- {{name: plain, ports: [{{number: 5432, name: tcp, protocol: tcp}}]}}
workloads:
- {{name: one-1, address: 127.0.0.1, services: [one], ports: {{tls: {}}}}}
- {{name: two-1, address: 127.0.0.1, services: [two], ports: {{tls: {}}}}}
- {{name: plain-1, address: 127.0.0.1, services: [plain], ports: {{tcp: {}}}}}
",
        one.port(),
        two.port(),
        plain.port()
    );
    let route = |kind: &str, name: &str, section: &str, hostnames: &str, port: u16| {
        format!(
            "---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: {kind}
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec:
  parentRefs: [{{name: edge, sectionName: {section}}}]
  {hostnames}
  rules: [{{backendRefs: [{{name: {name}, port: {port}}}]}}]
"
        )
    };
    let manifests = [
        format!(
            "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge, namespace: {NAMESPACE}}}
spec:
  gatewayClassName: bowline
  listeners:
  - {{name: tls, port: {tls_port}, protocol: TLS, tls: {{mode: Passthrough}}}}
  - {{name: tcp, port: {tcp_port}, protocol: TCP}}
"
        ),
        route("TLSRoute", "one", "tls", "hostnames: [one.example]", 443),
        route("TLSRoute", "two", "tls", "hostnames: [two.example]", 443),
        route("TCPRoute", "plain", "tcp", "", 5432),
    ]
    .concat();
    let world = World::start(&inventory, &manifests).await;
    let gateway = world.gateway(Protocol::Delta).await;
    for (backend, name) in [(&one, "one.example"), (&two, "two.example")] {
        let behind = eventually("the backend answers", async || {
            backend.who_is_behind(loopback(tls_port), name).await
        })
        .await
        .unwrap();
        assert_eq!(behind, name);
    }
    let behind = eventually("the backend answers", async || {
        TcpBackend::who_is_behind(loopback(tcp_port)).await
    })
    .await
    .unwrap();
    assert_eq!(behind, "plain");
    gateway.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn a_sidecar_hands_the_callers_of_its_workload_to_the_application() {
    let application = HttpBackend::start("application").await.unwrap();
    let inbound = free_port().unwrap();
    let inventory = format!(
        "
services: [{{name: cart, ports: [{{number: 80, protocol: http}}]}}]
workloads:
- name: cart-1
  address: 127.0.0.1
  services: [cart]
  ports: [{{name: http, number: {inbound}, protocol: http, app_port: {}}}]
",
        application.port()
    );
    let world = World::start(&inventory, "").await;
    let sidecar = world.sidecar("cart-1", Protocol::Delta).await;
    let direct = answered(&Request::get(loopback(inbound), "cart.shop", "/")).await;
    assert_eq!(direct.backend(), Some("application"));
    // And on the whole way: out of a sidecar, into a sidecar.
    assert_eq!(
        answered(&world.request_to("cart")).await.backend(),
        Some("application")
    );
    sidecar.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn a_connection_straight_to_the_capture_port_does_not_go_round_in_circles() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let world = World::start(&http_services(&[("cart", &[cart.port()])]), "").await;
    let node = [
        "--role",
        "sidecar",
        "--name",
        "caller",
        "--capture",
        "transparent",
    ];
    let mut sidecar = world.envoy("sidecar", &node, Protocol::Delta).await;
    sidecar.ready().await.unwrap();
    let capture = eventually("it listens for captured connections", async || {
        let listeners = sidecar
            .listeners()
            .await
            .map_err(|error| error.to_string())?;
        listeners
            .get("virtualOutbound")
            .copied()
            .ok_or(format!("{listeners:?}"))
    })
    .await
    .unwrap();
    let answer = Request::get(loopback(capture.port()), "cart", "/")
        .send()
        .await;
    assert!(answer.is_err(), "{answer:?}");
    let connections = sidecar
        .stat("listener.0.0.0.0_15001.downstream_cx_total")
        .await
        .unwrap();
    assert!(connections <= 1, "{connections} connections came of one");
}

#[tokio::test]
async fn a_machine_that_fails_its_health_check_gets_no_requests_until_it_is_well() {
    let well = HttpBackend::start("well").await.unwrap();
    let ill = HttpBackend::start("ill").await.unwrap();
    let check = "name: cart, health_check: {http: {path: /healthz}, interval: 100ms, timeout: 1s, unhealthy_threshold: 1, healthy_threshold: 1},";
    let inventory =
        http_services(&[("cart", &[well.port(), ill.port()])]).replace("name: cart,", check);
    let world = World::start(&inventory, "").await;
    let _sidecar = world.sidecar("caller", Protocol::Delta).await;
    answered(&world.request_to("cart")).await;
    let load = crate::world::load(&world.request_to("cart"), bowline_harness::Connections::New);

    crate::world::until(&load, "both answer", |report| report.answered_by("ill") > 5).await;
    ill.answer_with(http::StatusCode::SERVICE_UNAVAILABLE);
    crate::world::until(&load, "only one answers", |report| {
        report.since_last_of("ill") >= 100
    })
    .await;
    load.take_report();
    ill.answer_with(http::StatusCode::OK);
    crate::world::until(&load, "both answer again", |report| {
        report.answered_by("ill") > 5
    })
    .await;
}

#[tokio::test]
async fn a_machine_with_a_dns_name_is_found_by_dns() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let inventory = http_services(&[("cart", &[cart.port()])]);
    let name = format!("name: cart-{}, address: ", cart.port());
    let inventory = inventory.replace(&format!("{name}127.0.0.1"), &format!("{name}localhost"));
    assert!(inventory.contains("localhost"));
    let world = World::start(&inventory, "").await;
    let sidecar = world.sidecar("caller", Protocol::Delta).await;
    assert_eq!(
        answered(&world.request_to("cart")).await.backend(),
        Some("cart")
    );
    sidecar.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn callers_stay_in_their_zone_while_somebody_is_there() {
    let near = HttpBackend::start("near").await.unwrap();
    let far = HttpBackend::start("far").await.unwrap();
    let inventory = |near_health: &str| {
        format!(
            "
services: [{{name: cart, ports: [{{number: 80, protocol: http}}], prefer: zone}}]
workloads:
- {{name: caller, address: 127.0.0.1, locality: eu/eu-1}}
- {{name: near, address: 127.0.0.1, services: [cart], ports: {{http: {}}}, locality: eu/eu-1, health: {near_health}}}
- {{name: far, address: 127.0.0.1, services: [cart], ports: {{http: {}}}, locality: eu/eu-2}}
",
            near.port(),
            far.port()
        )
    };
    let world = World::start(&inventory("healthy"), "").await;
    let _sidecar = world.sidecar("caller", Protocol::Delta).await;
    answered(&world.request_to("cart")).await;
    let load = crate::world::load(&world.request_to("cart"), bowline_harness::Connections::New);
    crate::world::until(&load, "requests run", |report| report.succeeded >= 100).await;
    let report = load.take_report();
    assert_eq!(report.answered_by("near"), report.succeeded, "{report}");

    world.write_inventory(&inventory("unhealthy"));
    crate::world::until(&load, "the other zone takes over", |report| {
        report.since_last_of("near") >= 50
    })
    .await;
    load.stop().await.none_failed().unwrap();
}

#[tokio::test]
async fn machines_get_requests_by_their_weight() {
    let light = HttpBackend::start("light").await.unwrap();
    let heavy = HttpBackend::start("heavy").await.unwrap();
    let none = HttpBackend::start("none").await.unwrap();
    let inventory = format!(
        "
services: [{{name: cart, ports: [{{number: 80, protocol: http}}]}}]
workloads:
- {{name: caller, address: 127.0.0.1}}
- {{name: light, address: 127.0.0.1, services: [cart], ports: {{http: {}}}, weight: 1}}
- {{name: heavy, address: 127.0.0.1, services: [cart], ports: {{http: {}}}, weight: 9}}
- {{name: none, address: 127.0.0.1, services: [cart], ports: {{http: {}}}, weight: 0}}
",
        light.port(),
        heavy.port(),
        none.port()
    );
    let world = World::start(&inventory, "").await;
    let _sidecar = world.sidecar("caller", Protocol::Delta).await;
    answered(&world.request_to("cart")).await;
    let load = crate::world::load(&world.request_to("cart"), bowline_harness::Connections::New);
    crate::world::until(&load, "requests run", |report| report.succeeded >= 200).await;
    let report = load.stop().await;
    report.none_failed().unwrap();
    let share = report.answered_by("heavy") as f64 / report.succeeded as f64;
    assert!((0.8..0.98).contains(&share), "{report}");
    assert_eq!(report.answered_by("none"), 0, "{report}");
}
