//! Services of a Kubernetes cluster, and routes that are objects in it.

use bowline_harness::{
    Connections, Envoy, HttpBackend, Request, eventually, free_port,
    kubernetes::{ApiServer, objects},
};

use crate::world::{NAMESPACE, Protocol, World, answered, load, loopback, until};

/// A cluster with a gateway that sends everything to the service `cart`, which is not there yet.
struct Cluster {
    gateway: Envoy,
    world: World,
    server: ApiServer,
    request: Request,
}

impl Cluster {
    async fn start() -> Self {
        Self::start_with("").await
    }

    /// With further fields of the registry's entry.
    async fn start_with(fields: &str) -> Self {
        let server = ApiServer::start().await.unwrap();
        let port = free_port().unwrap();
        server.apply_all(objects::gateway_api()).unwrap();
        let gateway = objects::gateway(NAMESPACE, "edge", "bowline", port);
        let backend = ("cart", 80);
        let route = objects::http_route(NAMESPACE, "web", "edge", "shop.example", backend);
        server.apply_all([gateway, route]).unwrap();
        let mut world = World::prepare("", "").await;
        let kubeconfig = server.kubeconfig();
        let configuration = format!(
            "mesh: {{trust_domain: mesh.test}}\nregistries:\n- name: prod\n  kubernetes: {{kubeconfig: {}{fields}}}\n",
            kubeconfig.display()
        );
        world.bowline.configure(&configuration).unwrap();
        world.bowline.launch().await.unwrap();
        world.bowline.ready().await.unwrap();
        let gateway = world.gateway(Protocol::Delta).await;
        Self {
            gateway,
            world,
            server,
            request: Request::get(loopback(port), "shop.example", "/"),
        }
    }

    /// Makes the service have a slice for each of these.
    fn serve_by(&self, backends: &[&HttpBackend]) {
        let service = objects::service(NAMESPACE, "cart", "10.96.0.7", &[("http", 80, 8080)]);
        self.server.apply(service).unwrap();
        for backend in backends {
            self.server.apply(slice(backend)).unwrap();
        }
    }

    fn serve_no_more_by(&self, backend: &HttpBackend) {
        self.server.delete(&slice(backend)).unwrap();
    }
}

/// Each backend has a port of its own, so each has a slice of its own.
fn slice(backend: &HttpBackend) -> serde_json::Value {
    let suffix = backend.port().to_string();
    let endpoint = objects::endpoint("127.0.0.1", &format!("cart-{suffix}"), "node-1", "a");
    let ports = [("http", backend.port())];
    objects::endpoint_slice(NAMESPACE, "cart", &suffix, &ports, vec![endpoint])
}

#[tokio::test]
async fn a_service_that_is_created_is_routed_to() {
    let backend = HttpBackend::start("first").await.unwrap();
    let cluster = Cluster::start().await;
    eventually("the gateway listens", async || cluster.request.send().await)
        .await
        .unwrap();
    cluster.serve_by(&[&backend]);
    let answer = answered(&cluster.request).await;
    assert_eq!(answer.backend(), Some("first"));
    cluster.gateway.rejected_nothing().await.unwrap();
    let registry = cluster.world.registry("prod").await;
    assert_eq!(registry["state"], "live", "{registry}");
}

#[tokio::test]
async fn scaling_and_an_api_server_that_is_away_cost_no_request() {
    let backends = [
        HttpBackend::start("first").await.unwrap(),
        HttpBackend::start("second").await.unwrap(),
        HttpBackend::start("third").await.unwrap(),
    ];
    let [first, second, third] = &backends;
    let mut cluster = Cluster::start().await;
    cluster.serve_by(&[first]);
    answered(&cluster.request).await;
    let load = load(&cluster.request, Connections::Kept);

    cluster.serve_by(&[second, third]);
    until(&load, "all three answer", |report| {
        ["first", "second", "third"]
            .iter()
            .all(|name| report.answered_by(name) > 0)
    })
    .await;
    cluster.serve_no_more_by(first);
    cluster.serve_no_more_by(second);
    until(&load, "only the third answers", |report| {
        report.since_last_of("first") > 100 && report.since_last_of("second") > 100
    })
    .await;

    cluster.server.stop();
    eventually("the cluster is known to be away", async || {
        let registry = cluster.world.registry("prod").await;
        match registry["state"] == "failing" {
            true => Ok(()),
            false => Err(registry),
        }
    })
    .await
    .unwrap();
    cluster.server.start_again().await.unwrap();
    cluster.serve_by(&[first]);
    let before = load.take_report();
    until(&load, "the first answers again", |report| {
        report.answered_by("first") > 0
    })
    .await;
    before.none_failed().unwrap();
    load.stop().await.none_failed().unwrap();
    cluster.gateway.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn a_cluster_that_a_secret_names_joins_and_leaves() {
    let backend = HttpBackend::start("east").await.unwrap();
    let east = ApiServer::start().await.unwrap();
    let service = objects::service(NAMESPACE, "cart", "10.96.0.7", &[("http", 80, 8080)]);
    east.apply_all([service, slice(&backend)]).unwrap();
    let mut cluster = Cluster::start_with(", remote_clusters: istio-system").await;
    let secret = objects::remote_secret("istio-system", "east", &east.kubeconfig_text());
    cluster.server.apply(secret.clone()).unwrap();
    let answer = answered(&cluster.request).await;
    assert_eq!(answer.backend(), Some("east"));

    // It is remembered while the cluster that knows of it is away.
    cluster.server.stop();
    cluster.world.bowline.terminate().await.unwrap();
    cluster.world.bowline.launch().await.unwrap();
    cluster.world.bowline.ready().await.unwrap();
    let east = cluster.world.registry("east").await;
    assert_eq!(east["endpoints"], 1, "{east}");

    cluster.server.start_again().await.unwrap();
    cluster.server.delete(&secret).unwrap();
    eventually("the registry is gone", async || {
        let listed = cluster.world.bowline.admin_json("/v1/registries").await;
        let listed = listed.map_err(|error| error.to_string())?;
        let listed = listed.as_array().cloned().unwrap_or_default();
        match listed.iter().any(|registry| registry["registry"] == "east") {
            true => Err("it is still there".to_owned()),
            false => Ok(()),
        }
    })
    .await
    .unwrap();
}
