//! What goes over the admin API, where both ends are ours.

use bowline_identity::SpiffeId;
use serde::{Deserialize, Serialize};

use crate::pipeline::Blocker;

/// The answer to a request that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// What failed, and what to do.
    pub error: String,
}

/// Whether the server is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether nothing keeps it from being ready.
    pub ready: bool,
    /// What does.
    pub blockers: Vec<Blocker>,
}

/// Which program answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Version {
    /// Its name.
    pub program: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Since when it runs, as RFC 3339.
    pub started_at: String,
    /// The realm of its certificates.
    pub trust_domain: String,
}

/// What became of a wish to believe a loss of endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// Whether a loss was held back.
    pub released: bool,
}

/// A wish for a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssueRequest {
    /// Whose certificate it will be.
    pub identity: SpiffeId,
    /// A certificate signing request with its key, as PEM.
    pub request_pem: String,
    /// For how long it is to be valid.
    pub validity_seconds: u64,
    /// Names that a server is reached by, besides its identity.
    #[serde(default)]
    pub dns_names: Vec<String>,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssueResponse {
    /// The certificate and those between it and the root, as PEM, leaf first.
    pub chain_pem: String,
    /// What its owner should trust, as PEM.
    pub bundle_pem: String,
    /// When it was issued, in seconds since the epoch.
    pub issued_at: u64,
    /// When it expires, in seconds since the epoch.
    pub not_after: u64,
}
