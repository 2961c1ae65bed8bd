//! Who a workload is: SPIFFE ids, trust domains, and whether an identity was proven or only claimed.
//!
//! `mesh`, `ads` and the certificate authority agree on these types. Reading order: [`SpiffeId`] is a name, [`PeerIdentity`] says
//! how much that name is worth. There is no I/O and no cryptography here: whoever has verified a certificate says so by
//! constructing a [`Proven`].

mod peer;
mod spiffe;

pub use peer::{Claimed, PeerIdentity, Proven};
pub use spiffe::{SpiffeId, SpiffeIdError, TrustDomain};
