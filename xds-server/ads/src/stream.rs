//! One stream: moves requests and snapshots into a session and responses out of it.
//!
//! There is no task for a stream. It is driven by the connection asking for the next message, so a client that does not read is not
//! worked for, and nothing is made before it can be sent.

use std::{
    future::poll_fn,
    mem,
    sync::Arc,
    task::{Context, Poll},
    time::{Instant, SystemTime},
};

use bowline_proto::{Message, envoy::config::core::v3::Node};
use bowline_snapshot::{PublisherClosed, SnapshotReceiver, Version};
use bytes::Bytes;
use futures_util::{Stream, stream::unfold};
use http_body::Body;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::{debug, info, warn};

use crate::{
    admission::{Admission, Starting},
    alarm::{Alarm, Ending},
    fleet::{Connected, Fleet},
    grpc::{Encoded, Encodings, Requests},
    node,
    response::Response,
    session::{Client, Common, Header, Protocol, Received, Session, Verdict},
    settings::Settings,
    source::{Coverage, Opened, Peer, Refusal, Source, StreamKind},
};

/// Requests that are taken before the next response: acknowledgements must not wait behind pushes, nor pushes behind a flood.
const REQUESTS_AT_ONCE: usize = 16;

/// What all streams of a server share.
pub(crate) struct Server<S> {
    pub(crate) source: S,
    pub(crate) settings: Arc<Settings>,
    pub(crate) encodings: Encodings,
    pub(crate) admission: Admission,
    pub(crate) fleet: Fleet,
    pub(crate) common: Arc<Common>,
    pub(crate) shutdown: CancellationToken,
}

/// A call of one of the methods.
pub(crate) struct Call<B, R> {
    pub(crate) peer: Peer,
    pub(crate) coverage: Coverage,
    /// Cancelled when the connection has lived long enough.
    pub(crate) retiring: Option<CancellationToken>,
    pub(crate) requests: Requests<B, R>,
}

/// The responses to the requests of one client. Ends when the client goes, or with the reason why it has to go.
pub(crate) fn responses<P, S, B>(
    server: Arc<Server<S>>,
    call: Call<B, P::Request>,
) -> impl Stream<Item = Result<Encoded, Status>> + Send
where
    P: Protocol,
    S: Source,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    let opening = Phase::<P, B>::Opening(Box::new(call));
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

enum Phase<P: Protocol, B> {
    /// Before the first request.
    Opening(Box<Call<B, P::Request>>),
    Running(Box<Running<P, B>>),
    Ended,
}

struct Running<P: Protocol, B> {
    session: Session<P>,
    requests: Requests<B, P::Request>,
    coverage: Coverage,
    snapshots: SnapshotReceiver,
    connected: Connected,
    /// Until its client has acknowledged what it was given first.
    starting: Option<Starting>,
    alarm: Alarm,
    ending: Ending,
    retiring: Option<CancellationToken>,
    /// Whoever opened the stream learns by its drop that the stream has ended.
    guard: Box<dyn Send>,
    proxy: Arc<str>,
    peer: Peer,
    /// Of the Node that it was opened for.
    node: Version,
}

