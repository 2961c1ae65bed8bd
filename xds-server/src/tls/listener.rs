//! Accepting connections of clients that prove who they are.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bowline_identity::Proven;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::source::Tls;
use super::verifier::reason;
use crate::threads::{Place, Places, adopt};

/// A listening socket with mutual TLS.
#[derive(Debug)]
pub struct TlsListener {
    socket: TcpListener,
    tls: Tls,
    places: Places,
    handshakes: JoinSet<(SocketAddr, Result<Connection, Refused>)>,
    /// No connection is taken before this moment.
    paused_until: Option<Instant>,
    counts: Arc<TlsCounts>,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsPeer {
    /// Where the connection comes from.
    pub address: SocketAddr,
    /// Who the client's certificate says it is.
    pub proven: Proven,
    /// When that certificate expires, and with it the right to be served.
    pub until: SystemTime,
}

/// What became of the connections so far.
#[derive(Debug, Default)]
pub struct TlsCounts {
    accepted: AtomicU64,
    refused: AtomicU64,
    socket_errors: AtomicU64,
}

impl TlsCounts {
    /// Connections of clients that proved an identity.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections that ended in the handshake.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Errors of the listening socket, such as having no file descriptors left.
    pub fn socket_errors(&self) -> u64 {
        self.socket_errors.load(Ordering::Relaxed)
    }
}

type Connection = (TlsStream<TcpStream>, Place, Proven, SystemTime);

#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("no handshake within {} s", HANDSHAKE_TIMEOUT.as_secs())]
    Timeout,
    #[error("the client has closed the connection")]
    Closed,
    #[error("{0}")]
    Handshake(String),
}

impl TlsListener {
    /// Accepts the connections of a socket. Their handshakes are made where they will be served.
    pub fn new(socket: TcpListener, tls: Tls, places: Places) -> Self {
        Self {
            socket,
            tls,
            places,
            handshakes: JoinSet::new(),
            paused_until: None,
            counts: Arc::default(),
        }
    }

    /// Where the socket listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// What became of the connections, for metrics.
    pub fn counts(&self) -> Arc<TlsCounts> {
        Arc::clone(&self.counts)
    }

    /// The next connection whose client has proven its identity, and the place to serve it. Never ends by what a client does; what fails is counted and logged.
    ///
    /// Cancel-safe. Handshakes that are under way end when the listener is dropped.
    pub async fn accept(&mut self) -> (TlsStream<TcpStream>, TlsPeer, Place) {
        loop {
            let takes_more = self.handshakes.len() < HANDSHAKES_MAX;
            let paused_until = self.paused_until;
            tokio::select! {
                Some(finished) = self.handshakes.join_next() => {
                    if let Some(connection) = self.finished(finished) {
                        return connection;
                    }
                }
                taken = self.socket.accept(), if takes_more && paused_until.is_none() => self.taken(taken),
                () = until(paused_until), if paused_until.is_some() => self.paused_until = None,
            }
        }
    }

    fn taken(&mut self, taken: io::Result<(TcpStream, SocketAddr)>) {
        match taken {
            Ok((stream, address)) => {
                let tls = self.tls.clone();
                let handshake =
                    |place| async move { (address, handshake(stream, &tls, place).await) };
                self.places.take().spawn(&mut self.handshakes, handshake);
            }
            Err(error) if is_of_one_connection(&error) => {
                tracing::debug!(%error, "a connection ended before it was accepted");
            }
            Err(error) => {
                self.counts.socket_errors.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, pause_ms = PAUSE.as_millis(), "no connection can be accepted");
                self.paused_until = Some(Instant::now() + PAUSE);
            }
        }
    }

    fn finished(
        &self,
        finished: Result<(SocketAddr, Result<Connection, Refused>), JoinError>,
    ) -> Option<(TlsStream<TcpStream>, TlsPeer, Place)> {
        match finished {
            Ok((address, Ok((stream, place, proven, until)))) => {
                self.counts.accepted.fetch_add(1, Ordering::Relaxed);
                let peer = TlsPeer {
                    address,
                    proven,
                    until,
                };
                return Some((stream, peer, place));
            }
            // Port scans and health checks of load balancers end here all day long.
            Ok((address, Err(refused @ (Refused::Timeout | Refused::Closed)))) => {
                tracing::debug!(peer = %address, reason = %refused, "connection refused");
            }
            Ok((address, Err(refused @ Refused::Handshake(_)))) => {
                tracing::warn!(peer = %address, reason = %refused, "connection refused");
            }
            Err(error) => tracing::error!(%error, "a TLS handshake has panicked"),
        }
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        None
    }
}

async fn handshake(stream: TcpStream, tls: &Tls, place: Place) -> Result<Connection, Refused> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe => Refused::Closed,
        _ => Refused::Handshake(reason(&error)),
    };
    stream.set_nodelay(true).map_err(failed)?;
    let stream = adopt(stream).map_err(failed)?;
    let material = tls.material();
    let acceptor = TlsAcceptor::from(Arc::clone(&material.server));
    let stream = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream))
        .await
        .map_err(|_| Refused::Timeout)?
        .map_err(failed)?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let (proven, until) = material
        .verifier
        .proven_until(chain, SystemTime::now())
        .map_err(|error| Refused::Handshake(error.to_string()))?;
    Ok((stream, place, proven, until))
}

async fn until(moment: Option<Instant>) {
    if let Some(moment) = moment {
        sleep_until(moment).await;
    }
}

/// Errors of accept(2) that are those of the connection, which is gone; the next one may be fine.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// More wait in the kernel's queue, where they cost nothing.
const HANDSHAKES_MAX: usize = 1024;
/// After an error of the socket itself, which would otherwise come again at once and keep a core busy.
const PAUSE: Duration = Duration::from_millis(250);
