//! One stream: moves requests and snapshots into a session and responses out of it.
//!
//! There is no task for a stream. It is driven by the connection asking for the next message, so a client that does not read is not
//! worked for, and nothing is made before it can be sent.

use std::{
    future::ready,
    pin::pin,
    sync::Arc,
    time::{Instant, SystemTime},
};

use bowline_proto::envoy::config::core::v3::Node;
use bowline_snapshot::{PublisherClosed, SnapshotReceiver};
use futures_util::{Stream, stream::unfold};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};
use tracing::{debug, info, warn};

use crate::{
    fleet::{Connected, Fleet},
    names::NameTable,
    response::Response,
    session::{EmptyRequests, Header, Protocol, Received, Session, Verdict},
    settings::Settings,
    source::{Opened, Peer, Refusal, Source},
};

/// Requests that are taken before the next response: acknowledgements must not wait behind pushes, nor pushes behind a flood.
const REQUESTS_AT_ONCE: usize = 16;

/// What all streams of a server share.
pub(crate) struct Server<S> {
    pub(crate) source: S,
    pub(crate) settings: Arc<Settings>,
    pub(crate) fleet: Fleet,
    pub(crate) names: Arc<NameTable>,
    pub(crate) shutdown: CancellationToken,
}

/// The responses to the requests of one client. Ends when the client goes, or with the reason why it has to go.
pub(crate) fn responses<P: Protocol, S: Source>(
    server: Arc<Server<S>>,
    peer: Peer,
    requests: Streaming<P::Request>,
) -> impl Stream<Item = Result<Response, Status>> + Send {
    let opening = Phase::<P>::Opening(Box::new(Opening { peer, requests }));
    unfold((server, opening), |(server, phase)| async move {
        match phase.advance(&server).await {
            Ok(Some((response, running))) => {
                Some((Ok(response), (server, Phase::Running(running))))
            }
            Ok(None) => None,
            Err(status) => Some((Err(status), (server, Phase::Ended))),
        }
    })
}

enum Phase<P: Protocol> {
    /// Before the first request.
    Opening(Box<Opening<P>>),
    Running(Box<Running<P>>),
    Ended,
}

struct Opening<P: Protocol> {
    peer: Peer,
    requests: Streaming<P::Request>,
}

struct Running<P: Protocol> {
    session: Session<P>,
    requests: Streaming<P::Request>,
    snapshots: SnapshotReceiver,
    connected: Connected,
    /// Whoever opened the stream learns by its drop that the stream has ended.
    _guard: Box<dyn Send>,
    proxy: Arc<str>,
}

impl<P: Protocol> Phase<P> {
    /// The next response; none when the client is gone.
    async fn advance<S: Source>(
        self,
        server: &Server<S>,
    ) -> Result<Option<(Response, Box<Running<P>>)>, Status> {
        let mut running = match self {
            Self::Opening(opening) => match opening.open(server).await? {
                Some(running) => Box::new(running),
                None => return Ok(None),
            },
            Self::Running(running) => running,
            Self::Ended => return Ok(None),
        };
        let response = running.response(server).await?;
        Ok(response.map(|response| (response, running)))
    }
}

impl<P: Protocol> Opening<P> {
    async fn open<S: Source>(self, server: &Server<S>) -> Result<Option<Running<P>>, Status> {
        let Self { peer, mut requests } = self;
        let first = tokio::select! {
            biased;
            () = server.shutdown.cancelled() => return Err(shutting_down()),
            () = tokio::time::sleep(server.settings.progress_limit) => {
                return Err(Status::deadline_exceeded("no request came"));
            }
            request = requests.message() => request,
        };
        let Some(request) = request_or_end(first)? else {
            return Ok(None);
        };
        let (mut header, interest) = P::parse(request);
        let Some(node) = header.node.take() else {
            return Err(Status::invalid_argument(
                "the first request of a stream needs a node",
            ));
        };
        let opened = tokio::select! {
            biased;
            () = server.shutdown.cancelled() => return Err(shutting_down()),
            opened = server.source.open(&node, &peer) => opened,
        };
        let Opened {
            proxy,
            snapshots,
            guard,
        } = opened.map_err(|refusal| refused(&node, &peer, refusal))?;
        info!(
            proxy = %proxy.id,
            role = %proxy.role,
            identity = %proxy.identity,
            address = %peer.address,
            protocol = P::VARIANT.name(),
            "connected"
        );
        let id = proxy.id.clone();
        let mut running = Running {
            session: Session::new(
                server.settings.clone(),
                server.names.clone(),
                empty_requests(&node),
            ),
            requests,
            connected: server
                .fleet
                .connect(P::VARIANT, &node, &peer, proxy, wall_clock()),
            snapshots,
            _guard: guard,
            proxy: id,
        };
        running.take_snapshot();
        running.receive(header, interest)?;
        Ok(Some(running))
    }
}

