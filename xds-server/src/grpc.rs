//! The xDS listeners: connections in, the services on each.

mod alive;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bowline_ads::{Peer, Retiring};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use prometheus_client::metrics::counter::Counter;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{debug, info, warn};

use self::alive::{Heard, Watched};
use crate::{services::Services, tls::TlsListener};

/// Envoys without ADS open a stream per cluster on one connection; hyper would allow 200.
const STREAMS_PER_CONNECTION_MAX: u32 = 1_000_000;
/// A connection on which nothing is asked for so long is ended.
const FIRST_REQUEST_MAX: Duration = Duration::from_secs(30);
/// After an error of the listening socket (no file descriptors left), before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What becomes of connections.
#[derive(Debug, Clone)]
pub struct Lifetime {
    /// One that is older, give or take a tenth, is asked to come again, so that proxies spread over replicas; `None` for never.
    pub age_max: Option<Duration>,
    /// A peer of which nothing is heard for so long is asked for a sign of life.
    pub keepalive_interval: Duration,
    /// A peer that gives none for so long is gone. Half-open connections of machines that vanished end by this.
    pub keepalive_timeout: Duration,
    /// How many ended so.
    pub lost: Counter,
}

/// Where connections come from.
#[derive(Debug)]
pub enum Listener {
    /// Without TLS: clients prove nothing.
    Plaintext(TcpListener),
    /// Mutual TLS.
    Tls(TlsListener),
}

impl Listener {
    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plaintext(socket) => socket.local_addr(),
            Self::Tls(listener) => listener.local_address(),
        }
    }

    /// Serves connections until the token is cancelled, and then until all are done. Connections are owned by this future.
    ///
    /// # Errors
    /// Never by what a client does.
    pub async fn serve(
        mut self,
        services: Services,
        lifetime: Lifetime,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = self.accept() => match accepted {
                    Ok((stream, peer, until)) => {
                        let (stream, heard) = Watched::new(stream);
                        let lost = lost(heard, peer.address, lifetime.clone());
                        let served = connection(
                            stream,
                            peer,
                            services.clone(),
                            lifetime.clone(),
                            shutdown.clone(),
                        );
                        connections.spawn(while_proven(until, while_heard(lost, served)));
                    }
                    Err(error) => {
                        warn!(%error, "the xDS listener cannot accept connections; it tries again");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(ended) = connections.join_next() => report(ended),
            }
        }
        drop(self);
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
        Ok(())
    }

    async fn accept(&mut self) -> io::Result<(Stream, Peer, Option<SystemTime>)> {
        match self {
            Self::Plaintext(socket) => {
                let (stream, address) = socket.accept().await?;
                // Updates are small and urgent.
                stream.set_nodelay(true)?;
                Ok((
                    Box::new(stream),
                    Peer {
                        address,
                        identity: None,
                    },
                    None,
                ))
            }
            Self::Tls(listener) => {
                let (stream, peer) = listener.accept().await;
                let identity = Some(peer.proven);
                Ok((
                    Box::new(stream),
                    Peer {
                        address: peer.address,
                        identity,
                    },
                    Some(peer.until),
                ))
            }
        }
    }
}

trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for T {}
type Stream = Box<dyn ReadWrite>;

