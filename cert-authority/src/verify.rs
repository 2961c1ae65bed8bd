//! Whose certificate is this? The one place where a name becomes a fact.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bowline_identity::{Proven, SpiffeId, TrustDomain};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use time::format_description::well_known::Rfc3339;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::issue::to_date_time;

/// Checks certificates against a bundle of roots and the trust domains that those may vouch for.
#[derive(Clone)]
pub struct Verifier {
    trust_domains: BTreeSet<TrustDomain>,
    chains: Arc<dyn ClientCertVerifier>,
}

impl Verifier {
    /// A verifier that trusts the roots of a PEM bundle.
    ///
    /// # Errors
    /// When the bundle has no certificate, or one that cannot be a root.
    pub fn new(
        bundle_pem: &str,
        trust_domains: impl IntoIterator<Item = TrustDomain>,
    ) -> Result<Self, BundleError> {
        let malformed = |error: &dyn fmt::Display| BundleError::Malformed {
            reason: error.to_string(),
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(bundle_pem.as_bytes()) {
            let certificate = certificate.map_err(|error| malformed(&error))?;
            roots.add(certificate).map_err(|error| malformed(&error))?;
        }
        if roots.is_empty() {
            return Err(BundleError::Empty);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chains = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| malformed(&error))?;
        Ok(Self {
            trust_domains: trust_domains.into_iter().collect(),
            chains,
        })
    }

    /// The identity that a certificate proves. The chain is as a peer sends it, leaf first; that the peer has the leaf's key is for the TLS
    /// handshake to see.
    ///
    /// # Errors
    /// Says what is wrong with the certificate.
    pub fn proven_identity(
        &self,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<Proven, VerifyError> {
        self.proven_until(chain, now).map(|(proven, _)| proven)
    }

    /// The same, with the moment from which on it is not proven any more: whoever keeps a connection has to end it then.
    ///
    /// # Errors
    /// As [`Self::proven_identity`].
    pub fn proven_until(
        &self,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<(Proven, SystemTime), VerifyError> {
        let (leaf, intermediates) = chain.split_first().ok_or(VerifyError::NoCertificate)?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| VerifyError::Malformed)?;
        if vouches_for_others(&parsed)? {
            return Err(VerifyError::Authority);
        }
        let since_1970 = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        self.chains
            .verify_client_cert(leaf, intermediates, UnixTime::since_unix_epoch(since_1970))
            .map_err(|error| chain_error(error, &parsed))?;
        let identity = only_identity(&parsed)?;
        if !self.trust_domains.contains(identity.trust_domain()) {
            return Err(VerifyError::OtherTrustDomain { identity });
        }
        let not_after = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or_default();
        let until = SystemTime::UNIX_EPOCH + Duration::from_secs(not_after);
        Ok((Proven::by_certificate(identity), until))
    }

    /// The check of chains and handshake signatures without that of identities, for a TLS server to build on.
    pub fn chains(&self) -> &Arc<dyn ClientCertVerifier> {
        &self.chains
    }
}

/// Why a bundle cannot be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// It has no certificates.
    #[error("the bundle has no certificate in PEM form")]
    Empty,
    /// It has something that is no root certificate.
    #[error("the bundle has a certificate that cannot be read: {reason}")]
    Malformed {
        /// What the parser says.
        reason: String,
    },
}

/// Why a certificate proves no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// There is none.
    #[error("no certificate was shown")]
    NoCertificate,
    /// It cannot be read.
    #[error("the certificate cannot be read")]
    Malformed,
    /// It may sign other certificates (X.509-SVID, section 5.2: never a workload's).
    #[error("the certificate is that of an authority, not of a workload")]
    Authority,
    /// It leads to no root that we trust.
    #[error("the certificate was issued by an authority that is not trusted here")]
    UnknownAuthority,
    /// It is too old.
    #[error("the certificate expired at {not_after}")]
    Expired {
        /// When, as RFC 3339.
        not_after: String,
    },
    /// It is too young, or the clocks differ.
    #[error("the certificate is valid from {not_before} on; compare the clocks")]
    NotYetValid {
        /// When, as RFC 3339.
        not_before: String,
    },
    /// Its extended key usage does not have client authentication.
    #[error("the certificate is not one for clients")]
    NotForClients,
    /// Something else is wrong with the chain.
    #[error("the certificate is not valid: {reason}")]
    Chain {
        /// What the verifier says.
        reason: String,
    },
    /// It has no URI among its names.
    #[error("the certificate carries no SPIFFE id")]
    NoIdentity,
    /// It has several URIs (X.509-SVID, section 2: exactly one).
    #[error("the certificate carries {count} URIs, and must carry one SPIFFE id")]
    SeveralIdentities {
        /// How many.
        count: usize,
    },
    /// Its URI is not a workload's SPIFFE id.
    #[error("the certificate carries no SPIFFE id of a workload: {reason}")]
    NotSpiffe {
        /// What is wrong with the URI.
        reason: String,
    },
    /// It is of another mesh.
    #[error(
        "the certificate's identity '{identity}' is of a trust domain that is not accepted here"
    )]
    OtherTrustDomain {
        /// The identity.
        identity: SpiffeId,
    },
}

/// The URIs among a certificate's alternative names.
pub(crate) fn uri_names<'a>(
    certificate: &'a X509Certificate<'_>,
) -> Result<Vec<&'a str>, VerifyError> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| VerifyError::Malformed)?;
    let names = names
        .map(|extension| extension.value.general_names.as_slice())
        .unwrap_or_default();
    let uri = |name: &'a GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    };
    Ok(names.iter().filter_map(uri).collect())
}

fn only_identity(certificate: &X509Certificate<'_>) -> Result<SpiffeId, VerifyError> {
    let uri = match uri_names(certificate)?.as_slice() {
        [] => return Err(VerifyError::NoIdentity),
        [uri] => *uri,
        several => {
            return Err(VerifyError::SeveralIdentities {
                count: several.len(),
            });
        }
    };
    let identity: SpiffeId = uri.parse().map_err(|error| VerifyError::NotSpiffe {
        reason: format!("{error}"),
    })?;
    if identity.path().is_empty() {
        return Err(VerifyError::NotSpiffe {
            reason: format!("'{identity}' names a trust domain"),
        });
    }
    Ok(identity)
}

fn vouches_for_others(certificate: &X509Certificate<'_>) -> Result<bool, VerifyError> {
    let usage = certificate
        .key_usage()
        .map_err(|_| VerifyError::Malformed)?;
    let signs = usage.is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign());
    let constraints = certificate
        .basic_constraints()
        .map_err(|_| VerifyError::Malformed)?;
    Ok(signs || constraints.is_some_and(|constraints| constraints.value.ca))
}

fn chain_error(error: rustls::Error, leaf: &X509Certificate<'_>) -> VerifyError {
    let date = |time: SystemTime| to_date_time(time).format(&Rfc3339).unwrap_or_default();
    let validity = leaf.validity();
    match error {
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                VerifyError::Expired {
                    not_after: date(validity.not_after.to_datetime().into()),
                }
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                VerifyError::NotYetValid {
                    not_before: date(validity.not_before.to_datetime().into()),
                }
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                VerifyError::UnknownAuthority
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                VerifyError::NotForClients
            }
            other => VerifyError::Chain {
                reason: other.to_string(),
            },
        },
        other => VerifyError::Chain {
            reason: other.to_string(),
        },
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("trust_domains", &self.trust_domains)
            .finish_non_exhaustive()
    }
}
