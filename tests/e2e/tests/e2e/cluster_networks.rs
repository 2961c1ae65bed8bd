//! Kubernetes clusters in several networks, and the gateways into them.

use bowline_harness::{
    HttpBackend, Request, TlsBackend, eventually, free_port,
    kubernetes::{ApiServer, objects},
};
use serde_json::{Value, json};

use crate::world::{NAMESPACE, Protocol, World, answered_by, loopback};

const NETWORK: &str = "topology.istio.io/network";

/// Two clusters with the service `cart`. Its callers are a pod and a gateway in `near`; `far` also has `pay`, which speaks TLS.
struct Clusters {
    world: World,
    near: ApiServer,
    far: ApiServer,
    pay: TlsBackend,
    /// The port of the gateway `edge`, which sends everything to `cart`.
    edge: u16,
    _carts: [HttpBackend; 2],
}

impl Clusters {
    /// With further fields of the registries' entries, and beside an inventory.
    async fn start(of_near: &str, of_far: &str, inventory: &str) -> Self {
        let carts = ["near", "far"].map(HttpBackend::start);
        let [near_cart, far_cart] = carts;
        let carts = [near_cart.await.unwrap(), far_cart.await.unwrap()];
        let pay = TlsBackend::start(&server_name("pay", 443)).await.unwrap();
        let (near, far) = (
            ApiServer::start().await.unwrap(),
            ApiServer::start().await.unwrap(),
        );
        let edge = free_port().unwrap();
        for (cluster, cart) in [&near, &far].into_iter().zip(&carts) {
            cluster.apply_all(objects::gateway_api()).unwrap();
            cluster
                .apply_all(serving("cart", ("http", 80), cart.port()))
                .unwrap();
        }
        far.apply_all(serving("pay", ("tls", 443), pay.port()))
            .unwrap();
        far.apply(objects::pod(
            NAMESPACE,
            "pay-1",
            "pay",
            "127.0.0.1",
            "node-1",
        ))
        .unwrap();
        near.apply_all([
            objects::pod(NAMESPACE, "caller", "caller", "127.0.0.9", "node-1"),
            objects::gateway(NAMESPACE, "edge", "bowline", edge),
            objects::http_route(NAMESPACE, "all", "edge", "cart", ("cart", 80)),
        ])
        .unwrap();
        let entry = |name: &str, cluster: &ApiServer, fields: &str| {
            let kubeconfig = cluster.kubeconfig();
            let kubeconfig = kubeconfig.display();
            format!("- {{name: {name}, kubernetes: {{kubeconfig: {kubeconfig}}}{fields}}}\n")
        };
        let vms = "- {name: vms, inventory: {path: ./inventory.yaml}}\n";
        let registries = entry("near", &near, of_near) + &entry("far", &far, of_far) + vms;
        Self {
            world: World::of(&registries, inventory).await,
            near,
            far,
            pay,
            edge,
            _carts: carts,
        }
    }

    /// Waits until requests of the pod, and of the gateway, for `cart` are answered by these clusters.
    async fn cart_is_answered_by(&self, to_pod: &[&str], to_gateway: &[&str]) {
        let from_outside = Request::get(loopback(self.edge), "cart", "/");
        answered_by(&self.world.request_to("cart"), to_pod).await;
        answered_by(&from_outside, to_gateway).await;
    }

    /// Waits until the endpoint of `cart` that callers do not reach is said to be in this network, or until none is.
    async fn cart_is_left_out_in(&self, network: Option<&str>) {
        eventually("what is left out is told", async || {
            let mut problems = self.problems("BW0403").await;
            problems.retain(|problem| problem.starts_with("1 endpoint of cart."));
            match (network, problems.as_slice()) {
                (None, []) => Ok(()),
                (Some(network), [one]) if one.contains(&format!("is in the {network},")) => Ok(()),
                _ => Err(format!("{problems:?}")),
            }
        })
        .await
        .unwrap();
    }

