//! A proxy gets the configuration of the identity that it proved.

use bowline_harness::{HttpBackend, eventually};

use crate::world::{Protocol, World, answered, http_services};

fn inventory(port: u16) -> String {
    http_services(&[("cart", &[port])]).replace(
        "{name: caller, address: 127.0.0.1}",
        "{name: caller, address: 127.0.0.1, service_account: caller}",
    )
}

#[tokio::test]
async fn a_proven_identity_is_served_over_mutual_tls() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let world = World::start(&inventory(cart.port()), "").await;
    let certificate = world.certificate("caller").await;
    let node = [
        "--role",
        "sidecar",
        "--name",
        "caller",
        "--cert-dir",
        &certificate,
    ];
    for protocol in [Protocol::Delta, Protocol::StateOfTheWorld] {
        let mut sidecar = world.envoy("sidecar", &node, protocol).await;
        sidecar.ready().await.unwrap();

        assert_eq!(
            answered(&world.request_to("cart")).await.backend(),
            Some("cart")
        );
        let proxies = world.bowline.admin_json("/v1/proxies").await.unwrap();
        assert!(
            proxies
                .to_string()
                .contains("spiffe://mesh.test/ns/shop/sa/caller"),
            "{proxies}"
        );
        assert_eq!(proxies[0]["is_identity_proven"], true, "{proxies}");
        sidecar.rejected_nothing().await.unwrap();
        sidecar.kill().await.unwrap();
        eventually("it is not listed any more", async || {
            let proxies = world
                .bowline
                .admin_json("/v1/proxies")
                .await
                .map_err(|error| error.to_string())?;
            if proxies.as_array().is_some_and(Vec::is_empty) {
                Ok(())
            } else {
                Err(proxies.to_string())
            }
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn a_stolen_node_id_is_refused_over_mutual_tls() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let world = World::start(&inventory(cart.port()), "").await;
    let certificate = world.certificate("thief").await;
    let node = [
        "--role",
        "sidecar",
        "--name",
        "caller",
        "--cert-dir",
        &certificate,
    ];
    let thief = world.envoy("thief", &node, Protocol::Delta).await;

    eventually("the thief is refused", async || {
        let log = thief.log().map_err(|error| error.to_string())?;
        // Envoy shows the message of a status as it is on the wire.
        if log.replace("%20", " ").contains("certificate proves") {
            Ok(())
        } else {
            Err("its log does not say so".to_owned())
        }
    })
    .await
    .unwrap();
    assert_eq!(
        thief
            .stat("cluster_manager.cds.update_success")
            .await
            .unwrap(),
        0
    );
    assert!(thief.listeners().await.unwrap().is_empty());
    let proxies = world.bowline.admin_json("/v1/proxies").await.unwrap();
    assert!(proxies.as_array().unwrap().is_empty(), "{proxies}");
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let world = World::start(&inventory(cart.port()), "").await;
    let stranger = World::start(&inventory(cart.port()), "").await;
    let foreign = stranger.certificate("caller").await;
    let node = [
        "--role",
        "sidecar",
        "--name",
        "caller",
        "--cert-dir",
        &foreign,
    ];
    let envoy = world.envoy("stranger", &node, Protocol::Delta).await;

    eventually("the stranger is refused", async || {
        match envoy.stat("cluster.xds.ssl.fail_verify_error").await {
            Ok(1..) => Ok(()),
            _ => {
                let stats = envoy.stats().await.map_err(|error| error.to_string())?;
                let failed = stats.iter().any(|(name, value)| {
                    *value > 0
                        && name.starts_with("cluster.")
                        && (name.contains("fail_verify") || name.contains("cx_connect_fail"))
                });
                if failed {
                    Ok(())
                } else {
                    Err(format!("{stats:?}"))
                }
            }
        }
    })
    .await
    .unwrap();
    assert_eq!(
        envoy
            .stat("cluster_manager.cds.update_success")
            .await
            .unwrap(),
        0
    );
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_restart() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let mut world = World::start(&inventory(cart.port()), "").await;
    let certificate = world.certificate("caller").await;
    let node = [
        "--role",
        "sidecar",
        "--name",
        "caller",
        "--cert-dir",
        &certificate,
    ];
    let mut sidecar = world.envoy("sidecar", &node, Protocol::Delta).await;
    sidecar.ready().await.unwrap();
    answered(&world.request_to("cart")).await;
    let serial = async || {
        let text = sidecar.admin_text("/certs").await.unwrap();
        let certificates: serde_json::Value = serde_json::from_str(&text).unwrap();
        certificates["certificates"][0]["cert_chain"][0]["serial_number"].to_string()
    };
    let first = serial().await;
    assert!(first.len() > 2, "{first}");

    world.certificate("caller").await;
    eventually("Envoy has the renewed certificate", async || {
        let now = serial().await;
        if now != first { Ok(()) } else { Err(now) }
    })
    .await
    .unwrap();

    // The next connection proves itself with it.
    world.bowline.terminate().await.unwrap();
    world.bowline.launch().await.unwrap();
    eventually("the sidecar is connected again", async || {
        let proxies = world
            .bowline
            .admin_json("/v1/proxies")
            .await
            .map_err(|error| error.to_string())?;
        if proxies[0]["is_identity_proven"] == true {
            Ok(())
        } else {
            Err(proxies.to_string())
        }
    })
    .await
    .unwrap();
}
