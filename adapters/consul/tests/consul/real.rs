//! The same with real Consul servers, where `CONSUL_BIN` names a program to start them with.

use std::path::Path;

use bowline_consul::{ConsulSettings, TlsFiles};
use bowline_harness::{
    consul::{Health, Instance, RealConsul, RealConsulBuilder},
    eventually,
};
use bowline_mesh::PartState;
use tempfile::TempDir;

use crate::running::Running;

fn instance(name: &str, last: u8) -> Instance {
    let address = format!("10.0.0.{last}");
    Instance::new(name, &format!("{name}-{last}"), &address, 8080)
}

fn at(server: &RealConsul) -> ConsulSettings {
    ConsulSettings::at(vec![server.url().parse().unwrap()])
}

fn write(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Servers with two services, where there is a program for them.
async fn servers(
    like: impl FnOnce(RealConsulBuilder) -> RealConsulBuilder,
) -> Option<(TempDir, Vec<RealConsul>)> {
    let folder = tempfile::tempdir().unwrap();
    let servers = like(RealConsul::builder(folder.path())?)
        .start()
        .await
        .unwrap();
    for instance in [instance("cart", 1), instance("stock", 2)] {
        servers[0].register(&instance).await.unwrap();
    }
    Some((folder, servers))
}

const BOTH: [&str; 2] = ["cart 10.0.0.1", "stock 10.0.0.2"];

#[tokio::test]
async fn what_is_registered_healthy_and_drained_is_told_over_http_and_https() {
    let Some((folder, servers)) = servers(|servers| servers).await else {
        return;
    };
    let server = &servers[0];
    let https = ConsulSettings {
        tls: TlsFiles {
            ca: Some(write(folder.path(), "ca.pem", server.authority())),
            ..TlsFiles::default()
        },
        ..ConsulSettings::at(vec![server.https_url().parse().unwrap()])
    };
    for settings in [at(server), https] {
        let mut running = Running::start(settings);
        running.until_addresses(&BOTH).await;
        server.register(&instance("cart", 3)).await.unwrap();
        running
            .until_addresses(&["cart 10.0.0.1", "cart 10.0.0.3", "stock 10.0.0.2"])
            .await;
        let healthy = |address: &'static str, expected: bool| {
            move |running: &Running| {
                running.endpoints().any(|(_, endpoint)| {
                    endpoint.address.to_string() == address
                        && (endpoint.health == bowline_mesh::Health::Healthy) == expected
                })
            }
        };
        let third = instance("cart", 3);
        server
            .health(&third, Health::Critical, "down")
            .await
            .unwrap();
        running
            .until("that it is ill", healthy("10.0.0.3", false))
            .await;
        server.health(&third, Health::Passing, "").await.unwrap();
        running
            .until("that it is well", healthy("10.0.0.3", true))
            .await;
        server.start_maintenance(&third, "upgrade").await.unwrap();
        running
            .until("that it drains", healthy("10.0.0.3", false))
            .await;
        server.deregister(&third).await.unwrap();
        running.until_addresses(&BOTH).await;
        assert!(running.problems.is_empty(), "{:?}", running.problems);
        running.stop().await;
    }
}

#[tokio::test]
async fn a_killed_server_takes_nothing_away_and_is_followed_when_it_is_back() {
    let Some((_folder, mut servers)) = servers(|servers| servers).await else {
        return;
    };
    let mut running = Running::start(at(&servers[0]));
    running.until_addresses(&BOTH).await;
    servers[0].kill().await.unwrap();
    running.until("that it fails", Running::is_failing).await;
    assert_eq!(running.addresses(), BOTH);
    servers[0].start_again().unwrap();
    running
        .until("that it is live", |running| !running.is_failing())
        .await;
    assert_eq!(running.addresses(), BOTH);
    let again = async || servers[0].register(&instance("cart", 3)).await;
    eventually("it takes writes again", again).await.unwrap();
    running
        .until_addresses(&["cart 10.0.0.1", "cart 10.0.0.3", "stock 10.0.0.2"])
        .await;
    running.stop().await;
}

