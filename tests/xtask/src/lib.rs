//! What the repository's own commands and its tests share.
//!
//! - [`cargo`]: Cargo, called from what Cargo has started.
//! - [`envoy`]: where the real Envoy is, fetched when it is not there yet.
//! - [`image`]: the program as a container image.
//! - [`kubectl`]: where kubectl is, fetched when it is not there yet.
//! - [`grpc`]: where real gRPC clients are, fetched likewise.
//! - [`workspace`]: the repository's folders.

pub mod cargo;
pub mod envoy;
pub mod grpc;
pub mod image;
pub mod kubectl;
mod wheel;
pub mod workspace;

mod environment;
