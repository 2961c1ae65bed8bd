//! What goes over the admin API, where both ends are ours.

use std::time::{Duration, SystemTime};

use bowline_identity::SpiffeId;
use bowline_mesh::RegistryPart;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

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

/// How a registry is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedRegistry {
    /// Which.
    pub registry: String,
    /// In short.
    pub state: RegistryHealth,
    /// For how long what is served has not been confirmed; 0 while the registry is live.
    pub age_seconds: Option<u64>,
    /// When it last said something, where it is live.
    pub last_event: Option<Moment>,
    /// When it was last confirmed what is served, where that is from before the start.
    pub saved_at: Option<Moment>,
    /// Since when it fails, where it does.
    pub failing_since: Option<Moment>,
    /// When it was last good, where it fails and ever was.
    pub last_good: Option<Moment>,
    /// What fails, where it does.
    pub error: Option<String>,
    /// Objects that are served.
    pub objects: usize,
    /// Endpoints in them.
    pub endpoints: usize,
    /// Events received since the start.
    pub events: u64,
    /// A loss that is held back.
    pub held: Option<HeldLoss>,
    /// Its parts that are watched by themselves, where it has such.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<RegistryPart>,
}

/// How a registry is doing, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegistryHealth {
    /// It has not answered yet, and nothing of it is known.
    Starting,
    /// It has not answered since the start; its last good objects of before are served.
    Restored,
    /// What is served is what it last said.
    Live,
    /// It cannot be read. What it said last is served.
    Failing,
}

/// What one workload sends to one locality of a destination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListedLoad {
    /// What the workload is an instance of.
    pub source: String,
    /// The workload.
    pub workload: String,
    /// The host and port that it calls; the cluster's name where that is not of a service.
    pub destination: String,
    /// The cluster.
    pub cluster: String,
    /// Where the endpoints are that were called; empty for requests that none got.
    pub locality: String,
    /// Requests that were sent, since the first report.
    pub requests: u64,
    /// Of them, those that were answered with success.
    pub succeeded: u64,
    /// Of them, those that failed.
    pub errors: u64,
    /// Requests that were not sent: a limit or a policy forbade it.
    pub dropped: u64,
    /// Requests on their way at the last report.
    pub in_progress: u64,
    /// Requests a second in the last minute.
    pub per_second: f64,
    /// Of them, those that failed.
    pub errors_per_second: f64,
}

/// A loss of endpoints that is not believed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldLoss {
    /// Objects that the registry no longer names.
    pub objects: usize,
    /// Endpoints in them.
    pub endpoints: usize,
    /// When the loss was reported.
    pub since: Moment,
    /// When it will be believed.
    pub until: Moment,
}

/// A time, written as RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(#[serde(with = "time::serde::rfc3339")] pub OffsetDateTime);

impl Moment {
    /// So long after the epoch.
    pub fn since_epoch(duration: Duration) -> Self {
        Self(OffsetDateTime::from(SystemTime::UNIX_EPOCH + duration))
    }
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
