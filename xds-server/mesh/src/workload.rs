//! Workloads: machines and pods beside which a proxy may stand.

use std::{net::IpAddr, sync::Arc};

use bowline_identity::SpiffeId;
use serde::{Deserialize, Serialize};

use crate::{Labels, Locality, Network, Protocol};

/// One instance that runs something. What its proxy listens on comes from here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Its IP addresses, the first being the one that it is known by; empty where only a DNS name is known.
    pub addresses: Vec<IpAddr>,
    /// Where it runs.
    pub locality: Locality,
    /// From where it can be reached.
    pub network: Network,
    /// What policies and subsets select by.
    pub labels: Labels,
    /// Who it is.
    pub identity: Option<SpiffeId>,
    /// What it serves, with different numbers.
    pub ports: Vec<WorkloadPort>,
}

/// A port on which a workload serves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkloadPort {
    /// The port that callers connect to.
    pub number: u16,
    /// A name for people.
    pub name: Arc<str>,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// The local port on which the application itself listens, where a sidecar with explicit listeners takes the callers'
    /// connections in front of it; `None` where callers reach the application directly.
    pub app_port: Option<u16>,
}
