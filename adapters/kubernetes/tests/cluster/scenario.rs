//! What happens to API servers, and to the way to them.

use std::time::Duration;

use bowline_harness::kubernetes::{ApiServer, Fault, objects};
use bowline_kubernetes::Access;
use bowline_mesh::Change;

use crate::watching::{Watching, cluster};

const SERVICES: &str = "services";
const SLICES: &str = "endpointslices.discovery.k8s.io";

/// An API server with a service that has an endpoint.
async fn server() -> ApiServer {
    let server = ApiServer::start().await.unwrap();
    put(&server, "cart", "10.0.0.1");
    server
}

fn put(server: &ApiServer, name: &str, address: &str) {
    let endpoint = objects::endpoint(address, &format!("{name}-pod"), "node-1", "a");
    let slice = objects::endpoint_slice("shop", name, "1", &[("http", 8080)], vec![endpoint]);
    let service = objects::service("shop", name, "10.96.0.1", &[("http", 80, 8080)]);
    server.apply_all([service, slice]).unwrap();
}

async fn watched(server: &ApiServer) -> Watching {
    let mut watching = Watching::start(server.kubeconfig());
    watching
        .until("the first answer", |known| known.has("cart"))
        .await;
    watching
}

async fn sees(watching: &mut Watching, address: &str) {
    watching
        .until(address, |known| known.addresses().contains(address))
        .await;
}

#[tokio::test]
async fn what_happened_while_the_history_was_lost_is_found_by_listing_again() {
    let server = server().await;
    let mut watching = watched(&server).await;
    server.compact();
    server.expire_watches(SLICES);
    server.expire_watches(SERVICES);
    put(&server, "cart", "10.0.0.2");
    sees(&mut watching, "10.0.0.2").await;
    assert_eq!(watching.replaces, 1);
    // What is lost without anybody seeing it go is told with everything, so that the mesh may doubt it.
    server.fault(Fault::GoneAsStatus);
    server.compact();
    server.expire_watches(SLICES);
    server.remove(SLICES, "shop", "cart-1").unwrap();
    watching
        .until("no endpoints", |known| known.addresses().is_empty())
        .await;
}

#[tokio::test]
async fn watches_that_end_are_taken_up_where_they_ended() {
    let server = server().await;
    let mut watching = watched(&server).await;
    server.take_requests();
    for last in 2..6 {
        server.end_watches(SLICES);
        let address = format!("10.0.0.{last}");
        put(&server, "cart", &address);
        sees(&mut watching, &address).await;
    }
    assert_eq!(watching.replaces, 1);
}

#[tokio::test]
async fn lists_come_in_pages_where_they_cannot_be_streamed() {
    for minor in [26, 31, 36] {
        let server = server().await;
        server.pretend(minor);
        for number in 0..620 {
            put(&server, &format!("s{number}"), "10.0.1.1");
        }
        let watching = watched(&server).await;
        assert!(watching.has("s619"), "1.{minor}");
        assert_eq!(watching.replaces, 1);
    }
}

#[tokio::test]
async fn answers_in_odd_pieces_are_put_together() {
    let server = server().await;
    server.fault(Fault::Pieces(7));
    let mut watching = watched(&server).await;
    put(&server, "cart", "10.0.0.2");
    sees(&mut watching, "10.0.0.2").await;
}

#[tokio::test]
async fn connections_that_break_in_the_middle_lose_nothing() {
    let server = server().await;
    server.fault(Fault::BreaksAfter(100));
    let mut watching = Watching::start(server.kubeconfig());
    watching
        .until("that it fails", |known| known.failing.is_some())
        .await;
    assert_eq!(watching.replaces, 0);
    server.heal();
    sees(&mut watching, "10.0.0.1").await;
}

#[tokio::test]
async fn tokens_and_authorities_may_be_replaced() {
    let mut server = server().await;
    let mut watching = watched(&server).await;
    server.renew_token().unwrap();
    server.break_connections().await.unwrap();
    put(&server, "cart", "10.0.0.2");
    sees(&mut watching, "10.0.0.2").await;
    server.rotate().unwrap();
    server.break_connections().await.unwrap();
    put(&server, "cart", "10.0.0.3");
    sees(&mut watching, "10.0.0.3").await;
}

