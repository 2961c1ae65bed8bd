//! The root: the one certificate that the mesh trusts, and the key that must stay with us.

use std::time::{Duration, SystemTime};

use bowline_identity::{SpiffeId, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use crate::issue::{CLOCK_SKEW, random_serial, to_date_time};
use crate::secret::{PrivateKey, SigningKey};
use crate::verify::uri_names;

pub(crate) struct Root {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) certificate_pem: String,
    pub(crate) not_after: SystemTime,
    pub(crate) issuer: Issuer<'static, SigningKey>,
}

/// What is wrong with a root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnusableRoot(String);

impl Root {
    /// A new root of a trust domain.
    pub(crate) fn generate(
        trust_domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Self, UnusableRoot> {
        let failed = |error: rcgen::Error| UnusableRoot(format!("cannot be made: {error}"));
        let key =
            SigningKey(KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?);
        let serial = random_serial().map_err(UnusableRoot)?;
        let not_after = now + LIFETIME;

        let mut params = CertificateParams::default();
        params.not_before = to_date_time(now - CLOCK_SKEW);
        params.not_after = to_date_time(not_after);
        // Roots differ by name, or a peer that trusts an old and a new one cannot tell whose signature it has before it.
        let mut name = DistinguishedName::new();
        let serial_hex: String = serial
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        name.push(DnType::OrganizationName, "Bowline");
        name.push(DnType::CommonName, format!("Bowline root {serial_hex}"));
        params.distinguished_name = name;
        params.serial_number = Some(serial.into());
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(PATH_LENGTH));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // No name constraints: rustls-webpki takes any URI constraint as "no URI is allowed" (it would refuse every SPIFFE id), so the trust
        // domain is checked by `Verifier`, and by the validation contexts that Envoy gets.
        let uri = format!("spiffe://{trust_domain}");
        params.subject_alt_names = vec![SanType::URI(uri.try_into().map_err(failed)?)];

        let certificate_pem = params.self_signed(&key).map_err(failed)?.pem();
        let issuer = Issuer::new(params, key);
        Ok(Self {
            trust_domain: trust_domain.clone(),
            certificate_pem,
            not_after,
            issuer,
        })
    }

    /// Certificate and key as they are stored: two PEM blocks. The trust domain is in the certificate and nowhere else.
    pub(crate) fn to_stored(&self) -> Zeroizing<String> {
        let key = PrivateKey::of(&self.issuer.key().0);
        Zeroizing::new(format!("{}{}", self.certificate_pem, key.expose_pem()))
    }

    /// Reads what [`Root::to_stored`] made.
    pub(crate) fn from_stored(stored: &[u8]) -> Result<Self, UnusableRoot> {
        let unusable = |what: &str| UnusableRoot(what.to_owned());
        let certificate = CertificateDer::from_pem_slice(stored)
            .map_err(|error| UnusableRoot(format!("has no certificate: {error}")))?;
        let key = PrivateKeyDer::from_pem_slice(stored)
            .map_err(|error| UnusableRoot(format!("has no private key: {error}")))?;
        let key = KeyPair::try_from(&key)
            .map_err(|error| UnusableRoot(format!("has a key that is unusable: {error}")))?;
        let key = SigningKey(key);
        let (_, parsed) = X509Certificate::from_der(&certificate)
            .map_err(|_| unusable("has a certificate that cannot be read"))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(unusable(
                "has a key that does not belong to its certificate",
            ));
        }
        let names = uri_names(&parsed)
            .map_err(|_| unusable("has a certificate with names that cannot be read"))?;
        let trust_domain = match names.as_slice() {
            [uri] => uri
                .parse::<SpiffeId>()
                .ok()
                .filter(|id| id.path().is_empty()),
            _ => None,
        };
        let trust_domain = trust_domain
            .ok_or_else(|| unusable("has a certificate that does not name its trust domain"))?
            .trust_domain()
            .clone();
        let not_after = parsed.validity().not_after.to_datetime().into();
        let text = String::from_utf8_lossy(stored);
        let certificate_pem = text
            .split_inclusive(CERTIFICATE_END)
            .next()
            .unwrap_or_default()
            .to_owned();
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|error| {
            UnusableRoot(format!("has a certificate that is unusable: {error}"))
        })?;
        Ok(Self {
            trust_domain,
            certificate_pem,
            not_after,
            issuer,
        })
    }
}

/// Until the authority can rotate, a root must outlast whatever it is used for.
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// Leaves, and one level of issuing certificates between.
const PATH_LENGTH: u8 = 1;
const CERTIFICATE_END: &str = "-----END CERTIFICATE-----\n";
