//! What a workload itself listens on.

use std::sync::Arc;

use super::InboundKey;
use crate::{Mesh, MeshSettings};

/// What a workload itself listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundView {
    /// Settings of the mesh as a whole.
    pub settings: Arc<MeshSettings>,
    /// Everything else.
    pub key: InboundKey,
}

impl InboundView {
    /// The view for a key.
    pub fn new(mesh: &Mesh, key: &InboundKey) -> Self {
        Self {
            settings: mesh.settings.clone(),
            key: key.clone(),
        }
    }
}
