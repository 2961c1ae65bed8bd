//! A server in this process, behind a pipe instead of a socket.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
};

use bowline_ads::{
    DiscoveryService, Fleet, Opened, Peer, ProxyDescription, Refusal, Retiring, Settings, Source,
    StreamKind,
};
use bowline_identity::{Claimed, PeerIdentity};
use bowline_proto::{any, envoy::config::core::v3::Node};
use bowline_snapshot::{Assignment, Layer, LayerName, Publisher, Resource, ResourceType, Version};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::{
    io::DuplexStream,
    sync::{Mutex, Notify},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tower::Service;

/// A server with one layer that every proxy is served, and one for each cluster that a Node names.
pub(crate) struct Served {
    pub(crate) fleet: Fleet,
    pub(crate) shutdown: CancellationToken,
    publisher: Arc<Mutex<Publisher>>,
    service: DiscoveryService<OneLayer>,
    connections: JoinSet<()>,
    retiring: CancellationToken,
    slow_opens: Arc<Notify>,
}

struct OneLayer {
    publisher: Arc<Mutex<Publisher>>,
    slow_opens: Arc<Notify>,
}

impl Source for OneLayer {
    async fn open(&self, node: &Node, peer: &Peer, _: StreamKind) -> Result<Opened, Refusal> {
        match &*node.id {
            "thief" => return Err(Refusal::PermissionDenied("not yours".to_owned())),
            "early" => return Err(Refusal::Unavailable("not ready".to_owned())),
            "slow" => {
                self.slow_opens.notify_one();
                std::future::pending::<()>().await;
            }
            "" => return Err(Refusal::InvalidArgument("a node needs an id".to_owned())),
            _ => {}
        }
        assert_eq!(peer.address, address());
        let layer = match &*node.cluster {
            "" => layer_name(),
            cluster => LayerName::new(cluster),
        };
        let (assignment, snapshots) = self.publisher.lock().await.subscribe(vec![layer]);
        Ok(Opened {
            proxy: ProxyDescription {
                id: node.id.clone().into(),
                role: "sidecar".into(),
                identity: PeerIdentity::Claimed(Claimed { spiffe_id: None }),
            },
            snapshots,
            guard: Box::<Assignment>::new(assignment),
        })
    }
}

impl Served {
    pub(crate) fn new() -> Self {
        Self::with(Settings::new("bowline-test"))
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let publisher = Arc::new(Mutex::new(Publisher::new()));
        let fleet = Fleet::new();
        let slow_opens = Arc::new(Notify::new());
        let shutdown = CancellationToken::new();
        let source = OneLayer {
            publisher: publisher.clone(),
            slow_opens: slow_opens.clone(),
        };
        Self {
            service: DiscoveryService::new(source, settings, fleet.clone(), shutdown.clone()),
            fleet,
            shutdown,
            publisher,
            connections: JoinSet::new(),
            retiring: CancellationToken::new(),
            slow_opens,
        }
    }

    /// Waits until the node `slow`, whose source never answers, has asked it.
    pub(crate) async fn until_slow_opens(&self) {
        self.slow_opens.notified().await;
    }

    /// Says to all connections that they have lived long enough.
    pub(crate) fn retire_connections(&self) {
        self.retiring.cancel();
    }

    /// Publishes these as all that there is, each written as `TYPE name content`.
    pub(crate) async fn publish(&self, resources: &[&str]) {
        self.publish_to(layer_name(), resources).await;
    }

    /// Publishes these as all that proxies of a cluster are served.
    pub(crate) async fn publish_to_cluster(&self, cluster: &str, resources: &[&str]) {
        self.publish_to(LayerName::new(cluster), resources).await;
    }

    async fn publish_to(&self, name: LayerName, resources: &[&str]) {
        let mut layer = Layer::default();
        for text in resources {
            let [short_name, name, content] = text.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{text} is not `TYPE name content`");
            };
            // A message of any kind will do: the server does not look into it.
            let message = any(&Node {
                id: content.to_owned(),
                ..Node::default()
            });
            let version = Version::of([content.as_bytes()]);
            let body = bowline_snapshot::Body::Whole(message.value);
            layer.upsert(
                type_named(short_name),
                Resource::new(name, body, version, []),
            );
        }
        self.publisher
            .lock()
            .await
            .publish([(name, Some(Arc::new(layer)))]);
    }

    /// Connects a client.
    pub(crate) async fn connect(&mut self) -> Channel {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let service = WithPeer {
            service: self.service.clone(),
            retiring: self.retiring.clone(),
        };
        self.connections.spawn(async move {
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .max_concurrent_streams(1_000_000)
                .serve_connection(TokioIo::new(far), TowerToHyperService::new(service));
            // A client that goes without a farewell is no failure of the server.
            connection.await.unwrap_or_default();
        });
        let mut near = Some(near);
        let connector = tower::service_fn(move |_| {
            let near: Option<DuplexStream> = near.take();
            async move {
                near.map(TokioIo::new)
                    .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))
            }
        });
        Endpoint::from_static("http://in.process")
            .connect_with_connector(connector)
            .await
            .unwrap()
    }
}

fn type_named(short_name: &str) -> ResourceType {
    *ResourceType::ALL
        .iter()
        .find(|resource_type| resource_type.short_name() == short_name)
        .unwrap()
}

fn layer_name() -> LayerName {
    LayerName::new("all")
}

/// Who every client is.
pub(crate) fn peer() -> Peer {
    Peer {
        address: address(),
        identity: None,
    }
}

fn address() -> std::net::SocketAddr {
    ([127, 0, 0, 1], 4711).into()
}

/// What a listener does: it says who the peer is.
#[derive(Clone)]
struct WithPeer<T> {
    service: T,
    retiring: CancellationToken,
}

impl<T, B> Service<http::Request<B>> for WithPeer<T>
where
    T: Service<http::Request<B>>,
{
    type Response = T::Response;
    type Error = T::Error;
    type Future = T::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), T::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<B>) -> T::Future {
        request.extensions_mut().insert(peer());
        request
            .extensions_mut()
            .insert(Retiring(self.retiring.clone()));
        self.service.call(request)
    }
}
