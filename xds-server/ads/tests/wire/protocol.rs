//! Configuration flows, rejections are quiet, reconnects send nothing again.

use std::collections::BTreeMap;

use bowline_ads::{ProxyStatus, Variant};
use bowline_proto::envoy::{
    config::core::v3::Node,
    service::discovery::v3::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    },
};
use tonic::Code;

use crate::{
    client::{Answer, delta, state_of_the_world},
    server::Served,
};

#[tokio::test]
async fn state_of_the_world_configuration_flows() {
    let mut served = Served::new();
    served.publish(&["CDS a 1", "EDS a 1", "LDS l 1"]).await;
    let mut stream = state_of_the_world(served.connect().await).await;

    stream.open("CDS", &[], Some("one")).await;
    let clusters = stream.expect("Cluster 1").await;
    stream.open("EDS", &["a"], None).await;
    let endpoints = stream.expect("ClusterLoadAssignment 1").await;
    stream.send(clusters.reply(&[], None)).await;
    stream.send(endpoints.reply(&["a"], None)).await;
    stream.open("LDS", &[], None).await;
    let listeners = stream.expect("Listener 1").await;
    stream.send(listeners.reply(&[], None)).await;

    served
        .publish(&["CDS a 1", "CDS b 2", "EDS a 1", "LDS l 1"])
        .await;
    let clusters = stream.expect("Cluster 1 2").await;
    assert_ne!(clusters.nonce(), listeners.nonce());
    stream.close().await;
}

#[tokio::test]
async fn delta_configuration_flows() {
    let mut served = Served::new();
    let mut stream = delta(served.connect().await).await;

    // Before there is anything to serve.
    stream.open("CDS", &[], Some("one")).await;
    served.publish(&["CDS a 1", "EDS a 1", "RDS r 1"]).await;
    let clusters = stream.expect("Cluster a=1").await;
    stream.send(clusters.reply(&[], None)).await;
    stream.open("EDS", &["a", "x"], None).await;
    let endpoints = stream.expect("ClusterLoadAssignment a=1 -x").await;
    stream.send(endpoints.reply(&[], None)).await;

    served.publish(&["CDS a 2", "EDS a 1", "EDS x 1"]).await;
    stream.expect("Cluster a=2").await;
    stream.expect("ClusterLoadAssignment a=1 x=1").await;
    stream.close().await;
}

#[tokio::test]
async fn a_rejection_is_quiet_and_shown() {
    let mut served = Served::new();
    served.publish(&["EDS a 1"]).await;
    let mut stream = state_of_the_world(served.connect().await).await;
    stream.open("EDS", &["a"], Some("one")).await;
    let bad = stream.expect("ClusterLoadAssignment 1").await;
    stream.send(bad.reply(&["a"], Some("no such a"))).await;
    // Whatever the rejection led to would come before this.
    stream.open("CDS", &[], None).await;
    stream.expect("Cluster").await;

    served.publish(&["EDS a 2"]).await;
    let good = stream.expect("ClusterLoadAssignment 2").await;
    stream.send(good.reply(&["a"], None)).await;
    stream.open("LDS", &["x"], None).await;

    let status = one(&served);
    assert_eq!(
        (&*status.id, status.protocol),
        ("one", Variant::StateOfTheWorld)
    );
    assert_eq!(status.user_agent, "envoy");
    let endpoints = &status.types["EDS"];
    let rejected = endpoints.rejected.as_ref().unwrap();
    assert_eq!(rejected.message, "no such a");
    assert_eq!(&*rejected.suspects[0].name, "a");
    assert_eq!(endpoints.subscribed, 1);
    assert_eq!(endpoints.counters.messages, 2);
    stream.close().await;
    assert!(served.fleet.is_empty());
}

#[tokio::test]
async fn a_delta_reconnect_with_current_versions_sends_nothing_again() {
    let mut served = Served::new();
    served
        .publish(&["CDS a 1", "CDS b 1", "EDS a 1", "EDS b 1"])
        .await;
    let mut stream = delta(served.connect().await).await;
    stream.open("CDS", &[], Some("one")).await;
    let clusters = stream.expect("Cluster a=1 b=1").await;
    stream.open("EDS", &["a", "b"], None).await;
    let endpoints = stream.expect("ClusterLoadAssignment a=1 b=1").await;
    stream.close().await;

    let mut stream = delta(served.connect().await).await;
    stream.send(reconnect(&clusters, &[], Some("one"))).await;
    stream.expect("Cluster").await;
    stream.send(reconnect(&endpoints, &["a", "b"], None)).await;
    served
        .publish(&["CDS a 1", "CDS b 1", "EDS a 1", "EDS b 2"])
        .await;
    stream.expect("ClusterLoadAssignment b=2").await;
    stream.close().await;
}