impl<P, B> Phase<P, B>
where
    P: Protocol,
    B: Body<Data = Bytes> + Send + Unpin,
{
    /// The next response; none when the client is gone.
    async fn advance<S: Source>(
        self,
        server: &Server<S>,
    ) -> Result<Option<(Encoded, Box<Running<P, B>>)>, Status> {
        let mut running = match self {
            Self::Opening(call) => match Box::pin(call.open(server)).await? {
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

impl<B: Body<Data = Bytes> + Send + Unpin, R: Message + Default> Call<B, R> {
    async fn open<P, S>(self, server: &Server<S>) -> Result<Option<Running<P, B>>, Status>
    where
        P: Protocol<Request = R>,
        S: Source,
    {
        let Self {
            peer,
            coverage,
            retiring,
            mut requests,
        } = self;
        let has_come = tokio::select! {
            biased;
            () = server.shutdown.cancelled() => return Err(shutting_down()),
            () = tokio::time::sleep(server.settings.progress_limit) => {
                return Err(Status::deadline_exceeded("no request came"));
            }
            has_come = requests.arrived() => has_come?,
        };
        if !has_come {
            return Ok(None);
        }
        // It is read when it is its turn.
        let starting = tokio::select! {
            biased;
            () = server.shutdown.cancelled() => return Err(shutting_down()),
            starting = server.admission.enter() => starting?,
        };
        let Some(request) = requests.next().await? else {
            return Ok(None);
        };
        let (mut header, interest) = P::parse(request)?;
        let Some(node) = header.node.take() else {
            return Err(Status::invalid_argument(
                "the first request of a stream needs a node",
            ));
        };
        let opened = tokio::select! {
            biased;
            () = server.shutdown.cancelled() => return Err(shutting_down()),
            opened = server.source.open(&node, &peer, kind::<P>(coverage)) => opened,
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
                server.common.clone(),
                Client::of(&node),
            ),
            requests,
            coverage,
            starting: Some(starting),
            alarm: Alarm::default(),
            ending: Ending::new(server.shutdown.clone(), retiring.clone()),
            retiring,
            connected: server.fleet.connect(
                P::VARIANT,
                &node,
                &peer,
                proxy,
                snapshots.bell(),
                wall_clock(),
            ),
            snapshots,
            guard,
            proxy: id,
            peer,
            node: node::fingerprint(&node),
        };
        running.take_snapshot();
        running.receive(header, interest)?;
        Ok(Some(running))
    }
}

impl<P, B> Running<P, B>
where
    P: Protocol,
    B: Body<Data = Bytes> + Send + Unpin,
{
    /// Works until there is something to send; none when the client is gone.
    async fn response<S: Source>(&mut self, server: &Server<S>) -> Result<Option<Encoded>, Status> {
        // What was sent last may have made room for more.
        let mut look = Look {
            is_due: true,
            deadline: None,
        };
        loop {
            match poll_fn(|context| self.poll_step(server, &mut look, context)).await? {
                Step::Send(response) => return Ok(Some(response)),
                Step::Gone => return Ok(None),
                Step::Moved(moved) => {
                    Box::pin(self.follow(moved, server)).await?;
                    look.is_due = true;
                }
            }
        }
    }

    /// Takes what has come (requests, a snapshot, a deadline) and looks whether it leads to a response.
    fn poll_step<S: Source>(
        &mut self,
        server: &Server<S>,
        look: &mut Look,
        context: &mut Context<'_>,
    ) -> Poll<Result<Step<P>, Status>> {
        self.ending.watch(context);
        loop {
            if server.shutdown.is_cancelled() {
                return Poll::Ready(Err(shutting_down()));
            }
            let mut may_have_more = true;
            for _ in 0..REQUESTS_AT_ONCE {
                let request = match self.requests.poll_next(context)? {
                    Poll::Ready(Some(request)) => request,
                    Poll::Ready(None) => return Poll::Ready(Ok(Step::Gone)),
                    Poll::Pending => {
                        may_have_more = false;
                        break;
                    }
                };
                look.is_due = true;
                if let Some(moved) = self.receive_request(request)? {
                    return Poll::Ready(Ok(Step::Moved(moved)));
                }
            }
            // A client that was slow to read gets what is newest now.
            self.snapshots.listen();
            if let Poll::Ready(changed) = self.snapshots.poll_changed(context) {
                changed.map_err(closed)?;
                self.hear();
                look.is_due = true;
            }
            if mem::take(&mut look.is_due) {
                if let Some(response) = self.session.next(clock()) {
                    let encoded = server.encodings.encode::<P>(&response);
                    self.note_sent(&response, encoded.len);
                    return Poll::Ready(Ok(Step::Send(encoded)));
                }
                if !self.session.awaits_client() {
                    // Makes room for the next stream as soon as this one has started.
                    self.starting = None;
                    self.snapshots.note_settled();
                }
                look.deadline = self.session.next_deadline().map(Into::into);
            }
            if self.is_to_retire() {
                return Poll::Ready(Ok(Step::Gone));
            }
            look.is_due = self.alarm.poll(look.deadline, context).is_ready();
            if !look.is_due && !may_have_more {
                // News of what the client has still to answer can wait until it has.
                let [waiting, others] = self.session.waiting_types();
                self.snapshots.hush(waiting, others);
                return Poll::Pending;
            }
        }
    }

    /// Whoever has something for the stream has rung.
    fn hear(&mut self) {
        self.take_snapshot();
        self.connected.answer(|| self.session.view());
    }

    /// Whether the connection has lived long enough, and nothing is lost by ending the stream: a stream that ends before its first
    /// response looks like a failure to its client.
    fn is_to_retire(&self) -> bool {
        self.retiring
            .as_ref()
            .is_some_and(CancellationToken::is_cancelled)
            && self.session.is_settled()
    }

    fn take_snapshot(&mut self) {
        if let Some(snapshot) = self.snapshots.current() {
            self.connected.has_snapshot();
            self.session.update(snapshot);
        }
    }

    /// Takes a request, unless it comes with another Node.
    fn receive_request(&mut self, request: P::Request) -> Result<Option<Box<Moved<P>>>, Status> {
        let (mut header, interest) = P::parse(request)?;
        if let Some(node) = header.node.take() {
            let fingerprint = node::fingerprint(&node);
            if fingerprint != self.node {
                return Ok(Some(Box::new(Moved {
                    node,
                    fingerprint,
                    header,
                    interest,
                })));
            }
        }
        self.receive(header, interest)?;
        Ok(None)
    }

    async fn follow<S: Source>(
        &mut self,
        moved: Box<Moved<P>>,
        server: &Server<S>,
    ) -> Result<(), Status> {
        let Moved {
            node,
            fingerprint,
            header,
            interest,
        } = *moved;
        self.reopen(&node, server).await?;
        self.node = fingerprint;
        self.receive(header, interest)
    }

    /// Follows a Node that has changed. Who the client has proven to be is a matter of the connection, and cannot.
    async fn reopen<S: Source>(&mut self, node: &Node, server: &Server<S>) -> Result<(), Status> {
        let opened = tokio::select! {
            biased;
            () = server.shutdown.cancelled() => return Err(shutting_down()),
            opened = server.source.open(node, &self.peer, kind::<P>(self.coverage)) => opened,
        };
        let Opened {
            proxy,
            snapshots,
            guard,
        } = opened.map_err(|refusal| refused(node, &self.peer, refusal))?;
        info!(proxy = %self.proxy, now = %proxy.id, role = %proxy.role, "its node has changed");
        self.proxy = proxy.id.clone();
        self.connected
            .redescribe(node, &self.peer, proxy, snapshots.bell());
        self.session.follow_client(Client::of(node));
        self.snapshots = snapshots;
        self.guard = guard;
        self.take_snapshot();
        Ok(())
    }

    fn receive(&mut self, mut header: Header, interest: P::Interest) -> Result<(), Status> {
        match self.coverage {
            Coverage::All => {}
            // Requests need not say the type, and may not contradict it.
            Coverage::One(resource_type) => header.imply_type(resource_type.url())?,
        }
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

    fn note_sent(&self, response: &Response, bytes: usize) {
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

impl<P: Protocol, B> Drop for Running<P, B> {
    fn drop(&mut self) {
        info!(proxy = %self.proxy, protocol = P::VARIANT.name(), "disconnected");
    }
}

/// A request that came with another Node than the stream was opened for.
struct Moved<P: Protocol> {
    node: Node,
    fingerprint: Version,
    header: Header,
    interest: P::Interest,
}

/// What a stream has come to.
enum Step<P: Protocol> {
    Send(Encoded),
    /// The client is gone, or is to come again.
    Gone,
    /// The client says that it is another.
    Moved(Box<Moved<P>>),
}

/// Whether there is a reason to ask the session for a response.
struct Look {
    is_due: bool,
    /// When there will be, if nothing else happens.
    deadline: Option<tokio::time::Instant>,
}

fn kind<P: Protocol>(coverage: Coverage) -> StreamKind {
    StreamKind {
        variant: P::VARIANT,
        coverage,
    }
}

fn closed(error: PublisherClosed) -> Status {
    Status::unavailable(error.to_string())
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

/// The runtime's clock, which tests can stop.
fn clock() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn wall_clock() -> OffsetDateTime {
    OffsetDateTime::from(SystemTime::now())
}
