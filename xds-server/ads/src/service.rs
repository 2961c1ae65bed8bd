//! The discovery services as a tower service.

use std::{
    convert::Infallible,
    fmt,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body, server::NamedService};
use tower::Service;

use crate::{
    admission::Admission,
    fleet::Fleet,
    grpc::{Encodings, KEPT_FOR, Requests, ResponseBody},
    method::service_names,
    progress::Streams,
    session::{Delta, Protocol, StateOfTheWorld, Variant},
    settings::Settings,
    source::{Coverage, Peer, Source, StreamKind},
    stream::{Call, Server, responses},
};

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// Serves snapshots over both variants of the protocol, on the aggregated service and on those of single types. A clone is the same server.
///
/// It fits into tonic's `Router` and into any HTTP/2 server. Whoever accepts connections has to put a [`Peer`] into the extensions of
/// each request, and may put a [`Retiring`].
pub struct DiscoveryService<S> {
    server: Arc<Server<S>>,
    streams: Streams,
}

/// Says to the streams of a connection that it has lived long enough: cancelled, each of them ends as soon as its client has answered
/// everything, and none before it was answered itself.
#[derive(Debug, Clone)]
pub struct Retiring(pub CancellationToken);

impl Retiring {
    /// What a call that never ends by itself waits for besides its client; a token that nobody cancels where the connection may live
    /// for ever.
    pub fn of(extensions: &http::Extensions) -> CancellationToken {
        let retiring = extensions.get::<Self>();
        retiring.map_or_else(CancellationToken::new, |Self(token)| token.clone())
    }
}

impl<S: Source> DiscoveryService<S> {
    /// A server. Cancelling `shutdown` ends all streams with `UNAVAILABLE`.
    pub fn new(source: S, settings: Settings, fleet: Fleet, shutdown: CancellationToken) -> Self {
        Self {
            server: Arc::new(Server {
                source,
                encodings: Encodings::new(settings.control_plane.clone()),
                admission: Admission::new(
                    settings.starting_streams_max,
                    settings.waiting_streams_max,
                    settings.admission_limit,
                ),
                settings: Arc::new(settings),
                fleet,
                common: Arc::default(),
                shutdown,
            }),
            streams: Streams::default(),
        }
    }

    /// The names of the gRPC services that it answers for, such as `envoy.service.discovery.v3.AggregatedDiscoveryService`.
    pub fn service_names() -> impl Iterator<Item = &'static str> {
        service_names()
    }

    /// Ends streams whose client takes nothing for longer than [`Settings::progress_limit`], frees what they hold, forgets encodings
    /// that nobody needs any more, and lets the next ones start where streams take too long to. Runs until the shutdown; the program runs it as a task.
    pub async fn end_stuck_streams(self) {
        let limit = self.server.settings.progress_limit;
        tokio::select! {
            () = self.server.shutdown.cancelled() => {}
            () = self.streams.end_stuck(limit) => {}
            () = forget_unused(&self.server) => {}
            () = self.server.admission.free_overdue_places() => {}
        }
    }

    fn stream<P, B>(&self, coverage: Coverage, request: Request<B>) -> Response<Body>
    where
        P: Protocol,
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let Some(peer) = request.extensions().get::<Peer>().cloned() else {
            return Status::internal("the listener does not say who the peer is").into_http();
        };
        let call = Call {
            peer,
            coverage,
            retiring: request
                .extensions()
                .get::<Retiring>()
                .map(|Retiring(token)| token.clone()),
            requests: Requests::new(request.into_body(), self.server.settings.request_bytes_max),
        };
        let responses = responses::<P, S, B>(self.server.clone(), call);
        let body = ResponseBody::new(self.streams.supervise(responses));
        let mut response = Response::new(Body::new(body));
        response.headers_mut().insert(CONTENT_TYPE, GRPC);
        response
    }
}

/// Forgets what was made for several streams and none has needed lately, for ever.
async fn forget_unused<S>(server: &Server<S>) {
    let mut ticks = tokio::time::interval(KEPT_FOR);
    loop {
        ticks.tick().await;
        server.encodings.forget_unused();
        server.common.forget_unused();
    }
}

impl<S, B> Service<Request<B>> for DiscoveryService<S>
where
    S: Source,
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_grpc = request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(GRPC.as_bytes()));
        let response = if is_grpc {
            match StreamKind::at(request.uri().path()) {
                Some(StreamKind {
                    variant: Variant::StateOfTheWorld,
                    coverage,
                }) => self.stream::<StateOfTheWorld, B>(coverage, request),
                Some(StreamKind {
                    variant: Variant::Delta,
                    coverage,
                }) => self.stream::<Delta, B>(coverage, request),
                None => Status::unimplemented(format!(
                    "there is no method {}: discovery is served as streams, aggregated or by type",
                    request.uri().path()
                ))
                .into_http(),
            }
        } else {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            response
        };
        ready(Ok(response))
    }
}

/// Where a router knows services by name, this is the one for the aggregated service.
impl<S> NamedService for DiscoveryService<S> {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl<S> Clone for DiscoveryService<S> {
    fn clone(&self) -> Self {
        Self {
            server: self.server.clone(),
            streams: self.streams.clone(),
        }
    }
}

impl<S> fmt::Debug for DiscoveryService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiscoveryService")
            .field("settings", &self.server.settings)
            .field("fleet", &self.server.fleet)
            .finish_non_exhaustive()
    }
}
