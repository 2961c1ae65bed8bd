//! Serves snapshots to Envoys over the discovery services, aggregated and per type, state of the world and delta.
//!
//! It knows the protocol and nothing of services: what a proxy is served comes from a [`Source`], which the program implements, as a
//! stream of snapshots; what became of it is in the [`Fleet`].
//!
//! ```text
//! connection ──► service ──► stream (moves values) ──► session (decides; no I/O) ──► response ──► wire
//! ```
//!
//! Whoever publishes had better do so on another runtime than the one that serves the streams: a task that is to publish comes to the
//! end of the queue, behind a fleet that is being sent what was published before.
//!
//! Reading order: `session` and the files in it are the protocol; `subscription` and `names` are what clients ask for; `stream`,
//! `progress` and `service` are the shell around a session; `wire` writes what it says and `grpc` frames it.

mod admission;
mod alarm;
mod csds;
mod fleet;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod grpc;
mod loads;
mod method;
mod names;
mod node;
mod progress;
mod response;
mod service;
mod session;
mod settings;
mod source;
mod stream;
mod subscription;
#[cfg(test)]
mod testing;
mod wire;

pub use csds::ClientStatusService;
pub use fleet::{
    Acknowledged, Counters, Event, Fleet, Observer, ProxyStatus, Rejected, Sent, Suspect,
    TypeStatus,
};
pub use loads::{
    Load, LoadLimits, LoadReportingService, LoadSettings, LoadTotals, Loads, Reporter, Reporters,
    Sums,
};
pub use service::{DiscoveryService, Retiring};
pub use session::Variant;
pub use settings::Settings;
pub use source::{Coverage, Opened, Peer, ProxyDescription, Refusal, Source, StreamKind};
