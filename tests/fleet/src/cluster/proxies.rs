//! Proxies that say when a change has arrived: as sidecars do, each has all clusters, and the
//! endpoints of some.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bowline_proto::envoy::{
    config::core::v3::Node,
    service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Streaming,
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use super::scale::{self, MARKED};

/// Connected proxies.
#[derive(Debug)]
pub struct Proxies {
    count: usize,
    arrivals: mpsc::Receiver<Arrival>,
    _tasks: JoinSet<()>,
}

/// What proxies look at.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The clusters whose endpoints they have.
    pub clusters: Arc<BTreeSet<String>>,
    /// The namespace of each.
    pub namespace: fn(usize) -> String,
    /// What an encoded assignment shows of a change.
    pub marker: fn(&[u8]) -> Option<u16>,
}

/// What a proxy has.
#[derive(Debug)]
enum Arrival {
    /// Everything that it has asked for.
    Everything,
    Marker(u16, Instant),
    Ended(anyhow::Error),
}

const METHOD: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const CLUSTERS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
const PATIENCE: Duration = Duration::from_secs(120);
const MESSAGE_BYTES_MAX: usize = 512 * 1024 * 1024;

impl Proxies {
    /// Connects them and waits until each has the endpoints that it looks at.
    ///
    /// # Errors
    /// When one is not served.
    pub async fn connect(server: SocketAddr, count: usize, subject: &Subject) -> Result<Self> {
        let (sender, arrivals) = mpsc::channel(count.max(1) * 4);
        let mut tasks = JoinSet::new();
        for proxy in 0..count {
            let (sender, subject) = (sender.clone(), subject.clone());
            tasks.spawn(async move {
                if let Err(error) = follow(server, proxy, &subject, &sender).await {
                    // Nobody listens any more when the measurement is over.
                    drop(sender.send(Arrival::Ended(error)).await);
                }
            });
        }
        let mut proxies = Self {
            count,
            arrivals,
            _tasks: tasks,
        };
        for _ in 0..count {
            match proxies.next().await? {
                Arrival::Everything => {}
                Arrival::Marker(..) => bail!("a marker is there before the first change"),
                Arrival::Ended(error) => return Err(error),
            }
        }
        Ok(proxies)
    }

    /// When the first and the last proxy have got a marker.
    ///
    /// # Errors
    /// When one does not get it.
    pub async fn until(&mut self, marker: u16) -> Result<(Instant, Instant)> {
        let mut first = None;
        let mut last = None;
        for _ in 0..self.count {
            match self.next().await? {
                Arrival::Marker(arrived, at) if arrived == marker => {
                    first = first.min(Some(at)).or(Some(at));
                    last = last.max(Some(at));
                }
                Arrival::Marker(arrived, _) => bail!("marker {arrived} came instead of {marker}"),
                Arrival::Everything => bail!("a proxy has begun anew"),
                Arrival::Ended(error) => return Err(error),
            }
        }
        first.zip(last).context("there are no proxies")
    }

    async fn next(&mut self) -> Result<Arrival> {
        timeout(PATIENCE, self.arrivals.recv())
            .await
            .with_context(|| format!("nothing has arrived within {PATIENCE:?}"))?
            .context("all proxies have ended")
    }
}

/// One proxy.
async fn follow(
    server: SocketAddr,
    proxy: usize,
    subject: &Subject,
    arrivals: &mpsc::Sender<Arrival>,
) -> Result<()> {
    let Subject {
        clusters: wanted,
        namespace,
        marker,
    } = subject;
    let channel = Endpoint::from_shared(format!("http://{server}"))?
        .initial_stream_window_size(16 * 1024 * 1024)
        .initial_connection_window_size(24 * 1024 * 1024)
        .tcp_nodelay(true)
        .connect()
        .await?;
    let (requests, mut responses) = open(channel).await?;
    requests
        .send(DeltaDiscoveryRequest {
            node: Some(node(proxy, &namespace(proxy))),
            type_url: CLUSTERS.to_owned(),
            ..DeltaDiscoveryRequest::default()
        })
        .await?;
    let mut missing = BTreeSet::clone(wanted);
    while let Some(response) = responses.message().await? {
        let at = Instant::now();
        requests
            .send(DeltaDiscoveryRequest {
                type_url: response.type_url.clone(),
                response_nonce: response.nonce.clone(),
                ..DeltaDiscoveryRequest::default()
            })
            .await?;
        match response.type_url.as_str() {
            CLUSTERS => {
                let names = response.resources.into_iter().map(|resource| resource.name);
                let names: Vec<_> = names.filter(|name| wanted.contains(name)).collect();
                if !names.is_empty() {
                    requests.send(subscription(names)).await?;
                }
            }
            ENDPOINTS => {
                for resource in response.resources {
                    let body = resource.resource.map(|any| any.value).unwrap_or_default();
                    // What was there before is no change.
                    if missing.is_empty()
                        && let Some(marker) = marker(&body)
                    {
                        arrivals.send(Arrival::Marker(marker, at)).await?;
                    }
                    if missing.remove(&resource.name) && missing.is_empty() {
                        arrivals.send(Arrival::Everything).await?;
                    }
                }
            }
            other => bail!("{other} was not asked for"),
        }
    }
    bail!("the server has ended the stream of proxy {proxy}")
}

async fn open(
    channel: Channel,
) -> Result<(
    mpsc::Sender<DeltaDiscoveryRequest>,
    Streaming<DeltaDiscoveryResponse>,
)> {
    let (requests, receiver) = mpsc::channel(16);
    let mut grpc = Grpc::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    grpc.ready().await?;
    let codec = ProstCodec::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::default();
    let request = tonic::Request::new(ReceiverStream::new(receiver));
    let response = grpc.streaming(request, METHOD.parse()?, codec).await?;
    Ok((requests, response.into_inner()))
}

fn subscription(names: Vec<String>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: ENDPOINTS.to_owned(),
        resource_names_subscribe: names,
        ..DeltaDiscoveryRequest::default()
    }
}

fn node(proxy: usize, namespace: &str) -> Node {
    let [_, _, third, fourth] = u32::try_from(proxy + 1).unwrap_or(u32::MAX).to_be_bytes();
    Node {
        id: format!(
            "sidecar~10.64.{third}.{fourth}~client-{proxy}.{namespace}~{namespace}.svc.cluster.local"
        ),
        cluster: "client".to_owned(),
        user_agent_name: "envoy".to_owned(),
        ..Node::default()
    }
}

impl Subject {
    /// The first so many services of a large cluster.
    pub fn of_scale(services: usize) -> Self {
        Self {
            clusters: Arc::new((0..services).map(scale::cluster).collect()),
            namespace: scale::namespace,
            marker,
        }
    }
}

/// The marker in an encoded assignment: addresses are text in it.
fn marker(assignment: &[u8]) -> Option<u16> {
    let at = memchr::memmem::find(assignment, MARKED.as_bytes())?;
    let rest = assignment.get(at + MARKED.len()..)?;
    let mut bytes = rest
        .split(|byte| !byte.is_ascii_digit())
        .map(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    Some(u16::from_be_bytes([bytes.next()??, bytes.next()??]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_found_among_other_addresses() {
        let check = |text: &str, expected| assert_eq!(marker(text.as_bytes()), expected, "{text}");
        check("\n\x0910.128.0.7\x10P\n\x0a10.255.1.2\x10P", Some(0x0102));
        check("10.255.0.9", Some(9));
        check("10.128.0.7", None);
        check("10.255.", None);
        check("10.255.1.999", None);
    }
}
