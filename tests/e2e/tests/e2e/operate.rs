//! What an operator sees, and what running servers follow.

use std::{net::TcpListener, path::Path};

use bowline_harness::{Connections, HttpBackend, Request, eventually, free_port, program, run};

use crate::world::{
    NAMESPACE, Protocol, World, answered, gateway_with_rules, http_services, load, loopback, until,
};

#[tokio::test]
async fn a_rejection_is_shown_with_its_object_and_the_rest_goes_on() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let port = free_port().unwrap();
    // Envoy cannot listen where somebody does who shares the port with nobody.
    let taken = TcpListener::bind(("0.0.0.0", 0)).unwrap();
    let taken_port = taken.local_addr().unwrap().port();
    let rules = "[{backendRefs: [{name: cart, port: 80}]}]";
    let good = gateway_with_rules(port, rules);
    let listener = format!("{{name: taken, port: {taken_port}, protocol: HTTP}}");
    let bad = good.replace("listeners: [", &format!("listeners: [{listener}, "));
    let world = World::start(&http_services(&[("cart", &[cart.port()])]), &good).await;
    let _gateway = world.gateway(Protocol::Delta).await;
    let request = Request::get(loopback(port), "shop.example", "/");
    answered(&request).await;

    let load = load(&request, Connections::New);
    world.write_manifests(&bad);
    let rejected = eventually("the rejection is shown", async || {
        let proxies = world.bowline.admin_json("/v1/proxies").await?;
        let rejected = &proxies[0]["types"]["LDS"]["rejected"];
        if rejected.is_null() {
            bail(proxies.to_string())
        } else {
            Ok(rejected.to_string())
        }
    })
    .await
    .unwrap();
    assert!(rejected.contains(&taken_port.to_string()), "{rejected}");
    assert!(rejected.contains("shop/edge"), "{rejected}");
    let listed = world.bowline.output(&["proxies"]).await.unwrap();
    assert!(listed.contains(&taken_port.to_string()), "{listed}");

    // What is not rejected is followed as before.
    let second = HttpBackend::start("second").await.unwrap();
    let both = http_services(&[("cart", &[cart.port(), second.port()])]);
    world.write_inventory(&both);
    until(&load, "a new machine gets requests", |report| {
        report.answered_by("second") > 0
    })
    .await;
    load.stop().await.none_failed().unwrap();
}

fn bail<T>(why: String) -> Result<T, Box<dyn std::error::Error + Send + Sync>> {
    Err(why.into())
}

#[tokio::test]
async fn a_sudden_loss_of_machines_is_held_back_until_it_is_confirmed() {
    let survivor = HttpBackend::start("survivor").await.unwrap();
    // Machines that nobody reaches are enough: they have a service of their own.
    let ports: Vec<u16> = (1..=40).collect();
    let all = http_services(&[("cart", &[survivor.port()]), ("many", &ports)]);
    let few = http_services(&[("cart", &[survivor.port()])]);
    let world = World::start(&all, "").await;
    let sidecar = world.sidecar("caller", Protocol::Delta).await;
    answered(&world.request_to("cart")).await;

    world.write_inventory(&few);
    eventually("the loss is held back", async || {
        let registry = world.registry("vms").await;
        if registry["held"].is_null() {
            Err(registry.to_string())
        } else {
            Ok(())
        }
    })
    .await
    .unwrap();
    let held = sidecar.clusters().await.unwrap();
    assert!(held.iter().any(|name| name.contains("many")), "{held:?}");

    world
        .bowline
        .output(&["registries", "release", "vms"])
        .await
        .unwrap();
    eventually("the loss is believed", async || {
        let clusters = sidecar
            .clusters()
            .await
            .map_err(|error| error.to_string())?;
        if clusters.iter().any(|name| name.contains("many")) {
            Err(format!("{clusters:?}"))
        } else {
            Ok(())
        }
    })
    .await
    .unwrap();
    assert_eq!(
        answered(&world.request_to("cart")).await.backend(),
        Some("survivor")
    );
    sidecar.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn a_registry_joins_and_leaves_by_the_configuration_without_a_restart() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let other = HttpBackend::start("other").await.unwrap();
    let world = World::start(&http_services(&[("cart", &[cart.port()])]), "").await;
    let more = http_services(&[("other", &[other.port()])])
        .replace("{name: caller, address: 127.0.0.1}", "");
    std::fs::write(world.folder().join("more.yaml"), more.replace("- \n", "")).unwrap();
    let _sidecar = world.sidecar("caller", Protocol::Delta).await;
    answered(&world.request_to("cart")).await;
    let before = std::fs::read_to_string(world.bowline.configuration()).unwrap();

    let load = load(&world.request_to("cart"), Connections::Kept);
    let entry =
        format!("- name: more\n  inventory: {{path: ./more.yaml}}\n  namespace: {NAMESPACE}\n");
    let with_more = before.replace("registries:\n", &format!("registries:\n{entry}"));
    world.replace(&world.bowline.configuration(), &with_more);
    assert_eq!(
        answered(&world.request_to("other.shop")).await.backend(),
        Some("other")
    );

    // A wrong configuration changes nothing.
    world.replace(
        &world.bowline.configuration(),
        &with_more.replace("registries:", "registreis:"),
    );
    eventually("the mistake is logged", async || {
        let log = world.bowline.log().map_err(|error| error.to_string())?;
        if log.contains("registreis") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await
    .unwrap();
    assert_eq!(
        answered(&world.request_to("other.shop")).await.backend(),
        Some("other")
    );

    world.replace(&world.bowline.configuration(), &before);
    eventually("the other registry's service is gone", async || {
        let answer = world
            .request_to("other.shop")
            .send()
            .await
            .map_err(|error| error.to_string())?;
        if answer.backend().is_none() {
            Ok(())
        } else {
            Err("it still answers".to_owned())
        }
    })
    .await
    .unwrap();
    load.stop().await.none_failed().unwrap();
}

#[tokio::test]
async fn metrics_say_who_is_connected_and_how_long_changes_took() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let world = World::start(&http_services(&[("cart", &[cart.port()])]), "").await;
    let _sidecar = world.sidecar("caller", Protocol::Delta).await;
    answered(&world.request_to("cart")).await;
    world.write_inventory(&http_services(&[("cart", &[cart.port(), 9])]));
    eventually("the change's way is measured", async || {
        let metrics = world
            .bowline
            .admin("/metrics")
            .await
            .map_err(|error| error.to_string())?
            .text();
        let measured = metrics
            .lines()
            .filter(|line| line.starts_with("bowline_event_to_ack_seconds_count"))
            .any(|line| !line.ends_with(" 0"));
        if measured && metrics.contains("\nbowline_connected_proxies") {
            Ok(())
        } else {
            Err(metrics)
        }
    })
    .await
    .unwrap();
    let listed = world.bowline.output(&["proxies"]).await.unwrap();
    assert!(listed.contains("caller"), "{listed}");
}

#[tokio::test]
async fn the_quick_start_has_no_problems() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/quickstart");
    let arguments = ["check", "--config", "bowline.yaml", "--deny-warnings"];
    let checked = run(&program().await.unwrap(), arguments, &example)
        .await
        .unwrap();
    assert!(checked.success, "{}{}", checked.stdout, checked.stderr);
}