/// Serves a connection as long as its client's certificate is valid. A proxy whose certificate was renewed in time connects again with
/// the new one; one that was not has no business here any more.
async fn while_proven(until: Option<SystemTime>, served: impl Future<Output = ()>) {
    let expired = async {
        match until {
            Some(until) => {
                let left = until.duration_since(SystemTime::now()).unwrap_or_default();
                tokio::time::sleep(left).await;
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = served => {}
        () = expired => info!("a connection is ended: its client's certificate has expired"),
    }
}

/// Serves a connection as long as its peer gives signs of life.
async fn while_heard(lost: impl Future<Output = ()>, served: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        // First, so that what has arrived is heard.
        () = served => {}
        () = lost => {}
    }
}

async fn lost(heard: Arc<Heard>, peer: SocketAddr, lifetime: Lifetime) {
    let Lifetime {
        age_max: _,
        keepalive_interval,
        keepalive_timeout,
        lost,
    } = lifetime;
    heard.lost(keepalive_interval, keepalive_timeout).await;
    lost.inc();
    warn!(%peer, "a connection is ended: its peer gives no sign of life");
}

async fn connection(
    stream: Watched<Stream>,
    peer: Peer,
    services: Services,
    lifetime: Lifetime,
    shutdown: CancellationToken,
) {
    let address = peer.address;
    let age_max = lifetime.age_max.map(|age| jittered(age, address));
    let retiring = age_max.map(|_| CancellationToken::new());
    let retired = retiring.clone();
    let has_asked = CancellationToken::new();
    let asks = has_asked.clone();
    let service = services.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
        asks.cancel();
        request.extensions_mut().insert(peer.clone());
        if let Some(retiring) = &retiring {
            request.extensions_mut().insert(Retiring(retiring.clone()));
        }
        request
    });
    let mut http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    http2
        .timer(TokioTimer::new())
        .keep_alive_interval(lifetime.keepalive_interval)
        // Later than `while_heard`, which counts what it ends and needs no room in buffers for a farewell.
        .keep_alive_timeout(lifetime.keepalive_timeout.saturating_mul(2))
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX);
    let connection =
        http2.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = silence(&has_asked) => {
            debug!(peer = %address, "a connection that asks for nothing is ended");
            return;
        }
        () = old_age(age_max) => {
            // The client opens no new streams here, and those that are open end when nothing is lost by it.
            connection.as_mut().graceful_shutdown();
            if let Some(retired) = retired {
                retired.cancel();
            }
            connection.await
        }
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(peer = %address, %error, "a connection ended with an error");
    }
}

/// A limit that differs by up to a tenth from connection to connection, so that those that began together do not end together.
fn jittered(age: Duration, address: SocketAddr) -> Duration {
    let mut hasher = DefaultHasher::new();
    address.hash(&mut hasher);
    let share = (hasher.finish() % 2001) as f64 / 10_000.0;
    age.mul_f64(0.9 + share)
}

async fn old_age(age_max: Option<Duration>) {
    match age_max {
        Some(age) => tokio::time::sleep(age).await,
        None => std::future::pending().await,
    }
}

/// Ends when a connection has not asked for anything in time. Keepalive begins only after the preface of HTTP/2, so that a connection
/// without any would stay for ever.
async fn silence(has_asked: &CancellationToken) {
    let asked = tokio::time::timeout(FIRST_REQUEST_MAX, has_asked.cancelled()).await;
    if asked.is_ok() {
        std::future::pending::<()>().await;
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "serving a connection panicked; the others go on");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_for_nothing_is_not_kept() {
        let started = tokio::time::Instant::now();
        silence(&CancellationToken::new()).await;
        assert_eq!(started.elapsed(), FIRST_REQUEST_MAX);
        let asked = CancellationToken::new();
        asked.cancel();
        let hour = Duration::from_secs(3600);
        assert!(tokio::time::timeout(hour, silence(&asked)).await.is_err());
    }

    #[test]
    fn connections_that_began_together_do_not_end_together() {
        let age = Duration::from_secs(1000);
        let ages: Vec<Duration> = (1..100)
            .map(|port| jittered(age, ([127, 0, 0, 1], port).into()))
            .collect();
        assert!(ages.iter().all(|age| (900..=1100).contains(&age.as_secs())));
        assert!(ages.iter().max().unwrap().as_secs() - ages.iter().min().unwrap().as_secs() > 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_with_its_clients_certificate() {
        let expires = SystemTime::now() + Duration::from_secs(3600);
        let started = tokio::time::Instant::now();
        while_proven(Some(expires), std::future::pending()).await;
        let lasted = started.elapsed();
        assert!((3590..=3601).contains(&lasted.as_secs()), "{lasted:?}");
        while_proven(Some(SystemTime::UNIX_EPOCH), std::future::pending()).await;
        while_proven(None, std::future::ready(())).await;
    }
}
