//! A real API server, where one is given by `KUBECONFIG`: what it does must be what the double does.

use std::path::PathBuf;

use bowline_harness::{eventually, kubernetes::objects};
use bowline_kubernetes::Access;
use bowline_mesh::Problem;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use serde_json::{Value, json};

use crate::{
    status::{CONTROLLER, Replica, told},
    watching::{Watching, cluster},
};

/// A namespace of the test's own in the cluster.
struct Namespace {
    client: Client,
    name: String,
}

impl Namespace {
    async fn new(access: &Access, purpose: &str) -> Self {
        let client = access.client().await.unwrap();
        let name = format!("bowline-{purpose}-{}", std::process::id());
        let namespace = Self { client, name };
        let object = objects::namespace(&namespace.name);
        namespace.send("POST", "/api/v1/namespaces", &object).await;
        namespace
    }

    async fn send(&self, method: &str, path: &str, object: &Value) {
        let (status, answer) = self.ask(method, path, object).await;
        assert!(status.is_success(), "{method} {path}: {status} {answer}");
    }

    async fn ask(&self, method: &str, path: &str, object: &Value) -> (StatusCode, Value) {
        let content = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content)
            .body(Body::from(object.to_string().into_bytes()))
            .unwrap();
        let response = self.client.send(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Where the Gateway API's objects of a kind are.
    fn gateway_api(&self, plural: &str) -> String {
        let name = &self.name;
        format!("/apis/gateway.networking.k8s.io/v1/namespaces/{name}/{plural}")
    }

    /// Waits until a part of the status of an object is so.
    async fn says(&self, path: &str, part: &str, wanted: &[&str]) {
        eventually(path, async || {
            let (_, object) = self.ask("GET", path, &Value::Null).await;
            let conditions = object.pointer(&format!("/status{part}/conditions"));
            let told = told(conditions.unwrap_or(&Value::Null));
            match told == wanted {
                true => Ok(()),
                false => Err(format!("{told:?}")),
            }
        })
        .await
        .unwrap();
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
    let namespace = Namespace::new(&access, "watched").await;
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
    // Other tests have their objects in the same cluster.
    let own = |problem: &&Problem| problem.to_string().contains(&namespace.name);
    assert_eq!(event.problems.iter().find(own), None);
}

#[tokio::test]
async fn secrets_of_a_real_api_server_are_seen_as_those_of_the_double_are() {
    let Some(path) = std::env::var_os("KUBECONFIG").map(PathBuf::from) else {
        return;
    };
    let access = Access::Kubeconfig {
        path,
        context: None,
    };
    let namespace = Namespace::new(&access, "secrets").await;
    let name = namespace.name.as_str();
    let ingresses = format!("/apis/networking.k8s.io/v1/namespaces/{name}/ingresses");
    let secrets = format!("/api/v1/namespaces/{name}/secrets");
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"},
        "spec": {"ingressClassName": "bowline", "tls": [{"secretName": "cert"}],
            "defaultBackend": {"service": {"name": "cart", "port": {"number": 80}}}},
    });
    namespace.send("POST", &ingresses, &ingress).await;
    let mut by_name = Watching::of(cluster(access.clone()));
    let mut read = cluster(access);
    read.facts.secrets.everywhere = false;
    read.facts.secrets.namespaces = [name.parse().unwrap()].into();
    let mut whole = Watching::of(read);
    let missing = format!("there is no Secret {name}/cert");
    by_name.says(&missing).await;
    whole.says(&missing).await;
    let data = json!({"tls.crt": "SGVsbG8=", "tls.key": "SGVsbG8="});
    let secret = objects::secret(name, "cert", "kubernetes.io/tls", data);
    namespace.send("POST", &secrets, &secret).await;
    by_name
        .until("that it is there", |known| !known.has_problem(&missing))
        .await;
    whole.says("has no certificate as PEM in tls.crt").await;
    let one = format!("{secrets}/cert");
    namespace.send("DELETE", &one, &json!({})).await;
    by_name.says(&missing).await;
    whole.says(&missing).await;
    let web = format!("{ingresses}/web");
    namespace.send("DELETE", &web, &json!({})).await;
    let all = format!("/api/v1/namespaces/{name}");
    namespace.send("DELETE", &all, &json!({})).await;
}

