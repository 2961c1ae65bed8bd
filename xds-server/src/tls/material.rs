//! Certificate, key and client authorities that were checked to fit together.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use bowline_cert_authority::{BundleError, IssueError, Verifier};
use bowline_identity::SpiffeIdError;
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::verifier::IdentityVerifier;

/// What a handshake needs, all of one moment: a connection never sees the certificate of before with the authorities of after.
pub(super) struct Material {
    pub(super) server: Arc<ServerConfig>,
    pub(super) verifier: Verifier,
    pub(super) not_after: SystemTime,
}

impl Material {
    pub(super) fn new(chain_pem: &[u8], key_pem: &[u8], verifier: Verifier) -> Result<Self, Unfit> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain_pem)
            .collect::<Result<_, _>>()
            .map_err(|error| Unfit::Certificate(error.to_string()))?;
        let leaf = chain
            .first()
            .ok_or_else(|| Unfit::Certificate("has no certificate in PEM form".to_owned()))?;
        let (_, parsed) = X509Certificate::from_der(leaf)
            .map_err(|_| Unfit::Certificate("has a certificate that cannot be read".to_owned()))?;
        let not_after = parsed.validity().not_after.to_datetime().into();
        let key = PrivateKeyDer::from_pem_slice(key_pem)
            .map_err(|error| Unfit::Key(format!("has no private key in PEM form: {error}")))?;

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certified =
            CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => Unfit::Pair,
                other => Unfit::Key(other.to_string()),
            })?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Unfit::Certificate(error.to_string()))?
            .with_client_cert_verifier(Arc::new(IdentityVerifier::new(verifier.clone())))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        server.alpn_protocols = vec![b"h2".to_vec()];
        // A session that is resumed is not verified again, so a client could outlive its certificate by it.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Self {
            server: Arc::new(server),
            verifier,
            not_after,
        })
    }
}

/// What does not fit; which file that is, the source knows.
pub(super) enum Unfit {
    Certificate(String),
    Key(String),
    Pair,
}

/// Why TLS cannot be served, or not with what was just read.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is far bigger than any certificate.
    #[error("{} has {bytes} bytes: this is not a file of certificates", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// The certificate cannot be used.
    #[error("the server certificate {origin} {reason}")]
    Certificate {
        /// Where it is from.
        origin: String,
        /// What is wrong.
        reason: String,
    },
    /// The key cannot be used.
    #[error("the private key {origin} {reason}")]
    Key {
        /// Where it is from.
        origin: String,
        /// What is wrong.
        reason: String,
    },
    /// Certificate and key are not a pair.
    #[error("the private key {key} does not belong to the server certificate {certificate}")]
    Pair {
        /// Where the certificate is from.
        certificate: String,
        /// Where the key is from.
        key: String,
    },
    /// The client authorities cannot be used.
    #[error("the client authorities {origin} cannot be used: {source}")]
    ClientAuthorities {
        /// Where they are from.
        origin: String,
        /// What is wrong.
        source: BundleError,
    },
    /// Our own authority issues no certificate.
    #[error("no certificate for the xDS server: {0}")]
    Issue(#[from] IssueError),
    /// The trust domain does not fit into the control plane's identity.
    #[error("no identity for the xDS server: {0}")]
    Identity(#[from] SpiffeIdError),
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material")
            .field("verifier", &self.verifier)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}
