//! Applications whose gRPC library speaks xDS itself, without an Envoy: they resolve, balance, and follow every change.

pub(crate) mod program;

use bowline_harness::eventually;

use self::program::{Client, Kind, Report, Server, kinds};
use crate::world::{NAMESPACE, World};

/// A service `cart` on port 50051 with these servers, each with its weight and more fields.
fn inventory(servers: &[(&Server, u32, &str)]) -> String {
    let mut text = "services:\n- {name: cart, ports: [{number: 50051, name: grpc, protocol: grpc}]}\nworkloads:\n- {name: web-1, address: 127.0.0.1}\n".to_owned();
    for (server, weight, more) in servers {
        let port = server.port();
        text += &format!(
            "- {{name: cart-{port}, address: 127.0.0.1, services: [cart], ports: {{grpc: {port}}}, weight: {weight}{more}}}\n"
        );
    }
    text
}

/// Calls until a round of calls is as it should be, with no failure in any round from now on.
async fn until(client: &mut Client, what: &str, holds: impl Fn(&Report) -> bool) {
    eventually(what, async || {
        let report = client.call(20).await?;
        assert_eq!(report.failed, [], "{what}");
        anyhow::ensure!(holds(&report), "{report:?}");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_client_resolves_balances_and_follows_machines_and_weights() {
    let (one, two) = (Server::start("one").await, Server::start("two").await);
    for kind in kinds() {
        let both = inventory(&[(&one, 1, ""), (&two, 1, "")]);
        let world = World::start(&both, "").await;
        let mut client = Client::at(kind, &world, "xds:///cart.shop:50051").await;

        until(&mut client, "both answer alike", |report| {
            report.answered_by("one") == 10 && report.answered_by("two") == 10
        })
        .await;

        world.write_inventory(&inventory(&[(&one, 1, ""), (&two, 9, "")]));
        until(&mut client, "the heavier one answers more", |report| {
            (15..20).contains(&report.answered_by("two"))
        })
        .await;
        let report = client.call(200).await.unwrap();
        assert!(
            (160..=195).contains(&report.answered_by("two")),
            "{report:?}"
        );

        world.write_inventory(&inventory(&[(&two, 1, "")]));
        until(&mut client, "only the second is left", |report| {
            report.answered_by("two") == 20
        })
        .await;

        world.write_inventory(&inventory(&[
            (&one, 1, ""),
            (&two, 1, ", health: draining"),
        ]));
        until(&mut client, "the draining one gets nothing", |report| {
            report.answered_by("one") == 20
        })
        .await;
    }
}

#[tokio::test]
async fn every_name_of_a_service_is_resolved() {
    let one = Server::start("one").await;
    let world = World::start(&inventory(&[(&one, 1, "")]), "").await;
    for kind in kinds() {
        for name in [
            "cart",
            "cart:50051",
            "cart.shop",
            "cart.shop.svc.cluster.local:50051",
        ] {
            let mut client = Client::at(kind, &world, &format!("xds:///{name}")).await;
            let report = client.call(1).await.unwrap();
            assert_eq!(report.answered_by("one"), 1, "{name}: {report:?}");
        }
    }
}

#[tokio::test]
async fn a_call_of_a_service_that_is_not_there_ends_and_works_once_it_is() {
    let one = Server::start("one").await;
    for kind in kinds() {
        let nothing = inventory(&[]).replace("name: cart,", "name: other,");
        let world = World::start(&nothing, "").await;
        let mut client = Client::at(kind, &world, "xds:///cart.shop:50051").await;

        let report = client.call(1).await.unwrap();
        let [(reason, 1)] = report.failed.as_slice() else {
            panic!("{report:?}");
        };
        match kind {
            // At once or after 15 s, as the library believes a response without the name or waits for another (gRFC A57); not at the
            // deadline of the call, which is later.
            Kind::Python => assert!(reason.starts_with("UNAVAILABLE"), "{reason}"),
            // It waits for names as long as the call may take.
            Kind::Node => assert!(reason.starts_with("DEADLINE_EXCEEDED"), "{reason}"),
        }

        world.write_inventory(&inventory(&[(&one, 1, "")]));
        eventually("the service works", async || {
            let report = client.call(1).await?;
            anyhow::ensure!(report.answered_by("one") == 1, "{report:?}");
            Ok(())
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn a_server_serves_when_it_is_told_to_and_goes_on_while_the_control_plane_restarts() {
    for kind in kinds() {
        serves(kind).await;
    }
}

async fn serves(kind: Kind) {
    let mut world = World::prepare(&inventory(&[]), "").await;
    // No registry knows it yet.
    let one = Server::with_xds(kind, "one", &world).await;
    let target = format!("127.0.0.1:{}", one.port());
    let mut direct = Client::at(Kind::Python, &world, &target).await;
    let report = direct.call(1).await.unwrap();
    assert_eq!(report.answered_by("one"), 0, "{report:?}");
    assert!(report.failed[0].0.starts_with("UNAVAILABLE"), "{report:?}");

    world.bowline.launch().await.unwrap();
    eventually("it serves", async || {
        let report = direct.call(1).await?;
        anyhow::ensure!(report.answered_by("one") == 1, "{report:?}");
        Ok(())
    })
    .await
    .unwrap();
    world.write_inventory(&inventory(&[(&one, 1, "")]));
    let mut client = Client::at(Kind::Python, &world, "xds:///cart.shop:50051").await;
    eventually("it is found", async || {
        let report = client.call(1).await?;
        anyhow::ensure!(report.answered_by("one") == 1, "{report:?}");
        Ok(())
    })
    .await
    .unwrap();

    world.bowline.kill().await.unwrap();
    until(&mut client, "calls go on", |report| {
        report.answered_by("one") == 20
    })
    .await;
    world.bowline.launch().await.unwrap();
    eventually("the server has its listener again", async || {
        let proxies = world.bowline.admin_json("/v1/proxies").await?;
        let mut all = proxies.as_array().into_iter().flatten();
        let server = all.find(|proxy| proxy["cluster"] == "one.shop");
        let acknowledged = server.map(|server| &server["types"]["LDS"]["acknowledged"]);
        anyhow::ensure!(
            acknowledged.is_some_and(|version| version.is_object()),
            "{proxies}"
        );
        Ok(())
    })
    .await
    .unwrap();
    for client in [&mut client, &mut direct] {
        until(client, "calls go on with the next one", |report| {
            report.answered_by("one") == 20
        })
        .await;
    }
}

#[tokio::test]
async fn routes_move_calls_and_lose_none() {
    let (one, two) = (Server::start("one").await, Server::start("two").await);
    let services = inventory(&[(&one, 1, "")]);
    let other = format!(
        "- {{name: other-1, address: 127.0.0.1, services: [other], ports: {{grpc: {}}}}}\n",
        two.port()
    );
    let service = "- {name: other, ports: [{number: 50051, name: grpc, protocol: grpc}]}\n";
    let services = services.replace("services:\n", &format!("services:\n{service}")) + &other;
    let split = |one: u32, two: u32| {
        format!(
            "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: split, namespace: {NAMESPACE}}}
spec:
  parentRefs: [{{kind: Service, group: \"\", name: cart}}]
  rules: [{{backendRefs: [{{name: cart, port: 50051, weight: {one}}}, {{name: other, port: 50051, weight: {two}}}]}}]
"
        )
    };
    for kind in kinds() {
        let world = World::start(&services, &split(1, 0)).await;
        let mut client = Client::at(kind, &world, "xds:///cart:50051").await;
        until(&mut client, "all go to the first", |report| {
            report.answered_by("one") == 20
        })
        .await;
        world.write_manifests(&split(1, 1));
        until(&mut client, "both get some", |report| {
            report.answered_by("one") > 0 && report.answered_by("two") > 0
        })
        .await;
        world.write_manifests(&split(0, 1));
        until(&mut client, "all go to the second", |report| {
            report.answered_by("two") == 20
        })
        .await;
    }
}

#[tokio::test]
async fn calls_go_on_without_a_control_plane_and_follow_the_next_one() {
    let (one, two) = (Server::start("one").await, Server::start("two").await);
    for kind in kinds() {
        let mut world = World::start(&inventory(&[(&one, 1, "")]), "").await;
        let mut client = Client::at(kind, &world, "xds:///cart.shop:50051").await;
        until(&mut client, "it answers", |report| {
            report.answered_by("one") == 20
        })
        .await;
        world.bowline.kill().await.unwrap();
        until(&mut client, "calls go on", |report| {
            report.answered_by("one") == 20
        })
        .await;
        world.write_inventory(&inventory(&[(&two, 1, "")]));
        world.bowline.launch().await.unwrap();
        until(&mut client, "the new machine answers", |report| {
            report.answered_by("two") == 20
        })
        .await;
    }
}