#[tokio::test]
async fn a_killed_leader_takes_nothing_away() {
    let Some((_folder, mut servers)) = servers(|servers| servers.servers(3)).await else {
        return;
    };
    let mut leader = None;
    for (place, server) in servers.iter().enumerate() {
        if server.leads().await.unwrap() {
            leader = Some(place);
        }
    }
    let leader = leader.unwrap();
    let follower = (leader + 1) % 3;
    let mut running = Running::start(at(&servers[follower]));
    running.until_addresses(&BOTH).await;
    servers[leader].kill().await.unwrap();
    let write = async || servers[follower].register(&instance("cart", 3)).await;
    eventually("there is another leader", write).await.unwrap();
    running
        .until_addresses(&["cart 10.0.0.1", "cart 10.0.0.3", "stock 10.0.0.2"])
        .await;
    running.until_state(PartState::Live).await;
    running.stop().await;
}

#[tokio::test]
async fn a_restored_snapshot_is_noticed_at_once() {
    let Some((_folder, servers)) = servers(|servers| servers).await else {
        return;
    };
    let server = &servers[0];
    let snapshot = server.snapshot().await.unwrap();
    server.register(&instance("cart", 3)).await.unwrap();
    server.register(&instance("front", 4)).await.unwrap();
    let mut running = Running::start(at(server));
    running
        .until_addresses(&[
            "cart 10.0.0.1",
            "cart 10.0.0.3",
            "front 10.0.0.4",
            "stock 10.0.0.2",
        ])
        .await;
    // A query that waits for an index from before is only answered after its wait: long after this test has lost its patience.
    server.restore(snapshot).await.unwrap();
    running.until_addresses(&BOTH).await;
    running.stop().await;
}

#[tokio::test]
async fn what_a_token_may_not_see_any_more_stays() {
    const TOKEN: &str = "0f6b1c6e-3b65-4c1c-9a3d-1d2b5e7f9a01";
    const OTHER: &str = "0f6b1c6e-3b65-4c1c-9a3d-1d2b5e7f9a02";
    let Some((folder, servers)) = servers(RealConsulBuilder::tokens).await else {
        return;
    };
    let server = &servers[0];
    server.grant(TOKEN, [""]).await.unwrap();
    let mut running = Running::start(ConsulSettings {
        token_file: Some(write(folder.path(), "token", TOKEN)),
        ..at(server)
    });
    running.until_addresses(&BOTH).await;
    server.narrow(TOKEN, ["cart"]).await.unwrap();
    // The names wake, and show that something is hidden.
    server.register(&instance("cart", 3)).await.unwrap();
    server.deregister(&instance("cart", 3)).await.unwrap();
    running
        .until("that something is hidden, and nothing else", |running| {
            !running.problems.is_empty() && running.addresses() == BOTH
        })
        .await;
    server.revoke(TOKEN).await.unwrap();
    server.register(&instance("front", 4)).await.unwrap();
    running.until_state(PartState::Denied).await;
    assert_eq!(running.addresses(), BOTH);
    server.grant(OTHER, [""]).await.unwrap();
    write(folder.path(), "token", OTHER);
    running
        .until_addresses(&["cart 10.0.0.1", "front 10.0.0.4", "stock 10.0.0.2"])
        .await;
    running.until_state(PartState::Live).await;
    running.stop().await;
}

#[tokio::test]
async fn a_datacenter_that_cannot_be_reached_keeps_what_it_had() {
    let Some((folder, near)) = servers(|servers| servers).await else {
        return;
    };
    let far = RealConsul::builder(folder.path())
        .unwrap()
        .datacenter("dc2");
    let mut far = far.beside(&near[0]).start().await.unwrap();
    far[0].register(&instance("stock", 9)).await.unwrap();
    let joined = async || match near[0].get("/v1/health/service/stock?dc=dc2").await {
        Ok(answer) if answer.status.is_success() => Ok(()),
        Ok(answer) => Err(answer.status.to_string()),
        Err(error) => Err(error.to_string()),
    };
    eventually("the datacenters know each other", joined)
        .await
        .unwrap();
    let mut running = Running::start(ConsulSettings {
        datacenters: vec!["dc1".into(), "dc2".into()],
        ..at(&near[0])
    });
    let all = ["cart 10.0.0.1", "stock 10.0.0.2", "stock 10.0.0.9"];
    running.until_addresses(&all).await;
    far[0].kill().await.unwrap();
    running
        .until("that it is known", |running| !running.problems.is_empty())
        .await;
    assert_eq!(running.addresses(), all);
    near[0].register(&instance("cart", 3)).await.unwrap();
    running
        .until_addresses(&[
            "cart 10.0.0.1",
            "cart 10.0.0.3",
            "stock 10.0.0.2",
            "stock 10.0.0.9",
        ])
        .await;
    running.stop().await;
}
