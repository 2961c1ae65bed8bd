//! Lets streams in: from a Node and a peer to a place at the pipeline.

use bowline_ads::{
    Opened, Peer, ProxyDescription, Refusal, Reporter, Reporters, Source, StreamKind,
};
use bowline_mesh::Proxy;
use bowline_proto::envoy::config::core::v3::Node;

use bowline_translate::name::PASSTHROUGH_CLUSTER;

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

    /// The proxy that a Node describes, as far as its peer has proved it.
    fn proxy(&self, node: &Node, peer: &Peer) -> Result<Proxy, Refusal> {
        let mesh = self.pipeline.mesh();
        node::proxy(node, peer.identity.as_ref(), &mesh).map_err(|error| match error {
            NodeError::NoId | NodeError::Invalid { .. } => {
                Refusal::InvalidArgument(error.to_string())
            }
            NodeError::NotProven { .. } => Refusal::PermissionDenied(error.to_string()),
        })
    }
}

impl Reporters for MeshSource {
    fn reporter(&self, node: &Node, peer: &Peer) -> Result<Reporter, Refusal> {
        let Proxy {
            namespace, name, ..
        } = self.proxy(node, peer)?;
        // What Istio's agents write, and ours: `{service}.{namespace}`. In another namespace nobody can claim to be.
        let service = node
            .cluster
            .strip_suffix(namespace.as_str())
            .and_then(|start| start.strip_suffix('.'))
            .filter(|service| !service.is_empty())
            .unwrap_or(&name);
        Ok(Reporter {
            service: format!("{service}.{namespace}").into(),
            workload: format!("{namespace}/{name}").into(),
        })
    }

    fn keeps(&self, cluster: &str) -> bool {
        // Not what comes in, and not the proxy's own connection to us.
        cluster.starts_with("outbound|") || cluster == PASSTHROUGH_CLUSTER
    }
}

impl Source for MeshSource {
    async fn open(&self, node: &Node, peer: &Peer, stream: StreamKind) -> Result<Opened, Refusal> {
        let proxy = Proxy {
            route_delivery: node::route_delivery(node, stream),
            ..self.proxy(node, peer)?
        };
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
