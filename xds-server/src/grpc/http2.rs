//! One HTTP/2 connection with the requests on it, as one future.
//!
//! hyper's server has a task for the connection and one for each stream, which wake each other with every message. Connections are many
//! and have one stream each, as a rule: one task for both costs less memory, and less time for each message.

mod outbox;

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Wake, Waker, ready},
};

use bytes::Bytes;
use futures_util::{Stream, future::BoxFuture, stream::FuturesUnordered, task::AtomicWaker};
use h2::{
    Ping, PingPong, Reason, RecvStream, SendStream,
    server::{self, SendResponse},
};
use http::{Request, Response};
use http_body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWrite};
use tower::Service;

use self::outbox::Outbox;
use crate::threads::Home;

/// Envoys without ADS open a stream per cluster on one connection; hyper would allow 200.
const STREAMS_MAX: u32 = 1_000_000;
/// Bytes of responses that wait in a connection for the socket, beyond the last piece of a response. The list in which pieces wait is kept at
/// its greatest length for as long as the connection lives: with all of a first response in it, it would be a fifth of what a proxy costs.
const SEND_BUFFER: usize = 64 * 1024;
/// What a client may send before it is read. A proxy that comes back says all that it has in one request.
const WINDOW: u32 = 1024 * 1024;
const HEADERS_MAX: u32 = 16 * 1024;

/// A connection whose requests a service answers, which must be ready at any time: nobody asks it whether it is.
pub(super) struct Connection<I, S> {
    state: State<I>,
    outbox: Outbox<I>,
    service: S,
    exchanges: FuturesUnordered<BoxFuture<'static, ()>>,
    is_shutting_down: bool,
    bells: Arc<Bells>,
}

enum State<I> {
    Handshake(server::Handshake<Outbox<I>, Bytes>),
    Open {
        connection: server::Connection<Outbox<I>, Bytes>,
        pings: Option<PingPong>,
    },
    Ended,
}

impl<I, S, B> Connection<I, S>
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
{
    /// To be served on this thread.
    pub(super) fn new(stream: I, service: S, home: Arc<Home>) -> Self {
        let outbox = Outbox::new(stream);
        let handshake = server::Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEADERS_MAX)
            .max_send_buffer_size(SEND_BUFFER)
            .handshake(outbox.clone());
        Self {
            state: State::Handshake(handshake),
            outbox,
            service,
            exchanges: FuturesUnordered::new(),
            is_shutting_down: false,
            bells: Arc::new(Bells::new(home)),
        }
    }

    /// Serves until the client has gone, or until all is done after [`Self::shut_down`]. Cancel-safe.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(super) async fn serve(&mut self) -> io::Result<()> {
        let bells = self.bells.clone();
        let [exchanges, wire] = [EXCHANGES, WIRE].map(|bell| Bells::waker(&bells, bell));
        poll_fn(|context| {
            bells.answered_by(context.waker());
            for _ in 0..LOOKS_MAX {
                let rung = bells.take();
                if rung == 0 {
                    return Poll::Pending;
                }
                if rung & EXCHANGES != 0 {
                    self.poll_exchanges(&mut Context::from_waker(&exchanges));
                }
                // What they had to say goes out now.
                if (rung | bells.take_one(WIRE)) & WIRE != 0 {
                    let context = &mut Context::from_waker(&wire);
                    let served = self.poll_wire(context);
                    if served.is_ready() {
                        return served.map_err(broken);
                    }
                    if let Poll::Ready(sent) = self.outbox.poll_send(context) {
                        sent?;
                    }
                }
            }
            bells.pass_on();
            Poll::Pending
        })
        .await
    }

    /// Asks the client for a sign of life.
    pub(super) fn ping(&mut self) {
        self.bells.ring(WIRE);
        if let State::Open {
            pings: Some(pings), ..
        } = &mut self.state
        {
            // That the last one was answered nobody has looked at. One that was not asks the same.
            let _ = pings.poll_pong(&mut Context::from_waker(Waker::noop()));
            let _ = pings.send_ping(Ping::opaque());
        }
    }

    /// Asks the client to open no more streams. Those that are open go on.
    pub(super) fn shut_down(&mut self) {
        self.is_shutting_down = true;
        self.bells.ring(WIRE);
        if let State::Open { connection, .. } = &mut self.state {
            connection.graceful_shutdown();
        }
    }

    /// Goes on with what is asked and answered.
    fn poll_exchanges(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(Some(())) = Pin::new(&mut self.exchanges).poll_next(context) {}
    }

    /// Reads, takes requests, and writes into the outbox, which is empty when the connection ends in order.
    fn poll_wire(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            match &mut self.state {
                State::Handshake(handshake) => {
                    let mut connection = ready!(Pin::new(handshake).poll(context))?;
                    if self.is_shutting_down {
                        connection.graceful_shutdown();
                    }
                    let pings = connection.ping_pong();
                    self.state = State::Open { connection, pings };
                }
                State::Open { connection, .. } => match ready!(connection.poll_accept(context)) {
                    Some(Ok((request, respond))) => {
                        let answer = self.service.call(request.map(Incoming));
                        self.exchanges.push(Box::pin(exchange(answer, respond)));
                        self.bells.ring(EXCHANGES);
                    }
                    Some(Err(error)) => return Poll::Ready(Err(error)),
                    None => self.state = State::Ended,
                },
                State::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}

fn broken(error: h2::Error) -> io::Error {
    match error.is_io() {
        true => error
            .into_io()
            .unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()),
        false => io::Error::other(error),
    }
}

