//! What is in Consul is in the mesh, and nothing else.

use bowline_consul::ConsulSettings;
use bowline_harness::consul::{ConsulAgent, Health, Instance};
use bowline_mesh::{Balancing, Health as MeshHealth, Hostname, PartState, RegionOrder};

use crate::running::{Running, at};

fn cart(last: u8) -> Instance {
    Instance::new(
        "cart",
        &format!("cart-{last}"),
        &format!("10.0.0.{last}"),
        8080,
    )
}

fn health_of(running: &Running, address: &str) -> Option<MeshHealth> {
    let mut endpoints = running.endpoints();
    endpoints
        .find(|(_, endpoint)| endpoint.address.to_string() == address)
        .map(|(_, endpoint)| endpoint.health)
}

#[tokio::test]
async fn instances_come_change_and_go() {
    let agent = ConsulAgent::start().await.unwrap();
    agent.register(&cart(1));
    let mut running = Running::start(at(&agent));
    running.until_addresses(&["cart 10.0.0.1"]).await;
    agent.register(&cart(2));
    running
        .until_addresses(&["cart 10.0.0.1", "cart 10.0.0.2"])
        .await;
    agent.health(&cart(2), Health::Critical);
    running
        .until("a sick instance", |running| {
            health_of(running, "10.0.0.2") == Some(MeshHealth::Unhealthy)
        })
        .await;
    agent.own().start_maintenance(&cart(1), "");
    running
        .until("a draining instance", |running| {
            health_of(running, "10.0.0.1") == Some(MeshHealth::Draining)
        })
        .await;
    agent.own().end_maintenance(&cart(1));
    agent.deregister(&cart(2));
    running.until_addresses(&["cart 10.0.0.1"]).await;
    agent.deregister(&cart(1));
    running
        .until("an empty mesh", |running| {
            running.mesh().services_len() == 0
        })
        .await;
    running.until_state(PartState::Live).await;
    running.stop().await;
}

#[tokio::test]
async fn what_is_not_used_is_not_told() {
    let agent = ConsulAgent::start().await.unwrap();
    agent.register(&cart(1));
    let mut running = Running::start(at(&agent));
    running.until_addresses(&["cart 10.0.0.1"]).await;
    let before = running.events;
    for round in 0..20 {
        agent
            .own()
            .output(&cart(1), Health::Passing, &format!("output {round}"));
        agent.own().unrelated_write();
        agent.register(&cart(1).tag(&format!("round-{round}")));
    }
    agent.register(&Instance::new("stock", "stock", "10.0.0.9", 80));
    running
        .until_addresses(&["cart 10.0.0.1", "stock 10.0.0.9"])
        .await;
    assert_eq!(running.events, before + 1, "events that say nothing new");
    running.stop().await;
}

#[tokio::test]
async fn proxies_and_gateways_of_consuls_own_mesh_are_no_applications() {
    let agent = ConsulAgent::start().await.unwrap();
    agent.register(&cart(1));
    for (place, kind) in ["connect-proxy", "mesh-gateway", "ingress-gateway"]
        .iter()
        .enumerate()
    {
        agent.register(&Instance::new(kind, kind, &format!("10.0.1.{place}"), 80).kind(kind));
    }
    let mut running = Running::start(at(&agent));
    running.until_addresses(&["cart 10.0.0.1"]).await;
    assert_eq!(running.mesh().services_len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn one_name_of_several_datacenters_is_one_service_with_the_localities_of_its_instances() {
    let agent = ConsulAgent::start().await.unwrap();
    let far = agent.datacenter("dc2");
    agent.register(&cart(1));
    agent.register(&cart(3).meta("region", "attic"));
    far.register(&cart(2).tagged("wan", "203.0.113.2", 18080));
    let mut running = Running::start(ConsulSettings {
        datacenters: vec!["dc2".into(), "dc1".into()],
        ..at(&agent)
    });
    running
        .until_addresses(&["cart 10.0.0.1", "cart 10.0.0.3", "cart 203.0.113.2"])
        .await;
    let hostname: Hostname = "cart.default.svc.cluster.local".parse().unwrap();
    let service = running.mesh().service(&hostname).unwrap().clone();
    assert_eq!(
        service.balancing,
        Balancing::PreferRegion(RegionOrder::new(["dc2", "dc1", "attic"].map(Into::into)))
    );
    assert_eq!(service.origins.len(), 1);
    let mut regions: Vec<_> = running
        .endpoints()
        .map(|(_, endpoint)| {
            (
                endpoint.locality.to_string(),
                endpoint.ports.values().sum::<u16>(),
            )
        })
        .collect();
    regions.sort();
    assert_eq!(
        regions,
        [
            ("attic".to_owned(), 8080),
            ("dc1".to_owned(), 8080),
            ("dc2".to_owned(), 18080)
        ]
    );
    far.deregister(&cart(2));
    running
        .until_addresses(&["cart 10.0.0.1", "cart 10.0.0.3"])
        .await;
    running.stop().await;
}

#[tokio::test]
async fn a_far_datacenter_that_fails_keeps_its_endpoints_and_the_others_go_on() {
    let agent = ConsulAgent::start().await.unwrap();
    let far = agent.datacenter("dc2");
    agent.register(&cart(1));
    far.register(&cart(2));
    let mut running = Running::start(ConsulSettings {
        datacenters: vec!["dc1".into(), "dc2".into()],
        ..at(&agent)
    });
    running
        .until_addresses(&["cart 10.0.0.1", "cart 10.0.0.2"])
        .await;
    far.leader(bowline_harness::consul::Leader::Lost);
    running
        .until("that dc2 fails", |running| {
            let mut problems = running.problems.iter();
            problems.any(|problem| problem.code.as_str() == "BW0104")
        })
        .await;
    agent.register(&cart(3));
    running
        .until_addresses(&["cart 10.0.0.1", "cart 10.0.0.2", "cart 10.0.0.3"])
        .await;
    assert!(!running.is_failing());
    far.leader(bowline_harness::consul::Leader::Known);
    far.deregister(&cart(2));
    running
        .until_addresses(&["cart 10.0.0.1", "cart 10.0.0.3"])
        .await;
    running
        .until("no problem", |running| running.problems.is_empty())
        .await;
    running.stop().await;
}

#[tokio::test]
async fn an_agent_on_a_unix_socket_is_asked_there() {
    let directory = tempfile::tempdir().unwrap();
    let builder = ConsulAgent::builder().unix(&directory.path().join("consul.sock"));
    let agent = builder.start().await.unwrap();
    agent.register(&cart(1));
    let mut running = Running::start(at(&agent));
    running.until_addresses(&["cart 10.0.0.1"]).await;
    running.stop().await;
}

#[tokio::test]
async fn agents_that_ask_for_a_certificate_get_one() {
    let directory = tempfile::tempdir().unwrap();
    let agent = ConsulAgent::builder().mutual_tls().start().await.unwrap();
    agent.register(&cart(1));
    let mut settings = at(&agent);
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    };
    settings.tls.ca = file("ca", agent.authority().unwrap());
    let mut refused = Running::start(settings.clone());
    refused.until("a refusal", Running::is_failing).await;
    refused.stop().await;
    let client = agent.client().unwrap();
    settings.tls.certificate = file("certificate", &client.certificate);
    settings.tls.key = file("key", &client.key);
    let mut running = Running::start(settings);
    running.until_addresses(&["cart 10.0.0.1"]).await;
    running.stop().await;
}
