//! Envoy takes everything that it is sent.

use bowline_harness::{eventually, free_port};
use serde_json::Value;

use crate::world::{Protocol, World, gateway_with_rules};

/// One service of every protocol, with addresses, DNS names and a socket.
fn every_protocol() -> String {
    let ports: Vec<_> = (0..2).map(|_| free_port().unwrap()).collect();
    format!(
        "
services:
- {{name: web, ports: [{{number: 80, protocol: http}}, {{number: 8080, name: admin, protocol: http}}]}}
- {{name: web2, ports: [{{number: 80, protocol: http2}}], prefer: zone}}
- {{name: calls, ports: [{{number: 9000, protocol: grpc}}], health_check: {{grpc: {{}}}}}}
- {{name: database, ports: [{{number: 5432, protocol: tcp, local_port: {}}}], health_check: {{tcp: {{}}}}}}
- {{name: secure, ports: [{{number: 443, protocol: tls, local_port: {}}}]}}
- {{name: unknown, ports: [{{number: 7000, protocol: auto}}]}}
- {{name: direct, ports: [{{number: 81, protocol: http}}], headless: true}}
- {{hostname: api.example.com, ports: [{{number: 80, protocol: http}}], traffic: {{connect_timeout: 1s, connections_max: 10}}}}
- {{name: local, ports: [{{number: 82, protocol: http}}], health_check: {{http: {{path: /healthz}}}}}}
workloads:
- name: caller
  address: 127.0.0.1
  services: [web]
  ports: [{{name: http, number: 28080, protocol: http, app_port: 28081}}, {{name: admin, number: 28082, protocol: auto}}]
- {{name: web-1, address: 192.0.2.1, services: [web, web2], ports: {{http: 8080, admin: 8081, http2: 8082}}, locality: eu/eu-1/rack-1, weight: 3}}
- {{name: web-2, address: 192.0.2.2, services: [web, web2], ports: {{http: 8080, admin: 8081, http2: 8082}}, locality: eu/eu-2, health: draining}}
- {{name: web-3, address: 192.0.2.3, services: [web], ports: {{http: 8080, admin: 8081}}, weight: 0}}
- {{name: rest-1, address: 192.0.2.4, services: [calls, database, secure, unknown, direct], ports: {{grpc: 1, tcp: 2, tls: 3, port-7000: 4, http: 5}}}}
- {{name: api-1, address: localhost, services: [api.example.com], ports: {{http: 80}}}}
- {{name: local-1, address: \"unix:/run/local.sock\", services: [local], ports: {{http: 1}}}}
",
        ports[0], ports[1]
    )
}

async fn check(protocol: Protocol, node: &[&str], listeners: &[&str]) {
    let port = free_port().unwrap();
    let rules = "[{backendRefs: [{name: web, port: 80}]}]";
    let world = World::start(&every_protocol(), &gateway_with_rules(port, rules)).await;
    let mut envoy = world.envoy("envoy", node, protocol).await;
    envoy.ready().await.unwrap();

    let there = eventually("every listener is there", async || {
        let there = envoy.listeners().await.map_err(|error| error.to_string())?;
        let wanted = listeners
            .iter()
            .all(|wanted| there.keys().any(|name| name.contains(wanted)));
        if wanted {
            Ok(there)
        } else {
            Err(format!("{there:?}"))
        }
    })
    .await
    .unwrap();
    assert!(!there.is_empty());
    envoy.rejected_nothing().await.unwrap();

    let proxies = world.bowline.admin_json("/v1/proxies").await.unwrap();
    let types = proxies[0]["types"].as_object().unwrap();
    assert!(!types.is_empty(), "{proxies}");
    for (name, status) in types {
        assert!(status["rejected"].is_null(), "{name}: {status}");
    }
}

#[tokio::test]
async fn a_gateway_takes_all_by_delta() {
    check(
        Protocol::Delta,
        &["--role", "gateway", "--name", "edge"],
        &["0.0.0.0"],
    )
    .await;
}

#[tokio::test]
async fn a_gateway_takes_all_by_state_of_the_world() {
    check(
        Protocol::StateOfTheWorld,
        &["--role", "gateway", "--name", "edge"],
        &["0.0.0.0"],
    )
    .await;
}

#[tokio::test]
async fn an_explicit_sidecar_takes_all_by_delta() {
    check(
        Protocol::Delta,
        &["--role", "sidecar", "--name", "caller"],
        &["127.0.0.1"],
    )
    .await;
}

#[tokio::test]
async fn an_explicit_sidecar_takes_all_by_state_of_the_world() {
    check(
        Protocol::StateOfTheWorld,
        &["--role", "sidecar", "--name", "caller"],
        &["127.0.0.1"],
    )
    .await;
}

const TRANSPARENT: &[&str] = &[
    "--role",
    "sidecar",
    "--name",
    "caller",
    "--capture",
    "transparent",
];

#[tokio::test]
async fn a_transparent_sidecar_takes_all_by_delta() {
    check(
        Protocol::Delta,
        TRANSPARENT,
        &["virtualOutbound", "virtualInbound"],
    )
    .await;
}

#[tokio::test]
async fn a_transparent_sidecar_takes_all_by_state_of_the_world() {
    check(
        Protocol::StateOfTheWorld,
        TRANSPARENT,
        &["virtualOutbound", "virtualInbound"],
    )
    .await;
}

#[tokio::test]
async fn what_render_prints_from_files_is_what_a_proxy_gets() {
    let port = free_port().unwrap();
    let rules = "[{backendRefs: [{name: web, port: 80}]}]";
    let world = World::start(&every_protocol(), &gateway_with_rules(port, rules)).await;
    let _gateway = world.gateway(Protocol::Delta).await;
    let offline = ["render", "--gateway", "shop/edge", "-o", "json"];
    let from_files = world.bowline.output(&offline).await.unwrap();
    let from_files: Value = serde_json::from_str(&from_files).unwrap();

    let proxies = world.bowline.admin_json("/v1/proxies").await.unwrap();
    let id = proxies[0]["id"].as_str().unwrap();
    let served = world
        .bowline
        .admin_json(&format!("/v1/proxies/{id}/resources"))
        .await
        .unwrap();
    assert_eq!(from_files, served["resources"]);
}
