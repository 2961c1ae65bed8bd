//! The authority: a root from the state store, and certificates for whoever has proven who he is.

use std::fmt;
use std::time::SystemTime;

use bowline_identity::{SpiffeId, SpiffeIdError, TrustDomain};
use bowline_state::{CommitError, Expected, Key, Prefix, Store, StoreError, Writes};
use rcgen::{KeyPair, PublicKeyData};

use crate::issue::{self, IssueError, Issued, ServerNames, Validity};
use crate::request::proven_key;
use crate::root::{Root, UnusableRoot};
use crate::secret::{PrivateKey, SigningKey};
use crate::verify::Verifier;

/// Issues certificates of one trust domain.
pub struct CertificateAuthority {
    root: Root,
}

impl CertificateAuthority {
    /// Loads the root from the store, or makes it if there is none. Blocks. Of several replicas that start at once on one store, one
    /// root wins and all of them have it.
    ///
    /// # Errors
    /// When the store fails, or holds a root that is damaged or of another trust domain.
    pub fn open(
        store: &dyn Store,
        trust_domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Self, OpenError> {
        let key = root_key();
        loop {
            if let Some(authority) = Self::existing(store, trust_domain)? {
                return Ok(authority);
            }
            let root = Root::generate(trust_domain, now).map_err(OpenError::Generate)?;
            let mut writes = Writes::new();
            writes.put(key.clone(), root.to_stored().as_bytes().to_vec());
            match store.commit(&[(key.clone(), Expected::Absent)], &writes) {
                Ok(_) => return Ok(Self { root }),
                // Another replica was first: its root is the root.
                Err(CommitError::Conflict { .. }) => {}
                Err(CommitError::Store(error)) => return Err(error.into()),
            }
        }
    }

    /// Loads the root from the store; none where there is none. Blocks.
    ///
    /// # Errors
    /// When the store fails, or holds a root that is damaged or of another trust domain.
    pub fn existing(
        store: &dyn Store,
        trust_domain: &TrustDomain,
    ) -> Result<Option<Self>, OpenError> {
        let Some(stored) = store.get(&root_key())? else {
            return Ok(None);
        };
        let root = Root::from_stored(&stored.value).map_err(OpenError::Unusable)?;
        if root.trust_domain != *trust_domain {
            return Err(OpenError::OtherTrustDomain {
                stored: root.trust_domain,
                configured: trust_domain.clone(),
            });
        }
        Ok(Some(Self { root }))
    }

    /// The realm that this authority vouches for.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.root.trust_domain
    }

    /// What a peer must trust, as PEM.
    pub fn bundle_pem(&self) -> &str {
        &self.root.certificate_pem
    }

    /// When the root expires. No certificate outlives it.
    pub fn not_after(&self) -> SystemTime {
        self.root.not_after
    }

    /// Checks certificates of this authority.
    ///
    /// # Errors
    /// When the root is one that rustls cannot use, which none made here is.
    pub fn verifier(&self) -> Result<Verifier, crate::BundleError> {
        Verifier::new(self.bundle_pem(), [self.trust_domain().clone()])
    }

    /// Makes a key and a certificate for it. For a workload without an agent; others make their key themselves.
    ///
    /// # Errors
    /// When this authority may not vouch for the identity, or its root has expired.
    pub fn issue(
        &self,
        identity: &SpiffeId,
        names: &ServerNames,
        validity: Validity,
        now: SystemTime,
    ) -> Result<Issued, IssueError> {
        let key =
            KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(IssueError::signing)?;
        let key = SigningKey(key);
        let mut issued = self.sign(&key, identity, names, validity, now)?;
        issued.key = Some(PrivateKey::of(&key.0));
        Ok(issued)
    }

    /// Certifies the key of a signing request (PEM). Whatever else the request asks for is ignored: the identity is the one that the
    /// caller has proven.
    ///
    /// # Errors
    /// When the request is not signed by its own key, or has a kind of key that is not allowed; else as for [`Self::issue`].
    pub fn issue_for_request(
        &self,
        request_pem: &str,
        identity: &SpiffeId,
        names: &ServerNames,
        validity: Validity,
        now: SystemTime,
    ) -> Result<Issued, IssueError> {
        let key = proven_key(request_pem)?;
        self.sign(&key, identity, names, validity, now)
    }

    fn sign(
        &self,
        key: &impl PublicKeyData,
        identity: &SpiffeId,
        names: &ServerNames,
        validity: Validity,
        now: SystemTime,
    ) -> Result<Issued, IssueError> {
        if identity.trust_domain() != self.trust_domain() {
            return Err(IssueError::OtherTrustDomain {
                identity: identity.clone(),
                trust_domain: self.trust_domain().clone(),
            });
        }
        if identity.path().is_empty() {
            return Err(IssueError::NoWorkload {
                identity: identity.clone(),
            });
        }
        issue::leaf(&self.root, key, identity, names, validity, now)
    }
}

/// The identity of the control plane itself: what proxies expect of their xDS server.
///
/// # Errors
/// Only when the trust domain is so long that the id would be too long.
pub fn control_plane_identity(trust_domain: &TrustDomain) -> Result<SpiffeId, SpiffeIdError> {
    SpiffeId::workload(trust_domain, "bowline", "control-plane")
}

/// Why an authority cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The state store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store was started with another trust domain.
    #[error(
        "the state store holds the root of trust domain '{stored}', but `mesh.trust_domain` is '{configured}': give the old name, or \
         another `state.path` for a new root (every certificate must then be issued anew)"
    )]
    OtherTrustDomain {
        /// That of the stored root.
        stored: TrustDomain,
        /// That of the configuration.
        configured: TrustDomain,
    },
    /// The stored root cannot be used.
    #[error("the certificate authority's root {0}; restore the state store from a backup")]
    Unusable(UnusableRoot),
    /// There is no root, and none can be made.
    #[error("the certificate authority's root {0}")]
    Generate(UnusableRoot),
}

fn root_key() -> Key {
    Prefix::of("certificate-authority").key("root")
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("trust_domain", &self.root.trust_domain)
            .field("not_after", &self.root.not_after)
            .field("key", &format_args!("[redacted]"))
            .finish()
    }
}
