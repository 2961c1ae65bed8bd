//! The part of the handshake that asks who the client is.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bowline_cert_authority::{Verifier, VerifyError};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};

/// Lets nobody in who does not prove an identity, so that the client is told in the handshake and not by a closed connection.
#[derive(Debug)]
pub(super) struct IdentityVerifier {
    verifier: Verifier,
}

impl IdentityVerifier {
    pub(super) fn new(verifier: Verifier) -> Self {
        Self { verifier }
    }
}

impl ClientCertVerifier for IdentityVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.chains().root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let chain: Vec<_> = std::iter::once(end_entity)
            .chain(intermediates)
            .cloned()
            .collect();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
        match self.verifier.proven_identity(&chain, now) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(error) => Err(refusal(error)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier
            .chains()
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier
            .chains()
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.chains().supported_verify_schemes()
    }
}

/// The kind of error decides the alert that the client sees: "certificate expired" and "unknown CA" help whoever reads Envoy's log.
fn refusal(error: VerifyError) -> rustls::Error {
    let kind = match error {
        VerifyError::Expired { .. } => CertificateError::Expired,
        VerifyError::NotYetValid { .. } => CertificateError::NotValidYet,
        VerifyError::UnknownAuthority => CertificateError::UnknownIssuer,
        VerifyError::Malformed | VerifyError::NoCertificate => CertificateError::BadEncoding,
        VerifyError::NotForClients => CertificateError::InvalidPurpose,
        VerifyError::Authority
        | VerifyError::Chain { .. }
        | VerifyError::NoIdentity
        | VerifyError::SeveralIdentities { .. }
        | VerifyError::NotSpiffe { .. }
        | VerifyError::OtherTrustDomain { .. } => {
            CertificateError::Other(OtherError(Arc::new(error)))
        }
    };
    rustls::Error::InvalidCertificate(kind)
}

/// Why a handshake failed, in words for our own log.
pub(super) fn reason(error: &std::io::Error) -> String {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(refused)))) => {
            refused.to_string()
        }
        Some(other) => other.to_string(),
        None => error.to_string(),
    }
}
