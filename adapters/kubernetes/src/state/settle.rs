//! Converting what is new, or means something else because other objects have changed.

use std::sync::Arc;

use bowline_manifests::{
    Affects, Context, Converted, ManifestKind, ManifestName, convert, objects_of,
};

use super::{ClusterState, Known, external_name, of_kind};
use crate::item::PodName;

impl ClusterState {
    /// Converts up to so many objects. Says whether there are more. Nothing is converted before everything was listed once: most of
    /// it would have to be converted again.
    pub fn settle(&mut self, at_most: usize) -> bool {
        if !self.is_listed() {
            return false;
        }
        let affected = std::mem::take(&mut self.affected);
        match affected {
            Affects::Nobody => {}
            Affects::Ingresses => self.doubt_statuses_of(ManifestKind::Ingress),
            Affects::Statuses | Affects::Routing => self.doubt_all_statuses(),
        }
        let kinds = ManifestKind::ALL.iter();
        for kind in kinds.filter(|kind| affected.concerns(**kind)) {
            let names = of_kind(&self.manifests, *kind).map(|(name, _)| name.clone());
            self.dirty.extend(names);
        }
        for _ in 0..at_most {
            // Pods look at what services have become.
            if let Some(name) = self.dirty.pop_first() {
                self.settle_manifest(&name);
            } else if let Some(name) = self.dirty_pods.pop_first() {
                self.settle_pod(&name);
            } else {
                return false;
            }
        }
        !self.dirty.is_empty() || !self.dirty_pods.is_empty()
    }

    fn settle_pod(&mut self, name: &PodName) {
        let Some(known) = self.pods.get(name) else {
            return;
        };
        let now = self.workload(name, &known.pod);
        if known.workload.as_deref() == now.as_ref() {
            return;
        }
        let now = now.map(Arc::new);
        let [before, told] = [&known.workload, &now].map(|workload| {
            let workload = workload.clone()?;
            Some(self.pod_object(name, workload))
        });
        self.telling.differs(before.as_slice(), told.as_slice());
        if let Some(known) = self.pods.get_mut(name) {
            known.workload = now;
        }
    }

    fn settle_manifest(&mut self, name: &ManifestName) {
        let Some(known) = self.manifests.get(name) else {
            return;
        };
        let Known {
            object,
            good,
            objects: before,
            problems: _,
            seen: _,
        } = known;
        let context = Context {
            settings: &self.settings,
            references: &self.references,
        };
        let converted = |manifest| convert(name, manifest, &object.source, context);
        let mut problems = object.problems.clone();
        let mut good = good.clone();
        let mut objects = None;
        if let Some(manifest) = &object.manifest {
            let now: Converted = converted(manifest);
            problems.extend(now.problems);
            if now.objects.is_some() {
                objects = now.objects;
                good = Some(manifest.clone());
            }
        }
        let objects = match (objects, &good) {
            (Some(objects), _) => objects,
            // The problems of the last good version are not those of what is there.
            (None, Some(good)) => converted(good).objects.unwrap_or_default(),
            (None, None) if !before.is_empty() => before.clone(),
            (None, None) => objects_of(name, &self.settings, &self.restored)
                .into_iter()
                .cloned()
                .collect(),
        };
        let Some(known) = self.manifests.get_mut(name) else {
            return;
        };
        self.telling.differs(&known.objects, &objects);
        let is_external = external_name::is_external;
        if known.problems != problems || is_external(&known.objects) || is_external(&objects) {
            self.telling.problems_differ();
        }
        known.objects = objects;
        known.problems = problems;
        known.good = good;
    }
}