/// What wakes a connection. Its exchanges and what is written and read wake each other with every message: while they are looked at
/// anyway, that is no reason to be called later, when other connections have had the processor's cache. And who has not rung is not
/// looked at.
#[derive(Debug)]
struct Bells {
    /// Which have rung since somebody looked, and whether somebody is looking.
    state: AtomicU8,
    task: AtomicWaker,
    home: Arc<Home>,
}

/// How often a connection is looked at before others have their turn: one that has much to say calls itself again and again.
const LOOKS_MAX: usize = 4;

/// Rung by exchanges that may go on.
const EXCHANGES: u8 = 1;
/// Rung when something may be read or written.
const WIRE: u8 = 2;
/// Somebody is looking.
const WATCHED: u8 = 4;

impl Bells {
    /// There is something to begin with.
    fn new(home: Arc<Home>) -> Self {
        Self {
            state: AtomicU8::new(WIRE),
            task: AtomicWaker::new(),
            home,
        }
    }

    /// From now on this task is woken.
    fn answered_by(&self, waker: &Waker) {
        self.task.register(waker);
    }

    /// Which have rung. While any has, nobody is woken: ask again when you have looked.
    fn take(&self) -> u8 {
        let next = |state: u8| Some(if state & !WATCHED == 0 { 0 } else { WATCHED });
        let before = self
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        before.unwrap_or_else(|same| same) & !WATCHED
    }

    /// Whether this one has rung.
    fn take_one(&self, bell: u8) -> u8 {
        self.state.fetch_and(!bell, Ordering::AcqRel) & bell
    }

    /// Looks no longer; the task comes back if there is more to look at.
    fn pass_on(&self) {
        if self.state.fetch_and(!WATCHED, Ordering::AcqRel) & !WATCHED != 0 {
            self.call();
        }
    }

    fn ring(&self, bell: u8) {
        if self.state.fetch_or(bell, Ordering::AcqRel) == 0 {
            self.call();
        }
    }

    fn call(&self) {
        if let Some(task) = self.task.take() {
            self.home.wake(task);
        }
    }

    /// What rings one of them.
    fn waker(bells: &Arc<Self>, bell: u8) -> Waker {
        let bells = bells.clone();
        Waker::from(Arc::new(Bell { bells, bell }))
    }
}

struct Bell {
    bells: Arc<Bells>,
    bell: u8,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.bells.ring(self.bell);
    }
}

/// Sends an answer. However it ends, the client learns of it from the stream.
async fn exchange<F, B>(answer: F, mut respond: SendResponse<Bytes>)
where
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: Body<Data = Bytes>,
{
    let mut answer = pin!(answer);
    let answer = poll_fn(|context| {
        if respond.poll_reset(context).is_ready() {
            return Poll::Ready(None);
        }
        answer.as_mut().poll(context).map(Some)
    });
    let Some(Ok(response)) = answer.await else {
        return;
    };
    let (head, body) = response.into_parts();
    let is_all = body.is_end_stream();
    if let Ok(stream) = respond.send_response(Response::from_parts(head, ()), is_all)
        && !is_all
    {
        // An error is that the stream has ended.
        let _ = send(body, stream).await;
    }
}

/// Sends a body until the client has all of it, or wants no more.
async fn send<B: Body<Data = Bytes>>(
    body: B,
    mut stream: SendStream<Bytes>,
) -> Result<(), h2::Error> {
    let mut body = pin!(body);
    loop {
        stream.reserve_capacity(1);
        let frame = poll_fn(|context| poll_wanted(body.as_mut(), &mut stream, context));
        let frame = match frame.await? {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => {
                stream.send_reset(Reason::INTERNAL_ERROR);
                return Ok(());
            }
            None => return stream.send_data(Bytes::new(), true),
        };
        match frame.into_data() {
            Ok(data) => stream.send_data(data, false)?,
            Err(frame) => {
                return stream.send_trailers(frame.into_trailers().unwrap_or_default());
            }
        }
    }
}

