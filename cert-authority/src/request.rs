//! Certificate signing requests: only the key in them counts.

use rcgen::{CertificateParams, KeyPair, PublicKeyData, SubjectPublicKeyInfo};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::IssueError;
use crate::secret::{PrivateKey, SigningKey};

/// The key that a request shows possession of.
pub(crate) fn proven_key(request_pem: &str) -> Result<SubjectPublicKeyInfo, IssueError> {
    let der = CertificateSigningRequestDer::from_pem_slice(request_pem.as_bytes())
        .map_err(|_| IssueError::MalformedRequest)?;
    let (rest, request) =
        X509CertificationRequest::from_der(&der).map_err(|_| IssueError::MalformedRequest)?;
    if !rest.is_empty() {
        return Err(IssueError::MalformedRequest);
    }
    let key = SubjectPublicKeyInfo::from_der(request.certification_request_info.subject_pki.raw)
        .map_err(|_| IssueError::KeyKind)?;
    let allowed = [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
    ];
    if !allowed.contains(&key.algorithm()) {
        return Err(IssueError::KeyKind);
    }
    request
        .verify_signature()
        .map_err(|_| IssueError::RequestSignature)?;
    Ok(key)
}

/// A key that was just made, and the request to certify it: for whoever makes the key where it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningRequest {
    /// The key.
    pub key: PrivateKey,
    /// The request, as PEM. It shows possession of the key and says nothing else.
    pub request_pem: String,
}

impl SigningRequest {
    /// Makes a key and a request for it.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate() -> Result<Self, IssueError> {
        let key =
            KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(IssueError::signing)?;
        let key = SigningKey(key);
        let request_pem = CertificateParams::default()
            .serialize_request(&key)
            .and_then(|request| request.pem())
            .map_err(IssueError::signing)?;
        Ok(Self {
            key: PrivateKey::of(&key.0),
            request_pem,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_shows_possession_of_its_key() {
        let request = SigningRequest::generate().unwrap();
        assert!(proven_key(&request.request_pem).is_ok());
        assert!(!format!("{request:?}").contains("PRIVATE KEY"));
    }
}
