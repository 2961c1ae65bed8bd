//! How the watch of each kind is doing, for people.

use bowline_mesh::{PartState, RegistryPart, Spec};

use super::{ClusterState, Kind, Trouble, of_kind};
use crate::Watched;

impl ClusterState {
    /// A part for each kind. What needs a clock is left for whoever has one.
    pub fn parts(&self) -> Vec<RegistryPart> {
        let parts = self.kinds.iter();
        parts
            .map(|(watched, kind)| self.part(*watched, kind))
            .collect()
    }

    /// Changes of each kind since the start, in the order of [`ClusterState::parts`].
    pub fn changes(&self) -> Vec<u64> {
        let kinds = self.kinds.values();
        kinds.map(|kind| kind.counts.changes).collect()
    }

    fn part(&self, watched: Watched, kind: &Kind) -> RegistryPart {
        let (services, instances) = match watched {
            Watched::Pod => (0, self.pods.len()),
            Watched::Node => (0, self.nodes.len()),
            Watched::Manifest(manifests) => {
                let of_kind = of_kind(&self.manifests, manifests);
                let specs = of_kind.flat_map(|(_, known)| &known.objects);
                specs.fold((0, 0), |(services, instances), object| {
                    match object.spec() {
                        Spec::Service(_) => (services + 1, instances),
                        Spec::Endpoints(group) => (services, instances + group.endpoints.len()),
                        Spec::Workload(_)
                        | Spec::HttpRoute(_)
                        | Spec::StreamRoute(_)
                        | Spec::Gateway(_)
                        | Spec::Policy(_)
                        | Spec::NetworkGateway(_) => (services, instances),
                    }
                })
            }
        };
        RegistryPart {
            name: watched.to_string().into(),
            state: match (&kind.failing, kind.is_listed) {
                (None, false) => PartState::Starting,
                (None, true) => PartState::Live,
                (Some((_, Trouble::Denied)), _) => PartState::Denied,
                (Some((_, Trouble::Throttled)), _) => PartState::Throttled,
                (Some((_, Trouble::Away)), true) => PartState::Stale,
                (Some((_, Trouble::Away)), false) => PartState::Down,
            },
            stale_for: None,
            services,
            instances,
            changes_per_second_milli: 0,
            throttled: kind.counts.throttled,
            denied: kind.counts.denied,
            drift: kind.counts.drift,
            mode: "".into(),
            last_error: kind.counts.last_error.clone(),
        }
    }
}
