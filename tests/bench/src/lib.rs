//! A mesh of any size, and everything that is made from it, for benchmarks.
//!
//! [`Fleet`] describes the mesh and makes its objects and events; [`Serving`] is a store with layers and streams, which takes
//! events as the program's writer does; [`Sharing`] counts what the streams share. What the benchmarks found is in
//! `docs/benchmarks.md`.

mod fleet;
mod serving;
mod sharing;

pub use fleet::Fleet;
pub use serving::{InUse, Serving};
pub use sharing::{Sharing, resident_memory};