#[tokio::test]
async fn a_real_api_server_takes_statuses_as_the_double_does() {
    let Some(path) = std::env::var_os("KUBECONFIG").map(PathBuf::from) else {
        return;
    };
    let access = Access::Kubeconfig {
        path: path.clone(),
        context: None,
    };
    let namespace = Namespace::new(&access, "status").await;
    let classes = "/apis/gateway.networking.k8s.io/v1/gatewayclasses";
    let (installed, _) = namespace.ask("GET", classes, &Value::Null).await;
    if installed == StatusCode::NOT_FOUND {
        return;
    }
    let (gateways, routes) = (
        namespace.gateway_api("gateways"),
        namespace.gateway_api("httproutes"),
    );
    let class = namespace.name.as_str();
    namespace
        .send("POST", classes, &objects::gateway_class(class, CONTROLLER))
        .await;
    namespace
        .send(
            "POST",
            &gateways,
            &objects::gateway(class, "edge", class, 8080),
        )
        .await;
    let route = objects::http_route(class, "web", "edge", "shop.example", ("nobody", 80));
    namespace.send("POST", &routes, &route).await;
    let replica = Replica::start_with(path.clone(), class, &["edge"]);
    let accepted = "Accepted=True/Accepted";
    namespace
        .says(&format!("{classes}/{class}"), "", &[accepted])
        .await;
    let programmed = [accepted, "Programmed=True/Programmed"];
    namespace
        .says(&format!("{gateways}/edge"), "", &programmed)
        .await;
    let web = format!("{routes}/web");
    let lost = [accepted, "ResolvedRefs=False/BackendNotFound"];
    namespace.says(&web, "/parents/0", &lost).await;
    // Others write to the same object while its status changes.
    let others = json!({"status": {"parents": [{
        "parentRef": {"name": "theirs"}, "controllerName": "example.com/controller",
        "conditions": [{"type": "Accepted", "status": "True", "reason": "Theirs", "message": "",
                        "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    }]}});
    namespace
        .send("PATCH", &format!("{web}/status"), &others)
        .await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "nobody", "namespace": class},
        "spec": {"ports": [{"name": "http", "port": 80}]},
    });
    namespace
        .send("POST", &namespace.services(), &service)
        .await;
    for round in 0..20 {
        let annotated = json!({"metadata": {"annotations": {"round": round.to_string()}}});
        namespace.send("PATCH", &web, &annotated).await;
    }
    namespace
        .says(&web, "/parents/0", &["Accepted=True/Theirs"])
        .await;
    let acts = [accepted, "ResolvedRefs=True/ResolvedRefs"];
    namespace.says(&web, "/parents/1", &acts).await;
    replica.end().await;
    // What is as it should be is not written again.
    let version = async || {
        let (_, object) = namespace.ask("GET", &web, &Value::Null).await;
        object["metadata"]["resourceVersion"].clone()
    };
    let before = version().await;
    let again = Replica::start_with(path, class, &["edge"]);
    let second = objects::http_route(class, "second", "edge", "shop.example", ("nobody", 80));
    namespace.send("POST", &routes, &second).await;
    namespace
        .says(&format!("{routes}/second"), "/parents/0", &acts)
        .await;
    assert_eq!(version().await, before);
    again.end().await;
    let all = format!("/api/v1/namespaces/{class}");
    namespace.send("DELETE", &all, &json!({})).await;
    namespace
        .send("DELETE", &format!("{classes}/{class}"), &json!({}))
        .await;
}