#[tokio::test]
async fn an_api_server_that_is_away_takes_nothing_away() {
    let mut server = server().await;
    let mut watching = watched(&server).await;
    server.stop();
    watching
        .until("that it fails", |known| known.failing.is_some())
        .await;
    assert!(watching.addresses().contains("10.0.0.1"));
    server.start_again().await.unwrap();
    watching
        .until("that it is back", |known| known.failing.is_none())
        .await;
    assert!(watching.addresses().contains("10.0.0.1"));
}

#[tokio::test]
async fn what_is_denied_is_said_and_nothing_is_told_without_it() {
    let server = server().await;
    server.fault_for("pods", Fault::Forbidden);
    let mut watching = Watching::start(server.kubeconfig());
    watching
        .until("that pods are denied", |known| {
            let error = known.failing.as_deref().unwrap_or_default();
            error.contains("denied") && error.contains("list and watch of pods")
        })
        .await;
    assert_eq!(watching.replaces, 0);
    server.heal();
    sees(&mut watching, "10.0.0.1").await;
}

#[tokio::test]
async fn kinds_may_be_installed_and_removed_later() {
    let server = server().await;
    let mut watching = watched(&server).await;
    for definition in objects::gateway_api() {
        server.apply(definition).unwrap();
    }
    let gateway = objects::gateway("shop", "edge", "bowline", 80);
    server.apply(gateway).unwrap();
    server
        .apply(objects::http_route(
            "shop",
            "web",
            "edge",
            "shop.example",
            ("cart", 80),
        ))
        .unwrap();
    watching
        .until("the route", |known| known.has("edge") && known.has("web"))
        .await;
    let crds = "customresourcedefinitions.apiextensions.k8s.io";
    let routes = "httproutes.gateway.networking.k8s.io";
    server.remove(crds, "", routes).unwrap();
    watching
        .until("that the route is gone", |known| !known.has("web"))
        .await;
    assert!(watching.has("edge") && watching.failing.is_none());
}

#[tokio::test]
async fn another_kubeconfig_is_another_cluster() {
    let one = server().await;
    let other = ApiServer::start().await.unwrap();
    put(&other, "stock", "10.0.9.9");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kubeconfig");
    let fresh = directory.path().join("fresh");
    std::fs::write(&path, one.kubeconfig_text()).unwrap();
    let mut watching = Watching::start(path.clone());
    sees(&mut watching, "10.0.0.1").await;
    std::fs::write(&fresh, other.kubeconfig_text()).unwrap();
    std::fs::rename(fresh, path).unwrap();
    watching
        .until("the other cluster only", |known| {
            known.has("stock") && !known.has("cart")
        })
        .await;
}

#[tokio::test]
async fn only_what_is_used_is_asked_for() {
    let server = server().await;
    let watching = watched(&server).await;
    assert!(watching.failing.is_none());
    let asked = server.requests();
    for request in asked {
        let is_read = ["", "get", "list", "watch"].contains(&request.verb.as_str());
        let is_private = ["secrets", "configmaps"].contains(&request.resource.as_str());
        let is_of_tls = request
            .path
            .contains("fieldSelector=type%3Dkubernetes.io%2Ftls");
        let is_allowed = match request.namespace.as_str() {
            "" => is_of_tls && request.only_metadata(),
            "edge" => is_of_tls && !request.only_metadata(),
            _ => false,
        };
        assert!(is_read && (!is_private || is_allowed), "{request:?}");
    }
}

#[tokio::test]
async fn a_cluster_can_be_read_once() {
    let server = server().await;
    let access = || Access::Kubeconfig {
        path: server.kubeconfig(),
        context: None,
    };
    let event = cluster(access()).load().await;
    assert!(matches!(event.change, Change::Replace(objects) if objects.len() == 2));
    server.fault(Fault::Unavailable);
    let event = cluster(access()).load().await;
    assert!(matches!(event.change, Change::Failing { .. }));
}

#[tokio::test]
async fn a_slow_api_server_is_waited_for() {
    let server = server().await;
    server.fault(Fault::Slow(Duration::from_millis(30)));
    let mut watching = watched(&server).await;
    put(&server, "cart", "10.0.0.2");
    sees(&mut watching, "10.0.0.2").await;
}
