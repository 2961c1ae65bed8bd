//! A store with layers and streams.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bowline_mesh::{Applied, Changed, Mesh, MeshStore, RegistryEvent, view::ViewKey};
use bowline_snapshot::{Assignment, Layer, LayerName, Publisher, SnapshotReceiver};
use bowline_translate::layers::{EndpointLayers, StructureLayers};

use crate::Fleet;

/// Which layers are in use.
#[derive(Debug, Clone, Copy)]
pub struct InUse {
    /// Namespaces.
    pub outbound: usize,
    /// Zones.
    pub endpoints: usize,
    /// Kinds of workload; each has a stream, so it is never fewer than the others.
    pub inbound: usize,
}

impl std::fmt::Display for InUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            outbound,
            endpoints,
            inbound,
        } = self;
        write!(f, "{outbound}+{endpoints}+{inbound}")
    }
}

impl InUse {
    /// Those of a thousand kinds of workload in fifty namespaces and three zones.
    pub const FULL: Self = Self {
        outbound: 50,
        endpoints: 3,
        inbound: 1000,
    };

    /// The keys of each stream.
    fn streams(self, fleet: Fleet) -> Vec<Vec<ViewKey>> {
        (0..self.inbound)
            .map(|index| {
                vec![
                    ViewKey::Outbound(fleet.outbound_key(index % self.outbound)),
                    ViewKey::Endpoints(fleet.endpoints_key(index % self.endpoints)),
                    ViewKey::Inbound(fleet.inbound_key(index)),
                ]
            })
            .collect()
    }
}

/// Everything between a registry and the streams, kept up as the program's writer does it, but step by step.
#[derive(Debug)]
pub struct Serving {
    store: MeshStore,
    endpoints: EndpointLayers,
    structure: StructureLayers,
    publisher: Publisher,
    wanted: BTreeSet<ViewKey>,
    streams: Vec<(Assignment, SnapshotReceiver)>,
}

impl Serving {
    /// A mesh with layers in use, each read by at least one stream.
    pub fn new(fleet: Fleet, in_use: InUse) -> Self {
        let mut store = fleet.empty_store();
        store.apply(fleet.replace(), Duration::ZERO);
        Self::of(store, in_use.streams(fleet))
    }

    /// A mesh with streams that read the layers of these keys.
    pub fn of(store: MeshStore, streams: Vec<Vec<ViewKey>>) -> Self {
        let publisher = Publisher::new();
        let connected = streams
            .iter()
            .map(|keys| publisher.subscribe(keys.iter().map(layer_name).collect()))
            .collect();
        let mut serving = Self {
            store,
            endpoints: EndpointLayers::default(),
            structure: StructureLayers::default(),
            publisher,
            wanted: streams.into_iter().flatten().collect(),
            streams: connected,
        };
        serving.build();
        serving
    }

    /// The mesh as it is now.
    pub fn mesh(&self) -> &Mesh {
        self.store.mesh()
    }

    /// What the streams read now.
    pub fn streams(&self) -> &[(Assignment, SnapshotReceiver)] {
        &self.streams
    }

    /// The layers that are published.
    pub fn layers(&self) -> Vec<(LayerName, Arc<Layer>)> {
        self.publisher.layers()
    }

    /// Builds all layers from nothing and publishes them.
    pub fn build(&mut self) -> u64 {
        self.endpoints = EndpointLayers::default();
        self.structure = StructureLayers::default();
        for key in &self.wanted {
            if let ViewKey::Endpoints(key) = key {
                let like = self.endpoints.like(key);
                let like = like.as_ref().map(|(key, layer)| (key, layer));
                let layer = EndpointLayers::build(self.store.mesh(), key, like);
                self.endpoints.insert(key.clone(), layer);
            }
        }
        let built: Vec<_> = self
            .wanted
            .iter()
            .filter_map(|key| match key {
                ViewKey::Endpoints(of) => Some((layer_name(key), self.endpoints.layer(of)?)),
                ViewKey::Outbound(_) | ViewKey::Inbound(_) | ViewKey::Own(_) => None,
            })
            .map(|(name, layer)| (name, Some(Arc::new(layer.clone()))))
            .collect();
        self.publisher.publish(built);
        self.publish_structure(&Changed::default())
    }

