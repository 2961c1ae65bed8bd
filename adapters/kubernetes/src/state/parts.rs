//! How the watch of each kind is doing, for people.

use bowline_manifests::Sight;
use bowline_mesh::{Kind as MeshKind, Object, PartState, RegistryPart, Spec};

use super::{ClusterState, Kind, Trouble, of_kind};
use crate::Watched;

impl ClusterState {
    /// A part for each kind. What needs a clock is left for whoever has one.
    pub fn parts(&self) -> Vec<RegistryPart> {
        let parts = self.kinds.iter();
        parts
            .map(|(watched, kind)| self.part(watched, kind))
            .collect()
    }

    /// Changes of each kind since the start, in the order of [`ClusterState::parts`].
    pub fn changes(&self) -> Vec<u64> {
        let kinds = self.kinds.values();
        kinds.map(|kind| kind.counts.changes).collect()
    }

    fn part(&self, watched: &Watched, kind: &Kind) -> RegistryPart {
        let secrets = &self.references.secrets;
        let (services, instances) = match watched {
            _ if !kind.is_listed => self.restored_of(watched),
            Watched::Pod => (0, self.pods.len()),
            Watched::Node => (0, self.nodes.len()),
            Watched::Manifest(manifests) => {
                let of_kind = of_kind(&self.manifests, *manifests);
                counted(of_kind.flat_map(|(_, known)| &known.objects))
            }
            Watched::SecretNames => (0, secrets.count(Sight::Everywhere)),
            Watched::Secrets(namespace) => (0, secrets.count(Sight::Within(namespace))),
        };
        RegistryPart {
            name: watched.to_string().into(),
            state: match (&kind.failing, kind.is_listed) {
                (None, false) => PartState::Starting,
                (None, true) => PartState::Live,
                (Some((_, Trouble::Denied)), _) => PartState::Denied,
                (Some((_, Trouble::NotPermitted)), _) => PartState::NotPermitted,
                (Some((_, Trouble::Throttled)), _) => PartState::Throttled,
                (Some((_, Trouble::Away)), true) => PartState::Stale,
                // What the mesh has of it is from before the start.
                (Some((_, Trouble::Away)), false) if self.has_restored(watched) => PartState::Stale,
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

    /// Whether the mesh has something of a kind from before the start that was not listed since.
    fn has_restored(&self, watched: &Watched) -> bool {
        self.restored_objects(watched).next().is_some()
    }

    /// Services and endpoints, or pods, from before the start.
    fn restored_of(&self, watched: &Watched) -> (usize, usize) {
        match watched {
            Watched::Pod => (0, self.restored_objects(watched).count()),
            Watched::Node | Watched::Manifest(_) | Watched::SecretNames | Watched::Secrets(_) => {
                counted(self.restored_objects(watched))
            }
        }
    }

    /// Objects from before the start, of what those of a kind become in the mesh.
    fn restored_objects(&self, watched: &Watched) -> impl Iterator<Item = &Object> {
        let kind = match watched {
            Watched::Pod => Some(MeshKind::Workload),
            Watched::Node | Watched::SecretNames | Watched::Secrets(_) => None,
            Watched::Manifest(manifests) => manifests.object_kind(),
        };
        let restored = self.restored.values();
        restored.filter(move |object| kind == Some(object.spec().kind()))
    }
}

/// Services, and endpoints.
fn counted<'o>(objects: impl Iterator<Item = &'o Object>) -> (usize, usize) {
    objects.fold((0, 0), |(services, instances), object| {
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
