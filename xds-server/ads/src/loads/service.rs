//! The load reporting service: moves reports into the ledger.

use std::{pin::Pin, sync::Arc, time::Duration};

use bowline_proto::{
    duration,
    envoy::{
        config::{core::v3::Node, endpoint::v3::ClusterStats},
        service::load_stats::v3::{
            LoadStatsRequest, LoadStatsResponse,
            load_reporting_service_server::{
                LoadReportingService as Service, LoadReportingServiceServer,
            },
        },
    },
};
use futures_util::{Stream as Responses, stream::unfold};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::debug;

use super::{Loads, Reporter, Stream};
use crate::{
    service::Retiring,
    source::{Peer, Refusal},
};

/// Says who a reporter is, and what it is asked for.
pub trait Reporters: Send + Sync + 'static {
    /// Called once for each stream.
    ///
    /// # Errors
    /// A [`Refusal`] ends the stream.
    fn reporter(&self, node: &Node, peer: &Peer) -> Result<Reporter, Refusal>;

    /// Whether loads of a cluster are kept.
    fn keeps(&self, cluster: &str) -> bool;
}

/// How loads are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadSettings {
    /// Whether anybody wants them. Clients that connect all the same are asked for nothing.
    pub wanted: bool,
    /// Time between two reports of one proxy.
    pub interval: Duration,
}

/// Receives the loads that proxies report.
pub struct LoadReportingService<R>(Arc<Server<R>>);

/// What all streams share.
struct Server<R> {
    reporters: R,
    loads: Loads,
    settings: LoadSettings,
    shutdown: CancellationToken,
}

impl<R: Reporters> LoadReportingService<R> {
    /// A service that writes to these loads. Whoever accepts connections has to put a [`Peer`] into the extensions of each request.
    /// Cancelling `shutdown` ends all streams with `UNAVAILABLE`.
    pub fn server(
        reporters: R,
        loads: Loads,
        settings: LoadSettings,
        shutdown: CancellationToken,
    ) -> LoadReportingServiceServer<Self> {
        let server = Server {
            reporters,
            loads,
            settings,
            shutdown,
        };
        LoadReportingServiceServer::new(Self(Arc::new(server)))
            .max_decoding_message_size(REPORT_BYTES_MAX)
    }
}

type ResponseStream = Pin<Box<dyn Responses<Item = Result<LoadStatsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl<R: Reporters> Service for LoadReportingService<R> {
    type StreamLoadStatsStream = ResponseStream;

    async fn stream_load_stats(
        &self,
        request: Request<Streaming<LoadStatsRequest>>,
    ) -> Result<Response<ResponseStream>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let peer =
            peer.ok_or_else(|| Status::internal("the listener does not say who the peer is"))?;
        let retiring = Retiring::of(request.extensions());
        let opening = Phase::Opening(Opening {
            peer,
            retiring,
            requests: request.into_inner(),
        });
        let responses = unfold((self.0.clone(), opening), |(server, phase)| async move {
            match phase {
                Phase::Opening(opening) => match server.open(opening).await {
                    Ok(Some(running)) => {
                        let response = Ok(server.interest());
                        Some((response, (server, Phase::Running(running))))
                    }
                    Ok(None) => None,
                    Err(status) => Some((Err(status), (server, Phase::Ended))),
                },
                Phase::Running(running) => match server.receive(running).await {
                    Ok(Some(running)) => {
                        // Envoy takes "all clusters" to be those that it has at this moment, so it is asked again and again; what it
                        // counts already goes on.
                        let response = Ok(server.interest());
                        Some((response, (server, Phase::Running(running))))
                    }
                    Ok(None) => None,
                    Err(status) => Some((Err(status), (server, Phase::Ended))),
                },
                Phase::Ended => None,
            }
        });
        Ok(Response::new(Box::pin(responses)))
    }
}

enum Phase {
    /// Before the first request.
    Opening(Opening),
    Running(Running),
    Ended,
}

struct Opening {
    peer: Peer,
    retiring: CancellationToken,
    requests: Streaming<LoadStatsRequest>,
}

struct Running {
    stream: Stream,
    retiring: CancellationToken,
    requests: Streaming<LoadStatsRequest>,
    /// When it reported last.
    last: Instant,
}

impl<R: Reporters> Server<R> {
    async fn open(&self, opening: Opening) -> Result<Option<Running>, Status> {
        let Opening {
            peer,
            retiring,
            mut requests,
        } = opening;
        let first = tokio::select! {
            () = self.shutdown.cancelled() => return Err(shutting_down()),
            () = tokio::time::sleep(FIRST_REQUEST_MAX) => {
                return Err(Status::deadline_exceeded("no request came"));
            }
            request = requests.message() => request,
        };
        let Ok(Some(LoadStatsRequest {
            node,
            cluster_stats,
        })) = first
        else {
            return Ok(None);
        };
        let node =
            node.ok_or_else(|| Status::invalid_argument("the first request needs a node"))?;
        let reporter = self
            .reporters
            .reporter(&node, &peer)
            .map_err(|refusal| match refusal {
                Refusal::PermissionDenied(text) => Status::permission_denied(text),
                Refusal::Unavailable(text) => Status::unavailable(text),
                Refusal::InvalidArgument(text) => Status::invalid_argument(text),
            })?;
        debug!(workload = %reporter.workload, address = %peer.address, "reports loads");
        let mut running = Running {
            stream: self.loads.stream(reporter),
            retiring,
            requests,
            last: Instant::now(),
        };
        self.take(&mut running, cluster_stats);
        Ok(Some(running))
    }

    /// Takes one report; none when the client is gone.
    async fn receive(&self, mut running: Running) -> Result<Option<Running>, Status> {
        // Who reports all the time is read slowly: HTTP/2 makes it wait.
        let pause = tokio::time::sleep_until(running.last + REPORT_PAUSE_MIN);
        let next = async {
            pause.await;
            running.requests.message().await
        };
        let request = tokio::select! {
            () = self.shutdown.cancelled() => return Err(shutting_down()),
            // The client reports on another connection from here on.
            () = running.retiring.cancelled() => return Ok(None),
            request = next => request,
        };
        let Ok(Some(LoadStatsRequest { cluster_stats, .. })) = request else {
            return Ok(None);
        };
        self.take(&mut running, cluster_stats);
        Ok(Some(running))
    }

    fn take(&self, running: &mut Running, mut stats: Vec<ClusterStats>) {
        stats.retain(|stats| self.settings.wanted && self.reporters.keeps(&stats.cluster_name));
        running.last = Instant::now();
        running.stream.report(&stats, running.last.into_std());
    }

    /// What a client is asked for. Those that do not know `send_all_clusters` report nothing: they would need the names of clusters.
    fn interest(&self) -> LoadStatsResponse {
        let LoadSettings { wanted, interval } = self.settings;
        LoadStatsResponse {
            clusters: Vec::new(),
            send_all_clusters: wanted,
            load_reporting_interval: Some(duration(if wanted { interval } else { UNWANTED })),
            report_endpoint_granularity: false,
        }
    }
}

fn shutting_down() -> Status {
    Status::unavailable("the server is shutting down")
}

const REPORT_BYTES_MAX: usize = 4 << 20;
const FIRST_REQUEST_MAX: Duration = Duration::from_secs(30);
const REPORT_PAUSE_MIN: Duration = Duration::from_millis(200);
/// How often clients report nothing.
const UNWANTED: Duration = Duration::from_secs(3600);
