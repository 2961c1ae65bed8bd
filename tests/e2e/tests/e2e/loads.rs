//! Who calls whom, as real clients report it.

use std::path::Path;

use anyhow::{Result, ensure};
use bowline_harness::{Bowline, Envoy, HttpBackend, Request, eventually, free_port};
use serde_json::Value;

use crate::{
    grpc::program::{Client, Server, kinds},
    world::{NAMESPACE, answered, http_services, loopback},
};

/// A server that wants loads every second. Sidecars take HTTP on the port that is returned.
async fn start(inventory: &str, folder: &Path) -> (Bowline, u16) {
    let [xds, tls, admin, http] = [(); 4].map(|()| free_port().unwrap());
    let configuration = format!(
        "mesh: {{trust_domain: mesh.test, explicit_http_port: {http}}}\n\
         xds:\n  address: 127.0.0.1:{xds}\n  tls: {{address: '127.0.0.1:{tls}'}}\n  loads: {{report: true, interval: 1s}}\n\
         admin: {{address: '127.0.0.1:{admin}'}}\n\
         registries:\n- {{name: vms, inventory: {{path: ./inventory.yaml}}, namespace: {NAMESPACE}}}\n"
    );
    std::fs::write(folder.join("bowline.yaml"), configuration).unwrap();
    std::fs::write(folder.join("inventory.yaml"), inventory).unwrap();
    (Bowline::start_as_configured(folder).await.unwrap(), http)
}

/// The one line of `bowline loads` for a destination.
async fn load(bowline: &Bowline, destination: &str) -> Result<Value> {
    let listed = bowline
        .output(&["loads", "--to", destination, "-o", "json"])
        .await?;
    let listed: Vec<Value> = serde_json::from_str(&listed)?;
    match listed.as_slice() {
        [load] => Ok(load.clone()),
        other => anyhow::bail!("{other:?}"),
    }
}

#[tokio::test]
async fn an_envoy_reports_whom_it_calls_and_how_many_requests_fail() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let inventory = http_services(&[("cart", &[cart.port()])]);
    let (bowline, http) = start(&inventory, folder.path()).await;
    let command = [
        "bootstrap",
        "--role",
        "sidecar",
        "--name",
        "caller",
        "--namespace",
        NAMESPACE,
        "--admin-port",
        "0",
    ];
    let bootstrap = bowline.output(&command).await.unwrap();
    let mut envoy = Envoy::start("caller", &bootstrap, folder.path())
        .await
        .unwrap();
    envoy.ready().await.unwrap();
    let request = Request::get(loopback(http), "cart", "/");
    // An Envoy counts what it sends to a cluster from when it was asked for loads and had the cluster.
    eventually("it counts", async || {
        answered(&request).await;
        load(&bowline, "cart").await
    })
    .await
    .unwrap();
    for _ in 0..20 {
        assert!(request.send().await.unwrap().status.is_success());
    }
    let failing = request.header("x-status", "500");
    for _ in 0..5 {
        failing.send().await.unwrap();
    }
    eventually("all of it is reported", async || {
        let load = load(&bowline, "cart").await?;
        ensure!(
            load["requests"].as_u64() >= Some(25) && load["errors"] == 5,
            "{load}"
        );
        ensure!(
            load["source"] == "caller.shop" && load["workload"] == "shop/caller",
            "{load}"
        );
        ensure!(
            load["destination"] == "cart.shop.svc.cluster.local:80",
            "{load}"
        );
        ensure!(load["in_progress"] == 0, "{load}");
        Ok(())
    })
    .await
    .unwrap();
    // Not what the proxy says to us, nor what comes in.
    let all = bowline.output(&["loads"]).await.unwrap();
    assert_eq!(all.lines().count(), 2, "{all}");
    let metrics = bowline.admin("/metrics").await.unwrap().text();
    let series = "bowline_load_requests_total{source=\"caller.shop\",cluster=\"outbound|80||cart.shop.svc.cluster.local\",outcome=\"error\"} 5";
    assert!(metrics.contains(series), "{metrics}");
}

#[tokio::test]
async fn a_grpc_application_reports_whom_it_calls() {
    let server = Server::start("one").await;
    for kind in kinds() {
        let folder = tempfile::tempdir().unwrap();
        let inventory = format!(
            "services:\n- {{name: cart, ports: [{{number: 50051, name: grpc, protocol: grpc}}]}}\n\
             workloads:\n- {{name: web-1, address: 127.0.0.1}}\n\
             - {{name: cart-1, address: 127.0.0.1, services: [cart], ports: {{grpc: {}}}}}\n",
            server.port()
        );
        let (bowline, _) = start(&inventory, folder.path()).await;
        let mut client =
            Client::start(kind, &bowline, folder.path(), "xds:///cart.shop:50051").await;
        let report = client.call(20).await.unwrap();
        assert_eq!(report.answered_by("one"), 20, "{report:?}");
        eventually("it is reported", async || {
            let load = load(&bowline, "cart").await?;
            ensure!(load["source"] == "web-1.shop", "{load}");
            ensure!(load["requests"] == 20 && load["succeeded"] == 20, "{load}");
            Ok(())
        })
        .await
        .unwrap();
    }
}
