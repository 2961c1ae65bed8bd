//! What the xDS server can do and `bowline` makes no use of: a control plane of our own on the library, with a real Envoy.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use bowline_ads::{
    DiscoveryService, Event, Fleet, Opened, Peer, ProxyDescription, Refusal, Settings, Source,
    StreamKind,
};
use bowline_harness::{
    Connections, Envoy, HttpBackend, Load, PATIENCE, Relay, Request, eventually, free_port,
};
use bowline_identity::{Claimed, PeerIdentity};
use bowline_proto::{envoy::config::core::v3::Node, parse::from_yaml};
use bowline_snapshot::{Body, Layer, LayerName, Publisher, Resource, ResourceType, Version};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::{Status, service::InterceptorLayer, transport};

use crate::world::{Protocol, answered, loopback, until};

/// A control plane with one layer for everybody.
struct ControlPlane {
    publisher: Arc<Mutex<Publisher>>,
    sent: Arc<Mutex<BTreeMap<&'static str, u32>>>,
    address: SocketAddr,
    folder: TempDir,
    _serving: JoinSet<Result<(), transport::Error>>,
}

struct Everybody(Arc<Mutex<Publisher>>);

impl Source for Everybody {
    async fn open(&self, node: &Node, _peer: &Peer, _: StreamKind) -> Result<Opened, Refusal> {
        let (assignment, snapshots) = self.0.lock().subscribe(vec![layer_name()]);
        Ok(Opened {
            proxy: ProxyDescription {
                id: node.id.as_str().into(),
                role: "test".into(),
                identity: PeerIdentity::Claimed(Claimed { spiffe_id: None }),
            },
            snapshots,
            guard: Box::new(assignment),
        })
    }
}

fn layer_name() -> LayerName {
    LayerName::new("everybody")
}

impl ControlPlane {
    fn start() -> Self {
        let publisher = Arc::new(Mutex::new(Publisher::new()));
        let sent: Arc<Mutex<BTreeMap<&'static str, u32>>> = Arc::default();
        let counts = sent.clone();
        let observer = move |event: &Event<'_>| {
            if let Event::Sent { resource_type, .. } = event {
                *counts.lock().entry(resource_type.short_name()).or_default() += 1;
            }
        };
        let service = DiscoveryService::new(
            Everybody(publisher.clone()),
            Settings::new("test"),
            Fleet::observed_by(Arc::new(observer)),
            CancellationToken::new(),
        );
        let address = loopback(free_port().unwrap());
        let with_peer = |mut request: tonic::Request<()>| {
            let address = request.remote_addr();
            let address = address.ok_or_else(|| Status::internal("the peer has no address"))?;
            request.extensions_mut().insert(Peer {
                address,
                identity: None,
            });
            Ok(request)
        };
        let server = transport::Server::builder()
            .layer(InterceptorLayer::new(with_peer))
            .add_service(service)
            .serve(address);
        let mut serving = JoinSet::new();
        serving.spawn(server);
        Self {
            publisher,
            sent,
            address,
            folder: tempfile::tempdir().unwrap(),
            _serving: serving,
        }
    }

    fn publish(&self, layer: Layer) {
        let layer = Some(Arc::new(layer));
        self.publisher.lock().publish([(layer_name(), layer)]);
    }

    /// How many responses of a type have been sent.
    fn sent(&self, resource_type: ResourceType) -> u32 {
        let sent = self.sent.lock();
        sent.get(resource_type.short_name()).copied().unwrap_or(0)
    }

    /// A live Envoy with these `dynamic_resources` besides ADS, and these listeners, in flow style.
    async fn envoy(
        &self,
        control_plane: SocketAddr,
        protocol: Protocol,
        dynamic: &str,
        listeners: &str,
    ) -> Envoy {
        let api = match protocol {
            Protocol::Delta => "DELTA_GRPC",
            Protocol::StateOfTheWorld => "GRPC",
        };
        let port = control_plane.port();
        let bootstrap = format!(
            "
node: {{id: one, cluster: test, client_features: [xds.config.resource-in-sotw]}}
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
dynamic_resources:
  ads_config: {{api_type: {api}, transport_api_version: V3, grpc_services: [{{envoy_grpc: {{cluster_name: xds}}}}]}}
  {dynamic}
static_resources:
  listeners: [{listeners}]
  clusters:
  - name: xds
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: xds
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}]}}]
"
        );
        let mut envoy = Envoy::start("envoy", &bootstrap, self.folder.path())
            .await
            .unwrap();
        envoy.ready().await.unwrap();
        envoy
    }
}

fn resource(resource_type: ResourceType, name: &str, yaml: &str) -> Resource {
    let message = from_yaml(resource_type.url(), yaml).unwrap();
    let version = Version::of([&message.value[..]]);
    Resource::new(name, Body::Whole(message.value), version, [])
}

/// A cluster whose one endpoint listens on a port of this machine.
fn cluster(name: &str, port: u16) -> Resource {
    let yaml = format!(
        "
name: {name}
connect_timeout: 1s
load_assignment:
  cluster_name: {name}
  endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}]}}]
"
    );
    resource(ResourceType::CLUSTER, name, &yaml)
}

/// A listener in flow style, with this route and these filters before the router.
fn listener(port: u16, route: &str, filters: &str) -> String {
    let http = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    format!(
        "{{name: http, address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}, \
          filter_chains: [{{filters: [{{name: http, typed_config: {{\"@type\": {http}, stat_prefix: http, \
          route_config: {{virtual_hosts: [{{name: all, domains: [\"*\"], routes: [{{match: {{prefix: /}}, {route}}}]}}]}}, \
          http_filters: [{filters}{{name: router, typed_config: {{\"@type\": {router}}}}}]}}}}]}}]}}"
    )
}

