//! Services of several networks.

use bowline_harness::{HttpBackend, TlsBackend, eventually};

use crate::world::{Protocol, World, answered};

/// The server name of port 443 of a service.
fn server_name(service: &str) -> String {
    format!("outbound_.443_._.{service}.shop.svc.cluster.local")
}

/// An inventory of services that speak TLS, each with the network and port of its only machine.
fn tls_services(services: &[(&str, &str, u16)]) -> String {
    let mut text = "services:\n".to_owned();
    for (service, _, _) in services {
        text +=
            &format!("- {{name: {service}, ports: [{{number: 443, name: tls, protocol: tls}}]}}\n");
    }
    text += "workloads:\n";
    for (service, network, port) in services {
        text += &format!(
            "- {{name: {service}-1, address: 127.0.0.1, network: {network}, services: [{service}], ports: {{tls: {port}}}}}\n"
        );
    }
    text
}

#[tokio::test]
async fn an_east_west_gateway_leads_to_the_service_that_the_server_name_says_and_nowhere_else() {
    let names = ["one", "two", "away"].map(server_name);
    let one = TlsBackend::start(&names[0]).await.unwrap();
    let two = TlsBackend::start(&names[1]).await.unwrap();
    let away = TlsBackend::start(&names[2]).await.unwrap();
    let plain = HttpBackend::start("plain").await.unwrap();
    let services = [
        ("one", "vpc-2", one.port()),
        ("two", "vpc-2", two.port()),
        ("away", "vpc-1", away.port()),
    ];
    let mut inventory = tls_services(&services);
    inventory += &format!(
        "- {{name: plain-1, address: 127.0.0.1, network: vpc-2, services: [plain], ports: {{http: {}}}}}\n",
        plain.port()
    );
    inventory = inventory.replace(
        "workloads:",
        "- {name: plain, ports: [{number: 443, name: http, protocol: http}]}\nworkloads:",
    );
    for protocol in [Protocol::Delta, Protocol::StateOfTheWorld] {
        let world = World::start(&inventory, "").await;
        let (gateway, address) = world.east_west("vpc-2", protocol).await;
        for (backend, name) in [(&one, &names[0]), (&two, &names[1])] {
            eventually("the gateway leads to it", async || {
                backend.who_is_behind(address, name).await
            })
            .await
            .unwrap();
        }
        let connections = async || {
            let stats = gateway.stats().await.unwrap();
            stats["cluster.bowline-xds.upstream_cx_total"]
        };
        let before = connections().await;
        let strangers = [
            // Of no service, of another network, without TLS of its own, in no form of ours, and a cluster that the proxy has.
            server_name("nobody"),
            names[2].clone(),
            server_name("plain"),
            "one.shop.svc.cluster.local".to_owned(),
            "bowline-xds".to_owned(),
        ];
        for name in &strangers {
            let answer = away.who_is_behind(address, name).await;
            assert!(answer.is_err(), "{name} led to {answer:?}");
        }
        assert_eq!(plain.requests(), 0);
        assert_eq!(connections().await, before);
        gateway.rejected_nothing().await.unwrap();
    }
}

#[tokio::test]
async fn a_service_comes_and_goes_behind_an_east_west_gateway_and_no_connection_notices() {
    let (first, second) = (server_name("first"), server_name("second"));
    let one = TlsBackend::start(&first).await.unwrap();
    let two = TlsBackend::start(&second).await.unwrap();
    let alone = [("first", "vpc-2", one.port())];
    let both = [alone[0], ("second", "vpc-2", two.port())];
    let world = World::start(&tls_services(&alone), "").await;
    let (gateway, address) = world.east_west("vpc-2", Protocol::Delta).await;
    let (mut connection, _) = eventually("the gateway leads to it", async || {
        one.connect(address, &first).await
    })
    .await
    .unwrap();
    world.write_inventory(&tls_services(&both));
    eventually("the new service is there", async || {
        two.who_is_behind(address, &second).await
    })
    .await
    .unwrap();
    connection.echo().await.unwrap();
    world.write_inventory(&tls_services(&alone));
    eventually("it is gone", async || {
        match two.who_is_behind(address, &second).await {
            Err(_) => Ok(()),
            Ok(name) => Err(name),
        }
    })
    .await
    .unwrap();
    connection.echo().await.unwrap();
    let stats = gateway.stats().await.unwrap();
    let count = |name: &str| stats.get(name).copied().unwrap_or_default();
    assert_eq!(count("listener_manager.listener_modified"), 0);
    assert_eq!(count("listener_manager.listener_added"), 1);
    gateway.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn what_is_in_another_network_is_left_out_and_a_problem_says_how_much() {
    let near = HttpBackend::start("near").await.unwrap();
    let far = HttpBackend::start("far").await.unwrap();
    let inventory = format!(
        "services: [{{name: cart, ports: [{{number: 80, name: http}}]}}]
workloads:
- {{name: caller, address: 127.0.0.1, network: vpc-1}}
- {{name: near, address: 127.0.0.1, network: vpc-1, services: [cart], ports: {{http: {}}}}}
- {{name: far, address: 127.0.0.1, network: vpc-2, services: [cart], ports: {{http: {}}}, weight: 1000}}
networks: [{{name: vpc-2, gateways: [127.0.0.1]}}]
",
        near.port(),
        far.port()
    );
    let world = World::start(&inventory, "").await;
    let _sidecar = world.sidecar("caller", Protocol::Delta).await;
    let cart = world.request_to("cart");
    for _ in 0..10 {
        assert_eq!(answered(&cart).await.backend(), Some("near"));
    }
    eventually("the problem is told", async || {
        let problems = world.problems().await;
        let is_it = |problem: &&serde_json::Value| {
            let message = problem["message"].as_str().unwrap_or_default();
            problem["code"] == "BW0403" && message.starts_with("1 endpoint of cart.shop")
        };
        match problems.iter().filter(is_it).count() {
            1 => Ok(()),
            _ => Err(format!("{problems:?}")),
        }
    })
    .await
    .unwrap();
}
