//! Discovery, kinds that come and go, namespaces, permissions.

use bowline_harness::kubernetes::{ApiServer, Fault, objects};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::client::{Client, change};

const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

fn named<'a>(list: &'a Value, field: &str, name: &str) -> &'a Value {
    let found = list
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item[field] == name);
    found.unwrap_or(&Value::Null)
}

#[tokio::test]
async fn a_kind_is_there_as_long_as_its_definition() {
    let server = ApiServer::start().await.unwrap();
    let client = Client::open(&server);
    let path = "/apis/gateway.networking.k8s.io/v1/gateways";
    assert_eq!(client.get(path).await.status, StatusCode::NOT_FOUND);
    assert!(
        server
            .apply(objects::gateway("shop", "front", "bowline", 80))
            .is_err()
    );

    server.apply_all(objects::gateway_api()).unwrap();
    server
        .apply(objects::gateway("shop", "front", "bowline", 80))
        .unwrap();
    let name = "gateways.gateway.networking.k8s.io";
    let definition = server
        .object("customresourcedefinitions.apiextensions.k8s.io", "", name)
        .unwrap();
    let condition = named(&definition["status"]["conditions"], "type", "Established");
    assert_eq!(condition["status"], "True");
    let list = client.get(path).await.json();
    assert_eq!(
        list["items"][0]["apiVersion"],
        "gateway.networking.k8s.io/v1"
    );
    let older = client.get(&path.replace("v1", "v1beta1")).await.json();
    assert_eq!(
        older["items"][0]["apiVersion"],
        "gateway.networking.k8s.io/v1beta1"
    );

    let mut watch = client.watch(&format!("{path}?watch=1")).await;
    assert_eq!(watch.next_change().await, change("ADDED", "front"));
    server
        .remove("customresourcedefinitions.apiextensions.k8s.io", "", name)
        .unwrap();
    assert_eq!(watch.next_change().await, change("DELETED", "front"));
    assert_eq!(watch.next().await, None);
    assert_eq!(client.get(path).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn both_forms_of_discovery_say_the_same() {
    let server = ApiServer::start().await.unwrap();
    let client = Client::open(&server);
    server.apply_all(objects::gateway_api()).unwrap();

    let groups = client.get("/apis").await.json();
    let group = named(&groups["groups"], "name", "gateway.networking.k8s.io");
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let resources = client
        .get("/apis/gateway.networking.k8s.io/v1")
        .await
        .json();
    let routes = named(&resources["resources"], "name", "httproutes");
    assert_eq!(routes["namespaced"], true);
    let status = named(&resources["resources"], "name", "httproutes/status");
    assert_eq!(status["kind"], "HTTPRoute");
    let core = client.get("/api/v1").await.json();
    assert_eq!(
        named(&core["resources"], "name", "nodes")["namespaced"],
        false
    );

    let all = client.get_as("/apis", AGGREGATED).await.json();
    assert_eq!(all["kind"], "APIGroupDiscoveryList");
    let group = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item["metadata"]["name"] == "gateway.networking.k8s.io");
    let resources = &group.unwrap()["versions"][0]["resources"];
    assert_eq!(
        named(resources, "resource", "httproutes")["scope"],
        "Namespaced"
    );

    server.pretend(24);
    let all = client.get_as("/apis", AGGREGATED).await.json();
    assert_eq!(all["kind"], "APIGroupList");
}

#[tokio::test]
async fn a_namespace_takes_everything_in_it_along() {
    let server = ApiServer::start().await.unwrap();
    let client = Client::open(&server);
    server
        .apply(objects::headless_service("shop", "cart", &[]))
        .unwrap();
    let since = server.revision();

    let path = "/api/v1/namespaces/shop";
    client
        .send(Method::DELETE, path, "", Value::Null)
        .await
        .unwrap();

    let mut watch = client
        .watch(&format!(
            "/api/v1/namespaces?watch=1&resourceVersion={since}"
        ))
        .await;
    let terminating = watch.next().await.unwrap();
    assert_eq!(terminating["object"]["status"]["phase"], "Terminating");
    assert_eq!(watch.next_change().await, change("DELETED", "shop"));
    assert_eq!(server.object("services", "shop", "cart"), None);
}

#[tokio::test]
async fn what_is_forbidden_is_refused_and_can_be_asked_for_before() {
    let server = ApiServer::start().await.unwrap();
    let client = Client::open(&server);
    let review = |resource: &str, verb: &str| json!({"spec": {"resourceAttributes": {"resource": resource, "verb": verb}}});
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let allowed = async |resource, verb| {
        let answer = client
            .send(Method::POST, reviews, "", review(resource, verb))
            .await;
        answer.unwrap().json()["status"]["allowed"].clone()
    };
    server.fault_for("secrets", Fault::Forbidden);
    server.fault_for("pods", Fault::ReadOnly);
    server.fault_for("configmaps", Fault::ForbiddenOutside("shop".to_owned()));

    let secrets = client.get("/api/v1/secrets").await;
    assert_eq!(secrets.status, StatusCode::FORBIDDEN);
    let message = secrets.json()["message"].to_string();
    assert!(message.contains("cannot list resource"), "{message}");
    assert_eq!(allowed("secrets", "list").await, false);
    assert_eq!(allowed("pods", "list").await, true);
    assert_eq!(allowed("pods", "update").await, false);
    assert_eq!(
        client.get("/api/v1/configmaps").await.status,
        StatusCode::FORBIDDEN
    );
    let inside = "/api/v1/namespaces/shop/configmaps";
    assert_eq!(client.get(inside).await.status, StatusCode::OK);

    server.heal();
    assert_eq!(allowed("secrets", "list").await, true);
}
