//! What a cluster's objects say of themselves, and Ingresses, with an Envoy behind it.

use bowline_harness::{
    Envoy, HttpBackend, Request, eventually, free_port,
    kubernetes::{ApiServer, objects},
};
use serde_json::{Value, json};

use crate::world::{NAMESPACE, Protocol, World, answered, loopback};

const GATEWAYS: &str = "gateways.gateway.networking.k8s.io";
const ROUTES: &str = "httproutes.gateway.networking.k8s.io";
const INGRESSES: &str = "ingresses.networking.k8s.io";

/// A cluster with a gateway `edge` and the service `cart`, watched by a server. No Envoy runs yet.
struct Cluster {
    world: World,
    server: ApiServer,
    port: u16,
    _backend: HttpBackend,
}

impl Cluster {
    async fn start() -> Self {
        let server = ApiServer::start().await.unwrap();
        let backend = HttpBackend::start("cart").await.unwrap();
        let port = free_port().unwrap();
        server.apply_all(objects::gateway_api()).unwrap();
        let endpoint = objects::endpoint("127.0.0.1", "cart-1", "node-1", "a");
        let ports = [("http", backend.port())];
        server
            .apply_all([
                objects::gateway_class("bowline", "bowline.dev/gateway-controller"),
                objects::gateway(NAMESPACE, "edge", "bowline", port),
                objects::service(NAMESPACE, "cart", "10.96.0.7", &[("http", 80, 8080)]),
                objects::endpoint_slice(NAMESPACE, "cart", "1", &ports, vec![endpoint]),
            ])
            .unwrap();
        let mut world = World::prepare("", "").await;
        let configuration = format!(
            "mesh: {{trust_domain: mesh.test}}\nregistries:\n- name: prod\n  kubernetes: {{kubeconfig: {}}}\n",
            server.kubeconfig().display()
        );
        world.bowline.configure(&configuration).unwrap();
        world.bowline.launch().await.unwrap();
        world.bowline.ready().await.unwrap();
        Self {
            world,
            server,
            port,
            _backend: backend,
        }
    }

    async fn envoy(&self) -> Envoy {
        self.world.gateway(Protocol::Delta).await
    }

    fn request(&self, host: &str) -> Request {
        Request::get(loopback(self.port), host, "/")
    }

    /// Waits until a condition in an object's status is so, such as `True/Accepted`.
    async fn says(&self, resource: &str, name: &str, part: &str, condition: &str, wanted: &str) {
        let what = format!("{resource} {name} says {condition}={wanted}");
        eventually(&what, async || {
            let object = self.server.object(resource, NAMESPACE, name);
            let object = object.unwrap_or_default();
            let conditions = object.pointer(&format!("/status{part}/conditions"));
            let conditions = conditions.and_then(Value::as_array);
            let found =
                conditions.and_then(|all| all.iter().find(|each| each["type"] == condition));
            let text = |field: &str| found.and_then(|found| found[field].as_str()).unwrap_or("-");
            match format!("{}/{}", text("status"), text("reason")) {
                told if told == wanted => Ok(()),
                told => Err(told),
            }
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn what_a_cluster_says_of_its_routes_is_what_requests_meet() {
    let cluster = Cluster::start().await;
    // Nobody serves the gateway yet.
    cluster
        .says(GATEWAYS, "edge", "", "Programmed", "False/Pending")
        .await;
    let envoy = cluster.envoy().await;
    cluster
        .says(GATEWAYS, "edge", "", "Programmed", "True/Programmed")
        .await;

    let route = objects::http_route(NAMESPACE, "web", "edge", "shop.example", ("cart", 80));
    cluster.server.apply(route).unwrap();
    let parent = "/parents/0";
    cluster
        .says(ROUTES, "web", parent, "Accepted", "True/Accepted")
        .await;
    cluster
        .says(ROUTES, "web", parent, "ResolvedRefs", "True/ResolvedRefs")
        .await;
    let answer = answered(&cluster.request("shop.example")).await;
    assert_eq!(answer.backend(), Some("cart"));

    let route = objects::http_route(NAMESPACE, "lost", "edge", "lost.example", ("nobody", 80));
    cluster.server.apply(route).unwrap();
    cluster
        .says(ROUTES, "lost", parent, "Accepted", "True/Accepted")
        .await;
    cluster
        .says(
            ROUTES,
            "lost",
            parent,
            "ResolvedRefs",
            "False/BackendNotFound",
        )
        .await;
    let lost = cluster.request("lost.example");
    eventually("its requests are answered with 500", async || {
        match lost.send().await {
            Ok(answer) if answer.status == 500 => Ok(()),
            Ok(answer) => Err(format!("{}", answer.status)),
            Err(error) => Err(format!("{error:#}")),
        }
    })
    .await
    .unwrap();
    envoy.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn an_ingress_routes_requests_and_says_where_they_come_in() {
    let cluster = Cluster::start().await;
    let envoy = cluster.envoy().await;
    let mut service = objects::service(NAMESPACE, "edge", "10.96.0.9", &[("http", 80, 8080)]);
    service["metadata"]["labels"] = json!({"gateway.networking.k8s.io/gateway-name": "edge"});
    let class = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "edge"},
        "spec": {
            "controller": "bowline.dev/ingress-controller",
            "parameters": {"apiGroup": "gateway.networking.k8s.io", "kind": "Gateway", "scope": "Namespace",
                           "namespace": NAMESPACE, "name": "edge"},
        },
    });
    let backend = json!({"service": {"name": "cart", "port": {"name": "http"}}});
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "shop", "namespace": NAMESPACE},
        "spec": {"ingressClassName": "edge", "rules": [{
            "host": "shop.example",
            "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]},
        }]},
        "status": {"loadBalancer": {}},
    });
    cluster.server.apply_all([service, class, ingress]).unwrap();
    let answer = answered(&cluster.request("shop.example")).await;
    assert_eq!(answer.backend(), Some("cart"));
    eventually("the Ingress says where it is", async || {
        let ingress = cluster.server.object(INGRESSES, NAMESPACE, "shop");
        let status = ingress.unwrap_or_default()["status"].clone();
        match status == json!({"loadBalancer": {"ingress": [{"ip": "10.96.0.9"}]}}) {
            true => Ok(()),
            false => Err(status),
        }
    })
    .await
    .unwrap();
    envoy.rejected_nothing().await.unwrap();
}
