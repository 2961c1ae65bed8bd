//! Faults, and what is seen of them.

use bowline_harness::kubernetes::{Access, ApiServer, Fault, objects};
use http::{Method, StatusCode};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc2822};

use super::client::{Answer, Client, change};

async fn fails(client: &Client<'_>) -> bool {
    let sent = client.send(Method::GET, "/api/v1/services", "", Value::Null);
    sent.await.is_err()
}

#[tokio::test]
async fn every_way_in_lets_in_who_has_it() {
    for access in [Access::Open, Access::Token, Access::Certificate] {
        let server = ApiServer::start_with(access).await.unwrap();
        let client = Client::open(&server);
        let answer = client.get("/api/v1/services").await;
        assert_eq!(answer.status, StatusCode::OK, "{access:?}");
        let text = server.kubeconfig_text();
        assert!(text.contains(&server.address().to_string()), "{text}");
    }
}

#[tokio::test]
async fn a_token_ends_and_the_next_is_in_its_file() {
    let mut server = ApiServer::start().await.unwrap();
    let before = server.kubeconfig_text();
    server.renew_token().unwrap();
    assert_ne!(server.kubeconfig_text(), before);
    assert_eq!(
        Client::open(&server).get("/api/v1/pods").await.status,
        StatusCode::OK
    );

    std::fs::write(server.folder().join("token"), "old").unwrap();
    let refused = Client::open(&server).get("/api/v1/pods").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refused.json()["reason"], "Unauthorized");
}

#[tokio::test]
async fn another_authority_needs_the_new_file() {
    let mut server = ApiServer::start().await.unwrap();
    let file = server.folder().join("ca.crt");
    let old = std::fs::read(&file).unwrap();
    server.rotate().unwrap();
    assert!(!fails(&Client::open(&server)).await);
    std::fs::write(&file, old).unwrap();
    assert!(fails(&Client::open(&server)).await);
}

#[tokio::test]
async fn a_server_that_stops_is_there_again_with_everything() {
    let mut server = ApiServer::start().await.unwrap();
    server
        .apply(objects::headless_service("shop", "cart", &[]))
        .unwrap();
    let mut watch = Client::open(&server)
        .watch("/api/v1/services?watch=1")
        .await;
    assert_eq!(watch.next_change().await, change("ADDED", "cart"));

    server.stop();
    assert_eq!(watch.next().await, None);
    assert!(fails(&Client::open(&server)).await);
    server.start_again().await.unwrap();
    let list = Client::open(&server).get("/api/v1/services").await.json();
    assert_eq!(list["items"][0]["metadata"]["name"], "cart");
}

#[tokio::test]
async fn bodies_come_in_odd_pieces_and_break() {
    let server = ApiServer::start_with(Access::Open).await.unwrap();
    let client = Client::open(&server);
    server
        .apply(objects::headless_service("shop", "cart", &[]))
        .unwrap();

    server.fault(Fault::Pieces(7));
    let mut watch = client.watch("/api/v1/services?watch=1").await;
    assert_eq!(watch.next_change().await, change("ADDED", "cart"));
    assert!(watch.pieces > 20, "{} pieces", watch.pieces);
    let list = client.get("/api/v1/services").await.json();
    assert_eq!(list["items"][0]["metadata"]["name"], "cart");

    server.fault(Fault::BreaksAfter(100));
    assert!(fails(&client).await);
}

#[tokio::test]
async fn answers_are_what_the_fault_says() {
    let server = ApiServer::start().await.unwrap();
    let client = Client::open(&server);
    for (fault, status) in [
        (Fault::Unauthorized, StatusCode::UNAUTHORIZED),
        (Fault::Overloaded, StatusCode::TOO_MANY_REQUESTS),
        (Fault::Unavailable, StatusCode::SERVICE_UNAVAILABLE),
        (Fault::Garbage, StatusCode::OK),
        (Fault::Clock(-3_600), StatusCode::OK),
    ] {
        server.fault_for("services", fault.clone());
        let answer = client.get("/api/v1/services").await;
        assert_eq!(answer.status, status, "{fault:?}");
        assert_eq!(client.get("/api/v1/pods").await.status, StatusCode::OK);
        let right = date(&client.get("/api/v1/pods").await);
        let wrong = (right - date(&answer)).whole_minutes() >= 30;
        assert_eq!(wrong, fault == Fault::Clock(-3_600));
        server.heal();
    }
}

fn date(answer: &Answer) -> OffsetDateTime {
    OffsetDateTime::parse(answer.headers["date"].to_str().unwrap(), &Rfc2822).unwrap()
}
