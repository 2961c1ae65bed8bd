//! What the mesh has been told, and what is new to tell.

use std::collections::{BTreeMap, BTreeSet};

use bowline_mesh::{Change, Object, ObjectKey, Problem, RegistryEvent};

use super::{ClusterState, Kind, external_name};

/// More is not told about one cluster: nobody reads it, and all problems go along with every event.
const PROBLEMS_MAX: usize = 1_000;

/// What differs from what the mesh was told.
#[derive(Debug, Default)]
pub(super) struct Telling {
    stage: Stage,
    /// Whether everything was told once.
    has_told: bool,
    /// Everything must be told again, because something disappeared that nobody saw go.
    must_tell: bool,
    /// Everything must be told once all can be read again.
    owes_everything: bool,
    /// What changes is told although something cannot be read.
    meanwhile: bool,
    /// What the mesh was told of an object, and what it is now.
    changed: BTreeMap<ObjectKey, (Option<Object>, Option<Object>)>,
    problems_differ: bool,
    /// As they were told.
    problems: Vec<Problem>,
}

/// What the mesh believes of the cluster as a whole.
#[derive(Debug, Default, PartialEq, Eq)]
enum Stage {
    /// It has not heard anything.
    #[default]
    Unheard,
    /// It can be read.
    Live,
    /// It cannot, for this reason.
    Failing(String),
}

impl Telling {
    /// Notes that some objects have become others.
    pub(super) fn differs(&mut self, before: &[Object], now: &[Object]) {
        // A first list can be long: that everything is new need not be noted of each.
        if self.must_tell || !self.has_told {
            return;
        }
        for object in before {
            if !now.iter().any(|other| other.key() == object.key()) {
                self.note(object.key(), Some(object), None);
            }
        }
        for object in now {
            let before = before.iter().find(|other| other.key() == object.key());
            if before != Some(object) {
                self.note(object.key(), before, Some(object));
            }
        }
    }

    fn note(&mut self, key: &ObjectKey, before: Option<&Object>, now: Option<&Object>) {
        match self.changed.get_mut(key) {
            Some((_, newest)) => *newest = now.cloned(),
            None => {
                let change = (before.cloned(), now.cloned());
                self.changed.insert(key.clone(), change);
            }
        }
    }

    pub(super) fn problems_differ(&mut self) {
        self.problems_differ = true;
    }

    pub(super) fn must_tell_everything(&mut self) {
        self.must_tell = true;
    }

    /// What changed since it was last asked, without what changed and changed back.
    fn update(&mut self) -> Change {
        let mut upserts = Vec::new();
        let mut removes = Vec::new();
        for (key, (before, now)) in std::mem::take(&mut self.changed) {
            match now {
                Some(object) if before.as_ref() == Some(&object) => {}
                Some(object) => upserts.push(object),
                None if before.is_some() => removes.push(key),
                None => {}
            }
        }
        Change::Update { upserts, removes }
    }
}

impl ClusterState {
    /// Whether everything that there is was known once.
    pub fn is_listed(&self) -> bool {
        self.required().all(|kind| kind.is_listed)
    }

    /// Whether there may be something new to tell.
    pub fn has_news(&self) -> bool {
        let stage_differs = match (self.failing(), &self.telling.stage) {
            (Some(error), Stage::Failing(told)) => error != *told,
            (Some(_), Stage::Unheard | Stage::Live) => true,
            (None, _) => false,
        };
        stage_differs || (self.is_listed() && !self.waits_for_recovery() && self.has_changes())
    }

    /// Whether there is something to tell that waits because the cluster cannot be read. When a connection is lost, all kinds come back
    /// one after the other, and what changed meanwhile is told as one. It need not wait for long: one kind may be denied for ever.
    pub fn holds_changes(&self) -> bool {
        self.is_listed() && self.waits_for_recovery() && self.has_changes()
    }

    /// Tells changes from now on although something cannot be read.
    pub fn tell_meanwhile(&mut self) {
        self.telling.meanwhile = true;
    }

    fn waits_for_recovery(&self) -> bool {
        let Telling {
            stage, meanwhile, ..
        } = &self.telling;
        matches!(stage, Stage::Failing(_)) && !meanwhile && self.failing().is_some()
    }

