//! What a cluster has, and what follows from it. No I/O, no time: objects in, events of the registry out.
//!
//! Objects are taken as they come, in any order, and note what depends on them; what is noted is converted by [`ClusterState::settle`],
//! once however often it was noted, and what comes out differently is told by [`ClusterState::event`].

mod external_name;
mod network;
mod parts;
mod secrets;
mod settle;
mod statuses;
mod telling;
mod workload;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use bowline_identity::SpiffeId;
use bowline_manifests::{
    Affects, ApiObject, Certificate, EndpointSlice, Manifest, ManifestKind, ManifestName,
    NodeFacts, PodFacts, Sight,
};
use bowline_mesh::{Locality, Namespace, Object, ObjectKey, Problem, RegistrySettings, Workload};

use crate::{Item, ItemName, Watched, alike::Alike, item::Pod, item::PodName, status::Seen};

use self::telling::Telling;

/// What a watch says about its kind.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// Everything that there is.
    Listed {
        /// The objects.
        items: Vec<Item>,
        /// What is wrong with those that cannot be taken.
        wrong: Vec<Problem>,
    },
    /// An object is new or different.
    Put(Item),
    /// An object is gone.
    Gone(ItemName),
    /// An object is new or different, but cannot be taken.
    Wrong(Problem),
    /// It cannot be watched now. What was known stays.
    Failing {
        /// What fails, and what to do.
        error: String,
        /// What kind of failure it is.
        trouble: Trouble,
    },
    /// It is watched again, and nothing was missed.
    Live,
}

/// Why a kind cannot be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// There is no answer, or none that makes sense.
    Away,
    /// We may not, or are not known.
    Denied,
    /// We may not, and can do without.
    NotPermitted,
    /// There were too many requests.
    Throttled,
}

/// More that cannot be taken is not remembered until the next list.
const WRONG_MAX: usize = 100;

/// What is known of one cluster.
#[derive(Debug)]
pub struct ClusterState {
    settings: RegistrySettings,
    /// Namespaces whose objects are left out.
    ignored: BTreeSet<Namespace>,
    kinds: BTreeMap<Watched, Kind>,
    references: bowline_manifests::References,
    manifests: BTreeMap<ManifestName, Known>,
    pods: BTreeMap<PodName, KnownPod>,
    nodes: BTreeMap<Arc<str>, Option<Locality>>,
    /// Who pods are.
    identities: Alike<SpiffeId>,
    /// The slices that point to a pod, which may come later than they do.
    slices_of_pod: HashMap<PodName, Box<[ManifestName]>>,
    slices_of_service: HashMap<ManifestName, BTreeSet<ManifestName>>,
    /// Objects from before the start that nothing has yet replaced.
    restored: BTreeMap<ObjectKey, Object>,
    /// What must be converted again.
    dirty: BTreeSet<ManifestName>,
    dirty_pods: BTreeSet<PodName>,
    /// Whose references have changed: all of these must be converted again.
    affected: Affects,
    /// What is said of these may be wrong.
    doubted: BTreeSet<ManifestName>,
    telling: Telling,
}

/// How the watch of one kind is doing.
#[derive(Debug, Default)]
struct Kind {
    /// Whether everything that there is was known once.
    is_listed: bool,
    failing: Option<(String, Trouble)>,
    wrong: Vec<Problem>,
    counts: Counts,
}

/// What happened to the watch of one kind since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Counts {
    changes: u64,
    throttled: u64,
    denied: u64,
    /// Changes that were only found by listing again.
    drift: u64,
    last_error: Option<Arc<str>>,
}

/// An object, and what it has become.
#[derive(Debug)]
struct Known {
    object: ApiObject,
    /// Its last good version.
    good: Option<Arc<Manifest>>,
    objects: Vec<Object>,
    problems: Vec<Problem>,
    /// What is there of its status, where it has one.
    seen: Option<Seen>,
}

impl Known {
    /// What it says or, while that cannot be taken, what it said last.
    fn manifest(&self) -> Option<&Manifest> {
        self.object.manifest.as_deref().or(self.good.as_deref())
    }
}

#[derive(Debug)]
struct KnownPod {
    pod: Pod,
    /// What it has become. There may be many thousands: what else its object has can be told from the pod's name.
    workload: Option<Arc<Workload>>,
}

