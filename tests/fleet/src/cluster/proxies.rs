//! Proxies that say when a change has arrived: as sidecars do, each has all clusters, and the
//! endpoints of some.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bowline_proto::envoy::{
    config::core::v3::Node,
    service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
};
use prost::Message;
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

/// A marker that all proxies have got.
#[derive(Debug)]
pub struct Arrived {
    /// When the first had it.
    pub first: Instant,
    /// When the last had it.
    pub last: Instant,
    /// What each has received since the marker before.
    pub received: Vec<Received>,
}

/// What a proxy has received.
#[derive(Debug, Default)]
pub struct Received {
    /// How many responses.
    pub responses: usize,
    /// Their bytes.
    pub bytes: usize,
    /// How often it got the endpoints of a cluster, and the bytes of them.
    pub assignments: BTreeMap<String, (usize, usize)>,
    /// Resources of other types.
    pub others: usize,
}

impl Received {
    fn take(&mut self, response: &DeltaDiscoveryResponse) {
        self.responses += 1;
        self.bytes += response.encoded_len();
        for resource in &response.resources {
            if response.type_url == ENDPOINTS {
                let of = self.assignments.entry(resource.name.clone()).or_default();
                let body = resource.resource.as_ref().map(|any| any.value.len());
                *of = (of.0 + 1, of.1 + body.unwrap_or_default());
            } else {
                self.others += 1;
            }
        }
    }
}

/// What a proxy has.
#[derive(Debug)]
enum Arrival {
    /// Everything that it has asked for.
    Everything,
    Marker(u16, Instant, Received),
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

    /// Waits until all proxies have got a marker that is another than the one before.
    ///
    /// # Errors
    /// When one does not get it.
    pub async fn until(&mut self, marker: u16) -> Result<Arrived> {
        let mut times = BTreeSet::new();
        let mut all = Vec::with_capacity(self.count);
        for _ in 0..self.count {
            match self.next().await? {
                Arrival::Marker(arrived, at, received) if arrived == marker => {
                    times.insert(at);
                    all.push(received);
                }
                Arrival::Marker(arrived, ..) => bail!("marker {arrived} came instead of {marker}"),
                Arrival::Everything => bail!("a proxy has begun anew"),
                Arrival::Ended(error) => return Err(error),
            }
        }
        let first_and_last = times.first().zip(times.last());
        let (first, last) = first_and_last.context("there are no proxies")?;
        Ok(Arrived {
            first: *first,
            last: *last,
            received: all,
        })
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
    let mut received = Received::default();
    let mut marked = None;
    while let Some(response) = responses.message().await? {
        let at = Instant::now();
        received.take(&response);
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
                        && marked.replace(marker) != Some(marker)
                    {
                        let received = std::mem::take(&mut received);
                        arrivals.send(Arrival::Marker(marker, at, received)).await?;
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
    /// The first so many services of a large cluster, and some other clusters.
    pub fn of_scale(services: usize, others: Option<String>) -> Self {
        let services = (0..services).map(scale::cluster);
        Self {
            clusters: Arc::new(services.chain(others).collect()),
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
