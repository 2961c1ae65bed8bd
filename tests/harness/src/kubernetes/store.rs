//! What is in the cluster, and everything that ever happened to it.
//!
//! One revision counts over all kinds, as in etcd: an object's `resourceVersion` is the revision
//! of its last change. Nothing of the history is thrown away; compaction is a mark below which
//! nobody may begin to read.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use imbl::OrdMap;
use serde_json::{Value, json};

use super::{
    json::{at, field, set},
    kind::{Kind, Origin},
};

/// Where an object is within its kind; the namespace of a cluster's own objects is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// The objects of one kind, cheap to copy.
pub(super) type Objects = OrdMap<Key, Arc<Stored>>;

/// An object, encoded once.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) revision: u64,
    pub(super) labels: BTreeMap<String, String>,
    /// All of it but `apiVersion` and `kind`.
    json: Bytes,
}

/// A change of one object.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) resource: Arc<str>,
    pub(super) key: Key,
    pub(super) before: Option<Arc<Stored>>,
    pub(super) after: Option<Arc<Stored>>,
}

/// Everything in the cluster.
#[derive(Debug)]
pub(super) struct Store {
    kinds: BTreeMap<Arc<str>, Arc<Kind>>,
    objects: BTreeMap<Arc<str>, Objects>,
    /// The change of revision `FIRST + n` is at `n`.
    history: Vec<Change>,
    compacted: u64,
    identities: u64,
}

/// The revision of the first change: that of a cluster that has just been made is not 1.
const FIRST: u64 = 1_001;

/// How an object is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Whole,
    /// `PartialObjectMetadata`.
    Metadata,
}

/// Where an object is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Alone,
    InList,
}

impl Stored {
    fn new(revision: u64, mut value: Value) -> Self {
        if let Some(object) = value.as_object_mut() {
            object.remove("apiVersion");
            object.remove("kind");
        }
        let labels = at(&value, "/metadata/labels")
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(label, value)| Some((label.clone(), value.as_str()?.to_owned())))
            .collect();
        Self {
            revision,
            labels,
            json: value.to_string().into(),
        }
    }

    /// The object without `apiVersion` and `kind`.
    pub(super) fn value(&self) -> Value {
        serde_json::from_slice(&self.json).unwrap_or_default()
    }

    /// The object as a client reads it.
    pub(super) fn show(&self, kind: &Kind, version: &str, shape: Shape, place: Place) -> Bytes {
        let (api_version, name, json) = match shape {
            Shape::Whole if place == Place::InList && kind.origin == Origin::BuiltIn => {
                return self.json.clone();
            }
            Shape::Whole => (
                kind.api_version(version),
                kind.name.as_str(),
                self.json.clone(),
            ),
            Shape::Metadata => {
                let metadata = field(&mut self.value(), "metadata").take();
                let json = json!({"metadata": metadata}).to_string();
                (
                    "meta.k8s.io/v1".to_owned(),
                    "PartialObjectMetadata",
                    json.into(),
                )
            }
        };
        let mut shown = Vec::with_capacity(json.len() + 64);
        shown.extend_from_slice(
            format!("{{\"apiVersion\":\"{api_version}\",\"kind\":\"{name}\",").as_bytes(),
        );
        shown.extend_from_slice(json.get(1..).unwrap_or_default());
        shown.into()
    }

    /// What it was when it was deleted: the same with the revision of that.
    pub(super) fn deleted_at(&self, revision: u64) -> Self {
        let mut value = self.value();
        set(
            &mut value,
            &["metadata", "resourceVersion"],
            revision.to_string(),
        );
        Self::new(revision, value)
    }
}

impl Default for Store {
    fn default() -> Self {
        let mut store = Self {
            kinds: BTreeMap::new(),
            objects: BTreeMap::new(),
            history: Vec::new(),
            compacted: FIRST - 1,
            identities: 0,
        };
        for kind in Kind::built_in() {
            store.install(kind);
        }
        store
    }
}

