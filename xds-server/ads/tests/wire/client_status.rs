//! What operators are told of clients, over real gRPC streams.

use std::collections::BTreeSet;

use bowline_ads::{ClientStatusService, Peer};
use bowline_identity::Proven;
use bowline_proto::envoy::{
    service::status::v3::{
        ClientConfig, ClientStatusRequest, ConfigStatus,
        client_status_discovery_service_client::ClientStatusDiscoveryServiceClient,
    },
    r#type::matcher::v3::{NodeMatcher, StringMatcher, string_matcher::MatchPattern},
};
use tonic::{Code, Status};
use tower::ServiceExt;

use crate::{
    client::{Answer, delta, state_of_the_world},
    server::{Served, peer},
};

type Client = ClientStatusDiscoveryServiceClient<BoxCloneService>;
type BoxCloneService = tower::util::BoxCloneService<
    http::Request<tonic::body::Body>,
    http::Response<tonic::body::Body>,
    std::convert::Infallible,
>;

/// A client of the service, whose operator is `OPERATOR`.
fn client_at(peer: Peer, served: &Served) -> Client {
    let service = ClientStatusService::server(
        served.fleet.clone(),
        BTreeSet::from([OPERATOR.parse().unwrap()]),
        served.shutdown.clone(),
    );
    let service = service.map_request(move |mut request: http::Request<tonic::body::Body>| {
        request.extensions_mut().insert(peer.clone());
        request
    });
    ClientStatusDiscoveryServiceClient::new(BoxCloneService::new(service))
}

async fn ask(served: &Served, request: ClientStatusRequest) -> Result<Vec<ClientConfig>, Status> {
    let mut client = client_at(peer(), served);
    let answer = client.fetch_client_status(request).await?;
    Ok(answer.into_inner().config)
}

/// Each resource as `TYPE name STATUS`, with a `!` where there is content, and the reason of a rejection.
fn short(config: &ClientConfig) -> Vec<String> {
    config
        .generic_xds_configs
        .iter()
        .map(|resource| {
            let short_type = resource.type_url.rsplit('.').next().unwrap();
            let status = ConfigStatus::try_from(resource.config_status).unwrap();
            let content = if resource.xds_config.is_some() {
                "!"
            } else {
                ""
            };
            let details = resource
                .error_state
                .as_ref()
                .map(|error| format!(" {}", error.details))
                .unwrap_or_default();
            format!(
                "{short_type} {}{content} {}{details}",
                resource.name,
                status.as_str_name()
            )
        })
        .collect()
}

async fn only(served: &Served) -> Vec<String> {
    let configs = ask(served, ClientStatusRequest::default()).await.unwrap();
    configs.iter().flat_map(short).collect()
}

