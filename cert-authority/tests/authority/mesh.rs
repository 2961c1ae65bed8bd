//! An authority at a fixed time.

use std::time::{Duration, SystemTime};

use bowline_cert_authority::{CertificateAuthority, Issued, ServerNames, Validity};
use bowline_identity::{SpiffeId, TrustDomain};
use bowline_state::Memory;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A moment in 2026, with a fraction of a second.
pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_780_000_000_123)
}

pub(crate) fn trust_domain() -> TrustDomain {
    "mesh.example".parse().unwrap()
}

pub(crate) fn cart() -> SpiffeId {
    SpiffeId::workload(&trust_domain(), "shop", "cart").unwrap()
}

pub(crate) fn authority() -> CertificateAuthority {
    CertificateAuthority::open(&Memory::new(), &trust_domain(), now()).unwrap()
}

pub(crate) fn issue(authority: &CertificateAuthority) -> Issued {
    authority
        .issue(&cart(), &ServerNames::none(), Validity::default(), now())
        .unwrap()
}

pub(crate) fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(Result::unwrap)
        .collect()
}
