//! What clients write: objects, their status, conflicts.

use bowline_harness::kubernetes::{ApiServer, objects};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::client::{Answer, Client};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

fn lease(holder: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "bowline"},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15},
    })
}

async fn send(
    client: &Client<'_>,
    method: Method,
    path: &str,
    content: &str,
    body: Value,
) -> Answer {
    client.send(method, path, content, body).await.unwrap()
}

#[tokio::test]
async fn an_object_is_created_once_and_updated_by_whoever_has_seen_it_last() {
    let server = ApiServer::start().await.unwrap();
    let client = Client::open(&server);
    let path = format!("{LEASES}/bowline");

    let created = send(&client, Method::POST, LEASES, "", lease("a")).await;
    assert_eq!(created.status, StatusCode::CREATED);
    let again = send(&client, Method::POST, LEASES, "", lease("b")).await;
    assert_eq!(again.json()["reason"], "AlreadyExists");

    let mut mine = created.json();
    mine["spec"]["holderIdentity"] = "c".into();
    let updated = send(&client, Method::PUT, &path, "", mine.clone()).await;
    assert_eq!(updated.status, StatusCode::OK);
    let stale = send(&client, Method::PUT, &path, "", mine).await;
    assert_eq!(stale.status, StatusCode::CONFLICT);
    assert_eq!(stale.json()["reason"], "Conflict");
    let holder = server
        .object("leases.coordination.k8s.io", "default", "bowline")
        .unwrap();
    assert_eq!(holder["spec"]["holderIdentity"], "c");

    let deleted = send(&client, Method::DELETE, &path, "", Value::Null).await;
    assert_eq!(deleted.json()["status"], "Success");
    let nowhere = LEASES.replace("default", "nowhere");
    let answer = send(&client, Method::POST, &nowhere, "", lease("a")).await;
    assert_eq!(answer.json()["message"], "namespaces \"nowhere\" not found");
}

#[tokio::test]
async fn a_status_is_written_apart_from_the_rest() {
    let server = ApiServer::start().await.unwrap();
    let client = Client::open(&server);
    server.apply_all(objects::gateway_api()).unwrap();
    let applied = server
        .apply(objects::gateway("shop", "front", "bowline", 80))
        .unwrap();
    let path = "/apis/gateway.networking.k8s.io/v1/namespaces/shop/gateways/front";
    let status = format!("{path}/status");
    let object = || {
        server
            .object("gateways.gateway.networking.k8s.io", "shop", "front")
            .unwrap()
    };

    let both = json!({"spec": {"gatewayClassName": "x"}, "status": {"addresses": [{"value": "10.0.0.1"}]}});
    send(&client, Method::PATCH, &status, MERGE, both.clone()).await;
    assert_eq!(object()["spec"], applied["spec"]);
    assert_eq!(object()["status"]["addresses"][0]["value"], "10.0.0.1");
    assert_eq!(object()["metadata"]["generation"], 1);

    let mut other = both;
    other["status"]["addresses"] = json!([]);
    send(&client, Method::PATCH, path, MERGE, other).await;
    assert_eq!(object()["spec"]["gatewayClassName"], "x");
    assert_eq!(object()["status"]["addresses"][0]["value"], "10.0.0.1");
    assert_eq!(object()["metadata"]["generation"], 2);

    let stale = json!({
        "metadata": {"resourceVersion": applied["metadata"]["resourceVersion"]},
        "status": {"addresses": []},
    });
    let refused = send(&client, Method::PATCH, &status, MERGE, stale).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);

    let revision = server.revision();
    let same = json!({"status": {"addresses": [{"value": "10.0.0.1"}]}});
    send(&client, Method::PATCH, &status, MERGE, same).await;
    assert_eq!(server.revision(), revision, "what is equal is not written");
}

