//! Policies: how proxies of a registry treat a service.
//!
//! Policies do not merge over registries: one acts on the proxies of its own registry; those of `manifests`, and of a registry
//! that the configuration marks `policies: mesh`, act on all.

use std::{num::NonZeroU32, time::Duration};

use serde::{Deserialize, Serialize};

use crate::Hostname;

/// How callers treat a service. What is `None` is as the mesh has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The service that is called.
    pub service: Hostname,
    /// The settings.
    pub settings: TrafficSettings,
}

/// Limits of a caller towards one service, for each Envoy worker process as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct TrafficSettings {
    /// How long a connection may take to be made.
    pub connect_timeout: Option<Duration>,
    /// Connections at a time.
    pub connections_max: Option<NonZeroU32>,
    /// Requests that wait for a connection.
    pub pending_requests_max: Option<NonZeroU32>,
    /// Requests at a time.
    pub requests_max: Option<NonZeroU32>,
    /// Retries at a time.
    pub retries_max: Option<NonZeroU32>,
}

impl TrafficSettings {
    /// These settings, with what they leave open taken from others.
    pub fn or(self, other: Self) -> Self {
        Self {
            connect_timeout: self.connect_timeout.or(other.connect_timeout),
            connections_max: self.connections_max.or(other.connections_max),
            pending_requests_max: self.pending_requests_max.or(other.pending_requests_max),
            requests_max: self.requests_max.or(other.requests_max),
            retries_max: self.retries_max.or(other.retries_max),
        }
    }
}