impl ClusterState {
    /// A cluster of which nothing is known yet but what the mesh last had of it.
    pub fn new(
        settings: RegistrySettings,
        ignored: BTreeSet<Namespace>,
        watched: &[Watched],
        last_good: Vec<Object>,
    ) -> Self {
        Self {
            settings,
            ignored,
            kinds: watched
                .iter()
                .map(|kind| (kind.clone(), Kind::default()))
                .collect(),
            references: secrets::references(watched),
            manifests: BTreeMap::new(),
            pods: BTreeMap::new(),
            nodes: BTreeMap::new(),
            identities: Alike::default(),
            slices_of_pod: HashMap::new(),
            slices_of_service: HashMap::new(),
            restored: last_good
                .into_iter()
                .map(|object| (object.key().clone(), object))
                .collect(),
            dirty: BTreeSet::new(),
            dirty_pods: BTreeSet::new(),
            affected: Affects::Nobody,
            doubted: BTreeSet::new(),
            telling: Telling::default(),
        }
    }

    /// Takes in what the watch of a kind says.
    pub fn take(&mut self, watched: Watched, news: News) {
        match news {
            News::Listed { items, wrong } => self.listed(watched, items, wrong),
            News::Put(item) => {
                self.counts(&watched).changes += 1;
                self.put(item);
            }
            News::Gone(name) => {
                self.counts(&watched).changes += 1;
                self.gone(&name);
            }
            News::Wrong(problem) => {
                let kind = self.kinds.entry(watched).or_default();
                if kind.wrong.len() < WRONG_MAX {
                    kind.wrong.push(problem);
                    self.telling.problems_differ();
                }
            }
            News::Failing { error, trouble } => {
                if let (Trouble::NotPermitted, Some(sight)) = (trouble, watched.sight()) {
                    let change = self.references.secrets.deny(sight);
                    self.secrets_changed(change);
                }
                let kind = self.kinds.entry(watched).or_default();
                match trouble {
                    Trouble::Away => {}
                    // It does no harm, so it is not counted as what may be an alarm.
                    Trouble::NotPermitted => kind.is_listed = false,
                    Trouble::Denied => kind.counts.denied += 1,
                    Trouble::Throttled => kind.counts.throttled += 1,
                }
                kind.counts.last_error = Some(error.as_str().into());
                kind.failing = Some((error, trouble));
            }
            News::Live => self.kinds.entry(watched).or_default().failing = None,
        }
    }

    fn listed(&mut self, watched: Watched, items: Vec<Item>, wrong: Vec<Problem>) {
        let drift = match watched.sight() {
            Some(sight) => {
                let change = self.references.secrets.list(sight, secrets::by_name(items));
                self.secrets_changed(change)
            }
            None => self.objects_listed(&watched, items),
        };
        let kind = self.kinds.entry(watched).or_default();
        if kind.is_listed {
            kind.counts.drift += drift;
        }
        kind.is_listed = true;
        kind.failing = None;
        if kind.wrong != wrong {
            kind.wrong = wrong;
            self.telling.problems_differ();
        }
    }

    /// Says how many are new, different, or gone.
    fn objects_listed(&mut self, watched: &Watched, items: Vec<Item>) -> u64 {
        let mut missing = self.names(watched);
        let mut drift = 0_u64;
        for item in items {
            missing.remove(&item.name());
            drift += u64::from(self.put(item));
        }
        drift += missing.len() as u64;
        // What disappeared while nobody watched is no more credible than a first answer: the mesh may doubt it.
        if !missing.is_empty() {
            self.telling.must_tell_everything();
        }
        for name in missing {
            self.gone(&name);
        }
        drift
    }

    fn names(&self, watched: &Watched) -> BTreeSet<ItemName> {
        match watched {
            Watched::Manifest(kind) => {
                let names = of_kind(&self.manifests, *kind).map(|(name, _)| name.clone());
                names.map(ItemName::Manifest).collect()
            }
            Watched::Pod => self.pods.keys().cloned().map(ItemName::Pod).collect(),
            Watched::Node => self.nodes.keys().cloned().map(ItemName::Node).collect(),
            // They are replaced as a whole.
            Watched::SecretNames | Watched::Secrets(_) => BTreeSet::new(),
        }
    }

    fn counts(&mut self, watched: &Watched) -> &mut Counts {
        &mut self.kinds.entry(watched.clone()).or_default().counts
    }

    /// Says whether the object is new or different.
    fn put(&mut self, item: Item) -> bool {
        match item {
            Item::Manifest(object, seen) => self.put_manifest(object, seen),
            Item::Pod(name, pod) => self.put_pod(name, pod),
            Item::Node(name, locality) => self.put_node(name, locality),
            Item::SecretName(name) => {
                let secrets = &mut self.references.secrets;
                let change = secrets.put(Sight::Everywhere, name, Certificate::Unseen);
                self.secrets_changed(change) > 0
            }
            Item::Secret(name, certificate) => {
                let namespace = name.namespace.clone();
                let secrets = &mut self.references.secrets;
                let change = secrets.put(Sight::Within(&namespace), name, certificate);
                self.secrets_changed(change) > 0
            }
        }
    }