    /// The endpoint path: from the event to the published generation.
    pub fn take_endpoints(&mut self, event: RegistryEvent) -> u64 {
        let Applied { changed, .. } = self.store.apply(event, Duration::ZERO);
        let update = self.endpoints.update(self.store.mesh(), &changed.endpoints);
        let layers: Vec<_> = update
            .changed
            .into_iter()
            .filter_map(|key| {
                let layer = self.endpoints.layer(&key)?.clone();
                Some((layer_name(&ViewKey::Endpoints(key)), Some(Arc::new(layer))))
            })
            .collect();
        self.publisher.publish(layers)
    }

    /// The structure path: from the event to the published generation.
    pub fn take_structure(&mut self, event: RegistryEvent) -> u64 {
        let Applied { changed, .. } = self.store.apply(event, Duration::ZERO);
        self.publish_structure(&changed)
    }

    fn publish_structure(&mut self, changed: &Changed) -> u64 {
        let layers = self
            .structure
            .update(self.store.mesh(), changed, &self.wanted);
        self.publisher.publish(
            layers
                .into_iter()
                .map(|(key, layer)| (layer_name(&key), Some(Arc::new(layer)))),
        )
    }
}

fn layer_name(key: &ViewKey) -> LayerName {
    LayerName::new(key.to_string())
}

#[cfg(test)]
mod tests {
    use bowline_snapshot::ResourceType;

    use super::*;

    const FLEET: Fleet = Fleet { services: 100 };
    const IN_USE: InUse = InUse {
        outbound: 5,
        endpoints: 3,
        inbound: 20,
    };

    fn changed(
        before: &[(LayerName, Arc<Layer>)],
        after: &[(LayerName, Arc<Layer>)],
    ) -> Vec<String> {
        assert_eq!(before.len(), after.len());
        before
            .iter()
            .zip(after)
            .filter(|((_, before), (_, after))| !Arc::ptr_eq(before, after))
            .map(|((name, _), _)| name.to_string())
            .collect()
    }

    #[test]
    fn every_stream_has_a_snapshot_with_every_service() {
        let serving = Serving::new(FLEET, IN_USE);
        assert_eq!(serving.layers().len(), 28);
        for (_, receiver) in serving.streams() {
            let snapshot = receiver.current().expect("all layers are there");
            assert_eq!(snapshot.len(ResourceType::ENDPOINT), 100);
            assert!(snapshot.len(ResourceType::CLUSTER) > 100);
        }
    }

    #[test]
    fn a_change_of_endpoints_changes_endpoint_layers_only() {
        let mut serving = Serving::new(FLEET, IN_USE);
        let before = serving.layers();
        serving.take_endpoints(FLEET.upsert([FLEET.endpoints(2, 7)]));
        let changed = changed(&before, &serving.layers());
        assert_eq!(changed.len(), 3, "{changed:?}");
        assert!(
            changed.iter().all(|name| name.starts_with("endpoints/")),
            "{changed:?}"
        );
    }

    #[test]
    fn a_new_service_and_a_changed_route_change_outbound_layers_only() {
        let mut serving = Serving::new(FLEET, IN_USE);
        for object in [FLEET.service(100), FLEET.route(2, 1), FLEET.route(2, 2)] {
            let before = serving.layers();
            serving.take_structure(FLEET.upsert([object]));
            let changed = changed(&before, &serving.layers());
            assert_eq!(changed.len(), 5, "{changed:?}");
            assert!(
                changed.iter().all(|name| name.starts_with("outbound/")),
                "{changed:?}"
            );
        }
    }
}
