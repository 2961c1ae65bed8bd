//! What changes while requests run costs none of them.

use bowline_harness::{Connections, HttpBackend, Request, free_port};

use crate::world::{
    Protocol, World, answered, gateway_with_rules, http_services, load, loopback, until,
};

fn split(first: u32, second: u32) -> String {
    format!(
        "[{{backendRefs: [{{name: one, port: 80, weight: {first}}}, {{name: two, port: 80, weight: {second}}}]}}]"
    )
}

#[tokio::test]
async fn changed_weights_move_requests_and_lose_none() {
    let one = HttpBackend::start("one").await.unwrap();
    let two = HttpBackend::start("two").await.unwrap();
    let port = free_port().unwrap();
    let inventory = http_services(&[("one", &[one.port()]), ("two", &[two.port()])]);
    let world = World::start(&inventory, &gateway_with_rules(port, &split(80, 20))).await;
    let gateway = world.gateway(Protocol::Delta).await;
    let request = Request::get(loopback(port), "shop.example", "/");
    answered(&request).await;

    let load = load(&request, Connections::Kept);
    until(&load, "four of five requests go to one", |report| {
        report.succeeded >= 200 && report.answered_by("two") > 0
    })
    .await;
    let before = load.take_report();
    let share = before.answered_by("one") as f64 / before.succeeded as f64;
    assert!((0.65..0.95).contains(&share), "{before}");

    world.write_manifests(&gateway_with_rules(port, &split(0, 100)));
    until(&load, "one gets nothing more", |report| {
        report.since_last_of("one") >= 100
    })
    .await;

    before.none_failed().unwrap();
    load.stop().await.none_failed().unwrap();
    gateway.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn machines_join_and_leave_without_a_failed_request() {
    for (protocol, connections) in [
        (Protocol::Delta, Connections::New),
        (Protocol::StateOfTheWorld, Connections::Kept),
    ] {
        let first = HttpBackend::start("first").await.unwrap();
        let second = HttpBackend::start("second").await.unwrap();
        let one = http_services(&[("cart", &[first.port()])]);
        let both = http_services(&[("cart", &[first.port(), second.port()])]);
        let world = World::start(&one, "").await;
        let sidecar = world.sidecar("caller", protocol).await;
        let request = world.request_to("cart");
        answered(&request).await;

        let load = load(&request, connections);
        for _ in 0..3 {
            world.write_inventory(&both);
            until(&load, "the second machine has joined", |report| {
                report.answered_by("second") >= 10
            })
            .await;
            world.write_inventory(&one);
            until(&load, "the second machine has left", |report| {
                report.since_last_of("second") >= 50
            })
            .await;
            load.take_report().none_failed().unwrap();
        }
        // Nobody asks a machine that has left.
        drop(second);
        until(&load, "requests go on", |report| report.succeeded >= 50).await;

        load.stop().await.none_failed().unwrap();
        sidecar.rejected_nothing().await.unwrap();
    }
}

#[tokio::test]
async fn a_service_moves_to_other_machines_without_a_failed_request() {
    let old = HttpBackend::start("old").await.unwrap();
    let new = HttpBackend::start("new").await.unwrap();
    let world = World::start(&http_services(&[("cart", &[old.port()])]), "").await;
    let _sidecar = world.sidecar("caller", Protocol::Delta).await;
    let request = world.request_to("cart.shop");
    answered(&request).await;

    let load = load(&request, Connections::New);
    world.write_inventory(&http_services(&[("cart", &[new.port()])]));
    until(&load, "the old machine gets nothing more", |report| {
        report.answered_by("new") >= 50 && report.since_last_of("old") >= 50
    })
    .await;

    load.stop().await.none_failed().unwrap();
}

#[tokio::test]
async fn services_and_their_policies_come_and_go_without_a_failed_request() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let other = HttpBackend::start("other").await.unwrap();
    let alone = http_services(&[("cart", &[cart.port()])]);
    let both = http_services(&[("cart", &[cart.port()]), ("other", &[other.port()])]);
    // Another policy changes the cluster, which Envoy warms again.
    let limited = alone.replace("name: cart,", "name: cart, traffic: {connect_timeout: 3s},");
    let world = World::start(&alone, "").await;
    let sidecar = world.sidecar("caller", Protocol::Delta).await;
    let request = world.request_to("cart.shop");
    answered(&request).await;

    let load = load(&request, Connections::Kept);
    for _ in 0..3 {
        world.write_inventory(&both);
        answered(&world.request_to("other.shop")).await;
        world.write_inventory(&limited);
        bowline_harness::eventually("the other service is gone", async || {
            let clusters = sidecar
                .clusters()
                .await
                .map_err(|error| error.to_string())?;
            if clusters.iter().any(|name| name.contains("other")) {
                Err(format!("{clusters:?}"))
            } else {
                Ok(())
            }
        })
        .await
        .unwrap();
    }

    let report = load.stop().await;
    report.none_failed().unwrap();
    sidecar.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn a_machine_is_drained_without_a_failed_request() {
    let first = HttpBackend::start("first").await.unwrap();
    let second = HttpBackend::start("second").await.unwrap();
    let both = http_services(&[("cart", &[first.port(), second.port()])]);
    let name = format!("name: cart-{},", second.port());
    let draining = both.replace(&name, &format!("{name} health: draining,"));
    assert_ne!(both, draining);
    let world = World::start(&both, "").await;
    let sidecar = world.sidecar("caller", Protocol::Delta).await;
    let request = world.request_to("cart");
    answered(&request).await;

    let load = load(&request, Connections::Kept);
    until(&load, "both answer", |report| {
        report.answered_by("second") > 0
    })
    .await;
    world.write_inventory(&draining);
    until(&load, "the draining one gets nothing more", |report| {
        report.since_last_of("second") >= 100
    })
    .await;

    load.stop().await.none_failed().unwrap();
    sidecar.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn a_listener_comes_and_goes_without_a_failed_request_on_another() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let (port, other) = (free_port().unwrap(), free_port().unwrap());
    let one = gateway_with_rules(port, "[{backendRefs: [{name: cart, port: 80}]}]");
    let listener = format!("{{name: other, port: {other}, protocol: HTTP}}");
    let two = one.replace("listeners: [", &format!("listeners: [{listener}, "));
    let world = World::start(&http_services(&[("cart", &[cart.port()])]), &one).await;
    let gateway = world.gateway(Protocol::Delta).await;
    let request = Request::get(loopback(port), "shop.example", "/");
    answered(&request).await;

    let load = load(&request, Connections::Kept);
    for _ in 0..2 {
        world.write_manifests(&two);
        answered(&Request::get(loopback(other), "shop.example", "/")).await;
        world.write_manifests(&one);
        bowline_harness::eventually(
            "nobody listens on the other port",
            async || match Request::get(loopback(other), "shop.example", "/")
                .send()
                .await
            {
                Err(_) => Ok(()),
                Ok(answer) => Err(format!("status {}", answer.status)),
            },
        )
        .await
        .unwrap();
    }

    load.stop().await.none_failed().unwrap();
    gateway.rejected_nothing().await.unwrap();
}
