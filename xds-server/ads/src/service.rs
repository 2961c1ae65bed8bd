//! The aggregated discovery service as a tower service.

use std::{
    convert::Infallible,
    fmt,
    future::{Future, Ready, ready},
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tokio_util::sync::CancellationToken;
use tonic::{
    Status, Streaming,
    body::Body,
    server::{Grpc, NamedService, StreamingService},
};
use tower::Service;

use crate::{
    codec::SessionCodec,
    fleet::Fleet,
    names::NameTable,
    progress::{Streams, Supervised},
    session::{Delta, Protocol, StateOfTheWorld},
    settings::Settings,
    source::{Peer, Source},
    stream::{Server, responses},
};

const STATE_OF_THE_WORLD_PATH: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
const DELTA_PATH: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// Serves snapshots over both variants of the aggregated protocol. A clone is the same server.
///
/// It fits into tonic's `Router` and into any HTTP/2 server. Whoever accepts connections has to put a [`Peer`] into the extensions of
/// each request.
pub struct AggregatedDiscoveryService<S> {
    server: Arc<Server<S>>,
    streams: Streams,
}

impl<S: Source> AggregatedDiscoveryService<S> {
    /// A server. Cancelling `shutdown` ends all streams with `UNAVAILABLE`.
    pub fn new(source: S, settings: Settings, fleet: Fleet, shutdown: CancellationToken) -> Self {
        Self {
            server: Arc::new(Server {
                source,
                settings: Arc::new(settings),
                fleet,
                names: Arc::new(NameTable::default()),
                shutdown,
            }),
            streams: Streams::default(),
        }
    }

    /// Ends streams whose client takes nothing for longer than [`Settings::progress_limit`], and frees what they hold. Runs until the
    /// shutdown; the program runs it as a task.
    pub async fn end_stuck_streams(self) {
        let limit = self.server.settings.progress_limit;
        tokio::select! {
            () = self.server.shutdown.cancelled() => {}
            () = self.streams.end_stuck(limit) => {}
        }
    }

    fn call_streaming<P: Protocol>(&self, request: Request<Body>) -> ResponseFuture {
        let server = self.server.clone();
        let streams = self.streams.clone();
        Box::pin(async move {
            let codec = SessionCodec::<P>::new(server.settings.control_plane.clone());
            let request_bytes_max = server.settings.request_bytes_max;
            let mut grpc = Grpc::new(codec).max_decoding_message_size(request_bytes_max);
            let streaming = Aggregated {
                server,
                streams,
                protocol: PhantomData::<P>,
            };
            Ok(grpc.streaming(streaming, request).await)
        })
    }
}

type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<S: Source> Service<Request<Body>> for AggregatedDiscoveryService<S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> ResponseFuture {
        match request.uri().path() {
            STATE_OF_THE_WORLD_PATH => self.call_streaming::<StateOfTheWorld>(request),
            DELTA_PATH => self.call_streaming::<Delta>(request),
            _ => Box::pin(ready(Ok(
                Status::unimplemented("no such method").into_http()
            ))),
        }
    }
}

impl<S> NamedService for AggregatedDiscoveryService<S> {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

/// One call.
struct Aggregated<S, P> {
    server: Arc<Server<S>>,
    streams: Streams,
    protocol: PhantomData<P>,
}

impl<S: Source, P: Protocol> StreamingService<P::Request> for Aggregated<S, P> {
    type Response = crate::response::Response;
    type ResponseStream = Supervised;
    type Future = Ready<Result<tonic::Response<Supervised>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<P::Request>>) -> Self::Future {
        let Some(peer) = request.extensions().get::<Peer>().cloned() else {
            return ready(Err(Status::internal(
                "the listener does not say who the peer is",
            )));
        };
        let responses = responses::<P, S>(self.server.clone(), peer, request.into_inner());
        ready(Ok(tonic::Response::new(self.streams.supervise(responses))))
    }
}

impl<S> Clone for AggregatedDiscoveryService<S> {
    fn clone(&self) -> Self {
        Self {
            server: self.server.clone(),
            streams: self.streams.clone(),
        }
    }
}

impl<S> fmt::Debug for AggregatedDiscoveryService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AggregatedDiscoveryService")
            .field("settings", &self.server.settings)
            .field("fleet", &self.server.fleet)
            .finish_non_exhaustive()
    }
}
