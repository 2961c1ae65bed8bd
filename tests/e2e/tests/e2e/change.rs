//! What changes while requests run costs none of them.

use bowline_harness::{Connections, HttpBackend, Load, Request, eventually, free_port};

use crate::{
    exchange::colour,
    world::{Protocol, World, answered, gateway_with_rules, http_services, load, loopback, until},
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
        eventually("the other service is gone", async || {
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
        eventually(
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

#[tokio::test]
async fn another_protocol_of_a_service_costs_no_request() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let http1 = http_services(&[("cart", &[cart.port()])])
        .replace("number: 80,", "number: 80, name: http,");
    let http2 = http1.replace("protocol: http}", "protocol: http2}");
    let world = World::start(&http1, "").await;
    let sidecar = world.sidecar("caller", Protocol::Delta).await;
    let request = world.request_to("cart");
    assert_eq!(
        answered(&request).await.json().unwrap()["protocol"],
        "HTTP/1.1"
    );

    let load = load(&request, Connections::Kept);
    for (inventory, protocol) in [(&http2, "HTTP/2.0"), (&http1, "HTTP/1.1")] {
        world.write_inventory(inventory);
        eventually("the backend gets the other protocol", async || {
            let echo = answered(&request)
                .await
                .json()
                .map_err(|error| error.to_string())?;
            if echo["protocol"] == protocol {
                Ok(())
            } else {
                Err(echo.to_string())
            }
        })
        .await
        .unwrap();
    }

    load.stop().await.none_failed().unwrap();
    sidecar.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn the_last_of_many_changes_counts() {
    let backends = [
        HttpBackend::start("even").await.unwrap(),
        HttpBackend::start("odd").await.unwrap(),
        HttpBackend::start("last").await.unwrap(),
    ];
    let [even, odd, last] = backends
        .each_ref()
        .map(|backend| http_services(&[("cart", &[backend.port()])]));
    let world = World::start(&even, "").await;
    let sidecar = world.sidecar("caller", Protocol::StateOfTheWorld).await;
    let request = world.request_to("cart");
    answered(&request).await;

    let load = load(&request, Connections::New);
    for _ in 0..100 {
        world.write_inventory(&odd);
        world.write_inventory(&even);
    }
    world.write_inventory(&last);
    until(&load, "only the last one answers", |report| {
        report.answered_by("last") >= 50
            && report
                .since_last_of("even")
                .min(report.since_last_of("odd"))
                >= 50
    })
    .await;

    load.stop().await.none_failed().unwrap();
    sidecar.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn a_thousand_services_reach_a_sidecar_whole() {
    for protocol in [Protocol::Delta, Protocol::StateOfTheWorld] {
        let backend = HttpBackend::start("backend").await.unwrap();
        let names: Vec<String> = (0..1000)
            .map(|number| format!("service-{number}"))
            .collect();
        let port = [backend.port()];
        let services: Vec<(&str, &[u16])> = names
            .iter()
            .map(|name| (name.as_str(), port.as_slice()))
            .collect();
        let world = World::start(&http_services(&services), "").await;
        let sidecar = world.sidecar("caller", protocol).await;
        for name in [&names[0], &names[500], &names[999]] {
            assert_eq!(
                answered(&world.request_to(name)).await.backend(),
                Some("backend")
            );
        }
        let clusters = sidecar.clusters().await.unwrap();
        let there = clusters
            .iter()
            .filter(|name| name.starts_with("outbound|80||service-"))
            .count();
        assert_eq!(there, 1000);
        sidecar.rejected_nothing().await.unwrap();
    }
}

#[tokio::test]
async fn slow_requests_finish_on_machines_and_services_that_have_left() {
    let blue = HttpBackend::start("blue").await.unwrap();
    let green = HttpBackend::start("green").await.unwrap();
    let port = free_port().unwrap();
    let world = World::start("services: []", &colour("blue", blue.port(), port)).await;
    let gateway = world.gateway(Protocol::Delta).await;
    let request = Request::get(loopback(port), "shop.example", "/");
    answered(&request).await;

    let slow = Load::start(
        &request.header("x-delay-ms", "700"),
        Connections::Kept,
        4,
        40,
    );
    let arrived = blue.requests();
    for (name, backend, gone) in [("green", &green, "blue"), ("blue", &blue, "green")] {
        eventually("slow requests are on their way", async || {
            if blue.requests() + green.requests() >= arrived + 4 {
                Ok(())
            } else {
                Err("not yet")
            }
        })
        .await
        .unwrap();
        world.write_manifests(&colour(name, backend.port(), port));
        eventually("the other colour's cluster is gone", async || {
            let clusters = gateway
                .clusters()
                .await
                .map_err(|error| error.to_string())?;
            if clusters.iter().any(|cluster| cluster.contains(gone)) {
                Err(format!("{clusters:?}"))
            } else {
                Ok(())
            }
        })
        .await
        .unwrap();
        until(&slow, "the new colour answers", |report| {
            report.answered_by(name) >= 4
        })
        .await;
    }

    slow.stop().await.none_failed().unwrap();
    gateway.rejected_nothing().await.unwrap();
}

/// Envoy goes to the one that refuses more often than to the other, for it is never busy; what matters is that it does not go there again.
#[tokio::test]
async fn a_machine_that_refuses_connections_costs_no_request_while_another_serves() {
    let serves = HttpBackend::start("serves").await.unwrap();
    let refuses = free_port().unwrap();
    let inventory = http_services(&[("cart", &[serves.port(), refuses])]);
    let world = World::start(&inventory, "").await;
    let sidecar = world.sidecar("caller", Protocol::Delta).await;
    let request = world.request_to("cart");
    answered(&request).await;

    let load = Load::start(&request, Connections::Kept, 4, 2000);
    until(&load, "thousands of requests", |report| {
        report.succeeded >= 3000
    })
    .await;

    load.stop().await.none_failed().unwrap();
    sidecar.rejected_nothing().await.unwrap();
}