    fn put_manifest(&mut self, object: ApiObject, seen: Option<Seen>) -> bool {
        if self.is_ignored(&object.name) {
            return false;
        }
        let name = object.name.clone();
        if seen.is_some() {
            self.doubted.insert(name.clone());
            if let Some(known) = self.manifests.get_mut(&name) {
                known.seen = seen.clone();
            }
        }
        let before = self.manifests.get(&name);
        if before.is_some_and(|known| known.object == object) {
            return false;
        }
        let before = before.and_then(|known| {
            let said = known.object.manifest.as_ref();
            said.or(known.good.as_ref()).cloned()
        });
        if let Some(now) = &object.manifest {
            let network = self.network_label(&name);
            self.affected = self.affected.max(self.references.insert(&name, now));
            self.dirty_if_moved(&name, network);
            match (&**now, before.as_deref()) {
                (Manifest::EndpointSlice(now), Some(Manifest::EndpointSlice(before))) => {
                    self.unlink(&name, before);
                    self.link(&name, now);
                    if !serve_the_same(before, now) {
                        self.dirty_pods_of(&name, before);
                        self.dirty_pods_of(&name, now);
                    }
                }
                (Manifest::EndpointSlice(now), _) => {
                    self.link(&name, now);
                    self.dirty_pods_of(&name, now);
                }
                (Manifest::Service(_), _) => self.dirty_pods_of_service(&name),
                _ => {}
            }
        }
        self.dirty.insert(name.clone());
        match self.manifests.get_mut(&name) {
            Some(known) => known.object = object,
            None => {
                let known = Known {
                    object,
                    good: None,
                    objects: Vec::new(),
                    problems: Vec::new(),
                    seen,
                };
                self.manifests.insert(name, known);
            }
        }
        true
    }

    fn put_pod(&mut self, name: PodName, pod: Pod) -> bool {
        if self.ignored.contains(&name.namespace) {
            return false;
        }
        let before = self.pods.get(&name).map(|known| &known.pod);
        if before == Some(&pod) {
            return false;
        }
        let is_same_to_slices = before.is_some_and(|before| {
            before.labels == pod.labels && before.service_account == pod.service_account
        });
        if !is_same_to_slices {
            let facts = PodFacts {
                labels: pod.labels.clone(),
                identity: self.identity(&name, &pod),
            };
            self.references
                .note_pod(&name.namespace, &name.name, Some(facts));
            self.dirty_slices_of(&name);
        }
        self.dirty_pods.insert(name.clone());
        match self.pods.get_mut(&name) {
            Some(known) => known.pod = pod,
            None => {
                let workload = None;
                self.pods.insert(name, KnownPod { pod, workload });
            }
        }
        true
    }

    fn put_node(&mut self, name: Arc<str>, locality: Option<Locality>) -> bool {
        if self.nodes.get(&name) == Some(&locality) {
            return false;
        }
        let facts = NodeFacts::new(&self.settings.id, &name, locality.clone());
        self.references.note_node(&name, Some(facts));
        self.dirty_on_node(&name);
        self.nodes.insert(name, locality);
        true
    }

    fn gone(&mut self, name: &ItemName) {
        match name {
            ItemName::Manifest(name) => self.gone_manifest(name),
            ItemName::Pod(name) => {
                if let Some(known) = self.pods.remove(name) {
                    self.dirty_pods.remove(name);
                    let before = known.workload.map(|before| self.pod_object(name, before));
                    self.telling.differs(before.as_slice(), &[]);
                    self.references.note_pod(&name.namespace, &name.name, None);
                    self.dirty_slices_of(name);
                }
            }
            ItemName::Node(name) => {
                if self.nodes.remove(name).is_some() {
                    self.references.note_node(name, None);
                    self.dirty_on_node(name);
                }
            }
            ItemName::SecretName(name) => {
                let change = self.references.secrets.remove(Sight::Everywhere, name);
                self.secrets_changed(change);
            }
            ItemName::Secret(name) => {
                let sight = Sight::Within(&name.namespace);
                let change = self.references.secrets.remove(sight, name);
                self.secrets_changed(change);
            }
        }
    }

    fn gone_manifest(&mut self, name: &ManifestName) {
        let Some(known) = self.manifests.remove(name) else {
            return;
        };
        self.dirty.remove(name);
        self.doubted.remove(name);
        let network = self.network_label(name);
        self.affected = self.affected.max(self.references.remove(name));
        self.dirty_if_moved(name, network);
        self.telling.differs(&known.objects, &[]);
        if !known.problems.is_empty() || external_name::is_external(&known.objects) {
            self.telling.problems_differ();
        }
        match known.manifest() {
            Some(Manifest::EndpointSlice(slice)) => {
                self.unlink(name, slice);
                self.dirty_pods_of(name, slice);
            }
            Some(Manifest::Service(_)) => self.dirty_pods_of_service(name),
            _ => {}
        }
    }

