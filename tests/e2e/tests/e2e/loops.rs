//! No proxy ever sends to itself.

use anyhow::Context as _;
use bowline_harness::{Envoy, eventually, free_port};
use tokio::{io::AsyncReadExt as _, net::TcpStream};

use crate::world::{NAMESPACE, Protocol, World, loopback};

/// The service has the port on which the application was to listen, and its only endpoint is the machine itself.
#[tokio::test]
async fn the_applications_own_port_is_left_to_the_application() {
    let [inbound, application] = [free_port().unwrap(), free_port().unwrap()];
    let world = World::start(&own_service(inbound, application), "").await;
    let beside = world.sidecar("vm", Protocol::Delta).await;
    let elsewhere = world.sidecar("other", Protocol::Delta).await;
    let local = offered(&elsewhere, application).await;
    beside.rejected_nothing().await.unwrap();
    let listeners = beside.listeners().await.unwrap();
    assert!(!listeners.contains_key(&local), "{listeners:?}");
    assert!(
        listeners.contains_key(&format!("0.0.0.0_{inbound}")),
        "{listeners:?}"
    );
}

/// The sidecar of another workload on the same machine has the listener in front of which this one's application should be. Whatever
/// comes from a sidecar to its own workload is refused there, so that nothing goes round.
#[tokio::test]
async fn connections_to_a_workload_that_end_at_an_outbound_listener_are_closed() {
    let [inbound, application] = [free_port().unwrap(), free_port().unwrap()];
    let world = World::start(&own_service(inbound, application), "").await;
    let beside = world.sidecar("vm", Protocol::Delta).await;
    let elsewhere = world.sidecar("other", Protocol::Delta).await;
    offered(&elsewhere, application).await;
    let mut connection = eventually("the sidecar to listen", async || {
        TcpStream::connect(loopback(inbound)).await
    })
    .await
    .unwrap();
    let mut buffer = [0; 1];
    let ended = connection.read(&mut buffer).await;
    assert!(!matches!(ended, Ok(1..)), "{ended:?}");
    let taken = format!("listener.0.0.0.0_{inbound}.downstream_cx_total");
    assert_eq!(beside.stat(&taken).await.unwrap(), 1);
}

/// A machine that serves a service behind its sidecar, on the very port on which callers have the service.
fn own_service(inbound: u16, application: u16) -> String {
    format!(
        "
namespace: {NAMESPACE}
services:
- name: db
  ports: [{{number: {application}, name: db, protocol: tcp}}]
workloads:
- name: vm
  address: 127.0.0.1
  services: [db]
  ports: [{{name: db, number: {inbound}, protocol: tcp, app_port: {application}}}]
"
    )
}

/// Waits until a sidecar offers the service, and answers with the listener's name.
async fn offered(sidecar: &Envoy, application: u16) -> String {
    let local = format!("127.0.0.1_{application}");
    eventually("the sidecar to offer the service", async || {
        sidecar
            .listeners()
            .await?
            .get(&local)
            .copied()
            .context("no listener")
    })
    .await
    .unwrap();
    local
}
