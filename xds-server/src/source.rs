//! Lets streams in: from a Node and a peer to a place at the pipeline.

use bowline_ads::{Opened, Peer, ProxyDescription, Refusal, Source};
use bowline_proto::envoy::config::core::v3::Node;

use crate::{
    node::{self, NodeError},
    pipeline::PipelineHandle,
};

/// Serves what the pipeline makes.
#[derive(Debug, Clone)]
pub struct MeshSource {
    pipeline: PipelineHandle,
}

impl MeshSource {
    /// A source that asks this pipeline.
    pub fn new(pipeline: PipelineHandle) -> Self {
        Self { pipeline }
    }
}

impl Source for MeshSource {
    async fn open(&self, node: &Node, peer: &Peer) -> Result<Opened, Refusal> {
        let mesh = self.pipeline.mesh();
        let proxy =
            node::proxy(node, peer.identity.as_ref(), &mesh).map_err(|error| match error {
                NodeError::NoId | NodeError::Invalid { .. } => {
                    Refusal::InvalidArgument(error.to_string())
                }
                NodeError::NotProven { .. } => Refusal::PermissionDenied(error.to_string()),
            })?;
        let description = ProxyDescription {
            id: proxy.id.clone(),
            role: proxy.role.to_string().into(),
            identity: proxy.identity.clone(),
        };
        let opening = self
            .pipeline
            .open(proxy)
            .await
            .map_err(|ended| Refusal::Unavailable(ended.to_string()))?;
        // The pipeline sees by itself when nobody reads the snapshots any more.
        Ok(Opened {
            proxy: description,
            snapshots: opening.snapshots,
            guard: Box::new(()),
        })
    }
}
