//! One agent and the connections to it.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    sync::Arc,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::Empty;
use parking_lot::Mutex;
use tokio::{
    sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    Answered, Ask,
    connect::{Connected, connect},
    connection::{Owned, Shared, Single},
    refusal,
};
use crate::{
    settings::{AgentAddress, TlsFiles},
    watch::{STREAMS_PER_CONNECTION, Transport},
    watcher::Failure,
};

/// With fewer connections nobody refuses one.
const OPEN_MIN: usize = 32;

/// An agent, and connections to it that are used again.
pub(crate) struct Agent {
    address: AgentAddress,
    tls: TlsFiles,
    connections_max: usize,
    /// One permit a connection.
    connections: Arc<Semaphore>,
    singles: Mutex<Vec<(Single, OwnedSemaphorePermit, u64)>>,
    shared: Mutex<Vec<(Shared, Arc<OwnedSemaphorePermit>, u64)>>,
    /// Connections for many requests are made one after the other: each may do for all that wait.
    growing: AsyncMutex<()>,
    /// Where the agent was reached last, and a number for it.
    peer: Mutex<Option<SocketAddr>>,
    host: AtomicU64,
    speaks_http2: AtomicUsize,
    tasks: Owned,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Agent {
    pub(crate) fn new(address: AgentAddress, tls: TlsFiles, connections_max: usize) -> Self {
        Self {
            address,
            tls,
            connections_max,
            connections: Arc::new(Semaphore::new(connections_max)),
            singles: Mutex::default(),
            shared: Mutex::default(),
            growing: AsyncMutex::default(),
            peer: Mutex::default(),
            host: AtomicU64::new(0),
            speaks_http2: AtomicUsize::new(0),
            tasks: Owned::default(),
        }
    }

    pub(crate) fn address(&self) -> &AgentAddress {
        &self.address
    }

    /// Asks, and reads the whole answer.
    pub(crate) async fn ask(&self, ask: &Ask) -> Result<Answered, Failure> {
        let answer = match timeout(ask.patience, self.exchange(ask)).await {
            Ok(answer) => answer?,
            Err(_) => {
                return Err(Failure::Cut(format!(
                    "{}: no answer within {} s",
                    self.address,
                    ask.patience.as_secs()
                )));
            }
        };
        let (parts, body, transport, host) = answer;
        match parts.status.is_success() {
            true => Ok(Answered {
                headers: parts.headers,
                body,
                transport,
                host,
            }),
            false => Err(refusal(parts.status, &body)),
        }
    }

    async fn exchange(
        &self,
        ask: &Ask,
    ) -> Result<(http::response::Parts, Bytes, Transport, u64), Failure> {
        // Connections that were idle may have ended without our knowledge; a new one has not.
        for attempt in 0..2 {
            let answer = match self.speaks_http2.load(Ordering::Relaxed) {
                0 => self.on_single(ask, attempt).await,
                _ => self.on_shared(ask).await,
            };
            match answer {
                Err(Tried::Again) => {}
                Err(Tried::Failed(failure)) => return Err(failure),
                Ok(answer) => return Ok(answer),
            }
        }
        Err(Failure::Cut(format!(
            "{}: the connection ended",
            self.address
        )))
    }

    async fn on_single(&self, ask: &Ask, attempt: usize) -> Attempt {
        let idle = match attempt {
            0 => self.idle_single(),
            _ => None,
        };
        let was_idle = idle.is_some();
        let (mut single, permit, host) = match idle {
            Some(idle) => idle,
            None => {
                let permit = self.permit().await?;
                match self.dial().await? {
                    (
                        Connected {
                            stream,
                            transport: Transport::Http1,
                            ..
                        },
                        host,
                    ) => {
                        let single = Single::new(stream)
                            .await
                            .map_err(|error| self.unreachable(&error))?;
                        (single, permit, host)
                    }
                    (Connected { stream, .. }, host) => {
                        self.add_shared(stream, permit, host).await?;
                        return Err(Tried::Again);
                    }
                }
            }
        };
        self.check_host(ask, host)?;
        match single.ask(self.request(ask)?, ask.bytes_max).await {
            Ok((parts, body)) => {
                if single.is_open() {
                    self.singles.lock().push((single, permit, host));
                }
                Ok((parts, body, Transport::Http1, host))
            }
            Err(Failure::Cut(_)) if was_idle => Err(Tried::Again),
            Err(Failure::Cut(error)) => Err(Tried::Failed(self.refused_or_cut(error))),
            Err(failure) => Err(Tried::Failed(failure)),
        }
    }

    async fn on_shared(&self, ask: &Ask) -> Attempt {
        let (is_new, (mut place, _permit, host)) = match self.shared_place() {
            Some(found) => (false, found),
            None => {
                let _growing = self.growing.lock().await;
                match self.shared_place() {
                    Some(found) => (false, found),
                    None => {
                        let permit = self.permit().await?;
                        let (connected, host) = self.dial().await?;
                        if connected.transport == Transport::Http1 {
                            // It is another agent now, or another version of it.
                            self.speaks_http2.store(0, Ordering::Relaxed);
                            return Err(Tried::Again);
                        }
                        self.add_shared(connected.stream, permit, host).await?;
                        (true, self.shared_place().ok_or(Tried::Again)?)
                    }
                }
            }
        };
        self.check_host(ask, host)?;
        match place.ask(self.request(ask)?, ask.bytes_max).await {
            Ok((parts, body)) => Ok((parts, body, Transport::Http2, host)),
            // It says so in HTTP/1.1, which HTTP/2 does not understand.
            Err(Failure::Cut(error)) if is_new => Err(Tried::Failed(self.refused_or_cut(error))),
            Err(failure) => Err(Tried::Failed(failure)),
        }
    }

    /// An idle connection. Those to another machine than the present one are closed.
    fn idle_single(&self) -> Option<(Single, OwnedSemaphorePermit, u64)> {
        let present = self.host.load(Ordering::Relaxed);
        let mut singles = self.singles.lock();
        while let Some((single, permit, host)) = singles.pop() {
            if single.is_open() && host == present {
                return Some((single, permit, host));
            }
        }
        None
    }

    fn shared_place(&self) -> Option<(super::connection::Place, Arc<OwnedSemaphorePermit>, u64)> {
        let present = self.host.load(Ordering::Relaxed);
        let mut shared = self.shared.lock();
        shared.retain(|(connection, _, host)| {
            connection.is_open() && (*host == present || !connection.is_idle())
        });
        shared
            .iter()
            .filter(|(_, _, host)| *host == present)
            .find_map(|(connection, permit, host)| {
                let place = connection.place(STREAMS_PER_CONNECTION)?;
                Some((place, permit.clone(), *host))
            })
    }

    async fn add_shared(
        &self,
        stream: Box<dyn super::connect::Stream>,
        permit: OwnedSemaphorePermit,
        host: u64,
    ) -> Result<(), Tried> {
        let connection = Shared::new(stream, &self.tasks)
            .await
            .map_err(|error| self.unreachable(&error))?;
        self.shared
            .lock()
            .push((connection, Arc::new(permit), host));
        self.speaks_http2.store(1, Ordering::Relaxed);
        Ok(())
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Tried> {
        let closed = |_| Tried::Failed(Failure::Cut("no connection is allowed".to_owned()));
        self.connections
            .clone()
            .acquire_owned()
            .await
            .map_err(closed)
    }

    /// A new connection, and the number of the machine to which it leads.
    async fn dial(&self) -> Result<(Connected, u64), Tried> {
        let preferred = *self.peer.lock();
        let connected = connect(&self.address, &self.tls, preferred)
            .await
            .map_err(|error| match error.kind() {
                // Somebody is there, and ends it at once.
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => {
                    Tried::Failed(self.refused_or_cut(error.to_string()))
                }
                _ => self.unreachable(&error),
            })?;
        let mut peer = self.peer.lock();
        if connected.peer != *peer {
            *peer = connected.peer;
            self.host.fetch_add(1, Ordering::Relaxed);
        }
        let host = self.host.load(Ordering::Relaxed);
        drop(peer);
        Ok((connected, host))
    }

    /// An agent that has enough connections of ours ends new ones, and says why only if we have asked by then.
    fn refused_or_cut(&self, error: String) -> Failure {
        let open = self.connections_max - self.connections.available_permits();
        match open > OPEN_MIN {
            true => Failure::TooManyConnections(format!(
                "{} ends new connections while {open} are open",
                self.address
            )),
            false => Failure::Cut(format!("{}: {error}", self.address)),
        }
    }

    fn check_host(&self, ask: &Ask, host: u64) -> Result<(), Tried> {
        match ask.host.is_none_or(|wanted| wanted == host) {
            true => Ok(()),
            false => Err(Tried::Failed(Failure::Moved)),
        }
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> Tried {
        let message = format!("{} cannot be reached: {error}", self.address);
        Tried::Failed(Failure::Unreachable(crate::mapping::shortened(&message)))
    }

    fn request(&self, ask: &Ask) -> Result<Request<Empty<Bytes>>, Tried> {
        let (scheme, host) = match &self.address {
            AgentAddress::Http(host) => ("http", host.to_string()),
            AgentAddress::Https(host) => ("https", host.to_string()),
            AgentAddress::Unix(_) => ("http", "localhost".to_owned()),
        };
        // HTTP/2 takes scheme and authority from the address, HTTP/1.1 wants the path alone.
        let uri = match self.speaks_http2.load(Ordering::Relaxed) {
            0 => ask.path.clone(),
            _ => format!("{scheme}://{host}{}", ask.path),
        };
        let mut request = Request::get(uri)
            .header(header::HOST, host)
            .header(header::USER_AGENT, HeaderValue::from_static("bowline"));
        if let Some(token) = &ask.token {
            request = request.header("x-consul-token", token.header());
        }
        request
            .body(Empty::new())
            .map_err(|error| Tried::Failed(Failure::Garbage(error.to_string())))
    }
}

/// What an attempt led to.
type Attempt = Result<(http::response::Parts, Bytes, Transport, u64), Tried>;

enum Tried {
    /// With another connection.
    Again,
    Failed(Failure),
}
