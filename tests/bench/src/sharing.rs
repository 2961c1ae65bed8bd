//! What many sidecars share.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use bowline_mesh::{MeshStore, view::ViewKey};
use bowline_snapshot::{Body, Layer};

use crate::{Fleet, Serving};

/// What is held for the sidecars of many workloads, and what it would be if each held its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sharing {
    /// Connected sidecars.
    pub sidecars: usize,
    /// Layers that they read.
    pub layers: usize,
    /// Encoded resources, each counted once however many layers and sidecars have it.
    pub bytes: usize,
    /// The sum over all sidecars of what each is served.
    pub bytes_unshared: usize,
}

impl Sharing {
    /// A mesh with so many workloads, of so many kinds.
    pub fn mesh(fleet: Fleet, workloads: usize, kinds: usize) -> MeshStore {
        let mut store = fleet.empty_store();
        let mut objects = fleet.objects();
        objects.extend((0..workloads).map(|index| fleet.workload(index, kinds)));
        store.apply(fleet.upsert(objects), Duration::ZERO);
        store
    }

    /// Connects the sidecars of all workloads of [`Self::mesh`], and counts.
    pub fn of(fleet: Fleet, store: MeshStore, workloads: usize, kinds: usize) -> (Self, Serving) {
        let streams: Vec<Vec<ViewKey>> = (0..workloads)
            .map(|index| ViewKey::of(&fleet.sidecar(index, kinds), store.mesh()))
            .collect();
        let serving = Serving::of(store, streams);
        let layers = serving.layers();
        let sizes: BTreeMap<&str, usize> = layers
            .iter()
            .map(|(name, layer)| (name.as_str(), served_bytes(layer)))
            .collect();
        let bytes_unshared = serving
            .streams()
            .iter()
            .flat_map(|(assignment, _)| assignment.layers().to_vec())
            .filter_map(|name| sizes.get(name.as_str()))
            .sum();
        let sharing = Self {
            sidecars: workloads,
            layers: layers.len(),
            bytes: distinct_bytes(layers.iter().map(|(_, layer)| &**layer)),
            bytes_unshared,
        };
        (sharing, serving)
    }
}

/// Physical memory of this process in bytes, as Linux counts it; `None` elsewhere.
pub fn resident_memory() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kibibytes: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

fn served_bytes(layer: &Layer) -> usize {
    layer
        .iter()
        .map(|(_, resource)| resource.body().len())
        .sum()
}

/// Bytes that are held: what lies at one address is one.
fn distinct_bytes<'l>(layers: impl IntoIterator<Item = &'l Layer>) -> usize {
    let mut seen = BTreeSet::new();
    for layer in layers {
        for (_, resource) in layer.iter() {
            match resource.body() {
                Body::Whole(bytes) => {
                    seen.insert((bytes.as_ptr(), bytes.len()));
                }
                Body::Parts(head, parts) => {
                    seen.insert((head.as_ptr(), head.len()));
                    seen.extend(parts.iter().map(|part| (part.as_ptr(), part.len())));
                }
            }
        }
    }
    seen.into_iter().map(|(_, length)| length).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sidecars_of_a_thousand_workloads_share_nearly_everything() {
        let fleet = Fleet { services: 100 };
        let (sharing, _) = Sharing::of(fleet, Sharing::mesh(fleet, 3000, 1000), 3000, 1000);
        let Sharing {
            sidecars,
            layers,
            bytes,
            bytes_unshared,
        } = sharing;
        assert_eq!(sidecars, 3000);
        assert_eq!(
            layers,
            50 + 3 + 1000,
            "namespaces, zones and kinds of workload"
        );
        assert!(bytes_unshared > 50 * bytes, "{sharing:?}");
    }
}
