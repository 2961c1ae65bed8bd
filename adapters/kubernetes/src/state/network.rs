//! Namespaces whose labels say in which network what runs in them is.

use std::sync::Arc;

use bowline_manifests::{CLUSTER_NETWORK_NAMESPACE, ManifestKind, ManifestName};
use bowline_mesh::Namespace;

use super::ClusterState;

impl ClusterState {
    /// What a namespace's label says of the network of what runs in it.
    pub(super) fn network_label(&self, name: &ManifestName) -> Option<Arc<str>> {
        let namespace = match name.kind {
            ManifestKind::Namespace => name.name.parse().ok()?,
            _ => return None,
        };
        self.references.network_label(&namespace).cloned()
    }

    /// Namespaces seldom get another network, so what is in them is looked for.
    pub(super) fn dirty_if_moved(&mut self, name: &ManifestName, before: Option<Arc<str>>) {
        if self.network_label(name) == before {
            return;
        }
        let is_whole_cluster = *name.name == *CLUSTER_NETWORK_NAMESPACE;
        let is_in_it =
            |namespace: &Namespace| is_whole_cluster || *namespace.as_str() == *name.name;
        let manifests = self.manifests.keys().filter(|name| {
            let may_have_endpoints = matches!(
                name.kind,
                ManifestKind::Service | ManifestKind::EndpointSlice
            );
            may_have_endpoints && name.namespace.as_ref().is_some_and(is_in_it)
        });
        self.dirty.extend(manifests.cloned());
        let pods = self.pods.keys().filter(|pod| is_in_it(&pod.namespace));
        self.dirty_pods.extend(pods.cloned());
    }
}
