//! Outbound layers of east-west gateways.

use std::{collections::BTreeMap, sync::Arc};

use bowline_mesh::{
    Changed, Hostname, Mesh,
    view::{OutboundKey, ServiceView, ViewKey},
};
use bowline_snapshot::{Layer, Resource, ResourceType};

use crate::east_west::{clusters, listener};

/// The outbound layers of all kinds of east-west gateways that are connected.
#[derive(Debug, Default)]
pub(super) struct EastWestLayers {
    layers: BTreeMap<OutboundKey, Services>,
}

/// A layer, and which of its clusters are whose.
#[derive(Debug)]
struct Services {
    layer: Layer,
    clusters: BTreeMap<Hostname, Vec<Arc<str>>>,
}

impl EastWestLayers {
    /// Brings the changed services into all layers. Returns those that may be different now.
    pub(super) fn follow_services(
        &mut self,
        mesh: &Mesh,
        changed: &Changed,
    ) -> Vec<(ViewKey, Layer)> {
        if changed.services.is_empty() {
            return Vec::new();
        }
        let mut layers = Vec::new();
        for (key, services) in &mut self.layers {
            for hostname in &changed.services {
                services.set(mesh, key, hostname);
            }
            let layer = services.layer.clone();
            layers.push((ViewKey::Outbound(key.clone()), layer));
        }
        layers
    }

    /// Builds the layer of a new kind of gateway. `None` where it is there already.
    pub(super) fn add(&mut self, mesh: &Mesh, key: &OutboundKey) -> Option<Layer> {
        if self.layers.contains_key(key) {
            return None;
        }
        let mut layer = Layer::default();
        let listener = listener(mesh.settings(), key.families);
        let resource = Resource::encode(listener.name.as_str(), &listener, []);
        layer.upsert(ResourceType::LISTENER, resource);
        let mut services = Services {
            layer,
            clusters: BTreeMap::new(),
        };
        for service in mesh.services() {
            services.set(mesh, key, &service.hostname);
        }
        let layer = services.layer.clone();
        self.layers.insert(key.clone(), services);
        Some(layer)
    }

    /// Forgets layers that nobody uses.
    pub(super) fn retain(&mut self, is_used: impl Fn(&OutboundKey) -> bool) {
        self.layers.retain(|key, _| is_used(key));
    }
}

impl Services {
    /// Follows what a service is now, if it is there.
    fn set(&mut self, mesh: &Mesh, key: &OutboundKey, hostname: &Hostname) {
        let view = ServiceView::new(mesh, key, hostname);
        let resources = view.map(|view| clusters(&view)).unwrap_or_default();
        let names: Vec<_> = resources
            .iter()
            .map(|resource| resource.name().clone())
            .collect();
        for name in self.clusters.remove(hostname).unwrap_or_default() {
            if !names.contains(&name) {
                self.layer.remove(ResourceType::CLUSTER, &name);
            }
        }
        for resource in resources {
            self.layer.upsert(ResourceType::CLUSTER, resource);
        }
        if !names.is_empty() {
            self.clusters.insert(hostname.clone(), names);
        }
    }
}