/// The server sees a request some time after it was sent.
async fn until(served: &Served, expected: &[&str]) {
    let mut last = Vec::new();
    for _ in 0..1000 {
        last = only(served).await;
        if last == expected {
            return;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(last, expected);
}

#[tokio::test]
async fn each_resource_is_stale_then_synced_or_in_error() {
    let mut served = Served::new();
    served.publish(&["CDS a 1", "CDS b 1", "SDS key 1"]).await;
    let mut stream = delta(served.connect().await).await;
    stream.open("CDS", &[], Some("web-1")).await;
    let first = stream.expect("Cluster a=1 b=1").await;
    until(&served, &["Cluster a! STALE", "Cluster b! STALE"]).await;
    stream.send(first.reply(&[], None)).await;
    until(&served, &["Cluster a! SYNCED", "Cluster b! SYNCED"]).await;

    served.publish(&["CDS a 2", "CDS b 1", "SDS key 1"]).await;
    let second = stream.expect("Cluster a=2").await;
    until(&served, &["Cluster a! STALE", "Cluster b! SYNCED"]).await;
    stream
        .send(second.reply(&[], Some("cluster a is bad")))
        .await;
    until(
        &served,
        &["Cluster a! ERROR cluster a is bad", "Cluster b! SYNCED"],
    )
    .await;

    // Of a secret only the name is shown.
    stream.open("SDS", &["key", "none"], None).await;
    let secret = stream.expect("Secret key=1 -none").await;
    stream.send(secret.reply(&[], None)).await;
    until(
        &served,
        &[
            "Secret key SYNCED",
            "Secret none SYNCED",
            "Cluster a! ERROR cluster a is bad",
            "Cluster b! SYNCED",
        ],
    )
    .await;
}

#[tokio::test]
async fn what_waits_for_its_turn_is_not_sent() {
    let mut served = Served::new();
    served.publish(&["CDS a 1"]).await;
    let mut stream = state_of_the_world(served.connect().await).await;
    stream.open("CDS", &[], Some("web-1")).await;
    stream.expect("Cluster 1").await;
    // One response at a time: the second waits for the first's acknowledgement.
    served.publish(&["CDS a 2"]).await;
    until(&served, &["Cluster a! NOT_SENT"]).await;
}

#[tokio::test]
async fn clients_are_chosen_by_any_matcher_and_contents_are_left_out_on_demand() {
    let mut served = Served::new();
    served.publish(&["CDS a 1"]).await;
    let mut streams = Vec::new();
    for id in ["web-2", "cart-1", "web-1"] {
        let mut stream = delta(served.connect().await).await;
        stream.open("CDS", &[], Some(id)).await;
        stream.expect("Cluster a=1").await;
        streams.push(stream);
    }
    let matcher = |pattern| NodeMatcher {
        node_id: Some(StringMatcher {
            match_pattern: Some(pattern),
            ignore_case: false,
        }),
        node_metadatas: Vec::new(),
    };
    let request = ClientStatusRequest {
        node_matchers: vec![
            matcher(MatchPattern::Exact("web-1".to_owned())),
            matcher(MatchPattern::Prefix("cart".to_owned())),
        ],
        exclude_resource_contents: true,
        ..ClientStatusRequest::default()
    };
    let configs = ask(&served, request).await.unwrap();
    let ids: Vec<_> = configs
        .iter()
        .map(|config| &*config.node.as_ref().unwrap().id)
        .collect();
    assert_eq!(ids, ["cart-1", "web-1"]);
    assert_eq!(short(&configs[0]), ["Cluster a STALE"]);
    let refused = ClientStatusRequest {
        node_matchers: vec![NodeMatcher {
            node_id: Some(StringMatcher::default()),
            ..NodeMatcher::default()
        }],
        ..ClientStatusRequest::default()
    };
    let status = ask(&served, refused).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_stream_is_answered_like_a_single_question() {
    let mut served = Served::new();
    served.publish(&["CDS a 1"]).await;
    let mut stream = delta(served.connect().await).await;
    stream.open("CDS", &[], Some("web-1")).await;
    stream.expect("Cluster a=1").await;
    let request = ClientStatusRequest::default();
    let requests = [request.clone(), request.clone()];
    let mut answers = client_at(peer(), &served)
        .stream_client_status(tokio_stream::iter(requests))
        .await
        .unwrap()
        .into_inner();
    let fetched = ask(&served, request).await.unwrap();
    for _ in 0..2 {
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!(answer.config, fetched);
    }
    assert!(answers.message().await.unwrap().is_none());
}

const OPERATOR: &str = "spiffe://mesh.example/ns/ops/sa/admin";

#[tokio::test]
async fn only_operators_are_answered() {
    let served = Served::new();
    let proven = |id: &str| Some(Proven::by_certificate(id.parse().unwrap()));
    let near = peer().address;
    let far = ([10, 0, 0, 1], 4711).into();
    for (address, identity, is_answered) in [
        (near, None, true),
        (far, None, false),
        (far, proven(OPERATOR), true),
        // On loopback too: who proves an identity is that one.
        (near, proven("spiffe://mesh.example/ns/shop/sa/cart"), false),
    ] {
        let mut client = client_at(Peer { address, identity }, &served);
        let request = ClientStatusRequest::default();
        let outcomes = [
            client.fetch_client_status(request.clone()).await.err(),
            client
                .stream_client_status(tokio_stream::once(request))
                .await
                .err(),
        ];
        for refusal in outcomes {
            assert_eq!(refusal.is_none(), is_answered, "{refusal:?}");
            if let Some(refusal) = refusal {
                assert_eq!(refusal.code(), Code::PermissionDenied);
                assert!(refusal.message().contains("xds.operators"), "{refusal}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_nothing_to_say_is_listed_all_the_same() {
    let mut served = Served::new();
    // Nothing is published, so the stream waits for its first snapshot.
    let stream = delta(served.connect().await).await;
    stream.open("CDS", &["a"], Some("web-1")).await;
    until(&served, &["Cluster a NOT_SENT"]).await;
}