impl<P: Protocol> Running<P> {
    /// Works until there is something to send; none when the client is gone.
    async fn response<S: Source>(
        &mut self,
        server: &Server<S>,
    ) -> Result<Option<Response>, Status> {
        loop {
            for _ in 0..REQUESTS_AT_ONCE {
                let request = tokio::select! {
                    biased;
                    request = self.requests.message() => request,
                    () = ready(()) => break,
                };
                let Some(request) = request_or_end(request)? else {
                    return Ok(None);
                };
                let (header, interest) = P::parse(request);
                self.receive(header, interest)?;
            }
            if server.shutdown.is_cancelled() {
                return Err(shutting_down());
            }
            // A client that was slow to read gets what is newest now.
            tokio::select! {
                biased;
                changed = self.snapshots.changed() => self.follow(changed)?,
                () = ready(()) => {}
            }
            if let Some(response) = self.session.next(clock()) {
                self.note_sent(&response, server);
                return Ok(Some(response));
            }
            if let Some(request) = self.wait(server).await? {
                let Some(request) = request_or_end(request)? else {
                    return Ok(None);
                };
                let (header, interest) = P::parse(request);
                self.receive(header, interest)?;
            }
        }
    }

    /// Waits for anything that may lead to a response: a request, a snapshot (taken here), or a deadline.
    async fn wait<S: Source>(
        &mut self,
        server: &Server<S>,
    ) -> Result<Option<Result<Option<P::Request>, Status>>, Status> {
        let deadline = self.session.next_deadline();
        let mut deadline = pin!(async move {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        });
        tokio::select! {
            biased;
            () = server.shutdown.cancelled() => Err(shutting_down()),
            request = self.requests.message() => Ok(Some(request)),
            changed = self.snapshots.changed() => self.follow(changed).map(|()| None),
            () = &mut deadline => Ok(None),
        }
    }

    fn follow(&mut self, changed: Result<(), PublisherClosed>) -> Result<(), Status> {
        changed.map_err(|error| Status::unavailable(error.to_string()))?;
        self.take_snapshot();
        Ok(())
    }

    fn take_snapshot(&mut self) {
        if let Some(snapshot) = self.snapshots.current() {
            self.connected.has_snapshot();
            self.session.update(snapshot);
        }
    }

    fn receive(&mut self, header: Header, interest: P::Interest) -> Result<(), Status> {
        let received = self
            .session
            .receive(header, interest, clock())
            .map_err(|error| {
                warn!(proxy = %self.proxy, %error, "request refused");
                Status::from(error)
            })?;
        self.connected.received(&received, wall_clock());
        if let Received::Current(current) = &received {
            match &current.verdict {
                Some(Verdict::Rejected {
                    version,
                    message,
                    suspects,
                }) => warn!(
                    proxy = %self.proxy,
                    r#type = %current.resource_type,
                    %version,
                    reason = message.as_str(),
                    ?suspects,
                    "rejected"
                ),
                Some(Verdict::Acknowledged {
                    version,
                    generation,
                    waited,
                }) => debug!(
                    proxy = %self.proxy,
                    r#type = %current.resource_type,
                    %version,
                    generation,
                    ?waited,
                    "acknowledged"
                ),
                None => {}
            }
        }
        Ok(())
    }

    fn note_sent<S: Source>(&self, response: &Response, server: &Server<S>) {
        let bytes = P::encoded_len(response, &server.settings.control_plane);
        self.connected.sent(response, bytes, wall_clock());
        debug!(
            proxy = %self.proxy,
            r#type = &*response.type_url,
            version = %response.version,
            generation = response.generation,
            resources = response.resources.len(),
            removed = response.removed.len(),
            bytes,
            "sent"
        );
    }
}

impl<P: Protocol> Drop for Running<P> {
    fn drop(&mut self) {
        info!(proxy = %self.proxy, protocol = P::VARIANT.name(), "disconnected");
    }
}

/// A client that goes away, in whatever manner, is nothing special; one that sends what cannot be read is told so.
fn request_or_end<R>(request: Result<Option<R>, Status>) -> Result<Option<R>, Status> {
    request.or_else(|status| match status.code() {
        Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted => Err(status),
        _ => Ok(None),
    })
}

fn refused(node: &Node, peer: &Peer, refusal: Refusal) -> Status {
    warn!(node = node.id, address = %peer.address, reason = %refusal, "stream refused");
    match refusal {
        Refusal::PermissionDenied(text) => Status::permission_denied(text),
        Refusal::Unavailable(text) => Status::unavailable(text),
        Refusal::InvalidArgument(text) => Status::invalid_argument(text),
    }
}

fn shutting_down() -> Status {
    Status::unavailable("the server is shutting down")
}

/// gRPC clients name themselves `gRPC Go`, `gRPC C-core` and so on.
fn empty_requests(node: &Node) -> EmptyRequests {
    let is_grpc = node
        .user_agent_name
        .get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case("grpc"));
    if is_grpc {
        EmptyRequests::MeanNothing
    } else {
        EmptyRequests::MeanAll
    }
}

/// The runtime's clock, which tests can stop.
fn clock() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn wall_clock() -> OffsetDateTime {
    OffsetDateTime::from(SystemTime::now())
}
