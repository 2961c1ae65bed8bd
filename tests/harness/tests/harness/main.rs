//! The parts themselves: what a test believes because the harness says so.

mod consul;
mod consul_parity;
mod consul_transport;
#[cfg(test)]
mod kubernetes;

use std::{net::SocketAddr, time::Duration};

use bowline_harness::{
    Connections, Envoy, HttpBackend, Load, Request, TcpBackend, TlsBackend, eventually, free_port,
    within,
};
use http::{Method, StatusCode};

const BOOTSTRAP: &str = "
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
  - name: front
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: front
          cluster: backend
  clusters:
  - name: backend
    load_assignment:
      cluster_name: backend
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: PORT}}}
";

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("the machine has a folder for temporary files")
}

#[tokio::test]
async fn a_real_envoy_forwards_to_a_backend() {
    let folder = folder();
    let backend = HttpBackend::start("cart").await.unwrap();
    let bootstrap = BOOTSTRAP.replace("PORT", &backend.port().to_string());
    let mut envoy = Envoy::start("front", &bootstrap, folder.path())
        .await
        .unwrap();
    envoy.ready().await.unwrap();
    let front = envoy.listeners().await.unwrap()["front"];

    let answer = Request::get(front, "cart.example", "/items?id=1")
        .header("x-test", "yes")
        .send()
        .await
        .unwrap();

    let echo = answer.json().unwrap();
    assert_eq!(answer.backend(), Some("cart"));
    assert_eq!(echo["host"], "cart.example");
    assert_eq!(echo["path"], "/items?id=1");
    assert_eq!(echo["headers"]["x-test"], "yes");
    assert_eq!(backend.requests(), 1);
    assert!(
        envoy
            .stat("cluster.backend.upstream_cx_total")
            .await
            .unwrap()
            >= 1
    );
    assert_eq!(envoy.clusters().await.unwrap(), ["backend"]);
    envoy.rejected_nothing().await.unwrap();
    envoy.kill().await.unwrap();
    assert!(
        Request::get(front, "cart.example", "/")
            .send()
            .await
            .is_err()
    );
}

#[tokio::test]
async fn an_envoy_that_refuses_its_bootstrap_says_why() {
    let folder = folder();
    let error = Envoy::start("broken", "adnim: {}", folder.path())
        .await
        .unwrap_err();
    assert!(format!("{error:#}").contains("adnim"), "{error:#}");

    let verdict = Envoy::validate("adnim: {}", folder.path()).await.unwrap();
    assert!(!verdict.success);
}

#[tokio::test]
async fn every_protocol_reaches_a_backend() {
    let backend = HttpBackend::start("cart").await.unwrap();
    let http2 = Request::get(backend.address(), "cart.example", "/").http2();
    assert_eq!(
        http2.send().await.unwrap().json().unwrap()["protocol"],
        "HTTP/2.0"
    );

    let posted = Request::get(backend.address(), "cart.example", "/")
        .method(Method::POST)
        .header("x-status", "201");
    assert_eq!(posted.send().await.unwrap().status, StatusCode::CREATED);

    let call = Request::grpc(
        backend.address(),
        "cart.example",
        "/shop.Cart/Add",
        b"three",
    )
    .send()
    .await
    .unwrap();
    assert_eq!(call.trailers["grpc-status"], "0");
    assert_eq!(&call.body[5..], b"three");

    let tcp = TcpBackend::start("database").await.unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], tcp.port()));
    assert_eq!(
        TcpBackend::who_is_behind(address).await.unwrap(),
        "database"
    );

    let tls = TlsBackend::start("secure.example").await.unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], tls.port()));
    let behind = tls.who_is_behind(address, "secure.example").await.unwrap();
    assert_eq!(behind, "secure.example");
    assert!(tls.who_is_behind(address, "other.example").await.is_err());
}

#[tokio::test]
async fn a_load_counts_what_succeeds_and_what_fails() {
    for connections in [Connections::Kept, Connections::New] {
        let backend = HttpBackend::start("cart").await.unwrap();
        let request = Request::get(backend.address(), "cart.example", "/");
        let load = Load::start(&request, connections, 2, 500);
        eventually("some requests are answered", async || {
            (load.report().succeeded >= 20)
                .then_some(())
                .ok_or("not yet")
        })
        .await
        .unwrap();
        let good = load.take_report();
        good.none_failed().unwrap();
        assert_eq!(good.answered_by("cart"), good.succeeded);
        assert!(good.latency(50) <= good.latency(99));

        backend.answer_with(StatusCode::SERVICE_UNAVAILABLE);
        eventually("some requests fail", async || {
            (load.report().failed >= 2).then_some(()).ok_or("not yet")
        })
        .await
        .unwrap();
        let report = load.stop().await;
        let error = report.none_failed().unwrap_err().to_string();
        assert!(error.contains("503"), "{error}");
    }
}

#[tokio::test]
async fn a_load_without_an_answer_is_a_failure() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let load = Load::start(&Request::get(nobody, "x", "/"), Connections::Kept, 1, 100);
    eventually("a request fails", async || {
        (load.report().failed > 0).then_some(()).ok_or("not yet")
    })
    .await
    .unwrap();
    assert!(load.stop().await.none_failed().is_err());
}

#[tokio::test]
async fn what_never_holds_is_reported_with_its_last_reason() {
    let error = within(Duration::from_millis(20), "pigs fly", async || {
        Err::<(), _>("no wings")
    })
    .await
    .unwrap_err();
    assert!(
        error.to_string().starts_with("pigs fly: not within 20ms"),
        "{error}"
    );
    assert!(error.to_string().contains("no wings"), "{error}");
}

#[test]
fn no_port_is_given_twice() {
    let mut ports: Vec<_> = (0..200).map(|_| free_port().unwrap()).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 200);
}
