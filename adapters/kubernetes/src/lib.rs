//! Kubernetes clusters as registries.
//!
//! An API server is asked for every kind that is used, and then watched. What it sends is cut down to what means something
//! ([`Item`]); a state without I/O ([`ClusterState`]) knows what depends on what, converts it as files of manifests are converted
//! (`bowline_manifests`), and says what changed. A cluster that cannot be reached keeps what it had.
//!
//! Reading order: [`Watched`] (the closed list of kinds), [`Item`], [`ClusterState`], and how it comes there: `access` (whose API server), `api`
//! (its requests), `watcher` (one kind), [`Kubernetes`] (all of them); what goes back
//! is in `status`. [`preflight`](preflight()) looks at a cluster before it is watched.

mod access;
mod alike;
mod api;
mod cluster;
mod item;
mod preflight;
mod remote;
mod report;
mod state;
mod status;
mod watched;
mod watcher;

pub use access::{Access, AccessError};
pub use alike::Shared;
pub use api::ApiError;
pub use cluster::Kubernetes;
pub use item::{Item, ItemName, Pod, PodName};
pub use preflight::{Finding, Verdict, preflight};
pub use remote::{FoundClusters, RemoteClusters};
pub use state::{ClusterState, News, Trouble};
pub use status::{Seen, Statuses, Timing, Writing};
pub use watched::{Facts, SecretFacts, Watched};
pub use watcher::Pace;
