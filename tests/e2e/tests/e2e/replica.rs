//! A restarted server and another replica send what has changed, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use bowline_harness::{Bowline, Connections, Envoy, HttpBackend, Relay, eventually};

use crate::world::{Protocol, World, answered, http_services, load, until};

/// How many resources and removals of each type a server has sent since it started, where any.
async fn sent(bowline: &Bowline) -> BTreeMap<String, f64> {
    let metrics = bowline.admin("/metrics").await.unwrap().text();
    let mut sent = BTreeMap::new();
    for line in metrics.lines() {
        let counted = line
            .strip_prefix("bowline_xds_resources_total")
            .or_else(|| line.strip_prefix("bowline_xds_removals_total"));
        let Some((labels, count)) = counted.and_then(|counted| counted.split_once(' ')) else {
            continue;
        };
        let count: f64 = count.parse().unwrap();
        if count > 0.0 {
            *sent.entry(labels.to_owned()).or_default() += count;
        }
    }
    sent
}

/// The types to which the one proxy of a server is subscribed.
async fn subscribed(bowline: &Bowline) -> anyhow::Result<BTreeSet<String>> {
    let proxies = bowline.admin_json("/v1/proxies").await?;
    let types = proxies[0]["types"].as_object();
    Ok(types
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect())
}

/// Waits until the proxy has subscribed to these.
async fn arrived(bowline: &Bowline, types: &BTreeSet<String>) {
    eventually("the proxy has subscribed to all", async || {
        let now = subscribed(bowline).await?;
        anyhow::ensure!(now.is_superset(types), "to {now:?} of {types:?}");
        Ok(())
    })
    .await
    .unwrap();
}

/// Many services, of which one has these machines.
fn inventory(ports: &[u16]) -> String {
    let names: Vec<String> = (0..50).map(|number| format!("other-{number}")).collect();
    let others = names.iter().map(|name| (name.as_str(), [9].as_slice()));
    let all: Vec<_> = [("cart", ports)].into_iter().chain(others).collect();
    http_services(&all)
}

fn one_assignment() -> BTreeMap<String, f64> {
    BTreeMap::from([("{type=\"EDS\"}".to_owned(), 1.0)])
}

#[tokio::test]
async fn a_restarted_server_sends_nothing_that_has_not_changed() {
    let first = HttpBackend::start("first").await.unwrap();
    let second = HttpBackend::start("second").await.unwrap();
    let mut world = World::start(&inventory(&[first.port()]), "").await;
    let sidecar = world.sidecar("caller", Protocol::Delta).await;
    let request = world.request_to("cart");
    answered(&request).await;
    let types = subscribed(&world.bowline).await.unwrap();
    let at_first = sent(&world.bowline).await;
    assert!(at_first["{type=\"CDS\"}"] > 50.0, "{at_first:?}");

    let load = load(&request, Connections::Kept);
    world.bowline.terminate().await.unwrap();
    world.bowline.launch().await.unwrap();
    arrived(&world.bowline, &types).await;
    world.write_inventory(&inventory(&[first.port(), second.port()]));
    until(&load, "a new machine gets requests", |report| {
        report.answered_by("second") > 0
    })
    .await;
    assert_eq!(sent(&world.bowline).await, one_assignment());
    load.stop().await.none_failed().unwrap();
    sidecar.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn another_replica_sends_nothing_that_has_not_changed() {
    let [first, second, third] = [
        HttpBackend::start("first").await.unwrap(),
        HttpBackend::start("second").await.unwrap(),
        HttpBackend::start("third").await.unwrap(),
    ];
    let world = World::start(&inventory(&[first.port()]), "").await;
    let replica = world.replica().await;
    let relay = Relay::start(world.bowline.addresses().xds).await.unwrap();
    let mut sidecar = relayed(&world, &relay).await;
    sidecar.ready().await.unwrap();
    let request = world.request_to("cart");
    answered(&request).await;
    let types = subscribed(&world.bowline).await.unwrap();
    let at_first = sent(&world.bowline).await;

    let load = load(&request, Connections::Kept);
    relay.lead_to(replica.bowline.addresses().xds);
    arrived(&replica.bowline, &types).await;
    let changed = inventory(&[first.port(), second.port()]);
    world.write_inventory(&changed);
    replica.write_inventory(&changed);
    until(&load, "a new machine gets requests", |report| {
        report.answered_by("second") > 0
    })
    .await;
    assert_eq!(sent(&replica.bowline).await, one_assignment());

    // And back, to a server that did not send what the proxy has learned meanwhile.
    assert_eq!(sent(&world.bowline).await, at_first);
    relay.lead_to(world.bowline.addresses().xds);
    arrived(&world.bowline, &types).await;
    world.write_inventory(&inventory(&[first.port(), second.port(), third.port()]));
    until(&load, "the next machine gets requests", |report| {
        report.answered_by("third") > 0
    })
    .await;
    let mut expected = at_first;
    *expected.get_mut("{type=\"EDS\"}").unwrap() += 1.0;
    assert_eq!(sent(&world.bowline).await, expected);
    load.stop().await.none_failed().unwrap();
    sidecar.rejected_nothing().await.unwrap();
}

/// A sidecar that reaches its control plane by a relay.
pub(crate) async fn relayed(world: &World, relay: &Relay) -> Envoy {
    let address = relay.address().to_string();
    let node = ["--role", "sidecar", "--name", "caller", "--xds", &address];
    world.envoy("caller", &node, Protocol::Delta).await
}
