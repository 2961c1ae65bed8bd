//! A control plane of its own on Bowline's xDS server: own resources, own grouping of nodes.
//!
//! Every line `{group} {text}` on standard input becomes what the Envoys of that group answer to every request. The group of an Envoy is
//! the `cluster` of its Node. What becomes of it is printed: who connects, who acknowledges, who rejects and why.

mod resources;

use std::{env, sync::Arc};

use bowline_ads::{
    DiscoveryService, Event, Fleet, Opened, Peer, ProxyDescription, Refusal, Settings, Source,
    StreamKind,
};
use bowline_identity::{Claimed, PeerIdentity};
use bowline_proto::envoy::config::core::v3::Node;
use bowline_snapshot::{Layer, LayerName, Publisher, ResourceType};
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, service::InterceptorLayer, transport::Server};

/// Chooses the view of a node: one layer a group.
struct Groups {
    publisher: Arc<Mutex<Publisher>>,
}

impl Source for Groups {
    async fn open(&self, node: &Node, _peer: &Peer, _: StreamKind) -> Result<Opened, Refusal> {
        if node.cluster.is_empty() {
            let reason = "node.cluster must name a group".to_owned();
            return Err(Refusal::InvalidArgument(reason));
        }
        // A group that nothing was published for yet is answered when something is.
        let layers = vec![LayerName::new(node.cluster.as_str())];
        let (assignment, snapshots) = self.publisher.lock().subscribe(layers);
        Ok(Opened {
            proxy: ProxyDescription {
                id: node.id.as_str().into(),
                role: "example".into(),
                identity: PeerIdentity::Claimed(Claimed { spiffe_id: None }),
            },
            snapshots,
            guard: Box::new(assignment),
        })
    }
}

/// Publishes what a group answers from now on, as one generation.
fn publish(publisher: &Mutex<Publisher>, group: &str, port: u16, text: &str) {
    let mut layer = Layer::default();
    layer.upsert(ResourceType::LISTENER, resources::listener(port));
    layer.upsert(ResourceType::ROUTE, resources::answer(text));
    let generation = publisher
        .lock()
        .publish([(LayerName::new(group), Some(Arc::new(layer)))]);
    say(&format!("published generation {generation} for {group}"));
}

/// What happens on the streams, as it happens.
fn watch(event: &Event<'_>) {
    match event {
        Event::Connected { variant } => say(&format!("connected, {}", variant.name())),
        Event::Acknowledged { resource_type, .. } => say(&format!("acknowledged {resource_type}")),
        Event::Rejected {
            resource_type,
            message,
        } => say(&format!("rejected {resource_type}: {message}")),
        _ => {}
    }
}

#[expect(clippy::print_stdout, reason = "a program for a terminal")]
fn say(line: &str) {
    println!("{line}");
}

/// A listener knows who its peers are; the service asks for it.
fn with_peer(mut request: Request<()>) -> Result<Request<()>, Status> {
    let address = request.remote_addr();
    let address = address.ok_or_else(|| Status::internal("the peer has no address"))?;
    request.extensions_mut().insert(Peer {
        address,
        identity: None,
    });
    Ok(request)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:18000".to_owned());
    let port: u16 = arguments.next().unwrap_or("10000".to_owned()).parse()?;

    let publisher = Arc::new(Mutex::new(Publisher::new()));
    let shutdown = CancellationToken::new();
    let service = DiscoveryService::new(
        Groups {
            publisher: publisher.clone(),
        },
        Settings::new("embedded-server"),
        Fleet::observed_by(Arc::new(watch)),
        shutdown.clone(),
    );
    let upkeep = service.clone().end_stuck_streams();
    let server = Server::builder()
        .http2_keepalive_interval(Some(std::time::Duration::from_secs(30)))
        .layer(InterceptorLayer::new(with_peer))
        .add_service(service)
        .serve_with_shutdown(address.parse()?, shutdown.clone().cancelled_owned());
    say(&format!("serving on {address}, listeners on port {port}"));

    let input = async {
        let mut lines = BufReader::new(stdin()).lines();
        while let Some(line) = lines.next_line().await? {
            match line.split_once(' ') {
                Some((group, text)) => publish(&publisher, group, port, text),
                None => say("a line is `{group} {text}`"),
            }
        }
        shutdown.cancel();
        Ok::<_, anyhow::Error>(())
    };
    let (served, (), read) = tokio::join!(server, upkeep, input);
    served?;
    read
}
