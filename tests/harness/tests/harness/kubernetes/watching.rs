//! Watches: from now, from a revision, with bookmarks, streamed lists, and their ends.

use bowline_harness::{
    eventually,
    kubernetes::{ApiServer, Fault, objects},
};
use http::StatusCode;
use serde_json::Value;

use super::client::{Client, change};

fn service(name: &str) -> Value {
    objects::service("shop", name, "10.96.0.9", &[("http", 80, 8080)])
}

const STREAMED: &str = "/api/v1/services?watch=true&sendInitialEvents=true\
                        &resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";

#[tokio::test]
async fn a_watch_goes_on_from_where_the_client_is() {
    let server = ApiServer::start().await.unwrap();
    let client = Client::open(&server);
    server.apply(service("before")).unwrap();
    let since = server.revision();
    server.apply(service("cart")).unwrap();

    let path = format!("/api/v1/services?watch=1&resourceVersion={since}");
    let mut watch = client.watch(&path).await;
    assert_eq!(watch.next_change().await, change("ADDED", "cart"));
    assert_eq!(server.watches("services"), 1);

    let mut changed = service("cart");
    changed["spec"]["ports"][0]["port"] = 81.into();
    server.apply(changed.clone()).unwrap();
    server.apply(changed).unwrap();
    server.apply(objects::node("n1", "r1", "z1")).unwrap();
    server.remove("services", "shop", "cart").unwrap();
    let modified = watch.next().await.unwrap();
    assert_eq!(modified["type"], "MODIFIED");
    assert_eq!(modified["object"]["kind"], "Service");
    let deleted = watch.next().await.unwrap();
    assert_eq!(deleted["type"], "DELETED", "what is equal is no change");
    assert_eq!(
        deleted["object"]["metadata"]["resourceVersion"],
        server.revision().to_string()
    );
    drop(watch);
    eventually("the watch is closed", async || {
        (server.watches("services") == 0)
            .then_some(())
            .ok_or("open")
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn objects_come_and_go_by_their_labels() {
    let server = ApiServer::start().await.unwrap();
    let client = Client::open(&server);
    let mut watch = client
        .watch("/api/v1/services?watch=1&labelSelector=tier=front")
        .await;
    let mut cart = service("cart");

    server.apply(cart.clone()).unwrap();
    cart["metadata"]["labels"]["tier"] = "front".into();
    server.apply(cart.clone()).unwrap();
    assert_eq!(watch.next_change().await, change("ADDED", "cart"));
    cart["metadata"]["labels"]["tier"] = "back".into();
    server.apply(cart).unwrap();
    assert_eq!(watch.next_change().await, change("DELETED", "cart"));
}

#[tokio::test]
async fn a_streamed_list_ends_with_its_bookmark() {
    let server = ApiServer::start().await.unwrap();
    let client = Client::open(&server);
    server
        .apply_all((0..600).map(|n| service(&format!("s{n:03}"))))
        .unwrap();

    let mut watch = client.watch(STREAMED).await;
    for n in 0..600 {
        let expected = change("ADDED", &format!("s{n:03}"));
        assert_eq!(watch.next_change().await, expected);
    }
    let bookmark = watch.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    let metadata = &bookmark["object"]["metadata"];
    assert_eq!(metadata["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(metadata["resourceVersion"], server.revision().to_string());

    server.apply(service("late")).unwrap();
    assert_eq!(watch.next_change().await, change("ADDED", "late"));
    server.bookmark();
    let bookmark = watch.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"], Value::Null);
}

#[tokio::test]
async fn a_server_without_streamed_lists_says_so() {
    let server = ApiServer::start().await.unwrap();
    let client = Client::open(&server);
    for (minor, status) in [
        (24, StatusCode::UNPROCESSABLE_ENTITY),
        (32, StatusCode::OK),
        (33, StatusCode::UNPROCESSABLE_ENTITY),
        (34, StatusCode::OK),
    ] {
        server.pretend(minor);
        let answered = client.watch_status(STREAMED).await;
        assert_eq!(answered, status, "1.{minor}");
        let version = client.get("/version").await.json();
        assert_eq!(version["minor"], minor.to_string());
    }
}

#[tokio::test]
async fn a_history_that_is_gone_is_told_as_an_event_or_as_a_status() {
    let server = ApiServer::start().await.unwrap();
    let client = Client::open(&server);
    let path = format!(
        "/api/v1/services?watch=1&resourceVersion={}",
        server.revision()
    );
    server.apply(service("cart")).unwrap();
    server.compact();

    let mut watch = client.watch(&path).await;
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "ERROR");
    assert_eq!(event["object"]["code"], 410);
    assert_eq!(event["object"]["reason"], "Expired");
    assert_eq!(watch.next().await, None);

    server.fault(Fault::GoneAsStatus);
    assert_eq!(client.get(&path).await.status, StatusCode::GONE);
}

#[tokio::test]
async fn a_watch_ends_in_time_and_when_it_is_told_to() {
    let server = ApiServer::start().await.unwrap();
    let client = Client::open(&server);
    let path = "/api/v1/services?watch=1&allowWatchBookmarks=true";

    let mut short = client.watch(&format!("{path}&timeoutSeconds=1")).await;
    let initial = short.next().await.unwrap();
    let annotations = &initial["object"]["metadata"]["annotations"];
    assert_eq!(annotations["k8s.io/initial-events-end"], "true");
    assert_eq!(short.next().await.unwrap()["type"], "BOOKMARK");
    assert_eq!(short.next().await, None);

    let path = "/api/v1/services?watch=1";
    let mut expired = client.watch(path).await;
    server.expire_watches("services");
    assert_eq!(expired.next().await.unwrap()["object"]["code"], 410);
    assert_eq!(expired.next().await, None);

    let mut ended = client.watch(path).await;
    let mut other = client.watch("/api/v1/pods?watch=1").await;
    server.end_watches("services");
    assert_eq!(ended.next().await, None);
    server
        .apply(objects::pod("shop", "a", "cart", "10.244.0.7", "n1"))
        .unwrap();
    assert_eq!(other.next_change().await, change("ADDED", "a"));
}