/// Clusters are asked for when a request needs them. `others` is what is asked for at the start.
async fn on_demand(others: &str) {
    let [one, two] = [
        HttpBackend::start("one").await.unwrap(),
        HttpBackend::start("two").await.unwrap(),
    ];
    let control_plane = ControlPlane::start();
    let mut layer = Layer::default();
    layer.upsert(ResourceType::CLUSTER, cluster("member", one.port()));
    layer.upsert_on_demand(ResourceType::CLUSTER, cluster("cart", one.port()));
    layer.upsert_on_demand(ResourceType::CLUSTER, cluster("unused", one.port()));
    control_plane.publish(layer.clone());
    let port = free_port().unwrap();
    let filter = "{name: on-demand, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.OnDemand, \
                  odcds: {source: {resource_api_version: V3, ads: {}}, timeout: 60s}}}, ";
    let listener = listener(port, "route: {cluster_header: x-cluster}", filter);
    let envoy = control_plane
        .envoy(control_plane.address, Protocol::Delta, others, &listener)
        .await;
    let request =
        |cluster: &str| Request::get(loopback(port), "any", "/").header("x-cluster", cluster);

    // The first request waits for its cluster.
    let answer = request("cart").send().await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.backend()),
        (200, Some("one"))
    );
    let clusters = envoy.clusters().await.unwrap();
    assert!(!clusters.contains(&"unused".to_owned()), "{clusters:?}");

    // One that does not exist is told at once, not after the minute that the filter would wait.
    let later = request("later");
    let answer = tokio::time::timeout(PATIENCE / 2, later.send())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer.status, 503);

    // What changes is followed, and what did not exist is there when it does.
    layer.upsert_on_demand(ResourceType::CLUSTER, cluster("cart", two.port()));
    layer.upsert_on_demand(ResourceType::CLUSTER, cluster("later", two.port()));
    control_plane.publish(layer.clone());
    for name in ["cart", "later"] {
        eventually("the second answers", async || {
            let answer = request(name).send().await?;
            anyhow::ensure!(answer.backend() == Some("two"), "{name}: {}", answer.text());
            Ok(())
        })
        .await
        .unwrap();
    }

    // One that goes is gone; requests for it wait for the filter's timeout, because Envoy is subscribed already, or for its return.
    let mut without = layer.clone();
    without.remove(ResourceType::CLUSTER, "cart");
    control_plane.publish(without);
    eventually("the cluster is gone", async || {
        let clusters = envoy.clusters().await?;
        let is_there = clusters.contains(&"cart".to_owned());
        anyhow::ensure!(!is_there, "{clusters:?}");
        Ok(())
    })
    .await
    .unwrap();
    control_plane.publish(layer);
    answered(&request("cart")).await;
    answered(&request("later")).await;
    envoy.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn clusters_come_on_demand() {
    on_demand("").await;
}

#[tokio::test]
async fn clusters_come_on_demand_beside_all_that_are_no_demand_of_a_request() {
    on_demand("cds_config: {resource_api_version: V3, ads: {}}").await;
}

async fn time_to_live(protocol: Protocol) {
    const TTL: Duration = Duration::from_secs(3);
    let control_plane = ControlPlane::start();
    let port = free_port().unwrap();
    let answer = "direct_response: {status: 200, body: {inline_string: here}}";
    let listener = resource(ResourceType::LISTENER, "http", &listener(port, answer, ""));
    let mut layer = Layer::default();
    layer.upsert(ResourceType::LISTENER, listener.with_ttl(TTL));
    control_plane.publish(layer);
    let relay = Relay::start(control_plane.address).await.unwrap();
    let all = "lds_config: {resource_api_version: V3, ads: {}}";
    let envoy = control_plane
        .envoy(relay.address(), protocol, all, "")
        .await;
    let request = Request::get(loopback(port), "any", "/");
    eventually("the listener answers", async || request.send().await)
        .await
        .unwrap();

    // Heartbeats keep it for longer than it would live.
    let load = Load::start(&request, Connections::New, 1, 20);
    for connection in ["first", "second"] {
        let before = control_plane.sent(ResourceType::LISTENER);
        let heartbeats = || control_plane.sent(ResourceType::LISTENER) - before;
        until(&load, "heartbeats come", |_| heartbeats() >= 5).await;
        let modified = envoy.stat("listener_manager.listener_modified").await;
        assert_eq!(modified.unwrap(), 0, "on the {connection} connection");
        // The same where the client has it already.
        relay.lead_to(control_plane.address);
    }
    load.stop().await.none_failed().unwrap();

    // Of a control plane that is silent nothing is believed for longer.
    relay.cut();
    eventually("the listener is gone", async || {
        match request.send().await {
            Err(_) => Ok(()),
            Ok(answer) => Err(format!("status {}", answer.status)),
        }
    })
    .await
    .unwrap();
    relay.lead_to(control_plane.address);
    eventually("the listener is back", async || request.send().await)
        .await
        .unwrap();
    envoy.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn what_has_a_time_to_live_is_kept_by_heartbeats_and_goes_without_them_by_delta() {
    time_to_live(Protocol::Delta).await;
}

#[tokio::test]
async fn what_has_a_time_to_live_is_kept_by_heartbeats_and_goes_without_them_by_state_of_the_world()
{
    time_to_live(Protocol::StateOfTheWorld).await;
}
