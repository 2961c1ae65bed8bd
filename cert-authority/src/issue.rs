//! What a certificate of ours looks like.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use bowline_identity::{SpiffeId, TrustDomain};
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    PublicKeyData, SanType,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls_pki_types::ServerName;
use time::OffsetDateTime;

use crate::root::Root;
use crate::secret::PrivateKey;

/// A certificate, and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// Whose it is.
    pub identity: SpiffeId,
    /// The certificate and those between it and the root, as PEM, leaf first.
    pub chain_pem: String,
    /// Its key, if the authority made it.
    pub key: Option<PrivateKey>,
    /// What its owner should trust, as PEM.
    pub bundle_pem: String,
    /// When it was issued.
    pub issued_at: SystemTime,
    /// When it expires.
    pub not_after: SystemTime,
}

impl Issued {
    /// When to ask for the next one: after two thirds of its life, so that a day without a control plane passes unnoticed if it lives for three.
    pub fn renew_at(&self) -> SystemTime {
        let life = self
            .not_after
            .duration_since(self.issued_at)
            .unwrap_or_default();
        self.issued_at + life * 2 / 3
    }
}

/// How long a certificate is to be valid: between a minute and 90 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity(Duration);

impl Validity {
    /// A validity within the limits.
    ///
    /// # Errors
    /// When it is outside of them.
    pub fn new(duration: Duration) -> Result<Self, IssueError> {
        if (VALIDITY_MIN..=VALIDITY_MAX).contains(&duration) {
            Ok(Self(duration))
        } else {
            Err(IssueError::Validity {
                seconds: duration.as_secs(),
            })
        }
    }
}

impl Default for Validity {
    /// A day.
    fn default() -> Self {
        Self(Duration::from_secs(24 * 60 * 60))
    }
}

/// DNS names and addresses that a server is reached by, besides its identity.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerNames(Vec<ServerName<'static>>);

impl ServerNames {
    /// No names: for a peer that is known by its identity alone.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads DNS names and IP addresses. Those that come twice are taken once.
    ///
    /// # Errors
    /// Names the first one that is neither.
    pub fn parse<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Result<Self, IssueError> {
        let mut parsed = Vec::new();
        for name in names {
            let text = name.as_ref();
            let name =
                ServerName::try_from(text.to_owned()).map_err(|_| IssueError::ServerName {
                    name: text.to_owned(),
                })?;
            if !parsed.contains(&name) {
                parsed.push(name);
            }
        }
        Ok(Self(parsed))
    }
}

/// Why a certificate was not issued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The identity belongs to another authority.
    #[error(
        "cannot issue for '{identity}': this authority vouches for trust domain '{trust_domain}' only"
    )]
    OtherTrustDomain {
        /// The identity.
        identity: SpiffeId,
        /// The authority's trust domain.
        trust_domain: TrustDomain,
    },
    /// The identity is that of the authority itself.
    #[error(
        "cannot issue for '{identity}': it names a trust domain, not a workload such as '{identity}/ns/shop/sa/cart'"
    )]
    NoWorkload {
        /// The identity.
        identity: SpiffeId,
    },
    /// The validity is outside the limits.
    #[error("a certificate cannot be valid for {seconds} s: the limits are {} s and {} s (90 days)", VALIDITY_MIN.as_secs(), VALIDITY_MAX.as_secs())]
    Validity {
        /// What was asked for.
        seconds: u64,
    },
    /// A name is neither a DNS name nor an address.
    #[error("'{name}' is neither a DNS name nor an IP address")]
    ServerName {
        /// The name.
        name: String,
    },
    /// The root cannot sign any more.
    #[error(
        "the root certificate has expired: no certificate can be issued until there is a new root"
    )]
    RootExpired,
    /// The signing request cannot be read.
    #[error("this is not a certificate signing request in PEM form")]
    MalformedRequest,
    /// The signing request is not signed by the key in it.
    #[error(
        "the signing request's signature does not fit its key: its sender has not shown that it has the private key"
    )]
    RequestSignature,
    /// The key is of a kind that is not allowed.
    #[error(
        "the signing request has a key of a kind that is not allowed; make one of ECDSA P-256, ECDSA P-384 or Ed25519"
    )]
    KeyKind,
    /// Signing failed.
    #[error("cannot sign: {reason}")]
    Signing {
        /// What the cryptography library says.
        reason: String,
    },
}

impl IssueError {
    pub(crate) fn signing(error: impl ToString) -> Self {
        Self::Signing {
            reason: error.to_string(),
        }
    }
}

/// Signs a leaf certificate with exactly one identity.
pub(crate) fn leaf(
    root: &Root,
    key: &impl PublicKeyData,
    identity: &SpiffeId,
    names: &ServerNames,
    Validity(validity): Validity,
    now: SystemTime,
) -> Result<Issued, IssueError> {
    if root.not_after <= now {
        return Err(IssueError::RootExpired);
    }
    let not_after = (now + validity).min(root.not_after);
    let mut params = CertificateParams::default();
    params.not_before = to_date_time(now - CLOCK_SKEW);
    params.not_after = to_date_time(not_after);
    params.serial_number = Some(random_serial().map_err(IssueError::signing)?.into());
    // Without a subject, verifiers must look at the alternative names (which are then critical).
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = alternative_names(identity, names)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    let certificate = params
        .signed_by(key, &root.issuer)
        .map_err(IssueError::signing)?;
    Ok(Issued {
        identity: identity.clone(),
        chain_pem: certificate.pem(),
        key: None,
        bundle_pem: root.certificate_pem.clone(),
        issued_at: now,
        not_after,
    })
}

fn alternative_names(
    identity: &SpiffeId,
    ServerNames(names): &ServerNames,
) -> Result<Vec<SanType>, IssueError> {
    let mut alternatives = vec![SanType::URI(
        identity
            .to_string()
            .try_into()
            .map_err(IssueError::signing)?,
    )];
    for name in names {
        alternatives.push(match name {
            ServerName::DnsName(name) => {
                SanType::DnsName(name.as_ref().try_into().map_err(IssueError::signing)?)
            }
            ServerName::IpAddress(address) => SanType::IpAddress(IpAddr::from(*address)),
            other => {
                return Err(IssueError::ServerName {
                    name: other.to_str().into_owned(),
                });
            }
        });
    }
    Ok(alternatives)
}

/// 127 random bits: a serial number is positive, and RFC 5280 asks for no more than 20 bytes.
pub(crate) fn random_serial() -> Result<Vec<u8>, String> {
    let mut serial = vec![0; 16];
    SystemRandom::new()
        .fill(&mut serial)
        .map_err(|_| "the system has no randomness".to_owned())?;
    if let Some(first) = serial.first_mut() {
        // The highest bit is the sign; the next one is set so that the number always has the same length.
        *first = *first & 0x7f | 0x40;
    }
    Ok(serial)
}

/// Certificates count in seconds.
pub(crate) fn to_date_time(time: SystemTime) -> OffsetDateTime {
    let time = OffsetDateTime::from(time);
    time.replace_nanosecond(0).unwrap_or(time)
}

/// Clocks of peers may be this far behind ours.
pub(crate) const CLOCK_SKEW: Duration = Duration::from_secs(60);
const VALIDITY_MIN: Duration = Duration::from_secs(60);
const VALIDITY_MAX: Duration = Duration::from_secs(90 * 24 * 60 * 60);
