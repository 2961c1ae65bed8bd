//! What has to do with streams and connections, not with what they say.

use std::time::Duration;

use bowline_ads::Settings;
use bowline_proto::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use tonic::Code;

use crate::{
    client::{Answer, delta, delta_endpoints, state_of_the_world},
    server::Served,
};

#[tokio::test]
async fn a_service_of_one_type_needs_no_type_url_and_refuses_others() {
    let mut served = Served::new();
    served.publish(&["CDS a 1", "EDS a 1"]).await;
    let mut stream = delta_endpoints(served.connect().await).await;
    let mut request = DeltaDiscoveryResponse::first("EDS", &["a"], Some("one"));
    request.type_url.clear();
    stream.send(request).await;
    let endpoints = stream.expect("ClusterLoadAssignment a=1").await;
    stream.send(endpoints.reply(&[], None)).await;
    stream.open("CDS", &[], None).await;
    let message = stream.end_with(Code::InvalidArgument).await;
    assert!(message.contains("ClusterLoadAssignment"), "{message}");
}

#[tokio::test]
async fn hundreds_of_streams_on_one_connection_are_told_once_each() {
    const STREAMS: usize = 500;
    let mut served = Served::new();
    served.publish(&["EDS a 1", "EDS b 1"]).await;
    let channel = served.connect().await;
    let mut streams = Vec::new();
    for number in 0..STREAMS {
        let mut stream = delta_endpoints(channel.clone()).await;
        let name = if number == 0 { "a" } else { "b" };
        stream.open("EDS", &[name], Some("one")).await;
        let expected = format!("ClusterLoadAssignment {name}=1");
        let response = stream.expect(&expected).await;
        stream.send(response.reply(&[], None)).await;
        streams.push(stream);
    }
    served.publish(&["EDS a 2", "EDS b 1"]).await;
    let first = streams.first_mut().unwrap();
    first.expect("ClusterLoadAssignment a=2").await;
    let sent: u64 = served
        .fleet
        .list()
        .iter()
        .map(|stream| stream.types["EDS"].counters.messages)
        .sum();
    assert_eq!(sent, STREAMS as u64 + 1);
}

#[tokio::test]
async fn a_large_response_is_whole_for_every_stream() {
    let mut served = Served::new();
    let resources: Vec<String> = (0..1000)
        .map(|number| format!("CDS cluster-number-{number:04} {}", "x".repeat(100)))
        .collect();
    let resources: Vec<&str> = resources.iter().map(|text| &**text).collect();
    served.publish(&resources).await;
    let mut whole = String::from("Cluster");
    for number in 0..1000 {
        whole.push_str(&format!(" cluster-number-{number:04}={}", "x".repeat(100)));
    }
    let mut nonces = Vec::new();
    for node in ["one", "two"] {
        let mut stream = delta(served.connect().await).await;
        let is_first = node == "one";
        if !is_first {
            // So that the nonces differ.
            stream.open("EDS", &["none"], Some(node)).await;
            stream.expect("ClusterLoadAssignment -none").await;
        }
        stream.open("CDS", &[], is_first.then_some(node)).await;
        nonces.push(stream.expect(&whole).await.nonce);
        stream.close().await;
    }
    assert_eq!(nonces, ["00000001", "00000002"]);
}

#[tokio::test]
async fn a_stream_of_an_old_connection_ends_when_its_client_has_answered_and_not_before() {
    let mut served = Served::new();
    let mut unanswered = delta(served.connect().await).await;
    unanswered.open("CDS", &[], Some("one")).await;
    served.retire_connections();
    let mut later = state_of_the_world(served.connect().await).await;
    later.open("CDS", &[], Some("two")).await;

    served.publish(&["CDS a 1"]).await;
    let clusters = unanswered.expect("Cluster a=1").await;
    unanswered.send(clusters.reply(&[], None)).await;
    unanswered.close().await;
    let clusters = later.expect("Cluster 1").await;
    later.send(clusters.reply(&[], None)).await;
    later.close().await;
}

#[tokio::test]
async fn a_storm_of_streams_is_paced_and_who_cannot_wait_is_told_when_to_come_back() {
    let mut served = Served::with(Settings {
        starting_streams_max: 1,
        waiting_streams_max: 1,
        admission_limit: Duration::from_secs(30),
        ..Settings::new("bowline-test")
    });
    served.publish(&["CDS a 1"]).await;
    // One that has answered has started, and makes room for the next.
    let mut started = Vec::new();
    for id in ["one", "two"] {
        let mut stream = delta(served.connect().await).await;
        stream.open("CDS", &[], Some(id)).await;
        let clusters = stream.expect("Cluster a=1").await;
        stream.send(clusters.reply(&[], None)).await;
        started.push(stream);
    }
    // One whose source does not answer is still starting; the second one after it does not even find a place to wait.
    let slow = delta(served.connect().await).await;
    slow.open("CDS", &[], Some("slow")).await;
    served.until_slow_opens().await;
    let third = delta(served.connect().await).await;
    third.open("CDS", &[], Some("three")).await;
    let fourth = delta(served.connect().await).await;
    fourth.open("CDS", &[], Some("four")).await;
    let message = tokio::select! {
        message = third.end_with(Code::ResourceExhausted) => message,
        message = fourth.end_with(Code::ResourceExhausted) => message,
    };
    assert!(message.contains("try again in 30 s"), "{message}");
}
