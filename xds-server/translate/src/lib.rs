//! From a view of the mesh to Envoy configuration.
//!
//! ```text
//! ServiceView ──service──► ServiceParts ──┐
//!                         (one a service) ├─► OutboundAssembly ──► Layer (a sidecar's outbound)
//! EndpointsView ──endpoints──► ClusterLoadAssignments
//! InboundView ──inbound──► Layer          GatewayView ──gateway──► Layer
//! ServiceView ──east_west──► clusters ──► Layer (an east-west gateway's outbound)
//! ServiceView ──grpc──► GrpcParts ──► GrpcAssembly ──► Layer (outbound, of gRPC clients without a proxy)
//! ```
//!
//! Pure functions: the same view makes the same bytes, on every replica and after every restart. What cannot be expressed becomes
//! a [`Problem`], and everything else is served all the same. One file an Envoy feature; reading order as below.

use bowline_mesh::Problem;

pub mod layers;
pub mod name;

mod assembly;
mod east_west;
mod endpoints;
mod gateway;
mod grpc;
mod inbound;
mod service;

mod admin_port;
mod circuit_breaker;
mod cluster;
mod dns;
mod health_check;
mod http;
mod listener;
mod own_connections;
mod problem;
mod retry;
mod route;
mod tcp;
mod unknown_host;
mod virtual_outbound;
mod wire;

#[cfg(test)]
mod testing;

pub use admin_port::ADMIN_PORT;
pub use assembly::OutboundAssembly;
pub use endpoints::endpoints;
pub use gateway::gateway;
pub use grpc::{GrpcAssembly, GrpcParts, grpc};
pub use inbound::inbound;
pub use service::{ServiceParts, service};

/// What was made, and what could not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translated<T> {
    /// What was made.
    pub value: T,
    /// What could not be made as written, in a stable order and without repetitions.
    pub problems: Vec<Problem>,
}

impl<T> Translated<T> {
    fn new(value: T, mut problems: Vec<Problem>) -> Self {
        problems.sort();
        problems.dedup();
        Self { value, problems }
    }
}