    fn has_changes(&self) -> bool {
        let Telling {
            stage: _,
            has_told,
            must_tell,
            owes_everything,
            meanwhile: _,
            changed,
            problems_differ,
            problems: _,
        } = &self.telling;
        let owes = *owes_everything && self.failing().is_none();
        owes || !has_told || *must_tell || *problems_differ || !changed.is_empty()
    }

    /// What is new to tell, if anything, once nothing is left to [settle](ClusterState::settle). It counts as told.
    pub fn event(&mut self) -> Option<RegistryEvent> {
        let failing = self.failing();
        if failing.is_none() {
            self.telling.meanwhile = false;
            self.telling.must_tell |= std::mem::take(&mut self.telling.owes_everything);
        }
        if self.is_listed() && !self.waits_for_recovery() {
            let has_new_problems = self.look_for_problems();
            if self.telling.must_tell || !self.telling.has_told {
                return Some(self.tell_everything());
            }
            let update = self.telling.update();
            let is_empty = matches!(&update, Change::Update { upserts, removes } if upserts.is_empty() && removes.is_empty());
            if has_new_problems || !is_empty {
                // To the mesh, whoever says something can be read.
                self.telling.stage = Stage::Live;
                return Some(self.said(update));
            }
        }
        let stage = Stage::Failing(failing?);
        if stage == self.telling.stage {
            return None;
        }
        self.telling.stage = stage;
        self.telling.owes_everything = true;
        let Stage::Failing(error) = &self.telling.stage else {
            return None;
        };
        let error = error.clone();
        Some(self.said(Change::Failing { error }))
    }

    fn tell_everything(&mut self) -> RegistryEvent {
        let of_manifests = self.manifests.values().flat_map(|known| &known.objects);
        let of_pods = self.pods.iter().filter_map(|(name, known)| {
            let workload = known.workload.clone()?;
            Some(self.pod_object(name, workload))
        });
        let objects = of_manifests.cloned().chain(of_pods).collect();
        // What is still wrong and was good before the start has its objects by now.
        self.restored.clear();
        let telling = &mut self.telling;
        telling.changed.clear();
        telling.must_tell = false;
        telling.has_told = true;
        telling.stage = Stage::Live;
        self.said(Change::Replace(objects))
    }

    fn said(&self, change: Change) -> RegistryEvent {
        RegistryEvent {
            registry: self.settings.id.clone(),
            change,
            problems: self.telling.problems.clone(),
        }
    }

    /// Whether others are wrong than were told.
    fn look_for_problems(&mut self) -> bool {
        if !std::mem::take(&mut self.telling.problems_differ) {
            return false;
        }
        let problems = self.problems();
        let are_new = problems != self.telling.problems;
        self.telling.problems = problems;
        are_new
    }

    fn problems(&self) -> Vec<Problem> {
        let of_objects = self.manifests.values().flat_map(|known| &known.problems);
        let of_kinds = self.kinds.values().flat_map(|kind| &kind.wrong);
        let objects = self
            .manifests
            .values()
            .map(|known| known.objects.as_slice());
        let circles = external_name::circles(objects);
        let mut problems: Vec<Problem> = of_objects
            .chain(of_kinds)
            .chain(&circles)
            .take(PROBLEMS_MAX)
            .cloned()
            .collect();
        if problems.len() == PROBLEMS_MAX
            && let Some(last) = problems.last_mut()
        {
            let message = format!(
                "{} (and there are more problems than are listed)",
                last.message
            );
            last.message = message.into();
        }
        problems
    }

    /// Why the cluster, or a kind of its objects, cannot be watched now.
    fn failing(&self) -> Option<String> {
        // What concerns the connection is the same for all kinds.
        let errors = self.required().filter_map(|kind| kind.failing.as_ref());
        let errors: BTreeSet<&str> = errors.map(|(error, _)| error.as_str()).collect();
        (!errors.is_empty()).then(|| Vec::from_iter(errors).join("; "))
    }

    /// What a cluster cannot do without.
    fn required(&self) -> impl Iterator<Item = &Kind> {
        let kinds = self.kinds.iter();
        let required = kinds.filter(|(watched, _)| watched.is_required());
        required.map(|(_, kind)| kind)
    }
}
