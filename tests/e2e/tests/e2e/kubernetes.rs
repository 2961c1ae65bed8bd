//! Services of a Kubernetes cluster, and routes that are objects in it.

use std::net::{Ipv4Addr, SocketAddr};

use bowline_harness::{
    Connections, Envoy, HttpBackend, Report, Request, eventually, free_port,
    kubernetes::{ApiServer, objects},
};
use serde_json::Value;

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
fn slice(backend: &HttpBackend) -> Value {
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

/// Pods of one service, each with an address of its own, and the slice that says what each is.
struct Pods {
    port: u16,
    running: Vec<Option<HttpBackend>>,
}

/// What a slice says of a pod.
#[derive(Clone, Copy)]
enum Condition {
    Ready,
    Starting,
    Terminating,
}

impl Pods {
    async fn start(count: usize) -> Self {
        let mut pods = Self {
            port: free_port().unwrap(),
            running: Vec::new(),
        };
        for _ in 0..count {
            pods.start_one().await;
        }
        pods
    }

    /// Starts the next pod, and says its number.
    async fn start_one(&mut self) -> usize {
        let number = self.running.len();
        let address = SocketAddr::from((Self::address(number), self.port));
        let pod = HttpBackend::start_on(&name(number), address).await.unwrap();
        self.running.push(Some(pod));
        number
    }

    fn address(number: usize) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 1, 0)) + u32::try_from(number).unwrap())
    }

    /// The service's slice with these pods.
    fn slice(&self, pods: impl IntoIterator<Item = (usize, Condition)>) -> Value {
        let endpoints = pods.into_iter().map(|(number, condition)| {
            let (ready, serving, terminating) = match condition {
                Condition::Ready => (true, true, false),
                Condition::Starting => (false, false, false),
                Condition::Terminating => (false, true, true),
            };
            let address = Self::address(number).to_string();
            let mut endpoint = objects::endpoint(&address, &name(number), "node-1", "a");
            endpoint["conditions"] = serde_json::json!({
                "ready": ready, "serving": serving, "terminating": terminating,
            });
            endpoint
        });
        let ports = [("http", self.port)];
        objects::endpoint_slice(NAMESPACE, "cart", "1", &ports, endpoints.collect())
    }
}

/// The name of a pod.
fn name(number: usize) -> String {
    format!("pod-{number}")
}

fn ready(pods: std::ops::Range<usize>) -> impl Iterator<Item = (usize, Condition)> {
    pods.map(|number| (number, Condition::Ready))
}

