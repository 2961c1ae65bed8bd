//! Proven and claimed identities, told apart by type.

use std::fmt;

use crate::SpiffeId;

/// Who is on the other side of a connection, and how we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerIdentity {
    /// The peer showed a certificate of an authority that we trust.
    Proven(Proven),
    /// The peer only said so, in its xDS Node. Never receives secrets.
    Claimed(Claimed),
}

impl PeerIdentity {
    /// The identity's name, if the peer has one.
    pub fn spiffe_id(&self) -> Option<&SpiffeId> {
        match self {
            Self::Proven(proven) => Some(proven.spiffe_id()),
            Self::Claimed(claimed) => claimed.spiffe_id.as_ref(),
        }
    }

    /// The proven identity; `None` for one that is only claimed.
    pub fn proven(&self) -> Option<&Proven> {
        match self {
            Self::Proven(proven) => Some(proven),
            Self::Claimed(_) => None,
        }
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proven(proven) => write!(f, "{}", proven.spiffe_id()),
            Self::Claimed(Claimed {
                spiffe_id: Some(id),
            }) => write!(f, "{id} (claimed)"),
            Self::Claimed(Claimed { spiffe_id: None }) => f.write_str("anonymous"),
        }
    }
}

/// An identity that a verified certificate carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    spiffe_id: SpiffeId,
}

impl Proven {
    /// Says that a certificate with this SPIFFE id was verified against a trusted authority.
    ///
    /// Call this only where the TLS handshake has checked the chain: it is the one place where a name becomes a fact.
    pub fn by_certificate(spiffe_id: SpiffeId) -> Self {
        Self { spiffe_id }
    }

    /// The name that was proven.
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }
}

/// What a peer without a certificate says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The name, if it gave one.
    pub spiffe_id: Option<SpiffeId>,
}