    /// Waits until so many gateways are known at the place where the inventory has one into another network.
    async fn know_gateways(&self, count: usize) {
        eventually("the gateways are known", async || {
            let mut problems = self.problems("BW0302").await;
            problems.retain(|problem| problem.starts_with(OUTSIDE));
            match problems.len() == count {
                true => Ok(()),
                false => Err(format!("{problems:?}")),
            }
        })
        .await
        .unwrap();
    }

    /// The messages of the problems with a code.
    async fn problems(&self, code: &str) -> Vec<String> {
        let problems = self.world.problems().await;
        let of_code = problems.iter().filter(|problem| problem["code"] == code);
        of_code
            .filter_map(|problem| Some(problem["message"].as_str()?.to_owned()))
            .collect()
    }
}

/// The server name of a port of a service.
fn server_name(service: &str, port: u16) -> String {
    format!("outbound_.{port}_._.{service}.{NAMESPACE}.svc.cluster.local")
}

/// A service with a port of this name and number, and its one pod, which listens on another.
fn serving(service: &str, (name, number): (&str, u16), listens_on: u16) -> [Value; 2] {
    let endpoint = objects::endpoint("127.0.0.1", &format!("{service}-1"), "node-1", "a");
    let ports = [(name, listens_on)];
    [
        objects::service(NAMESPACE, service, "10.96.0.7", &[(name, number, 8443)]),
        objects::endpoint_slice(NAMESPACE, service, "1", &ports, vec![endpoint]),
    ]
}

/// The same with a label that names a network.
fn labelled(mut object: Value, network: &str) -> Value {
    object["metadata"]["labels"][NETWORK] = network.into();
    object
}

#[tokio::test]
async fn pods_are_in_the_network_that_a_label_says_for_as_long_as_it_says_so() {
    let clusters = Clusters::start(", network: vpc-1", "", "services: []").await;
    let Clusters {
        world,
        near,
        far,
        pay,
        ..
    } = &clusters;
    let name = server_name("pay", 443);
    let (east_west, entrance) = world.east_west("vpc-2", Protocol::Delta).await;
    let sidecar = world.sidecar("caller", Protocol::Delta).await;
    let edge = ["--role", "gateway", "--name", "edge", "--network", "vpc-1"];
    let gateway = world.envoy("edge", &edge, Protocol::Delta).await;
    clusters.cart_is_answered_by(&["near"], &["near"]).await;
    clusters.cart_is_left_out_in(Some("default network")).await;

    let pod = objects::pod(NAMESPACE, "pay-1", "pay", "127.0.0.1", "node-1");
    let of_namespace = objects::namespace(NAMESPACE);
    let of_cluster = objects::namespace("istio-system");
    for said_by in [of_cluster, of_namespace, pod] {
        far.apply(labelled(said_by.clone(), "vpc-2")).unwrap();
        eventually("the gateway leads to the pod", async || {
            pay.who_is_behind(entrance, &name).await
        })
        .await
        .unwrap();
        let is_of_pod = said_by["kind"] == "Pod";
        let of_cart = if is_of_pod {
            "default network"
        } else {
            "network vpc-2"
        };
        clusters.cart_is_left_out_in(Some(of_cart)).await;
        clusters.cart_is_answered_by(&["near"], &["near"]).await;
        far.apply(said_by).unwrap();
        eventually("the gateway leads there no more", async || {
            match pay.who_is_behind(entrance, &name).await {
                Err(_) => Ok(()),
                Ok(name) => Err(name),
            }
        })
        .await
        .unwrap();
        clusters.cart_is_left_out_in(Some("default network")).await;
    }

    // Both clusters are in one network.
    let namespace = || objects::namespace(NAMESPACE);
    far.apply(labelled(namespace(), "vpc-1")).unwrap();
    let both = ["far", "near"];
    clusters.cart_is_answered_by(&both, &both).await;
    clusters.cart_is_left_out_in(None).await;
    // A pod moves with the label of its namespace, and a gateway stays where it says that it is.
    near.apply(labelled(namespace(), "vpc-3")).unwrap();
    clusters.cart_is_answered_by(&["near"], &["far"]).await;
    for envoy in [east_west, sidecar, gateway] {
        envoy.rejected_nothing().await.unwrap();
    }
}

