//! Where a stream's snapshots come from: the port that the program implements.

use std::{fmt, future::Future, net::SocketAddr, sync::Arc};

use bowline_identity::{PeerIdentity, Proven};
use bowline_proto::envoy::config::core::v3::Node;
use bowline_snapshot::{ResourceType, SnapshotReceiver};

use crate::session::Variant;

/// Who is at the other end of a connection. The listener puts it into the extensions of each HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Where the connection comes from.
    pub address: SocketAddr,
    /// The identity that the client's certificate proved; `None` where it showed none.
    pub identity: Option<Proven>,
}

/// How a client asks on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamKind {
    /// Which variant of the protocol it speaks.
    pub variant: Variant,
    /// Of which types.
    pub coverage: Coverage,
}

/// Of which types a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// Of all: the aggregated service.
    All,
    /// Of one.
    One(ResourceType),
}

/// Chooses what a proxy is served.
pub trait Source: Send + Sync + 'static {
    /// Called for each stream, before its first answer; and again when the client sends another Node on it. What comes of that takes the
    /// place of what was opened before, and the stream goes on.
    ///
    /// # Errors
    /// A [`Refusal`] ends the stream.
    fn open(
        &self,
        node: &Node,
        peer: &Peer,
        stream: StreamKind,
    ) -> impl Future<Output = Result<Opened, Refusal>> + Send;
}

/// A stream that is let in.
pub struct Opened {
    /// What listings show of it.
    pub proxy: ProxyDescription,
    /// What it is served. Nothing is answered while there is no snapshot.
    pub snapshots: SnapshotReceiver,
    /// Dropped when the stream ends, or is opened again.
    pub guard: Box<dyn Send>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            proxy,
            snapshots,
            guard: _,
        } = self;
        f.debug_struct("Opened")
            .field("proxy", proxy)
            .field("snapshots", snapshots)
            .finish_non_exhaustive()
    }
}

/// A proxy as listings show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyDescription {
    /// The id of its xDS Node.
    pub id: Arc<str>,
    /// What kind of proxy it is, such as `sidecar` or `gateway`.
    pub role: Arc<str>,
    /// Who it is, and whether that was proven.
    pub identity: PeerIdentity,
}

/// Why a stream is not let in. The text goes to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The peer may not have what its Node asks for.
    #[error("{0}")]
    PermissionDenied(String),
    /// Not now: the client should try again, or another replica.
    #[error("{0}")]
    Unavailable(String),
    /// The Node does not say what is needed.
    #[error("{0}")]
    InvalidArgument(String),
}
