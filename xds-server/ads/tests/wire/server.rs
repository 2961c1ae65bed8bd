//! A server in this process, behind a pipe instead of a socket.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
};

use bowline_ads::{
    AggregatedDiscoveryService, Fleet, Opened, Peer, ProxyDescription, Refusal, Settings, Source,
};
use bowline_identity::{Claimed, PeerIdentity};
use bowline_proto::{any, envoy::config::core::v3::Node};
use bowline_snapshot::{Assignment, Layer, LayerName, Publisher, Resource, ResourceType, Version};
use hyper_util::rt::TokioIo;
use tokio::{io::DuplexStream, sync::Mutex, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server};
use tower::Service;

/// A server with one layer that every proxy is served.
pub(crate) struct Served {
    pub(crate) fleet: Fleet,
    pub(crate) shutdown: CancellationToken,
    publisher: Arc<Mutex<Publisher>>,
    service: AggregatedDiscoveryService<OneLayer>,
    connections: JoinSet<()>,
}

struct OneLayer {
    publisher: Arc<Mutex<Publisher>>,
}

impl Source for OneLayer {
    async fn open(&self, node: &Node, peer: &Peer) -> Result<Opened, Refusal> {
        match &*node.id {
            "thief" => return Err(Refusal::PermissionDenied("not yours".to_owned())),
            "early" => return Err(Refusal::Unavailable("not ready".to_owned())),
            "" => return Err(Refusal::InvalidArgument("a node needs an id".to_owned())),
            _ => {}
        }
        assert_eq!(peer.address, address());
        let (assignment, snapshots) = self.publisher.lock().await.subscribe(vec![layer_name()]);
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
        let publisher = Arc::new(Mutex::new(Publisher::new()));
        let fleet = Fleet::new();
        let shutdown = CancellationToken::new();
        let source = OneLayer {
            publisher: publisher.clone(),
        };
        let settings = Settings::new("bowline-test");
        Self {
            service: AggregatedDiscoveryService::new(
                source,
                settings,
                fleet.clone(),
                shutdown.clone(),
            ),
            fleet,
            shutdown,
            publisher,
            connections: JoinSet::new(),
        }
    }

    /// Publishes these as all that there is, each written as `TYPE name content`.
    pub(crate) async fn publish(&self, resources: &[&str]) {
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
            .publish([(layer_name(), Some(Arc::new(layer)))]);
    }

    /// Connects a client.
    pub(crate) async fn connect(&mut self) -> Channel {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let incoming = tokio_stream::once(Ok::<_, io::Error>(far));
        let router = Server::builder().add_service(WithPeer(self.service.clone()));
        self.connections.spawn(async move {
            router.serve_with_incoming(incoming).await.unwrap();
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

fn address() -> std::net::SocketAddr {
    ([127, 0, 0, 1], 4711).into()
}

/// What a listener does: it says who the peer is.
#[derive(Clone)]
struct WithPeer<T>(T);

impl<T, B> Service<http::Request<B>> for WithPeer<T>
where
    T: Service<http::Request<B>>,
{
    type Response = T::Response;
    type Error = T::Error;
    type Future = T::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), T::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<B>) -> T::Future {
        request.extensions_mut().insert(Peer {
            address: address(),
            identity: None,
        });
        self.0.call(request)
    }
}

impl<T: tonic::server::NamedService> tonic::server::NamedService for WithPeer<T> {
    const NAME: &'static str = T::NAME;
}
