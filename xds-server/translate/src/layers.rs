//! All layers in use, kept up with the mesh at the cost of the change.
//!
//! There are two sets, because they have different tempers. [`EndpointLayers`] is updated in the writer's own step: most events
//! change endpoints only, and re-encode one assignment per set of callers that see it alike. [`StructureLayers`] is everything
//! else; its updates may take long, so it is made to be moved to another thread and back.
//!
//! What is built twice from equal views is built once and shared, whichever layers it goes into.

mod east_west_layers;
mod endpoint_layers;
mod grpc_layers;
mod structure_layers;

pub use endpoint_layers::{EndpointLayer, EndpointLayers, EndpointsUpdate};
pub use structure_layers::StructureLayers;

#[cfg(test)]
mod tests;
