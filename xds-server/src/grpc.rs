//! The xDS listeners: connections in, the services on each.

mod alive;
mod end;
mod http2;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io,
    net::SocketAddr,
    sync::atomic::Ordering,
    time::{Duration, SystemTime},
};

use bowline_ads::{Peer, Retiring};
use prometheus_client::metrics::counter::Counter;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{debug, info, warn};

pub(crate) use self::http2::Incoming;
use self::{
    alive::Watched,
    end::{Ends, Reason},
    http2::Connection,
};
use crate::{
    services::Services,
    threads::{self, Place, Places},
    tls::TlsListener,
};

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
    Plaintext(TcpListener, Places),
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
            Self::Plaintext(socket, _) => socket.local_addr(),
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
                    Ok((arrived, place)) => {
                        let (services, lifetime) = (services.clone(), lifetime.clone());
                        let shutdown = shutdown.clone();
                        place.spawn(&mut connections, |place| {
                            connection(arrived, place, services, lifetime, shutdown)
                        });
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

    async fn accept(&mut self) -> io::Result<(Arrived, Place)> {
        match self {
            Self::Plaintext(socket, places) => {
                let (stream, address) = socket.accept().await?;
                let peer = Peer {
                    address,
                    identity: None,
                };
                let arrived = Arrived {
                    transport: Transport::Plaintext(stream),
                    peer,
                    proven_until: None,
                };
                Ok((arrived, places.take()))
            }
            Self::Tls(listener) => {
                let (stream, peer, place) = listener.accept().await;
                let proven_until = Some(peer.until);
                let peer = Peer {
                    address: peer.address,
                    identity: Some(peer.proven),
                };
                let arrived = Arrived {
                    transport: Transport::Ready(Box::new(stream)),
                    peer,
                    proven_until,
                };
                Ok((arrived, place))
            }
        }
    }
}

/// A connection that is to be served.
struct Arrived {
    transport: Transport,
    peer: Peer,
    proven_until: Option<SystemTime>,
}

enum Transport {
    /// As it was accepted, on another thread.
    Plaintext(TcpStream),
    Ready(Stream),
}

impl Transport {
    /// What is read and written on this thread.
    fn open(self) -> io::Result<Stream> {
        match self {
            Self::Plaintext(stream) => {
                // Updates are small and urgent.
                stream.set_nodelay(true)?;
                Ok(Box::new(threads::adopt(stream)?))
            }
            Self::Ready(stream) => Ok(stream),
        }
    }
}

trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for T {}
type Stream = Box<dyn ReadWrite>;

async fn connection(
    arrived: Arrived,
    place: Place,
    services: Services,
    lifetime: Lifetime,
    shutdown: CancellationToken,
) {
    let Arrived {
        transport,
        peer,
        proven_until,
    } = arrived;
    let stream = match transport.open() {
        Ok(stream) => stream,
        Err(error) => {
            warn!(peer = %peer.address, %error, "a connection cannot be served; its client may come again");
            return;
        }
    };
    let address = peer.address;
    let (stream, heard) = Watched::new(stream);
    let age_max = lifetime.age_max.map(|age| jittered(age, address));
    let retiring = age_max.map(|_| CancellationToken::new());
    let mut ends = Ends::new(heard, proven_until, age_max, &lifetime, shutdown);
    let has_asked = ends.has_asked();
    let retired = retiring.clone();
    let service = services.map_request(move |mut request: http::Request<Incoming>| {
        has_asked.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(peer.clone());
        if let Some(retiring) = &retiring {
            request.extensions_mut().insert(Retiring(retiring.clone()));
        }
        request
    });
    // In a box, because a future that is passed on is there twice, and connections are many.
    let mut connection = Box::new(Connection::new(stream, service, place.home()));
    let ended = loop {
        let reason = tokio::select! {
            biased;
            // First, so that what has arrived is heard.
            ended = connection.serve() => break ended,
            reason = ends.next() => reason,
        };
        match reason {
            Reason::Expired => {
                info!(peer = %address, "a connection is ended: its client's certificate has expired");
                return;
            }
            Reason::Quiet => connection.ping(),
            Reason::Lost => {
                lifetime.lost.inc();
                warn!(peer = %address, "a connection is ended: its peer gives no sign of life");
                return;
            }
            Reason::Silent => {
                debug!(peer = %address, "a connection that asks for nothing is ended");
                return;
            }
            Reason::Old => {
                // The client opens no new streams here, and those that are open end when nothing is lost by it.
                connection.shut_down();
                if let Some(retired) = &retired {
                    retired.cancel();
                }
            }
            Reason::Shutdown => connection.shut_down(),
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

    #[test]
    fn connections_that_began_together_do_not_end_together() {
        let age = Duration::from_secs(1000);
        let ages: Vec<Duration> = (1..100)
            .map(|port| jittered(age, ([127, 0, 0, 1], port).into()))
            .collect();
        assert!(ages.iter().all(|age| (900..=1100).contains(&age.as_secs())));
        assert!(ages.iter().max().unwrap().as_secs() - ages.iter().min().unwrap().as_secs() > 100);
    }
}
