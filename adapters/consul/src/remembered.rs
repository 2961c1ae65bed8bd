//! What was known of each scope before the start, for people: until Consul has said everything again, this is what the mesh has of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bowline_mesh::{LastGood, Object};

use crate::{mapping::InstanceName, scope::Scope};

/// What the mesh last had, by scope.
#[derive(Debug)]
pub(crate) struct Remembered {
    scopes: BTreeMap<String, Counted>,
    /// How old it was at the start.
    age: Duration,
    started: Instant,
}

#[derive(Debug, Default)]
struct Counted {
    services: BTreeSet<String>,
    instances: usize,
}

/// What the mesh last had of one scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) services: usize,
    pub(crate) instances: usize,
    /// For how long Consul has not confirmed it.
    pub(crate) age: Duration,
}

impl Remembered {
    pub(crate) fn new(last_good: &LastGood, now: Instant) -> Self {
        let mut scopes: BTreeMap<String, Counted> = BTreeMap::new();
        let names = last_good.objects.iter().map(Object::key);
        for instance in names.filter_map(|key| InstanceName::parse(&key.name)) {
            let counted = scopes.entry(instance.scope).or_default();
            counted.services.insert(instance.service);
            counted.instances += 1;
        }
        Self {
            scopes,
            age: last_good.age(SystemTime::now()),
            started: now,
        }
    }

    /// The datacenters of which something is known. Their names have no blanks, and the names of scopes begin with them.
    pub(crate) fn datacenters(&self) -> BTreeSet<Arc<str>> {
        let scopes = self.scopes.keys();
        let first_words = scopes.filter_map(|scope| scope.split(' ').next());
        first_words.map(Into::into).collect()
    }

    /// What is known of a scope.
    pub(crate) fn of(&self, scope: &Scope, now: Instant) -> Option<Memory> {
        let Counted {
            services,
            instances,
        } = self.scopes.get(&scope.to_string())?;
        Some(Memory {
            services: services.len(),
            instances: *instances,
            age: self.age + now.saturating_duration_since(self.started),
        })
    }
}
