//! What the mesh is told: the objects of all scopes, and the next event that says what of them is not known there yet. Pure.

mod known;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use bowline_mesh::{
    Change, LastGood, Object, ObjectKey, Problem, RegistryEvent, RegistrySettings, Spec,
};

use crate::{
    mapping::label,
    problem,
    remembered::{Memory, Remembered},
    scope::Scope,
    watcher::{Known, News, Standing, Watcher},
};
use known::{Family, family_of, objects};

/// What one scope is, and how it is doing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScopeView<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) watcher: &'a Watcher,
    pub(crate) standing: &'a Standing,
    /// Nobody waits for it any more at the start.
    pub(crate) is_given_up: bool,
}

impl ScopeView<'_> {
    fn error(&self) -> Option<&Arc<str>> {
        match self.standing {
            Standing::Failing(error) | Standing::Denied(error) => Some(error),
            Standing::Starting | Standing::Live | Standing::Throttled => None,
        }
    }
}

/// What the mesh was told, and what it is to be told.
#[derive(Debug)]
pub(crate) struct Told {
    settings: Arc<RegistrySettings>,
    /// The number by which services are called that say none.
    service_port: Option<u16>,
    remembered: Remembered,
    families: BTreeMap<Family, BTreeMap<ObjectKey, Object>>,
    /// Problems by scope and service.
    problems: BTreeMap<(usize, Arc<str>), Vec<Problem>>,
    said: Said,
    dirty: BTreeSet<Family>,
    needs_replace: bool,
    /// Something about how it is doing is to be said.
    standing: bool,
    said_problems: Vec<Problem>,
}

/// The last thing that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Nothing,
    Failing(String),
    Content,
}

impl Told {
    /// With the objects that the mesh had before the start.
    pub(crate) fn new(
        settings: Arc<RegistrySettings>,
        service_port: Option<u16>,
        last_good: LastGood,
    ) -> Self {
        let remembered = Remembered::new(&last_good, Instant::now());
        let mut families: BTreeMap<Family, BTreeMap<ObjectKey, Object>> = BTreeMap::new();
        for object in last_good.objects {
            if let Some(family) = family_of(&object) {
                let objects = families.entry(family).or_default();
                objects.insert(object.key().clone(), object);
            }
        }
        Self {
            settings,
            service_port,
            remembered,
            families,
            problems: BTreeMap::new(),
            said: Said::Nothing,
            dirty: BTreeSet::new(),
            needs_replace: true,
            standing: false,
            said_problems: Vec::new(),
        }
    }

    /// What is known of a scope from before the start.
    pub(crate) fn remembered(&self, scope: &Scope, now: Instant) -> Option<Memory> {
        self.remembered.of(scope, now)
    }

    /// The datacenters of which something is known from before the start.
    pub(crate) fn remembered_datacenters(&self) -> BTreeSet<Arc<str>> {
        self.remembered.datacenters()
    }

    /// Says that nothing can be said. `None` where that was said already.
    pub(crate) fn failing(&mut self, error: String) -> Option<RegistryEvent> {
        let said = Said::Failing(error.clone());
        if self.said == said {
            return None;
        }
        self.said = said;
        self.needs_replace = true;
        // What is wrong with what is served goes on being wrong.
        let problems = self.problems.values().flatten().cloned().collect();
        Some(self.event(Change::Failing { error }, problems))
    }

    /// Takes in what happened in a scope.
    pub(crate) fn note(&mut self, place: usize, view: ScopeView<'_>, news: News) {
        self.standing |= news.standing;
        // Everything was read anew: what is not there is gone, which the guard must be able to doubt.
        self.needs_replace |= news.is_complete;
        for name in news.services {
            let problems = match view.watcher.known(&name) {
                Known::Content(content) => content.problems.clone(),
                Known::Absent | Known::Unknown => Vec::new(),
            };
            match problems.is_empty() {
                true => self.problems.remove(&(place, name.clone())),
                false => self.problems.insert((place, name.clone()), problems),
            };
            if let Some(label) = label(&name) {
                self.dirty.insert(Family {
                    partition: view.scope.key_partition(),
                    label: label.into(),
                });
            }
            self.standing = true;
        }
    }

