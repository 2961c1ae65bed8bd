//! No proxy ever sends to itself.

use bowline_harness::{eventually, free_port};
use tokio::{io::AsyncReadExt as _, net::TcpStream};

use crate::world::{NAMESPACE, Protocol, World, loopback};

/// The worst that an inventory can say: the service has the local port on which the application was to listen, and its only endpoint
/// is the machine itself.
#[tokio::test]
async fn a_service_on_the_applications_own_port_makes_no_loop() {
    let [inbound, application] = [free_port().unwrap(), free_port().unwrap()];
    let inventory = format!(
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
    );
    let world = World::start(&inventory, "").await;
    let sidecar = world.sidecar("vm", Protocol::Delta).await;
    sidecar.rejected_nothing().await.unwrap();
    let mut connection = eventually("the sidecar to listen", async || {
        TcpStream::connect(loopback(inbound)).await
    })
    .await
    .unwrap();
    // The connection goes to the application's port, where the sidecar itself listens, and ends there.
    let mut buffer = [0; 1];
    let ended = connection.read(&mut buffer).await;
    assert!(!matches!(ended, Ok(1..)), "{ended:?}");
    let inbound_connections = sidecar
        .stat(&format!("listener.0.0.0.0_{inbound}.downstream_cx_total"))
        .await
        .unwrap();
    assert_eq!(inbound_connections, 1);
}
