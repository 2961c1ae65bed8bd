//! A real API server, where one is given by `KUBECONFIG`: what it does must be what the double does.

use std::path::PathBuf;

use bowline_harness::kubernetes::objects;
use bowline_kubernetes::Access;
use http::Request;
use kube::{Client, client::Body};
use serde_json::{Value, json};

use crate::watching::{Watching, cluster};

/// A namespace of the test's own in the cluster.
struct Namespace {
    client: Client,
    name: String,
}

impl Namespace {
    async fn new(access: &Access) -> Self {
        let client = access.client().await.unwrap();
        let name = format!("bowline-{}", std::process::id());
        let namespace = Self { client, name };
        let object = objects::namespace(&namespace.name);
        namespace.send("POST", "/api/v1/namespaces", &object).await;
        namespace
    }

    async fn send(&self, method: &str, path: &str, object: &Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(Body::from(object.to_string().into_bytes()))
            .unwrap();
        let response = self.client.send(request).await.unwrap();
        assert!(
            response.status().is_success(),
            "{method} {path}: {}",
            response.status()
        );
    }

    fn services(&self) -> String {
        format!("/api/v1/namespaces/{}/services", self.name)
    }

    fn slices(&self) -> String {
        let name = &self.name;
        format!("/apis/discovery.k8s.io/v1/namespaces/{name}/endpointslices")
    }

    fn slice(&self, address: &str) -> Value {
        let endpoint = objects::endpoint(address, "cart-pod", "node-1", "a");
        let ports = [("http", 8080)];
        let mut slice = objects::endpoint_slice(&self.name, "cart", "1", &ports, vec![endpoint]);
        // What only the API server writes.
        if let Some(metadata) = slice["metadata"].as_object_mut() {
            metadata.retain(|field, _| ["name", "namespace", "labels"].contains(&field.as_str()));
        }
        slice
    }
}

#[tokio::test]
async fn a_real_api_server_is_watched_as_the_double_is() {
    let Some(path) = std::env::var_os("KUBECONFIG").map(PathBuf::from) else {
        return;
    };
    let access = Access::Kubeconfig {
        path: path.clone(),
        context: None,
    };
    let namespace = Namespace::new(&access).await;
    let mut watching = Watching::start(path);
    watching
        .until("a first answer", |known| known.replaces == 1)
        .await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "cart", "namespace": namespace.name},
        "spec": {"ports": [{"name": "http", "port": 80}]},
    });
    namespace
        .send("POST", &namespace.services(), &service)
        .await;
    let slices = namespace.slices();
    namespace
        .send("POST", &slices, &namespace.slice("10.7.0.1"))
        .await;
    let sees = |address: &'static str| move |known: &Watching| known.addresses().contains(address);
    watching.until("the endpoint", sees("10.7.0.1")).await;
    let one = format!("{slices}/cart-1");
    namespace
        .send("PUT", &one, &namespace.slice("10.7.0.2"))
        .await;
    watching.until("its new address", sees("10.7.0.2")).await;
    assert!(!watching.addresses().contains("10.7.0.1"));
    namespace.send("DELETE", &one, &json!({})).await;
    watching
        .until("that it is gone", |known| {
            !known.addresses().contains("10.7.0.2")
        })
        .await;
    assert_eq!((watching.replaces, &watching.failing), (1, &None));
    let all = format!("/api/v1/namespaces/{}", namespace.name);
    namespace.send("DELETE", &all, &json!({})).await;
    let event = cluster(access).load().await;
    assert_eq!(event.problems, []);
}
