//! What changes reaches Envoy at once, whole, and once.

use std::{net::TcpListener, time::Instant};

use bowline_harness::{Connections, Envoy, HttpBackend, Request, eventually, free_port};
use serde_json::Value;

use crate::world::{
    Protocol, World, answered, gateway_with_rules, http_services, load, loopback, until,
};

/// A route to `cart` that shows a number.
fn numbered(port: u16, number: u32) -> String {
    let rules = format!(
        "[{{filters: [{{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: x-number, value: \"{number}\"}}]}}}}], \
          backendRefs: [{{name: cart, port: 80}}]}}]"
    );
    gateway_with_rules(port, &rules)
}

async fn pushes(world: &World, resource_type: &str) -> f64 {
    let series = format!("bowline_xds_pushes_total{{type=\"{resource_type}\"}}");
    world.bowline.metric(&series).await.unwrap()
}

async fn beside_a_rejection(protocol: Protocol) {
    let cart = HttpBackend::start("cart").await.unwrap();
    let (port, other) = (free_port().unwrap(), free_port().unwrap());
    // Envoy cannot listen where somebody does who shares the port with nobody.
    let taken = TcpListener::bind(("0.0.0.0", 0)).unwrap();
    let taken = taken.local_addr().unwrap().port();
    let with_listener = |manifests: String, name: &str, port: u16| {
        let listener = format!("{{name: {name}, port: {port}, protocol: HTTP}}");
        manifests.replace("listeners: [", &format!("listeners: [{listener}, "))
    };
    let manifests = |number| with_listener(numbered(port, number), "taken", taken);
    let inventory = |ports: &[u16]| http_services(&[("cart", ports)]);
    let world = World::start(&inventory(&[cart.port()]), &manifests(0)).await;
    let gateway = world.gateway(protocol).await;
    let request = Request::get(loopback(port), "shop.example", "/");
    answered(&request).await;
    eventually("the rejection is shown", async || {
        let proxies = world.bowline.admin_json("/v1/proxies").await?;
        anyhow::ensure!(
            proxies[0]["types"]["LDS"]["rejected"].is_object(),
            "{proxies}"
        );
        Ok(())
    })
    .await
    .unwrap();

    let load = load(&request, Connections::Kept);
    let (listeners, rejected) = (pushes(&world, "LDS").await, nacks(&gateway).await);
    let routes_type = match protocol {
        Protocol::Delta => "VHDS",
        Protocol::StateOfTheWorld => "RDS",
    };
    let routes = pushes(&world, routes_type).await;
    for number in 1..=20 {
        world.write_manifests(&manifests(number));
        eventually("the route is followed", async || {
            let answer = request.send().await?;
            let wanted = number.to_string();
            anyhow::ensure!(
                answer.header("x-number") == Some(&*wanted),
                "{:?}",
                answer.headers
            );
            Ok(())
        })
        .await
        .unwrap();
    }
    let second = HttpBackend::start("second").await.unwrap();
    world.write_inventory(&inventory(&[cart.port(), second.port()]));
    until(&load, "a new machine gets requests", |report| {
        report.answered_by("second") > 0
    })
    .await;
    // Of what was changed each was told, and of what is rejected nothing.
    assert_eq!(pushes(&world, "LDS").await, listeners);
    assert_eq!(pushes(&world, routes_type).await, routes + 20.0);

    world.write_manifests(&with_listener(manifests(20), "other", other));
    answered(&Request::get(loopback(other), "shop.example", "/")).await;
    assert_eq!(pushes(&world, "LDS").await, listeners + 1.0);
    assert_eq!(nacks(&gateway).await, rejected);
    load.stop().await.none_failed().unwrap();
}

async fn nacks(envoy: &Envoy) -> u64 {
    envoy
        .stat("listener_manager.lds.update_rejected")
        .await
        .unwrap()
}

#[tokio::test]
async fn beside_a_rejected_listener_all_else_is_followed_and_nothing_is_sent_again_by_delta() {
    beside_a_rejection(Protocol::Delta).await;
}

