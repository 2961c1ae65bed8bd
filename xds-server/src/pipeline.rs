//! The pipeline: the single writer between registries and streams.
//!
//! ```text
//! RegistryEvent ─► MeshStore ─┬─► EndpointLayers (at once) ──────────────┐
//!                  │          └─► StructureLayers (beside, one job) ─────┴─► Publisher ─► streams
//!                  └─► state (written behind)
//! ```
//!
//! An event that finds the pipeline idle goes through at once; while a structure job runs, further changes gather and become the
//! next job, and endpoints are published meanwhile. Nothing is published before every registry is known or the start has timed out.

mod births;
mod connections;
mod handle;
mod job;
mod render;
mod saved;
mod standing;
mod writer;

pub use births::Births;
pub use connections::Connected;
pub use handle::{Blocker, LayerStatus, Opening, PipelineEnded, PipelineHandle};
pub use render::{Rendered, render};
pub use saved::{Restored, Saved};
pub use writer::{Pipeline, PipelineSettings, pipeline};

#[cfg(test)]
mod tests;