    /// Whether an event may be due.
    pub(crate) fn has_news(&self, views: &[ScopeView<'_>]) -> bool {
        if all_failing(views).is_some() {
            return self.standing || !matches!(self.said, Said::Failing(_));
        }
        let has_changes = self.standing || self.needs_replace || !self.dirty.is_empty();
        has_changes && can_tell(views)
    }

    /// The event that tells the mesh what it does not know; `None` where there is nothing to tell now.
    pub(crate) fn next_event(&mut self, views: &[ScopeView<'_>]) -> Option<RegistryEvent> {
        self.standing = false;
        if let Some(error) = all_failing(views) {
            return self.failing(error);
        }
        if !can_tell(views) {
            return None;
        }
        let problems = self.all_problems(views);
        let change = match self.needs_replace || self.said != Said::Content {
            true => Some(self.replace(views)),
            false => self.update(views),
        };
        let change = change.or_else(|| {
            (problems != self.said_problems).then(|| Change::Update {
                upserts: Vec::new(),
                removes: Vec::new(),
            })
        })?;
        self.said = Said::Content;
        Some(self.event(change, problems))
    }

    fn event(&mut self, change: Change, problems: Vec<Problem>) -> RegistryEvent {
        self.said_problems.clone_from(&problems);
        RegistryEvent {
            registry: self.settings.id.clone(),
            change,
            problems,
        }
    }

    fn replace(&mut self, views: &[ScopeView<'_>]) -> Change {
        let mut families: BTreeSet<Family> = self.families.keys().cloned().collect();
        for view in views {
            let partition = view.scope.key_partition();
            let labels = view.watcher.service_names().filter_map(|name| label(name));
            families.extend(labels.map(|label| Family {
                partition: partition.clone(),
                label: label.into(),
            }));
        }
        for family in families {
            self.renew(family, views);
        }
        self.dirty.clear();
        self.needs_replace = false;
        let objects = self.families.values().flat_map(BTreeMap::values);
        Change::Replace(objects.cloned().collect())
    }

    fn update(&mut self, views: &[ScopeView<'_>]) -> Option<Change> {
        let (mut upserts, mut removes) = (Vec::new(), Vec::new());
        for family in std::mem::take(&mut self.dirty) {
            let before = self.families.get(&family).cloned().unwrap_or_default();
            self.renew(family.clone(), views);
            let nothing = BTreeMap::new();
            let after = self.families.get(&family).unwrap_or(&nothing);
            let is_new = |(key, object): &(&ObjectKey, &Object)| {
                before
                    .get(*key)
                    .is_none_or(|before| before.spec() != object.spec())
            };
            upserts.extend(
                after
                    .iter()
                    .filter(is_new)
                    .map(|(_, object)| object.clone()),
            );
            removes.extend(before.into_keys().filter(|key| !after.contains_key(key)));
        }
        // Services before their endpoints: nobody sees endpoints of nothing.
        upserts.sort_by_key(|object| !matches!(object.spec(), Spec::Service(_)));
        (!upserts.is_empty() || !removes.is_empty()).then_some(Change::Update { upserts, removes })
    }

    /// What one name is now.
    fn renew(&mut self, family: Family, views: &[ScopeView<'_>]) {
        let before = self.families.remove(&family).unwrap_or_default();
        let objects = objects(&self.settings, self.service_port, &family, &before, views);
        if !objects.is_empty() {
            self.families.insert(family, objects);
        }
    }

    fn all_problems(&self, views: &[ScopeView<'_>]) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self.problems.values().flatten().cloned().collect();
        for view in views {
            if let Some(error) = view.error() {
                problems.push(problem::scope_fails(view.scope, error));
                continue;
            }
            if view.watcher.hides_names() {
                problems.push(problem::names_hidden(view.scope));
            }
            for (name, trouble) in view.watcher.troubles() {
                problems.push(problem::trouble(&self.settings, view.scope, name, trouble));
            }
        }
        problems.sort();
        problems.dedup();
        problems
    }
}

/// Whether everything is known that must be: of each scope at least once, and of one of them now. What is read anew stays as it was told,
/// until all of it is read.
fn can_tell(views: &[ScopeView<'_>]) -> bool {
    let is_ready = |view: &ScopeView<'_>| view.watcher.was_complete() || view.is_given_up;
    views.iter().all(is_ready) && views.iter().any(|view| view.watcher.is_complete())
}

/// What the registry fails with, where all of it does.
fn all_failing(views: &[ScopeView<'_>]) -> Option<String> {
    if let [only] = views {
        return only.error().map(|error| error.to_string());
    }
    let errors: Vec<String> = views
        .iter()
        .filter_map(|view| Some(format!("{}: {}", view.scope, view.error()?)))
        .collect();
    (!errors.is_empty() && errors.len() == views.len()).then(|| errors.join("; "))
}
