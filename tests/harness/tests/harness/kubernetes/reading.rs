//! Lists, pages, selectors, metadata only.

use bowline_harness::kubernetes::{ApiServer, objects};
use http::StatusCode;
use serde_json::{Value, json};

use super::client::Client;

const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect()
}

async fn with_services(names: &[&str]) -> ApiServer {
    let server = ApiServer::start().await.unwrap();
    for name in names {
        let service = objects::service("shop", name, "10.96.0.9", &[("http", 80, 8080)]);
        server.apply(service).unwrap();
    }
    server
}

#[tokio::test]
async fn a_list_says_what_it_is_and_when() {
    let server = with_services(&["cart"]).await;
    let client = Client::open(&server);

    let list = client.get("/api/v1/services").await.json();

    assert_eq!(list["kind"], "ServiceList");
    assert_eq!(list["apiVersion"], "v1");
    assert_eq!(
        list["metadata"]["resourceVersion"],
        server.revision().to_string()
    );
    let item = &list["items"][0];
    assert_eq!(item["kind"], Value::Null, "only single objects say it");
    assert_eq!(
        item["metadata"]["resourceVersion"],
        server.revision().to_string()
    );
    assert_eq!(item["spec"]["ports"][0]["targetPort"], 8080);

    let object = client
        .get("/api/v1/namespaces/shop/services/cart")
        .await
        .json();
    assert_eq!(object["kind"], "Service");
    let missing = client.get("/api/v1/namespaces/shop/services/none").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(missing.json()["message"], "services \"none\" not found");
    let elsewhere = client
        .get("/api/v1/namespaces/default/services")
        .await
        .json();
    assert_eq!(names(&elsewhere), [""; 0]);
    let nothing = client.get("/apis/example.org/v1/things").await;
    assert_eq!(nothing.status, StatusCode::NOT_FOUND);
    assert_eq!(nothing.body.as_ref(), b"404 page not found\n");
}

#[tokio::test]
async fn all_pages_show_the_moment_of_the_first() {
    let server = with_services(&["a", "b", "c", "d", "e"]).await;
    let client = Client::open(&server);

    let first = client.get("/api/v1/services?limit=2").await.json();
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);

    server.remove("services", "shop", "d").unwrap();
    let late = objects::service("shop", "cc", "10.96.0.9", &[]);
    server.apply(late).unwrap();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let path = format!("/api/v1/services?limit=2&continue={token}");
    let second = client.get(&path).await.json();
    assert_eq!(names(&second), ["c", "d"]);
    assert_eq!(
        second["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );

    server.compact();
    let gone = client.get(&path).await;
    assert_eq!(gone.status, StatusCode::GONE);
    let token = gone.json()["metadata"]["continue"]
        .as_str()
        .unwrap()
        .to_owned();
    let rest = client
        .get(&format!("/api/v1/services?continue={token}"))
        .await
        .json();
    assert_eq!(names(&rest), ["c", "cc", "e"]);
}

#[tokio::test]
async fn selectors_choose() {
    let server = with_services(&["cart"]).await;
    let client = Client::open(&server);
    for (name, app, node) in [("a", "cart", "n1"), ("b", "cart", "n2"), ("c", "web", "n1")] {
        let pod = objects::pod("shop", name, app, "10.244.0.7", node);
        server.apply(pod).unwrap();
    }
    for (query, expected) in [
        ("labelSelector=app%3Dcart", &["a", "b"][..]),
        ("labelSelector=app!=cart", &["c"]),
        ("labelSelector=app+in+(cart,web),app", &["a", "b", "c"]),
        ("labelSelector=app+notin+(cart)", &["c"]),
        ("labelSelector=!app", &[]),
        ("fieldSelector=spec.nodeName%3Dn1", &["a", "c"]),
        (
            "fieldSelector=metadata.name!=a&labelSelector=app=cart",
            &["b"],
        ),
    ] {
        let list = client.get(&format!("/api/v1/pods?{query}")).await.json();
        assert_eq!(names(&list), expected, "{query}");
    }
    let refused = client.get("/api/v1/pods?fieldSelector=spec.x=1").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn only_metadata_is_sent_when_only_that_is_asked_for() {
    let server = with_services(&[]).await;
    let client = Client::open(&server);
    let secret = objects::secret("shop", "key", "Opaque", json!({"password": "c2VjcmV0"}));
    server.apply(secret).unwrap();

    let list = client.get_as("/api/v1/secrets", METADATA).await;

    assert_eq!(list.json()["kind"], "PartialObjectMetadataList");
    assert_eq!(list.json()["items"][0]["kind"], "PartialObjectMetadata");
    assert_eq!(list.json()["items"][0]["metadata"]["name"], "key");
    assert!(!String::from_utf8_lossy(&list.body).contains("c2VjcmV0"));
    let asked = server.take_requests().pop().unwrap();
    assert!(asked.only_metadata());
    assert_eq!(
        (asked.verb.as_str(), asked.resource.as_str()),
        ("list", "secrets")
    );
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn what_cannot_be_shown_as_it_is_asked_for_is_refused_or_shown_as_is_asked_for_next() {
    let server = with_services(&[]).await;
    let client = Client::open(&server);
    let secret = objects::secret("shop", "key", "Opaque", json!({"password": "c2VjcmV0"}));
    server.apply(secret).unwrap();
    let of_one = METADATA.replace("List", "");
    let unknown = METADATA.replace("v=v1", "v=1");
    let with_another = format!("{unknown},application/json");
    for (path, accept, kind) in [
        ("/api/v1/secrets", METADATA, "PartialObjectMetadataList"),
        ("/api/v1/secrets", &of_one, "Status"),
        (
            "/api/v1/namespaces/shop/secrets/key",
            &of_one,
            "PartialObjectMetadata",
        ),
        ("/api/v1/namespaces/shop/secrets/key", METADATA, "Status"),
        ("/api/v1/secrets", &unknown, "Status"),
        ("/api/v1/secrets", &with_another, "SecretList"),
    ] {
        let answer = client.get_as(path, accept).await;
        assert_eq!(answer.json()["kind"], kind, "{path} {accept}");
        let is_refused = answer.status == StatusCode::NOT_ACCEPTABLE;
        assert_eq!(is_refused, kind == "Status");
    }
}

#[tokio::test]
async fn a_moment_that_has_not_come_cannot_be_listed() {
    let server = with_services(&[]).await;
    let client = Client::open(&server);
    let path = |revision| format!("/api/v1/services?resourceVersion={revision}");

    let future = client.get(&path(server.revision() + 1)).await;
    assert_eq!(future.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(
        future.json()["details"]["causes"][0]["reason"],
        "ResourceVersionTooLarge"
    );
    let now = client.get(&path(server.revision())).await;
    assert_eq!(now.status, StatusCode::OK);
}