#[tokio::test]
async fn beside_a_rejected_listener_all_else_is_followed_and_nothing_is_sent_again_by_state_of_the_world()
 {
    beside_a_rejection(Protocol::StateOfTheWorld).await;
}

/// The connect timeout of the cluster that serves requests, and how many clusters are warming.
async fn active_connect_timeout(envoy: &Envoy) -> anyhow::Result<(String, usize)> {
    let dump = envoy.config_dump().await?;
    let clusters = dump["configs"].as_array().into_iter().flatten();
    let clusters = clusters
        .into_iter()
        .find(|section| section["dynamic_active_clusters"].is_array());
    let Some(clusters) = clusters else {
        anyhow::bail!("there are no clusters in {dump}");
    };
    let warming = clusters["dynamic_warming_clusters"].as_array();
    let active = clusters["dynamic_active_clusters"].as_array();
    let of = |cluster: &&Value| {
        let name = cluster["cluster"]["name"].as_str();
        name.is_some_and(|name| name.starts_with("outbound|80||cart."))
    };
    let cart = active.into_iter().flatten().find(of);
    let timeout = cart.and_then(|cluster| cluster["cluster"]["connect_timeout"].as_str());
    Ok((
        timeout.unwrap_or_default().to_owned(),
        warming.map_or(0, Vec::len),
    ))
}

#[tokio::test]
async fn a_changed_connect_timeout_is_used_at_once_and_costs_no_request() {
    for protocol in [Protocol::Delta, Protocol::StateOfTheWorld] {
        let cart = HttpBackend::start("cart").await.unwrap();
        let inventory = http_services(&[("cart", &[cart.port()])]);
        let world = World::start(&inventory, "").await;
        let sidecar = world.sidecar("caller", protocol).await;
        let request = world.request_to("cart.shop");
        answered(&request).await;

        let load = load(&request, Connections::New);
        let started = Instant::now();
        for seconds in 11..=20 {
            let limit = format!("name: cart, traffic: {{connect_timeout: {seconds}s}},");
            world.write_inventory(&inventory.replace("name: cart,", &limit));
            eventually("the cluster with the new timeout serves", async || {
                let (active, warming) = active_connect_timeout(&sidecar).await?;
                let is_there = active == format!("{seconds}s") && warming == 0;
                anyhow::ensure!(is_there, "{active}, {warming} warming");
                Ok(())
            })
            .await
            .unwrap();
        }
        // A cluster that waits in vain for its endpoints warms for 15 s.
        assert!(started.elapsed().as_secs() < 15, "{:?}", started.elapsed());
        load.stop().await.none_failed().unwrap();
        sidecar.rejected_nothing().await.unwrap();
    }
}

#[tokio::test]
async fn without_its_last_machine_a_service_answers_503_at_once_and_the_machine_gets_nothing() {
    for protocol in [Protocol::Delta, Protocol::StateOfTheWorld] {
        let cart = HttpBackend::start("cart").await.unwrap();
        let inventory = |ports: &[u16]| http_services(&[("cart", ports)]);
        let world = World::start(&inventory(&[cart.port()]), "").await;
        let sidecar = world.sidecar("caller", protocol).await;
        let request = world.request_to("cart.shop");
        answered(&request).await;

        for _ in 0..3 {
            world.write_inventory(&inventory(&[]));
            eventually("nobody serves", async || {
                let answer = request.send().await?;
                let text = answer.text();
                anyhow::ensure!(answer.status == 503, "{} {text}", answer.status);
                anyhow::ensure!(text.contains("no healthy upstream"), "{text}");
                Ok(())
            })
            .await
            .unwrap();
            let (before, started) = (cart.requests(), Instant::now());
            for _ in 0..20 {
                assert_eq!(request.send().await.unwrap().status, 503);
            }
            assert_eq!(cart.requests(), before);
            // Not one of them has waited for a connection or a timeout.
            assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
            let dump = sidecar.config_dump().await.unwrap().to_string();
            assert!(!dump.contains(&format!("\"port_value\":{}", cart.port())));

            world.write_inventory(&inventory(&[cart.port()]));
            answered(&request).await;
        }
        sidecar.rejected_nothing().await.unwrap();
    }
}
