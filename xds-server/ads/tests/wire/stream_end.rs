//! How streams end, and what the client is told.

use bowline_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use tonic::Code;

use crate::{
    client::{delta, state_of_the_world},
    server::Served,
};

#[tokio::test]
async fn a_first_request_without_node_is_refused() {
    let mut served = Served::new();
    let stream = delta(served.connect().await).await;
    stream.open("CDS", &[], None).await;
    let message = stream.end_with(Code::InvalidArgument).await;
    assert!(message.contains("node"), "{message}");
}

#[tokio::test]
async fn a_request_without_type_is_refused() {
    let mut served = Served::new();
    let stream = state_of_the_world(served.connect().await).await;
    stream.open("", &[], Some("one")).await;
    let message = stream.end_with(Code::InvalidArgument).await;
    assert!(message.contains("type_url"), "{message}");
}

#[tokio::test]
async fn a_refused_stream_says_why() {
    let mut served = Served::new();
    for (node, code) in [
        ("thief", Code::PermissionDenied),
        ("early", Code::Unavailable),
        ("", Code::InvalidArgument),
    ] {
        let stream = delta(served.connect().await).await;
        stream.open("CDS", &[], Some(node)).await;
        stream.end_with(code).await;
    }
    assert!(served.fleet.is_empty());
}

#[tokio::test]
async fn a_client_may_leave_without_having_said_anything() {
    let mut served = Served::new();
    delta(served.connect().await).await.close().await;
}

#[tokio::test]
async fn shutdown_ends_streams_that_are_served_and_streams_that_wait() {
    let mut served = Served::new();
    served.publish(&["CDS a 1"]).await;
    let mut open = delta(served.connect().await).await;
    open.open("CDS", &[], Some("one")).await;
    open.expect("Cluster a=1").await;
    let silent = state_of_the_world(served.connect().await).await;
    served.shutdown.cancel();
    open.end_with(Code::Unavailable).await;
    silent.end_with(Code::Unavailable).await;
    assert!(served.fleet.is_empty());
}

#[tokio::test]
async fn a_dropped_client_frees_its_stream() {
    let mut served = Served::new();
    served.publish(&["CDS a 1"]).await;
    let mut stream = delta(served.connect().await).await;
    stream.send(DeltaDiscoveryRequest::default()).await;
    stream.end_with(Code::InvalidArgument).await;

    stream = delta(served.connect().await).await;
    stream.open("CDS", &[], Some("one")).await;
    stream.expect("Cluster a=1").await;
    drop(stream);
    // The reset reaches the server when it reaches it: wait for that, not for a time.
    while !served.fleet.is_empty() {
        tokio::task::yield_now().await;
    }
}
