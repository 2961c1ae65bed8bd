//! What the repository's own commands and its tests share.
//!
//! - [`cargo`]: Cargo, called from what Cargo has started.
//! - [`envoy`]: where the real Envoy is, fetched when it is not there yet.
//! - [`workspace`]: the repository's folders.

pub mod cargo;
pub mod envoy;
pub mod workspace;
