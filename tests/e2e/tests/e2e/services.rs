//! What else is on the port of xDS: health, reflection, and for operators what clients have.

use bowline_harness::{Answer, HttpBackend, Request, eventually};

use crate::world::{Protocol, World, answered, http_services};

/// The answer to an empty message.
async fn call(world: &World, path: &str) -> Answer {
    let xds = world.bowline.addresses().xds;
    Request::grpc(xds, "bowline", path, &[])
        .send()
        .await
        .unwrap()
}

#[tokio::test]
async fn health_says_that_it_serves_once_it_is_ready() {
    let world = World::start("services: []", "").await;
    let answer = call(&world, "/grpc.health.v1.Health/Check").await;
    // `status: SERVING`, in protobuf, behind the five bytes of gRPC's frame.
    assert_eq!(answer.body.as_ref(), [0, 0, 0, 0, 2, 8, 1]);
}

#[tokio::test]
async fn an_operator_sees_what_every_envoy_has() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let world = World::start(&http_services(&[("cart", &[cart.port()])]), "").await;
    for protocol in [Protocol::Delta, Protocol::StateOfTheWorld] {
        let _sidecar = world.sidecar("caller", protocol).await;
        answered(&world.request_to("cart")).await;
        let path = "/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus";
        eventually("the Envoy's configuration is shown", async || {
            let answer = call(&world, path).await;
            let text = answer.text();
            let is_shown = text.contains("caller.shop")
                && text.contains("outbound|80||cart.shop.svc.cluster.local");
            if is_shown { Ok(()) } else { Err(text) }
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn what_is_not_served_is_said() {
    let world = World::start("services: []", "").await;
    let answer = call(&world, "/no.such.Service/Call").await;
    assert_eq!(answer.header("grpc-status"), Some("12"));
}
