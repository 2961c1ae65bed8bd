//! A registry that is away keeps what it said last.

use bowline_harness::{Connections, HttpBackend, eventually};

use crate::world::{Protocol, World, answered, http_services, load, until};

#[tokio::test]
async fn a_registry_that_is_away_at_a_restart_is_served_from_the_state_with_its_age() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let mut world = World::start(&http_services(&[("cart", &[cart.port()])]), "").await;
    let old = world.sidecar("caller", Protocol::Delta).await;
    let request = world.request_to("cart");
    answered(&request).await;

    let load = load(&request, Connections::New);
    world.bowline.terminate().await.unwrap();
    std::fs::remove_file(world.inventory_file()).unwrap();
    world.bowline.launch().await.unwrap();
    world.bowline.ready().await.unwrap();

    let restored = world.registry("vms").await;
    assert!(
        matches!(restored["state"].as_str(), Some("restored" | "failing")),
        "{restored}"
    );
    eventually(
        "the registry is said to be away, with its age",
        async || {
            let registry = world.registry("vms").await;
            match (
                registry["state"] == "failing",
                registry["last_good"].is_null(),
            ) {
                (true, false) => Ok(()),
                _ => Err(registry.to_string()),
            }
        },
    )
    .await
    .unwrap();
    until(&load, "requests go on", |report| report.succeeded >= 50).await;
    load.stop().await.none_failed().unwrap();
    old.kill().await.unwrap();

    // An Envoy that has nothing yet gets everything from the state.
    let _new = world.sidecar("caller", Protocol::Delta).await;
    assert_eq!(answered(&request).await.backend(), Some("cart"));

    // The registry is back, and is believed.
    let second = HttpBackend::start("second").await.unwrap();
    world.write_inventory(&http_services(&[("cart", &[second.port()])]));
    eventually("the new inventory is served", async || {
        match answered(&request).await.backend() {
            Some("second") => Ok(()),
            other => Err(format!("{other:?} answers")),
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_inventory_that_vanishes_takes_nothing_away() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let world = World::start(&http_services(&[("cart", &[cart.port()])]), "").await;
    let _sidecar = world.sidecar("caller", Protocol::Delta).await;
    let request = world.request_to("cart");
    answered(&request).await;

    let load = load(&request, Connections::New);
    std::fs::remove_file(world.inventory_file()).unwrap();
    eventually("the loss is visible", async || {
        let registry = world.registry("vms").await.to_string();
        let problems = format!("{:?}", world.problems().await);
        if registry.contains("inventory.yaml") || problems.contains("inventory.yaml") {
            Ok(())
        } else {
            Err(format!("{registry} {problems}"))
        }
    })
    .await
    .unwrap();
    until(&load, "requests go on", |report| report.succeeded >= 50).await;
    load.stop().await.none_failed().unwrap();
}

#[tokio::test]
async fn a_registry_that_was_never_heard_of_takes_nothing_from_envoys_that_hold_it() {
    for protocol in [Protocol::Delta, Protocol::StateOfTheWorld] {
        let cart = HttpBackend::start("cart").await.unwrap();
        let mut world = World::start(&http_services(&[("cart", &[cart.port()])]), "").await;
        let sidecar = world.sidecar("caller", protocol).await;
        let request = world.request_to("cart");
        answered(&request).await;

        // Neither the registry nor the state knows anything, and the start does not wait for ever.
        let load = load(&request, Connections::New);
        world.bowline.terminate().await.unwrap();
        std::fs::remove_file(world.inventory_file()).unwrap();
        std::fs::remove_dir_all(world.folder().join("state")).unwrap();
        let before = std::fs::read_to_string(world.bowline.configuration()).unwrap();
        world.replace(
            &world.bowline.configuration(),
            &format!("start_timeout: 200ms\n{before}"),
        );
        world.bowline.launch().await.unwrap();
        eventually("the sidecar is served again", async || {
            let proxies = world
                .bowline
                .admin_json("/v1/proxies")
                .await
                .map_err(|error| error.to_string())?;
            if proxies[0]["has_snapshot"] == true {
                Ok(())
            } else {
                Err(proxies.to_string())
            }
        })
        .await
        .unwrap();
        load.take_report();
        until(&load, "requests go on", |report| report.succeeded >= 100).await;
        let clusters = sidecar.clusters().await.unwrap();
        assert!(
            clusters.iter().any(|name| name.contains("cart")),
            "{clusters:?}"
        );

        load.stop().await.none_failed().unwrap();
        sidecar.rejected_nothing().await.unwrap();
    }
}