    /// The API server's own service is each cluster's own, and its clients mean that one: it is never united with that of others.
    fn is_ignored(&self, name: &ManifestName) -> bool {
        let Some(namespace) = &name.namespace else {
            return false;
        };
        let is_of_traffic = matches!(
            name.kind,
            ManifestKind::Service | ManifestKind::EndpointSlice
        );
        is_of_traffic
            && (self.ignored.contains(namespace)
                || (namespace.as_str() == "default" && &*name.name == "kubernetes"))
    }

    fn link(&mut self, name: &ManifestName, slice: &EndpointSlice) {
        if let Some(service) = service_of(name, slice) {
            let slices = self.slices_of_service.entry(service).or_default();
            slices.insert(name.clone());
        }
        for pod in pods_of(name, slice) {
            let slices = self.slices_of_pod.entry(pod).or_default();
            if !slices.contains(name) {
                // Nearly always the only one, so there is no room for more.
                let before = std::mem::take(slices).into_iter();
                *slices = before.chain([name.clone()]).collect();
            }
        }
    }

    fn unlink(&mut self, name: &ManifestName, slice: &EndpointSlice) {
        if let Some(service) = service_of(name, slice)
            && let Some(slices) = self.slices_of_service.get_mut(&service)
        {
            slices.remove(name);
            if slices.is_empty() {
                self.slices_of_service.remove(&service);
            }
        }
        for pod in pods_of(name, slice) {
            if let Some(slices) = self.slices_of_pod.get_mut(&pod) {
                let before = std::mem::take(slices).into_iter();
                *slices = before.filter(|slice| slice != name).collect();
                if slices.is_empty() {
                    self.slices_of_pod.remove(&pod);
                }
            }
        }
    }

    fn dirty_pods_of(&mut self, name: &ManifestName, slice: &EndpointSlice) {
        let pods = pods_of(name, slice).filter(|pod| self.pods.contains_key(pod));
        self.dirty_pods.extend(pods);
    }

    fn dirty_pods_of_service(&mut self, service: &ManifestName) {
        let slices = self.slices_of_service.get(service).into_iter().flatten();
        for slice in slices {
            let known = self.manifests.get(slice);
            if let Some(Manifest::EndpointSlice(content)) = known.and_then(Known::manifest) {
                let pods = pods_of(slice, content).filter(|pod| self.pods.contains_key(pod));
                self.dirty_pods.extend(pods);
            }
        }
    }

    fn dirty_slices_of(&mut self, pod: &PodName) {
        let slices = self.slices_of_pod.get(pod).into_iter().flatten();
        self.dirty.extend(slices.cloned());
    }

    /// Nodes seldom move, so what is on them is looked for.
    fn dirty_on_node(&mut self, node: &Arc<str>) {
        let is_on_it = |known: &Known| match known.manifest() {
            Some(Manifest::EndpointSlice(slice)) => slice.uses_node(node),
            _ => false,
        };
        let slices = self.manifests.iter().filter(|(_, known)| is_on_it(known));
        self.dirty.extend(slices.map(|(name, _)| name.clone()));
        let pods = self.pods.iter();
        let pods = pods.filter(|(_, known)| known.pod.node.as_ref() == Some(node));
        self.dirty_pods.extend(pods.map(|(name, _)| name.clone()));
    }
}

/// All objects of a kind.
fn of_kind(
    manifests: &BTreeMap<ManifestName, Known>,
    kind: ManifestKind,
) -> impl Iterator<Item = (&ManifestName, &Known)> {
    let first = ManifestName {
        kind,
        namespace: None,
        name: "".into(),
    };
    let rest = manifests.range(first..);
    rest.take_while(move |(name, _)| name.kind == kind)
}

fn service_of(name: &ManifestName, slice: &EndpointSlice) -> Option<ManifestName> {
    Some(ManifestName {
        kind: ManifestKind::Service,
        namespace: name.namespace.clone(),
        name: slice.service_name()?.clone(),
    })
}

/// The pods of a slice. Those of other namespaces than its own are nobody that it could speak for.
fn pods_of(name: &ManifestName, slice: &EndpointSlice) -> impl Iterator<Item = PodName> {
    let own = name.namespace.as_ref();
    slice.pods().filter_map(move |(namespace, pod)| {
        let own = own?;
        let is_own = namespace.is_none_or(|namespace| namespace == own.as_str());
        is_own.then(|| PodName {
            namespace: own.clone(),
            name: pod.clone(),
        })
    })
}

/// Whether pods serve the same with both versions of a slice.
fn serve_the_same(before: &EndpointSlice, now: &EndpointSlice) -> bool {
    before.service_name() == now.service_name()
        && before.tcp_ports().eq(now.tcp_ports())
        && before.pods().eq(now.pods())
}

#[cfg(test)]
mod tests;
