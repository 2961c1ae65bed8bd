//! Connections: accepted, counted, limited, cut.

use std::{
    collections::BTreeMap,
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use hyper::{
    body::{Body, Incoming},
    server::conn::{http1, http2},
    service::HttpService,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixListener},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// What Go's HTTP/2 server allows on one connection.
const STREAMS_MAX: u32 = 250;

/// What a client hears that has too many connections.
const TOO_MANY: &str = "HTTP/1.1 429 Too Many Requests\r\n\
    Content-Type: text/plain\r\n\
    Content-Length: 81\r\n\
    Connection: close\r\n\r\n\
    Your IP is issuing too many concurrent connections, please rate limit your calls\n";

/// Where an agent listens, and with what.
#[derive(Debug, Clone)]
pub(super) enum Endpoint {
    Http(SocketAddr),
    Https(SocketAddr, Arc<ServerConfig>),
    Unix(PathBuf),
}

/// What an agent knows of its connections.
#[derive(Debug)]
pub(super) struct Connections {
    limit: Mutex<usize>,
    counts: Mutex<Counts>,
    /// A new value cuts every connection.
    cut: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Counts {
    open: BTreeMap<Option<IpAddr>, usize>,
    peak: usize,
    refused: usize,
}

/// A connection that counts as open.
struct Counted {
    connections: Arc<Connections>,
    client: Option<IpAddr>,
}

impl Connections {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: Mutex::new(limit),
            counts: Mutex::default(),
            cut: watch::Sender::new(()),
        })
    }

    pub(super) fn limit(&self, limit: usize) {
        *self.limit.lock() = limit;
    }

    pub(super) fn cut(&self) {
        self.cut.send_replace(());
    }

    pub(super) fn open(&self) -> usize {
        self.counts.lock().open.values().sum()
    }

    pub(super) fn peak(&self) -> usize {
        self.counts.lock().peak
    }

    pub(super) fn refused(&self) -> usize {
        self.counts.lock().refused
    }

    fn admit(self: &Arc<Self>, client: Option<IpAddr>) -> Option<Counted> {
        let limit = *self.limit.lock();
        let mut counts = self.counts.lock();
        let open = counts.open.entry(client).or_default();
        if *open >= limit {
            counts.refused += 1;
            return None;
        }
        *open += 1;
        let total = counts.open.values().sum();
        counts.peak = counts.peak.max(total);
        Some(Counted {
            connections: Arc::clone(self),
            client,
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.connections.counts.lock();
        if let Some(open) = counts.open.get_mut(&self.client) {
            *open = open.saturating_sub(1);
        }
    }
}

/// A listener that is not served yet.
pub(super) struct Listener {
    accepting: Accepting,
    tls: Option<TlsAcceptor>,
}

enum Accepting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Listener {
    /// Listens. The endpoint's port becomes the real one, so that the next listener of the same endpoint has it too.
    pub(super) async fn bind(endpoint: &mut Endpoint) -> Result<Self> {
        let (accepting, tls) = match endpoint {
            Endpoint::Http(address) => (Accepting::tcp(address).await?, None),
            Endpoint::Https(address, tls) => {
                let acceptor = TlsAcceptor::from(Arc::clone(tls));
                (Accepting::tcp(address).await?, Some(acceptor))
            }
            Endpoint::Unix(path) => {
                if path.exists() {
                    std::fs::remove_file(&path)?;
                }
                let listener = UnixListener::bind(&path)
                    .with_context(|| format!("cannot listen on {}", path.display()))?;
                (Accepting::Unix(listener), None)
            }
        };
        Ok(Self { accepting, tls })
    }

    /// Serves connections until it is dropped.
    pub(super) async fn serve<S, B>(self, connections: Arc<Connections>, service: S)
    where
        S: HttpService<Incoming, ResBody = B> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let mut serving = JoinSet::new();
        loop {
            tokio::select! {
                Ok((stream, client)) = self.accepting.accept() => {
                    let counted = connections.admit(client);
                    let mut cut = connections.cut.subscribe();
                    let tls = self.tls.clone();
                    let service = service.clone();
                    serving.spawn(async move {
                        tokio::select! {
                            // What a peer does wrong ends its connection, not the agent.
                            _ = converse(stream, tls, counted, service) => {}
                            _ = cut.changed() => {}
                        }
                    });
                }
                Some(_) = serving.join_next() => {}
            }
        }
    }
}

impl Accepting {
    async fn tcp(address: &mut SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(*address)
            .await
            .with_context(|| format!("cannot listen on {address}"))?;
        *address = listener.local_addr()?;
        Ok(Self::Tcp(listener))
    }

    async fn accept(&self) -> io::Result<(Box<dyn Stream>, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, client) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Box::new(stream), Some(client.ip())))
            }
            Self::Unix(listener) => Ok((Box::new(listener.accept().await?.0), None)),
        }
    }
}

/// Serves one connection to its end.
async fn converse<S, B>(
    stream: Box<dyn Stream>,
    tls: Option<TlsAcceptor>,
    counted: Option<Counted>,
    service: S,
) -> Result<()>
where
    S: HttpService<Incoming, ResBody = B> + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Some(tls) = tls else {
        return match counted {
            Some(_counted) => serve_http1(stream, service).await,
            None => refuse(stream).await,
        };
    };
    let stream = tls.accept(stream).await?;
    let Some(_counted) = counted else {
        // In HTTP/1.1, even where the handshake has agreed on HTTP/2: that is what Consul does.
        return refuse(stream).await;
    };
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return serve_http1(stream, service).await;
    }
    http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(|error| anyhow!(error))
}

async fn refuse(mut stream: impl Stream) -> Result<()> {
    stream.write_all(TOO_MANY.as_bytes()).await?;
    Ok(stream.shutdown().await?)
}

/// Without HTTP/2: a plain port of Consul does not know it.
async fn serve_http1<S, B>(stream: impl Stream, service: S) -> Result<()>
where
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(|error| anyhow!(error))
}
