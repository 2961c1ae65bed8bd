//! What should be said of the cluster's objects, where that differs from what it has.

use std::collections::BTreeSet;

use bowline_manifests::{
    Known as StatusKnown, ManifestKind, ManifestName, Outcome, route_manifest, status,
};
use bowline_mesh::{GatewayName, ObjectKey, Served};

use super::{ClusterState, of_kind};
use crate::{
    item::has_status,
    status::{StatusWrite, merged},
};

impl ClusterState {
    /// Notes that what is said of any object may be wrong.
    pub(crate) fn doubt_all_statuses(&mut self) {
        let kinds = ManifestKind::ALL.iter();
        for kind in kinds.filter(|kind| has_status(**kind)) {
            self.doubt_statuses_of(*kind);
        }
    }

    /// Notes that what is said of objects of a kind may be wrong.
    pub(crate) fn doubt_statuses_of(&mut self, kind: ManifestKind) {
        let names = of_kind(&self.manifests, kind).map(|(name, _)| name.clone());
        self.doubted.extend(names);
    }

    /// Notes that what is said of some routes may be wrong.
    pub(crate) fn doubt_routes(&mut self, routes: &BTreeSet<ObjectKey>) {
        let ours = routes.iter().filter(|key| key.registry == self.settings.id);
        self.doubted.extend(ours.filter_map(route_manifest));
    }

    /// Looks at up to so many objects whose statuses may be wrong, and says which are.
    pub(crate) fn status_writes(&mut self, at_most: usize, served: &Served) -> Vec<StatusWrite> {
        let mut writes = Vec::new();
        for _ in 0..at_most {
            let Some(name) = self.doubted.pop_first() else {
                break;
            };
            writes.extend(self.status_write(name, served));
        }
        writes
    }

    fn status_write(&self, name: ManifestName, served: &Served) -> Option<StatusWrite> {
        let known = self.manifests.get(&name)?;
        let seen = known.seen.as_ref()?;
        let is_current = match (&known.object.manifest, &known.good) {
            (Some(manifest), Some(good)) => std::sync::Arc::ptr_eq(manifest, good),
            (_, _) => false,
        };
        let outcome = Outcome {
            objects: &known.objects,
            problems: &known.problems,
            is_current,
        };
        let half_read = known.object.half_read.as_deref();
        let manifest = half_read.or(known.manifest())?;
        let status = status(&name, manifest, outcome, self.status_known(served))?;
        merged(&name, &status, seen, "")?;
        Some(StatusWrite {
            seen: seen.clone(),
            name,
            status,
        })
    }

    /// The gateways whose Services have endpoints that are ready.
    pub(crate) fn ready_gateways(&self, served: &Served) -> BTreeSet<GatewayName> {
        self.status_known(served).ready_gateways()
    }

    fn status_known<'k>(&'k self, served: &'k Served) -> StatusKnown<'k> {
        StatusKnown {
            settings: &self.settings,
            references: &self.references,
            served,
        }
    }
}