fn reconnect(
    held: &DeltaDiscoveryResponse,
    names: &[&str],
    node: Option<&str>,
) -> DeltaDiscoveryRequest {
    let versions = held.resources.iter();
    let versions: BTreeMap<String, String> = versions
        .map(|entry| (entry.name.clone(), entry.version.clone()))
        .collect();
    DeltaDiscoveryRequest {
        type_url: held.type_url.clone(),
        initial_resource_versions: versions,
        ..DeltaDiscoveryResponse::first("", names, node)
    }
}

#[tokio::test]
async fn a_state_of_the_world_reconnect_with_the_current_version_sends_no_clusters_again() {
    let mut served = Served::new();
    served.publish(&["CDS a 1", "EDS a 1"]).await;
    let mut stream = state_of_the_world(served.connect().await).await;
    stream.open("CDS", &[], Some("one")).await;
    let clusters = stream.expect("Cluster 1").await;
    stream.close().await;

    let mut stream = state_of_the_world(served.connect().await).await;
    let request = DiscoveryRequest {
        version_info: clusters.version_info,
        ..DiscoveryResponse::first("CDS", &[], Some("one"))
    };
    stream.send(request).await;
    stream.open("EDS", &["a"], None).await;
    stream.expect("ClusterLoadAssignment 1").await;
    stream.close().await;
}

#[tokio::test]
async fn an_unknown_type_does_not_disturb_the_others() {
    let mut served = Served::new();
    served.publish(&["CDS a 1"]).await;
    let mut stream = delta(served.connect().await).await;
    stream
        .open("type.googleapis.com/foo.Bar", &["x"], Some("one"))
        .await;
    stream.expect("Bar -x").await;
    stream.open("CDS", &[], None).await;
    stream.expect("Cluster a=1").await;
    stream.close().await;

    let mut stream = state_of_the_world(served.connect().await).await;
    stream
        .open("type.googleapis.com/foo.Bar", &["x"], Some("one"))
        .await;
    stream.open("CDS", &[], None).await;
    stream.expect("Cluster 1").await;
    stream.close().await;
}

#[tokio::test]
async fn two_streams_of_one_node_are_served_independently() {
    let mut served = Served::new();
    served.publish(&["CDS a 1"]).await;
    let mut one = delta(served.connect().await).await;
    let mut other = state_of_the_world(served.connect().await).await;
    one.open("CDS", &[], Some("same")).await;
    other.open("CDS", &[], Some("same")).await;
    let first = one.expect("Cluster a=1").await;
    let second = other.expect("Cluster 1").await;
    one.send(first.reply(&[], None)).await;
    one.close().await;
    other.send(second.reply(&[], None)).await;
    served.publish(&["CDS a 2"]).await;
    other.expect("Cluster 2").await;
    assert_eq!(served.fleet.len(), 1);
    other.close().await;
}

#[tokio::test]
async fn a_first_request_of_more_than_four_mebibytes_is_taken() {
    let mut served = Served::new();
    served.publish(&["EDS a 1"]).await;
    let mut stream = delta(served.connect().await).await;
    let held = (0..60_000).map(|number| (format!("{number:0>40}"), "v".repeat(64)));
    let request = DeltaDiscoveryRequest {
        initial_resource_versions: held.collect(),
        ..DeltaDiscoveryResponse::first("EDS", &["a"], Some("one"))
    };
    stream.send(request).await;
    stream.expect("ClusterLoadAssignment a=1").await;
    stream.close().await;
}

#[tokio::test]
async fn a_node_that_changes_on_a_stream_is_served_as_what_it_is_now() {
    // (6)
    let mut served = Served::new();
    served.publish(&["CDS a 1"]).await;
    served.publish_to_cluster("other", &["CDS b 1"]).await;
    let mut stream = delta(served.connect().await).await;
    stream.open("CDS", &[], Some("one")).await;
    let first = stream.expect("Cluster a=1").await;
    let with_node = |id: &str, cluster: &str, reply: DeltaDiscoveryRequest| DeltaDiscoveryRequest {
        node: Some(Node {
            id: id.to_owned(),
            cluster: cluster.to_owned(),
            ..Node::default()
        }),
        ..reply
    };
    // The same again says nothing new.
    let reply = first.reply(&[], None);
    stream.send(with_node("one", "", reply.clone())).await;
    stream.send(with_node("one", "other", reply.clone())).await;
    let changed = stream.expect("Cluster b=1 -a").await;
    let status = one(&served);
    assert_eq!((&*status.id, &*status.cluster), ("one", "other"));
    assert_eq!(status.types["CDS"].counters.messages, 2);
    served.publish(&["CDS a 2"]).await;
    served.publish_to_cluster("other", &["CDS b 2"]).await;
    stream.send(changed.reply(&[], None)).await;
    stream.expect("Cluster b=2").await;
    // What would not be let in is not let on.
    stream.send(with_node("thief", "other", reply)).await;
    stream.end_with(Code::PermissionDenied).await;
}

fn one(served: &Served) -> ProxyStatus {
    let mut list = served.fleet.list();
    assert_eq!(list.len(), 1);
    list.remove(0)
}