/// What a body says next; none at its end.
type NextFrame<B> = Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>;

/// The next frame of a body, once there is room for it: a client that does not read is not worked for. An error means that the client
/// wants no more.
fn poll_wanted<B: Body>(
    body: Pin<&mut B>,
    stream: &mut SendStream<Bytes>,
    context: &mut Context<'_>,
) -> Poll<Result<NextFrame<B>, h2::Error>> {
    if let Poll::Ready(reset) = stream.poll_reset(context) {
        return Poll::Ready(Err(reset?.into()));
    }
    while stream.capacity() == 0 {
        match ready!(stream.poll_capacity(context)) {
            Some(room) => room?,
            None => return Poll::Ready(Err(Reason::CANCEL.into())),
        };
    }
    body.poll_frame(context).map(Ok)
}

/// The body of a request.
#[derive(Debug)]
pub(crate) struct Incoming(RecvStream);

impl Body for Incoming {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        match ready!(self.0.poll_data(context)) {
            Some(Ok(data)) => {
                // It has been read: the client may send as much again.
                let released = self.0.flow_control().release_capacity(data.len());
                Poll::Ready(Some(released.map(|()| Frame::data(data))))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => {
                let trailers = ready!(self.0.poll_trailers(context));
                let trailers = trailers.map(|trailers| trailers.map(Frame::trailers));
                Poll::Ready(trailers.transpose())
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, num::NonZero, sync::Mutex};

    use bytes::BytesMut;
    use futures_util::stream;
    use http::HeaderMap;
    use http_body_util::StreamBody;
    use tokio::{
        io::{DuplexStream, duplex},
        sync::mpsc,
        task::JoinSet,
    };
    use tower::service_fn;

    use super::*;
    use crate::threads::{Place, Threads};

    /// As much as a client here takes without reading.
    const TEXT: &str = "0123456789012345678901234567890123456789";

    type Answer = mpsc::Receiver<Result<Frame<Bytes>, Infallible>>;

    /// A server whose answer to each request is what is sent here, and a client of it.
    struct Served {
        answers: mpsc::Sender<Answer>,
        client: h2::client::SendRequest<Bytes>,
        shut_down: mpsc::Sender<()>,
        /// The server's and the client's ends of the connection.
        ends: JoinSet<io::Result<()>>,
        _threads: Threads,
    }

    /// A thread to serve a connection on, for as long as it is held.
    fn place() -> (Threads, Place) {
        let threads = Threads::start(NonZero::<usize>::MIN).unwrap();
        let place = threads.places().take();
        (threads, place)
    }

    async fn served() -> Served {
        let (near, far) = duplex(1024 * 1024);
        let (answers, coming) = mpsc::channel::<Answer>(8);
        let coming = Arc::new(Mutex::new(coming));
        let service = service_fn(move |_: Request<Incoming>| {
            let answer = coming.lock().unwrap().try_recv().unwrap();
            async move {
                let frames = stream::unfold(answer, async |mut answer| {
                    answer.recv().await.map(|frame| (frame, answer))
                });
                Ok::<_, Infallible>(Response::new(StreamBody::new(Box::pin(frames))))
            }
        });
        let (shut_down, mut is_over) = mpsc::channel(1);
        let mut ends = JoinSet::new();
        let (threads, place) = place();
        place.spawn(&mut ends, |place| async move {
            let home = place.home();
            let mut connection = Connection::<DuplexStream, _>::new(near, service, home);
            loop {
                tokio::select! {
                    ended = connection.serve() => return ended,
                    Some(()) = is_over.recv() => connection.shut_down(),
                }
            }
        });
        let (client, driver) = h2::client::Builder::new()
            .initial_window_size(TEXT.len() as u32)
            .handshake(far)
            .await
            .unwrap();
        ends.spawn(async { driver.await.map_err(broken) });
        Served {
            answers,
            client,
            shut_down,
            ends,
            _threads: threads,
        }
    }

    impl Served {
        /// Asks for something, and gives what it is answered with.
        async fn ask(&mut self) -> (mpsc::Sender<Result<Frame<Bytes>, Infallible>>, RecvStream) {
            let (frames, answer) = mpsc::channel(1);
            self.answers.send(answer).await.unwrap();
            let mut client = self.client.clone().ready().await.unwrap();
            let request = Request::post("http://xds/").body(()).unwrap();
            let (response, _) = client.send_request(request, true).unwrap();
            (frames, response.await.unwrap().into_body())
        }
    }

    fn data(text: &'static str) -> Result<Frame<Bytes>, Infallible> {
        Ok(Frame::data(Bytes::from_static(text.as_bytes())))
    }

    async fn rest(body: &mut RecvStream) -> Bytes {
        let mut rest = BytesMut::new();
        while let Some(data) = body.data().await {
            rest.extend(data.unwrap());
        }
        rest.freeze()
    }

    #[tokio::test]
    async fn an_answer_comes_frame_by_frame_with_its_trailers() {
        let mut served = served().await;
        let (frames, mut body) = served.ask().await;
        for text in ["one", "two"] {
            frames.send(data(text)).await.unwrap();
            assert_eq!(body.data().await.unwrap().unwrap(), text);
        }
        let trailers = HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            http::HeaderValue::from_static("0"),
        )]);
        frames
            .send(Ok(Frame::trailers(trailers.clone())))
            .await
            .unwrap();
        assert_eq!(body.trailers().await.unwrap(), Some(trailers));
        let (frames, mut body) = served.ask().await;
        drop(frames);
        assert!(rest(&mut body).await.is_empty());
    }

    #[tokio::test]
    async fn nothing_is_taken_from_an_answer_that_is_not_read() {
        let mut served = served().await;
        let (frames, mut body) = served.ask().await;
        // The window is full with the first; one more waits where there is room for one.
        frames.send(data(TEXT)).await.unwrap();
        frames.send(data("more")).await.unwrap();
        let first = body.data().await.unwrap().unwrap();
        assert_eq!(first, TEXT);
        assert_eq!(frames.capacity(), 0);
        body.flow_control().release_capacity(first.len()).unwrap();
        assert_eq!(body.data().await.unwrap().unwrap(), "more");
        frames.reserve().await.unwrap();
    }

    #[tokio::test]
    async fn who_goes_away_ends_its_answer_and_no_other() {
        let mut served = served().await;
        let (frames, body) = served.ask().await;
        let (others, mut other) = served.ask().await;
        drop(body);
        frames.closed().await;
        others.send(data("on")).await.unwrap();
        assert_eq!(other.data().await.unwrap().unwrap(), "on");
    }

    #[tokio::test]
    async fn a_long_answer_arrives_whole() {
        const FRAMES: usize = 1000;
        static FRAME: [u8; 16 * 1024] = [0; 16 * 1024];
        let (near, far) = duplex(usize::MAX >> 1);
        let service = service_fn(async |_: Request<Incoming>| {
            let frame = || Ok::<_, Infallible>(Frame::data(Bytes::from_static(&FRAME)));
            let frames = stream::iter((0..FRAMES).map(move |_| frame()));
            Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
        });
        let mut ends = JoinSet::new();
        let (_threads, place) = place();
        place.spawn(&mut ends, |place| async move {
            let home = place.home();
            let mut connection = Connection::<DuplexStream, _>::new(near, service, home);
            connection.serve().await
        });
        let (client, driver) = h2::client::Builder::new()
            .initial_window_size(1 << 30)
            .initial_connection_window_size(1 << 30)
            .handshake::<_, Bytes>(far)
            .await
            .unwrap();
        ends.spawn(async { driver.await.map_err(broken) });
        let mut client = client.ready().await.unwrap();
        let request = Request::post("http://xds/").body(()).unwrap();
        let (response, _) = client.send_request(request, true).unwrap();
        let mut body = response.await.unwrap().into_body();
        assert_eq!(rest(&mut body).await.len(), FRAMES * FRAME.len());
    }

    #[tokio::test]
    async fn a_connection_that_nobody_uses_ends_at_a_shutdown() {
        let mut served = served().await;
        let (frames, mut body) = served.ask().await;
        drop(frames);
        assert!(rest(&mut body).await.is_empty());
        served.shut_down.send(()).await.unwrap();
        served.ends.join_next().await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_is_open_at_a_shutdown_runs_out() {
        let mut served = served().await;
        let (frames, mut body) = served.ask().await;
        served.shut_down.send(()).await.unwrap();
        frames.send(data("still")).await.unwrap();
        assert_eq!(body.data().await.unwrap().unwrap(), "still");
        drop(frames);
        assert!(rest(&mut body).await.is_empty());
        served.ends.join_next().await.unwrap().unwrap().unwrap();
    }
}