#[tokio::test]
async fn applied_conditions_are_merged_by_their_type() {
    let server = ApiServer::start().await.unwrap();
    let client = Client::open(&server);
    server.apply_all(objects::gateway_api()).unwrap();
    server
        .apply(objects::gateway("shop", "front", "bowline", 80))
        .unwrap();
    let path = "/apis/gateway.networking.k8s.io/v1/namespaces/shop/gateways/front/status";
    let accepted = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "status": {"conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted"}]},
    });

    let nobody = send(&client, Method::PATCH, path, APPLY, accepted.clone()).await;
    assert_eq!(nobody.status, StatusCode::UNPROCESSABLE_ENTITY);
    let path = format!("{path}?fieldManager=bowline&force=true");
    let gateway = send(&client, Method::PATCH, &path, APPLY, accepted)
        .await
        .json();

    let conditions = gateway["status"]["conditions"].as_array().unwrap();
    let states: Vec<_> = conditions
        .iter()
        .map(|condition| (&condition["type"], &condition["status"]))
        .collect();
    assert_eq!(
        states,
        [
            (&json!("Accepted"), &json!("True")),
            (&json!("Programmed"), &json!("Unknown")),
        ]
    );
    assert_eq!(
        gateway["metadata"]["managedFields"][0]["manager"],
        "bowline"
    );
}

#[tokio::test]
async fn a_json_patch_is_all_or_nothing() {
    let server = ApiServer::start().await.unwrap();
    let client = Client::open(&server);
    server.apply(lease("a")).unwrap();
    let path = format!("{LEASES}/bowline");
    let content = "application/json-patch+json";
    let holder = || {
        let lease = server
            .object("leases.coordination.k8s.io", "default", "bowline")
            .unwrap();
        lease["spec"]["holderIdentity"].clone()
    };

    let good = json!([
        {"op": "test", "path": "/spec/holderIdentity", "value": "a"},
        {"op": "replace", "path": "/spec/holderIdentity", "value": "b"},
        {"op": "add", "path": "/metadata/annotations", "value": {"a/b": "1"}},
        {"op": "remove", "path": "/metadata/annotations/a~1b"},
    ]);
    let answer = send(&client, Method::PATCH, &path, content, good.clone()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(holder(), "b");
    let refused = send(&client, Method::PATCH, &path, content, good).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(holder(), "b");
    let strategic = "application/strategic-merge-patch+json";
    let unknown = send(&client, Method::PATCH, &path, strategic, json!({})).await;
    assert_eq!(unknown.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_service_gets_what_the_server_gives_it() {
    let server = ApiServer::start().await.unwrap();
    let client = Client::open(&server);
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"generateName": "cart-"},
        "spec": {"ports": [{"port": 80}]},
    });
    let path = "/api/v1/namespaces/default/services";

    let service = send(&client, Method::POST, path, "", service).await.json();

    assert!(
        service["metadata"]["name"]
            .as_str()
            .unwrap()
            .starts_with("cart-")
    );
    assert!(
        service["spec"]["clusterIP"]
            .as_str()
            .unwrap()
            .starts_with("10.96.")
    );
    assert_eq!(service["spec"]["ports"][0]["targetPort"], 80);
    assert_eq!(service["spec"]["ports"][0]["protocol"], "TCP");
    let junk = send(&client, Method::POST, path, "", json!([1])).await;
    assert_eq!(junk.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_has_finalizers_goes_when_they_are_gone() {
    let server = ApiServer::start().await.unwrap();
    let client = Client::open(&server);
    let mut held = lease("a");
    held["metadata"]["finalizers"] = json!(["example.org/wait"]);
    server.apply(held).unwrap();
    let path = format!("{LEASES}/bowline");
    let there = || server.object("leases.coordination.k8s.io", "default", "bowline");

    let going = send(&client, Method::DELETE, &path, "", Value::Null)
        .await
        .json();
    assert_ne!(going["metadata"]["deletionTimestamp"], Value::Null);
    assert!(there().is_some());
    let free = json!({"metadata": {"finalizers": null}});
    send(&client, Method::PATCH, &path, MERGE, free).await;
    assert!(there().is_none());
}
