//! Peers that fall silent.

use bowline_harness::{Connections, HttpBackend, Relay, eventually};

use crate::{
    replica::relayed,
    world::{World, answered, http_services, load, until},
};

const LOST: &str = "bowline_xds_connections_lost_total";

#[tokio::test]
async fn a_proxy_that_falls_silent_is_noticed_and_one_that_has_nothing_to_say_is_not() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let mut world = World::prepare(&http_services(&[("cart", &[cart.port()])]), "").await;
    let limits = "limits: {keepalive_interval: 300ms, keepalive_timeout: 300ms}";
    world.configure_more("xds", limits);
    world.bowline.launch().await.unwrap();
    world.bowline.ready().await.unwrap();
    let relay = Relay::start(world.bowline.addresses().xds).await.unwrap();
    let mut sidecar = relayed(&world, &relay).await;
    sidecar.ready().await.unwrap();
    let request = world.request_to("cart");
    answered(&request).await;

    // For a good while there is nothing to be said.
    let load = load(&request, Connections::Kept);
    until(&load, "time passes", |report| report.succeeded >= 300).await;
    assert_eq!(world.bowline.metric(LOST).await.unwrap(), 0.0);
    let connections = "cluster.bowline-xds.upstream_cx_total";
    assert_eq!(sidecar.stat(connections).await.unwrap(), 1);

    relay.cut();
    eventually("the connection is ended and counted", async || {
        let lost = world.bowline.metric(LOST).await?;
        anyhow::ensure!(lost == 1.0, "{lost} connections are lost");
        let proxies = world.bowline.admin_json("/v1/proxies").await?;
        anyhow::ensure!(proxies == serde_json::json!([]), "{proxies}");
        Ok(())
    })
    .await
    .unwrap();

    // The proxy does what it did, and comes back when it can.
    relay.lead_to(world.bowline.addresses().xds);
    let second = HttpBackend::start("second").await.unwrap();
    world.write_inventory(&http_services(&[("cart", &[cart.port(), second.port()])]));
    until(&load, "a new machine gets requests", |report| {
        report.answered_by("second") > 0
    })
    .await;
    load.stop().await.none_failed().unwrap();
    sidecar.rejected_nothing().await.unwrap();
}
