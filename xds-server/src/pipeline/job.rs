//! A structure job: what is built beside the writer, on a thread where it may take its time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bowline_mesh::{
    Changed, Mesh,
    view::{EndpointsKey, ViewKey},
};
use bowline_snapshot::Layer;
use bowline_translate::layers::{EndpointLayer, EndpointLayers, StructureLayers};

/// What the next structure job has to do.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) changed: Changed,
    /// When the oldest event behind it was received.
    pub(super) received: Option<Instant>,
}

/// What a structure job works on.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) structure: StructureLayers,
    pub(super) mesh: Mesh,
    pub(super) pending: Pending,
    pub(super) wanted: BTreeSet<ViewKey>,
    /// Endpoint layers to build, each with one that it will be like, if there is one.
    pub(super) endpoints: Vec<(EndpointsKey, Option<(EndpointsKey, EndpointLayer)>)>,
    /// All endpoint layers are built anew.
    pub(super) is_fresh: bool,
    /// Assignments whose clusters this structure takes away.
    pub(super) stale: BTreeSet<Arc<str>>,
}

/// What a structure job made.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) structure: StructureLayers,
    pub(super) layers: Vec<(ViewKey, Layer)>,
    pub(super) endpoints: Vec<(EndpointsKey, EndpointLayer)>,
    /// All endpoint layers were built anew.
    pub(super) is_fresh: bool,
    pub(super) wanted: BTreeSet<ViewKey>,
    pub(super) stale: BTreeSet<Arc<str>>,
    pub(super) received: Option<Instant>,
    pub(super) took: Duration,
}

impl Job {
    pub(super) fn build(self) -> Built {
        let started = Instant::now();
        let Self {
            mut structure,
            mesh,
            pending: Pending { changed, received },
            wanted,
            endpoints: endpoint_keys,
            is_fresh,
            stale,
        } = self;
        let layers = structure.update(&mesh, &changed, &wanted);
        let mut endpoints: Vec<(EndpointsKey, EndpointLayer)> = Vec::new();
        for (key, like) in endpoint_keys {
            let like = like.or_else(|| endpoints.first().cloned());
            let like = like.as_ref().map(|(key, layer)| (key, layer));
            let layer = EndpointLayers::build(&mesh, &key, like);
            endpoints.push((key, layer));
        }
        Built {
            structure,
            layers,
            endpoints,
            is_fresh,
            wanted,
            stale,
            received,
            took: started.elapsed(),
        }
    }
}