impl Store {
    /// The revision of the last change.
    pub(super) fn revision(&self) -> u64 {
        FIRST - 1 + self.history.len() as u64
    }

    /// The revision from which on watches may begin.
    pub(super) fn compacted(&self) -> u64 {
        self.compacted
    }

    /// Forgets what led to the present.
    pub(super) fn compact(&mut self) {
        self.compacted = self.revision();
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds.values()
    }

    /// The kind with this name of resource (`services`, `gateways.gateway.networking.k8s.io`).
    pub(super) fn kind(&self, resource: &str) -> Option<Arc<Kind>> {
        self.kinds.get(resource).cloned()
    }

    /// The kind of objects that say this of themselves.
    pub(super) fn kind_of(&self, api_version: &str, name: &str) -> Option<Arc<Kind>> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let said = |kind: &&Arc<Kind>| {
            kind.group == group
                && kind.name == name
                && kind.versions.iter().any(|served| served == version)
        };
        self.kinds.values().find(said).cloned()
    }

    /// Serves a kind from now on.
    pub(super) fn install(&mut self, kind: Kind) {
        let resource: Arc<str> = Arc::from(kind.resource.as_str());
        self.objects.entry(Arc::clone(&resource)).or_default();
        self.kinds.insert(resource, Arc::new(kind));
    }

    /// Serves a kind no longer.
    pub(super) fn uninstall(&mut self, resource: &str) {
        self.kinds.remove(resource);
        self.objects.remove(resource);
    }

    pub(super) fn objects(&self, kind: &Kind) -> Objects {
        self.objects
            .get(kind.resource.as_str())
            .cloned()
            .unwrap_or_default()
    }

    /// The objects of a kind as they were at a revision.
    pub(super) fn objects_at(&self, kind: &Kind, revision: u64) -> Objects {
        let mut objects = self.objects(kind);
        for change in self.since(revision).iter().rev() {
            if *change.resource != *kind.resource {
                continue;
            }
            match &change.before {
                Some(before) => objects.insert(change.key.clone(), Arc::clone(before)),
                None => objects.remove(&change.key),
            };
        }
        objects
    }

    pub(super) fn object(&self, kind: &Kind, key: &Key) -> Option<Arc<Stored>> {
        self.objects.get(kind.resource.as_str())?.get(key).cloned()
    }

    /// What happened after a revision, in order.
    pub(super) fn since(&self, revision: u64) -> &[Change] {
        let known = (revision + 1).saturating_sub(FIRST);
        usize::try_from(known)
            .ok()
            .and_then(|known| self.history.get(known..))
            .unwrap_or_default()
    }

    /// Writes an object as the next revision.
    pub(super) fn commit(&mut self, kind: &Kind, key: &Key, mut value: Value) -> Arc<Stored> {
        let revision = self.revision() + 1;
        set(
            &mut value,
            &["metadata", "resourceVersion"],
            revision.to_string(),
        );
        let stored = Arc::new(Stored::new(revision, value));
        let resource: Arc<str> = Arc::from(kind.resource.as_str());
        let objects = self.objects.entry(Arc::clone(&resource)).or_default();
        let before = objects.insert(key.clone(), Arc::clone(&stored));
        self.history.push(Change {
            resource,
            key: key.clone(),
            before,
            after: Some(Arc::clone(&stored)),
        });
        stored
    }

    /// Takes an object away as the next revision.
    pub(super) fn take_away(&mut self, kind: &Kind, key: &Key) {
        let resource: Arc<str> = Arc::from(kind.resource.as_str());
        let Some(before) = self
            .objects
            .get_mut(&resource)
            .and_then(|objects| objects.remove(key))
        else {
            return;
        };
        self.history.push(Change {
            resource,
            key: key.clone(),
            before: Some(before),
            after: None,
        });
    }

    /// An identity that no object had before.
    pub(super) fn next_identity(&mut self) -> String {
        self.identities += 1;
        format!("5f0c9f5e-7a1b-4c2d-8e3f-{:012x}", self.identities)
    }
}
