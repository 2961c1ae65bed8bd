//! What the repository's own commands and its tests share.
//!
//! - [`envoy`]: where the real Envoy is, fetched when it is not there yet.
//! - [`workspace`]: the repository's folders.

pub mod envoy;
pub mod workspace;
