//! Certificates of an agent and of its clients, from an authority of its own.

use std::sync::Arc;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};

/// Whether an agent wants to know who its clients are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clients {
    Anyone,
    OfOurAuthority,
}

/// A certificate and its key, as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pem {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// An authority, and what an agent needs to be believed by those who trust it.
#[derive(Debug, Clone)]
pub(super) struct Authority {
    pub(super) certificate: String,
    pub(super) client: Pem,
    /// The agent's own.
    pub(super) serving: Pem,
    pub(super) server: Arc<ServerConfig>,
}

impl Authority {
    pub(super) fn new(clients: Clients) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &issuer)?;

        let client_key = KeyPair::generate()?;
        let mut params = CertificateParams::new(["client".to_owned()])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let client = params.signed_by(&client_key, &issuer)?;

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match clients {
            Clients::Anyone => builder.with_no_client_auth(),
            Clients::OfOurAuthority => {
                let mut roots = RootCertStore::empty();
                roots.add(issuer.der().clone())?;
                builder.with_client_cert_verifier(
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()?,
                )
            }
        };
        let mut server = builder.with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            certificate: issuer.pem(),
            client: Pem {
                certificate: client.pem(),
                key: client_key.serialize_pem(),
            },
            serving: Pem {
                certificate: certificate.pem(),
                key: key.serialize_pem(),
            },
            server: Arc::new(server),
        })
    }
}
