//! The data path does not need the control plane, and a new one gives Envoy nothing to do.

use bowline_harness::{Connections, HttpBackend, Request, eventually, free_port};

use crate::world::{
    Protocol, World, answered, gateway_with_rules, http_services, load, loopback, until,
};

#[derive(Clone, Copy)]
enum End {
    Terminated,
    Killed,
}

async fn check(end: End, protocol: Protocol) {
    let cart = HttpBackend::start("cart").await.unwrap();
    let second = HttpBackend::start("second").await.unwrap();
    let port = free_port().unwrap();
    let rules = "[{backendRefs: [{name: cart, port: 80}]}]";
    let inventory = http_services(&[("cart", &[cart.port()])]);
    let mut world = World::start(&inventory, &gateway_with_rules(port, rules)).await;
    let gateway = world.gateway(protocol).await;
    let request = Request::get(loopback(port), "shop.example", "/");
    answered(&request).await;
    let updates = "listener_manager.lds.update_success";
    let listeners_before = gateway
        .stat("listener_manager.listener_modified")
        .await
        .unwrap();
    assert!(gateway.stat(updates).await.unwrap() > 0);

    let load = load(&request, Connections::New);
    until(&load, "requests run", |report| report.succeeded >= 30).await;
    match end {
        End::Terminated => world.bowline.terminate().await.unwrap(),
        End::Killed => world.bowline.kill().await.unwrap(),
    }
    load.take_report().none_failed().unwrap();
    until(&load, "requests run without a control plane", |report| {
        report.succeeded >= 50
    })
    .await;
    world.bowline.launch().await.unwrap();
    world.bowline.ready().await.unwrap();
    eventually("the gateway is connected again", async || {
        match gateway.stat("control_plane.connected_state").await {
            Ok(1) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    until(&load, "requests run after the restart", |report| {
        report.succeeded >= 100
    })
    .await;

    // It follows again.
    let both = http_services(&[("cart", &[cart.port(), second.port()])]);
    world.write_inventory(&both);
    until(&load, "a new machine gets requests", |report| {
        report.answered_by("second") > 0
    })
    .await;

    load.stop().await.none_failed().unwrap();
    gateway.rejected_nothing().await.unwrap();
    let listeners_after = gateway
        .stat("listener_manager.listener_modified")
        .await
        .unwrap();
    assert_eq!(
        listeners_before, listeners_after,
        "the same listeners were sent as if they were others"
    );
}

#[tokio::test]
async fn a_terminated_control_plane_comes_back_without_a_failed_request() {
    check(End::Terminated, Protocol::Delta).await;
}

#[tokio::test]
async fn a_killed_control_plane_comes_back_without_a_failed_request() {
    check(End::Killed, Protocol::Delta).await;
}

#[tokio::test]
async fn a_killed_control_plane_comes_back_without_a_failed_request_by_state_of_the_world() {
    check(End::Killed, Protocol::StateOfTheWorld).await;
}

#[tokio::test]
async fn what_changed_while_the_control_plane_was_away_is_followed_without_a_failed_request() {
    let old = HttpBackend::start("old").await.unwrap();
    let new = HttpBackend::start("new").await.unwrap();
    let mut world = World::start(&http_services(&[("cart", &[old.port()])]), "").await;
    let sidecar = world.sidecar("caller", Protocol::Delta).await;
    let request = world.request_to("cart");
    answered(&request).await;

    let load = load(&request, Connections::New);
    world.bowline.kill().await.unwrap();
    world.write_inventory(&http_services(&[("cart", &[new.port()])]));
    until(&load, "requests run without a control plane", |report| {
        report.succeeded >= 30
    })
    .await;
    world.bowline.launch().await.unwrap();
    until(&load, "the new machine answers", |report| {
        report.since_last_of("old") >= 30
    })
    .await;

    load.stop().await.none_failed().unwrap();
    sidecar.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn an_envoy_that_was_there_first_is_served_when_the_control_plane_comes() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let mut world = World::prepare(&http_services(&[("cart", &[cart.port()])]), "").await;
    let node = ["--role", "sidecar", "--name", "caller"];
    let mut sidecar = world.envoy("sidecar", &node, Protocol::Delta).await;
    eventually("it has tried in vain", async || {
        let tried = sidecar
            .stat("cluster.bowline-xds.upstream_cx_connect_fail")
            .await;
        match tried {
            Ok(1..) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    world.bowline.launch().await.unwrap();
    sidecar.ready().await.unwrap();
    assert_eq!(
        answered(&world.request_to("cart")).await.backend(),
        Some("cart")
    );
}
