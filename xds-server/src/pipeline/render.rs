//! What a proxy would get, without a running pipeline.

use std::{collections::BTreeSet, sync::Arc};

use bowline_mesh::{Changed, Mesh, Problem, Proxy, view::ViewKey};
use bowline_snapshot::{Layer, Snapshot};
use bowline_translate::layers::{EndpointLayer, EndpointLayers, StructureLayers};

/// What a proxy would be served.
#[derive(Debug)]
pub struct Rendered {
    /// All its layers.
    pub snapshot: Snapshot,
    /// What could not be made as written.
    pub problems: Vec<Problem>,
}

/// Builds what a proxy would be served, by the same code that serves it.
pub fn render(mesh: &Mesh, proxy: &Proxy) -> Rendered {
    let keys = ViewKey::of(proxy, mesh);
    let wanted: BTreeSet<ViewKey> = keys.iter().cloned().collect();
    let mut structure = StructureLayers::default();
    let built = structure.update(mesh, &Changed::default(), &wanted);
    let mut endpoints = EndpointLayers::default();
    let mut layers: Vec<Arc<Layer>> = Vec::new();
    for key in &keys {
        let layer = match key {
            ViewKey::Endpoints(key) => {
                endpoints.insert(key.clone(), EndpointLayer::default());
                endpoints.update(mesh, mesh.services().map(|service| &service.hostname));
                endpoints.layer(key).cloned()
            }
            ViewKey::Outbound(_) | ViewKey::Inbound(_) | ViewKey::Own(_) => built
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, layer)| layer.clone()),
        };
        layers.extend(layer.map(Arc::new));
    }
    let mut problems = structure.problems();
    problems.extend(endpoints.problems().into_iter().cloned());
    Rendered {
        snapshot: Snapshot::new(1, layers),
        problems,
    }
}