/// An address of a gateway, as other networks reach it.
const OUTSIDE: &str = "203.0.113.1";

/// A Service with the addresses of its load balancer, and the Envoy behind it.
fn gateway_service(listens_on: u16) -> Vec<Value> {
    let [mut service, slice] = serving("east-west", ("tls", 15443), listens_on);
    service["spec"]["type"] = "LoadBalancer".into();
    service["status"]["loadBalancer"]["ingress"] = json!([{"ip": OUTSIDE}]);
    vec![service, slice]
}

/// A Gateway of another controller.
fn gateway_object() -> Vec<Value> {
    let mut gateway = objects::gateway(NAMESPACE, "east-west", "istio-remote", 15443);
    gateway["spec"]["listeners"][0]["protocol"] = "TLS".into();
    gateway["spec"]["listeners"][0]["tls"] = json!({"mode": "Passthrough"});
    gateway["spec"]["addresses"] = json!([{"type": "IPAddress", "value": OUTSIDE}]);
    vec![gateway]
}

#[tokio::test]
async fn a_gateway_is_known_while_its_object_is_labelled_and_is_no_way_for_callers_yet() {
    let inventory = format!("networks: [{{name: vpc-9, gateways: [{OUTSIDE}]}}]");
    let clusters = Clusters::start(", network: vpc-1", ", network: vpc-2", &inventory).await;
    let Clusters {
        world, far, pay, ..
    } = &clusters;
    let name = server_name("pay", 443);
    let (envoy, entrance) = world.east_west("vpc-2", Protocol::Delta).await;
    let sidecar = world.sidecar("caller", Protocol::Delta).await;
    let connected = eventually("the gateway leads to the pod", async || {
        pay.connect(entrance, &name).await
    });
    let (mut connection, _) = connected.await.unwrap();
    for objects in [gateway_service(entrance.port()), gateway_object()] {
        let unlabelled = objects[0].clone();
        let gateway = labelled(unlabelled.clone(), "vpc-2");
        far.apply_all(objects).unwrap();
        far.apply(gateway.clone()).unwrap();
        clusters.know_gateways(1).await;
        clusters.cart_is_left_out_in(Some("network vpc-2")).await;
        answered_by(&world.request_to("cart"), &["near"]).await;

        far.apply(unlabelled).unwrap();
        clusters.know_gateways(0).await;
        far.apply(gateway.clone()).unwrap();
        clusters.know_gateways(1).await;
        far.delete(&gateway).unwrap();
        clusters.know_gateways(0).await;
        // Who connects to the Envoy all the same finds it as it was.
        assert_eq!(pay.who_is_behind(entrance, &name).await.unwrap(), name);
        connection.echo().await.unwrap();
    }
    for envoy in [envoy, sidecar] {
        envoy.rejected_nothing().await.unwrap();
    }
}

#[tokio::test]
async fn no_connection_goes_through_an_east_west_gateway_to_itself() {
    let clusters = Clusters::start("", ", network: vpc-2", "services: []").await;
    let Clusters {
        world, far, pay, ..
    } = &clusters;
    let own = server_name("east-west", 15443);
    let (envoy, entrance) = world.east_west("vpc-2", Protocol::Delta).await;
    far.apply_all(gateway_service(entrance.port())).unwrap();
    eventually("the gateway knows its own Service", async || {
        let clusters = envoy.clusters().await?;
        anyhow::ensure!(clusters.contains(&own), "{clusters:?}");
        Ok(())
    })
    .await
    .unwrap();
    assert!(pay.who_is_behind(entrance, &own).await.is_err());
    let stats = envoy.stats().await.unwrap();
    assert_eq!(stats["tcp.east_west.downstream_cx_total"], 1);
    envoy.rejected_nothing().await.unwrap();
}
