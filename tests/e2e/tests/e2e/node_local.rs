//! Services of which callers in pods use their own node only (`internalTrafficPolicy: Local`).

use bowline_harness::{
    HttpBackend, Request, free_port,
    kubernetes::{ApiServer, objects},
};

use crate::world::{NAMESPACE, Protocol, World, answered_by, loopback};

#[tokio::test]
async fn pods_stay_on_their_node_and_gateways_and_machines_use_all_of_their_network() {
    let cluster = ApiServer::start().await.unwrap();
    let edge = free_port().unwrap();
    let mut service = objects::service(NAMESPACE, "cart", "10.96.0.7", &[("http", 80, 8080)]);
    service["spec"]["internalTrafficPolicy"] = "Local".into();
    let mut of_host = objects::pod(NAMESPACE, "of-host", "of-host", "127.0.0.10", "node-1");
    of_host["spec"]["hostNetwork"] = true.into();
    cluster.apply_all(objects::gateway_api()).unwrap();
    cluster
        .apply_all([
            service,
            objects::gateway(NAMESPACE, "edge", "bowline", edge),
            objects::http_route(NAMESPACE, "all", "edge", "cart", ("cart", 80)),
            objects::pod(NAMESPACE, "edge-1", "edge", "127.0.0.8", "node-1"),
            objects::pod(NAMESPACE, "on-1", "on-1", "127.0.0.9", "node-1"),
            objects::pod(NAMESPACE, "on-3", "on-3", "127.0.0.10", "node-3"),
            of_host,
        ])
        .unwrap();
    let mut backends = Vec::new();
    for node in ["node-1", "node-2"] {
        let backend = HttpBackend::start(node).await.unwrap();
        let endpoint = objects::endpoint("127.0.0.1", &format!("cart-{node}"), node, "a");
        let ports = [("http", backend.port())];
        let slice = objects::endpoint_slice(NAMESPACE, "cart", node, &ports, vec![endpoint]);
        cluster.apply(slice).unwrap();
        backends.push(backend);
    }
    let kubeconfig = cluster.kubeconfig();
    let registries = format!(
        "- {{name: prod, kubernetes: {{kubeconfig: {}}}}}\n\
         - {{name: vms, namespace: {NAMESPACE}, inventory: {{path: ./inventory.yaml}}}}\n",
        kubeconfig.display()
    );
    let machine = "workloads: [{name: machine, address: 127.0.0.11}]";
    let world = World::of(&registries, machine).await;

    let both = ["node-1", "node-2"];
    // The gateway is a pod too, on a node where an endpoint is.
    let role = [
        "--role",
        "gateway",
        "--name",
        "edge",
        "--address",
        "127.0.0.8",
    ];
    let gateway = world.envoy("edge", &role, Protocol::Delta).await;
    answered_by(&Request::get(loopback(edge), "cart", "/"), &both).await;
    gateway.rejected_nothing().await.unwrap();
    let callers = [
        ("on-1", &both[..1]),
        ("on-3", &["503 Service Unavailable"]),
        ("machine", &both),
        ("of-host", &both),
    ];
    for (caller, expected) in callers {
        let sidecar = world.sidecar(caller, Protocol::Delta).await;
        answered_by(&world.request_to("cart"), expected).await;
        sidecar.rejected_nothing().await.unwrap();
        sidecar.kill().await.unwrap();
    }
    // On a node where nobody is, nothing is wrong.
    assert_eq!(world.problems().await, Vec::<serde_json::Value>::new());
}
