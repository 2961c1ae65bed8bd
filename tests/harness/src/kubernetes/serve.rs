//! Connections: TLS, HTTP/1.1 and HTTP/2, bodies, and what can go wrong with them.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rustls::ServerConfig;
use time::{OffsetDateTime, format_description::well_known::Rfc2822};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::{
    api::{self, Answer, Shown},
    fault::{Fault, Faults},
    shared::Shared,
    watch::Watch,
};

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Accepts connections until it is dropped, and then closes all of them.
#[derive(Debug)]
pub(super) struct Serving {
    _tasks: JoinSet<()>,
}

impl Serving {
    /// `tls` is asked anew for every connection, so that certificates can change.
    pub(super) fn start(
        listener: TcpListener,
        shared: Arc<Shared>,
        tls: impl Fn() -> Option<Arc<ServerConfig>> + Send + 'static,
    ) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((stream, _)) = listener.accept() => {
                        let (tls, shared) = (tls(), Arc::clone(&shared));
                        // What a client does wrong ends its connection only.
                        connections.spawn(async move { drop(connection(stream, tls, shared).await) });
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Self { _tasks: tasks }
    }
}

async fn connection(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    shared: Arc<Shared>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        http(stream, Shown::Nothing, shared).await;
        return Ok(());
    };
    let stream = TlsAcceptor::from(tls).accept(stream).await?;
    let shown = match stream.get_ref().1.peer_certificates() {
        Some([_, ..]) => Shown::Certificate,
        _ => Shown::Nothing,
    };
    http(stream, shown, shared).await;
    Ok(())
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    shown: Shown,
    shared: Arc<Shared>,
) {
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(respond(&shared, shown, request).await) }
    });
    // A connection that breaks is its client's affair.
    drop(
        auto::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}

async fn respond(shared: &Arc<Shared>, shown: Shown, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => Bytes::new(),
    };
    let asked = api::asked(&parts);
    let faults = {
        let mut state = shared.state();
        let faults = state.faults_for(&asked.resource);
        state.asked.push(asked);
        faults
    };
    if faults.has(&Fault::Silent) {
        std::future::pending::<()>().await;
    }
    if let Some(delay) = faults.delay() {
        tokio::time::sleep(delay).await;
    }
    let answer = if faults.has(&Fault::Garbage) {
        Answer::Text(
            StatusCode::OK,
            "<html><body>Welcome to the proxy!</body></html>\n",
        )
    } else {
        api::answer(shared, &faults, shown, &parts, &body)
    };
    response(answer, &faults)
}

fn response(answer: Answer, faults: &Faults) -> Response<Body> {
    let (status, content, source) = match answer {
        Answer::Json(status, body) => (status, "application/json", Source::Whole(Some(body))),
        Answer::Text(status, text) => (
            status,
            "text/plain; charset=utf-8",
            Source::Whole(Some(Bytes::from_static(text.as_bytes()))),
        ),
        Answer::Watch(watch) => (StatusCode::OK, "application/json", Source::Watch(watch)),
    };
    let mut response = Response::new(body(source, faults));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
    if status == StatusCode::TOO_MANY_REQUESTS {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if let Some(seconds) = faults.clock_off_by()
        && let Some(date) = date(seconds)
    {
        headers.insert(header::DATE, date);
    }
    response
}

/// The date that a clock shows which is wrong by this many seconds.
fn date(seconds: i64) -> Option<HeaderValue> {
    let wrong = OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
    let text = wrong.format(&Rfc2822).ok()?.replace("+0000", "GMT");
    HeaderValue::from_str(&text).ok()
}

/// Where a body comes from.
enum Source {
    Whole(Option<Bytes>),
    Watch(Box<Watch>),
}

impl Source {
    async fn next(&mut self) -> Option<Bytes> {
        match self {
            Self::Whole(body) => body.take(),
            Self::Watch(watch) => watch.next().await,
        }
    }
}

/// A body with what is wrong with it.
struct Faulty {
    source: Source,
    rest: Bytes,
    piece_bytes: Option<usize>,
    pause: Option<Duration>,
    /// How many bytes come before the connection breaks.
    remaining: Option<usize>,
}

fn body(source: Source, faults: &Faults) -> Body {
    let piece_bytes = faults.piece_bytes();
    let remaining = faults.break_after_bytes();
    let source = match source {
        Source::Whole(Some(body)) if piece_bytes.is_none() && remaining.is_none() => {
            return Full::new(body)
                .map_err(|never| match never {})
                .boxed_unsync();
        }
        source => source,
    };
    let faulty = Faulty {
        source,
        rest: Bytes::new(),
        piece_bytes,
        pause: faults.delay(),
        remaining,
    };
    let frames = stream::unfold(faulty, |mut faulty| async move {
        let piece = faulty.next().await?;
        Some((piece.map(Frame::data), faulty))
    });
    StreamBody::new(frames).boxed_unsync()
}

impl Faulty {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.remaining == Some(0) {
            // What was written so far leaves before the connection breaks.
            tokio::task::yield_now().await;
            return Some(Err(io::Error::from(io::ErrorKind::ConnectionReset)));
        }
        if self.rest.is_empty() {
            self.rest = self.source.next().await?;
        }
        let mut bytes = self.rest.len();
        if let Some(piece) = self.piece_bytes {
            // Only what waits for a moment is written by itself.
            tokio::task::yield_now().await;
            bytes = bytes.min(piece);
            if let Some(pause) = self.pause {
                tokio::time::sleep(pause).await;
            }
        }
        if let Some(remaining) = &mut self.remaining {
            bytes = bytes.min(*remaining);
            *remaining -= bytes;
        }
        Some(Ok(self.rest.split_to(bytes)))
    }
}