#[tokio::test]
async fn a_service_is_scaled_from_1_to_50_to_0_to_3_without_a_failed_request_while_it_has_pods() {
    let pods = Pods::start(50).await;
    let cluster = Cluster::start().await;
    cluster.serve_by(&[]);
    let scale = |count: usize| cluster.server.apply(pods.slice(ready(0..count))).unwrap();
    scale(1);
    answered(&cluster.request).await;

    let load = load(&cluster.request, Connections::Kept);
    let all_answer = |count: usize| {
        move |report: &Report| (0..count).all(|number| report.answered_by(&name(number)) > 0)
    };
    // As the controller writes it while pods become ready and end.
    for count in [5, 17, 18, 40, 50] {
        scale(count);
    }
    until(&load, "all fifty answer", all_answer(50)).await;
    for count in [49, 30, 7, 1] {
        scale(count);
    }
    until(&load, "only the first answers", |report| {
        (1..50).all(|number| report.since_last_of(&name(number)) >= 50)
    })
    .await;
    load.stop().await.none_failed().unwrap();

    scale(0);
    eventually("nobody serves", async || {
        let answer = cluster.request.send().await?;
        anyhow::ensure!(answer.status == 503, "status {}", answer.status);
        Ok(())
    })
    .await
    .unwrap();
    // Scaling to nothing, which is seen, is believed.
    let registry = cluster.world.registry("prod").await;
    assert_eq!(
        (&registry["endpoints"], &registry["held"]),
        (&0.into(), &Value::Null)
    );

    scale(3);
    answered(&cluster.request).await;
    let load = crate::world::load(&cluster.request, Connections::New);
    until(&load, "all three answer", all_answer(3)).await;
    load.stop().await.none_failed().unwrap();
    cluster.gateway.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn a_rolling_restart_costs_no_request() {
    const PODS: usize = 4;
    let mut pods = Pods::start(PODS).await;
    let cluster = Cluster::start().await;
    cluster.serve_by(&[]);
    cluster.server.apply(pods.slice(ready(0..PODS))).unwrap();
    answered(&cluster.request).await;

    let load = load(&cluster.request, Connections::Kept);
    for old in 0..PODS {
        let staying = || ready(old + 1..old + PODS);
        let tell = |pods: &Pods, old_is, new: Option<(usize, Condition)>| {
            let all = [(old, old_is)].into_iter().chain(staying()).chain(new);
            cluster.server.apply(pods.slice(all)).unwrap();
        };
        let new = old + PODS;
        tell(&pods, Condition::Ready, Some((new, Condition::Starting)));
        assert_eq!(pods.start_one().await, new);
        tell(&pods, Condition::Ready, Some((new, Condition::Ready)));
        tell(&pods, Condition::Terminating, Some((new, Condition::Ready)));
        until(&load, "the new pod has taken over", |report| {
            report.answered_by(&name(new)) > 0 && report.since_last_of(&name(old)) >= 50
        })
        .await;
        pods.running[old] = None;
        cluster
            .server
            .apply(pods.slice(ready(old + 1..new + 1)))
            .unwrap();
    }
    until(&load, "all new pods answer", |report| {
        (PODS..2 * PODS).all(|number| report.answered_by(&name(number)) >= 10)
    })
    .await;
    load.stop().await.none_failed().unwrap();
    cluster.gateway.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn a_namespace_that_is_deleted_takes_what_is_in_it_and_nothing_else() {
    let [cart, stock] = [
        HttpBackend::start("cart").await.unwrap(),
        HttpBackend::start("stock").await.unwrap(),
    ];
    let cluster = Cluster::start().await;
    cluster.serve_by(&[&cart]);
    let service = objects::service("depot", "stock", "10.96.0.8", &[("http", 80, 8080)]);
    let endpoint = objects::endpoint("127.0.0.1", "stock-1", "node-1", "a");
    let ports = [("http", stock.port())];
    let slice = objects::endpoint_slice("depot", "stock", "1", &ports, vec![endpoint]);
    let grant = serde_json::json!({
        "apiVersion": "gateway.networking.k8s.io/v1beta1",
        "kind": "ReferenceGrant",
        "metadata": {"name": "routes", "namespace": "depot"},
        "spec": {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": NAMESPACE}],
            "to": [{"group": "", "kind": "Service"}],
        },
    });
    let mut route = objects::http_route(NAMESPACE, "stock", "edge", "stock.example", ("stock", 80));
    route["spec"]["rules"][0]["backendRefs"][0]["namespace"] = "depot".into();
    cluster
        .server
        .apply_all([service, slice, grant, route])
        .unwrap();
    let request = Request {
        host: "stock.example".to_owned(),
        ..cluster.request.clone()
    };
    assert_eq!(answered(&request).await.backend(), Some("stock"));

    let load = load(&cluster.request, Connections::Kept);
    cluster.server.remove("namespaces", "", "depot").unwrap();
    eventually("the service is gone", async || {
        let answer = request.send().await?;
        anyhow::ensure!(answer.status == 500, "status {}", answer.status);
        let clusters = cluster.gateway.clusters().await?;
        let is_there = clusters.iter().any(|name| name.contains("depot"));
        anyhow::ensure!(!is_there, "{clusters:?}");
        Ok(())
    })
    .await
    .unwrap();
    until(&load, "requests go on", |report| report.succeeded >= 100).await;
    load.stop().await.none_failed().unwrap();
    let problems = format!("{:?}", cluster.world.problems().await);
    assert!(problems.contains("stock"), "{problems}");
    cluster.gateway.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn endpoints_follow_their_node_to_another_zone() {
    let backend = HttpBackend::start("first").await.unwrap();
    let cluster = Cluster::start().await;
    cluster
        .server
        .apply(objects::node("node-1", "eu", "eu-1"))
        .unwrap();
    cluster.serve_by(&[&backend]);
    answered(&cluster.request).await;
    let is_in = async |zone: &str| {
        let place = format!("127.0.0.1:{}::zone::{zone}", backend.port());
        eventually("the endpoint is in its zone", async || {
            let endpoints = cluster.gateway.admin_text("/clusters").await?;
            let is_there = endpoints.lines().any(|line| line.ends_with(&place));
            anyhow::ensure!(is_there, "no {place} in {endpoints}");
            Ok(())
        })
        .await
        .unwrap();
    };
    is_in("eu-1").await;
    let load = load(&cluster.request, Connections::New);
    cluster
        .server
        .apply(objects::node("node-1", "eu", "eu-2"))
        .unwrap();
    is_in("eu-2").await;
    load.stop().await.none_failed().unwrap();
    cluster.gateway.rejected_nothing().await.unwrap();
}

/// What minutes without an API server do: the history is compacted, tokens expire, nearly everything is another, proxies come and go.
#[tokio::test]
async fn an_api_server_that_was_away_for_long_is_followed_again_and_costs_no_request() {
    let [first, second] = [
        HttpBackend::start("first").await.unwrap(),
        HttpBackend::start("second").await.unwrap(),
    ];
    let mut cluster = Cluster::start().await;
    cluster.serve_by(&[&first]);
    answered(&cluster.request).await;
    let load = load(&cluster.request, Connections::Kept);

    cluster.server.stop();
    eventually("the cluster is known to be away", async || {
        let registry = cluster.world.registry("prod").await;
        anyhow::ensure!(registry["state"] == "failing", "{registry}");
        Ok(())
    })
    .await
    .unwrap();
    // A proxy that comes now is served what is known.
    let other = cluster
        .world
        .envoy(
            "other",
            &["--role", "gateway", "--name", "edge"],
            Protocol::StateOfTheWorld,
        )
        .await;
    eventually("another gateway has the service", async || {
        let clusters = other.clusters().await?;
        let is_there = clusters.iter().any(|name| name.contains("cart"));
        anyhow::ensure!(is_there, "{clusters:?}");
        Ok(())
    })
    .await
    .unwrap();
    other.kill().await.unwrap();

    cluster.serve_by(&[&second]);
    cluster.serve_no_more_by(&first);
    cluster.server.compact();
    cluster.server.renew_token().unwrap();
    cluster.server.start_again().await.unwrap();
    until(&load, "the second has taken over", |report| {
        report.answered_by("second") > 0 && report.since_last_of("first") >= 100
    })
    .await;
    load.stop().await.none_failed().unwrap();
    let registry = cluster.world.registry("prod").await;
    assert_eq!(registry["state"], "live", "{registry}");
    cluster.gateway.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn callers_stay_on_their_node_while_somebody_is_there_or_whatever_happens() {
    let [near, far] = [
        HttpBackend::start("near").await.unwrap(),
        HttpBackend::start("far").await.unwrap(),
    ];
    let server = ApiServer::start().await.unwrap();
    let service = |field: &str, value: &str| {
        let mut service = objects::service(NAMESPACE, "cart", "10.96.0.7", &[("http", 80, 8080)]);
        service["spec"][field] = value.into();
        server.apply(service).unwrap();
    };
    let slice = |backend: &HttpBackend, node: &str, is_ready: bool| {
        let mut endpoint = objects::endpoint("127.0.0.1", &format!("cart-{node}"), node, "a");
        endpoint["conditions"] = serde_json::json!({"ready": is_ready, "serving": is_ready});
        let ports = [("http", backend.port())];
        let slice = objects::endpoint_slice(NAMESPACE, "cart", node, &ports, vec![endpoint]);
        server.apply(slice).unwrap();
    };
    let caller = |node: &str| {
        let pod = objects::pod(NAMESPACE, "caller", "caller", "127.0.0.9", node);
        server.apply(pod).unwrap()
    };
    service("trafficDistribution", "PreferSameNode");
    slice(&near, "node-1", true);
    slice(&far, "node-2", true);
    let pod = caller("node-1");
    let mut world = World::prepare("", "").await;
    let port = free_port().unwrap();
    let configuration = format!(
        "mesh: {{trust_domain: mesh.test, explicit_http_port: {port}}}\n\
         registries:\n- name: prod\n  kubernetes: {{kubeconfig: {}}}\n",
        server.kubeconfig().display()
    );
    world.bowline.configure(&configuration).unwrap();
    world.bowline.launch().await.unwrap();
    world.bowline.ready().await.unwrap();
    let sidecar = world.sidecar("caller", Protocol::Delta).await;
    let request = Request::get(loopback(port), "cart", "/");
    answered(&request).await;

    let load = load(&request, Connections::New);
    until(&load, "requests run", |report| report.succeeded >= 100).await;
    let report = load.take_report();
    assert_eq!(report.answered_by("near"), report.succeeded, "{report}");
    slice(&near, "node-1", false);
    until(&load, "the other node takes over", |report| {
        report.since_last_of("near") >= 50
    })
    .await;
    slice(&near, "node-1", true);
    until(&load, "the own node is preferred again", |report| {
        report.answered_by("near") > 0 && report.since_last_of("far") >= 50
    })
    .await;

    // The caller is started again on the other node.
    server.delete(&pod).unwrap();
    caller("node-2");
    until(&load, "its new node serves", |report| {
        report.answered_by("far") > 0 && report.since_last_of("near") >= 50
    })
    .await;
    load.stop().await.none_failed().unwrap();

    service("internalTrafficPolicy", "Local");
    slice(&far, "node-2", false);
    eventually(
        "nobody on the node serves, and nobody else is asked",
        async || {
            let answer = request.send().await?;
            anyhow::ensure!(answer.status == 503, "status {}", answer.status);
            Ok(())
        },
    )
    .await
    .unwrap();
    slice(&far, "node-2", true);
    assert_eq!(answered(&request).await.backend(), Some("far"));
    sidecar.rejected_nothing().await.unwrap();
}
