//! Certificate signing requests: only the key in them counts.

use rcgen::{PublicKeyData, SubjectPublicKeyInfo};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::IssueError;

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
