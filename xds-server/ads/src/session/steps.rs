//! Steps from one snapshot to a later one, made once for all streams that take the same.
//!
//! Most of what a fleet costs is this: resources that all its proxies have get other content. What each of them is told then is a function
//! of the two snapshots and of the subscription, and all that is its own is a nonce. Whatever is not as simple as that has no step, and the
//! stream finds out by itself ([`Track::take_work`]).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, OnceLock},
};

use bowline_snapshot::{Layer, Resource, ResourceChange, ResourceType, Snapshot, Version};
use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    protocol::Variant,
    stage::Stage,
    track::{Held, Owed, Track},
    work::{Context, Work, entry_bytes_max},
};
use crate::{names::Names, subscription::Subscription};

/// Steps that are remembered: some hundred generations follow each other while a large fleet is told of one, and streams differ in what
/// they subscribe to.
const REMEMBERED_MAX: usize = 1024;

/// Bytes of responses that are remembered in all, about.
const REMEMBERED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What a step may make of a response. Of larger ones streams share the encoding piece by piece.
const STEP_BYTES_MAX: usize = 512 * 1024;

/// What all streams are told that take the same step: resources that they have, with other content.
#[derive(Debug)]
pub(crate) struct Step {
    /// Each with its version on the wire.
    resources: Box<[(Resource, Version)]>,
    /// What they make of a response, at most.
    bytes: usize,
    encoded: OnceLock<Bytes>,
}

impl Step {
    /// A step to these resources with the versions that they have on the wire behind their parents, if those are known.
    fn new<'r>(
        resource_type: ResourceType,
        resources: impl Iterator<Item = &'r (Resource, Version)>,
        parents: Option<&Layer>,
    ) -> Option<Self> {
        let mut bytes = 0;
        let resources = resources.map(|(resource, own)| {
            bytes += entry_bytes_max(resource_type, resource);
            let version = match parents {
                Some(parents) => {
                    let (parent, name) = resource_type.parent_of(resource.name())?;
                    own.combined_with(parents.get(parent, name)?.version())
                }
                None => *own,
            };
            Some((resource.clone(), version))
        });
        let resources: Option<Box<[_]>> = resources.collect();
        Some(Self {
            resources: resources?,
            bytes,
            encoded: OnceLock::new(),
        })
    }

    /// The fingerprint of what it says.
    fn content(&self) -> Version {
        let said = self.resources.iter();
        let parts: Vec<_> = said
            .map(|(resource, version)| (resource.name().as_bytes(), version.to_bytes()))
            .collect();
        let parts = parts.iter();
        Version::of(parts.flat_map(|(name, version)| [*name, &version[..]]))
    }

    #[cfg(test)]
    pub(crate) fn of(resources: impl IntoIterator<Item = (Resource, Version)>) -> Self {
        Self {
            resources: resources.into_iter().collect(),
            bytes: 0,
            encoded: OnceLock::new(),
        }
    }

    /// In order of names, each with its version on the wire.
    pub(crate) fn resources(&self) -> &[(Resource, Version)] {
        &self.resources
    }

    /// The resources as they are written into a response, given how that is done.
    pub(crate) fn encoded(&self, encode: impl FnOnce(&[(Resource, Version)]) -> Bytes) -> &Bytes {
        self.encoded.get_or_init(|| encode(&self.resources))
    }
}

/// The steps that some stream has taken lately.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    remembered: Mutex<Remembered>,
}

#[derive(Debug, Default)]
struct Remembered {
    steps: BTreeMap<Key, Entry>,
    /// In the order in which they came.
    order: VecDeque<Key>,
    /// What the steps make of responses.
    bytes: usize,
}

/// What a step depends on: addresses of what its entry holds, so that they mean the same for as long as it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    from: usize,
    to: usize,
    resource_type: ResourceType,
    variant: Variant,
    about: About,
}

/// Which step between two layers it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    /// All that differs, with the versions that resources have by themselves.
    Everything,
    /// What is asked for: the names, none for everything, and the layer of what resources belong to.
    Asked {
        names: Option<usize>,
        parents: usize,
    },
    /// What says this: different layers and names make the same of it, as a rule.
    Saying(Version),
}

#[derive(Debug)]
struct Entry {
    known: Known,
    is_used: bool,
    _held: (Arc<Layer>, Arc<Layer>, Option<Arc<Layer>>, Option<Names>),
}

/// What is known of a step.
#[derive(Debug, Clone)]
enum Known {
    /// There is none.
    None,
    Step(Arc<Step>),
    /// It is what says this.
    Says(Version),
}

/// What a stream is told that goes from one snapshot to another.
#[derive(Debug)]
enum Told {
    /// Nothing of it concerns the stream.
    Nothing,
    Step(Arc<Step>),
    /// More than a step can say.
    More,
}

impl From<Option<Arc<Step>>> for Told {
    fn from(step: Option<Arc<Step>>) -> Self {
        match step {
            Some(step) if step.resources.is_empty() => Self::Nothing,
            Some(step) => Self::Step(step),
            None => Self::More,
        }
    }
}

/// Where the resources of one type differ between two snapshots.
enum Difference<'s> {
    Nowhere,
    /// In one layer, which no other can hide.
    In(&'s Arc<Layer>, &'s Arc<Layer>),
    Elsewhere,
}

impl Track {
    /// What [`Self::take_work`] takes, where a step says it; none where it has to be looked for. For responses that list what changed.
    pub(crate) fn take_step(
        &mut self,
        context: &Context<'_>,
        steps: &Steps,
        bytes_max: usize,
    ) -> Option<Work> {
        if !self.is_plain() {
            return None;
        }
        let step = match steps.between(
            &self.sent.as_ref()?.snapshot,
            context,
            &self.subscription,
            bytes_max.min(STEP_BYTES_MAX),
        ) {
            Told::Nothing => None,
            Told::Step(step) => Some(step),
            Told::More => return None,
        };
        self.held = Held::Nothing;
        Some(Work {
            before: self.sent.replace(context.stage.clone()),
            step,
            ..Work::default()
        })
    }

    /// Goes along with a stage in which nothing of this type differs from what was sent, as is so of most types in most stages.
    pub(crate) fn pass(&mut self, stage: &Stage) {
        if let Some(sent) = &self.sent
            && sent.number != stage.number
            && self.is_plain()
            && let Difference::Nowhere =
                difference(&sent.snapshot, &stage.snapshot, self.resource_type)
        {
            self.sent = Some(stage.clone());
        }
    }

    /// Whether what the client is to be told depends on nothing but its subscription and what it was sent.
    fn is_plain(&self) -> bool {
        !self.must_answer
            && !self.is_unfinished
            && self.lingering.is_empty()
            && !self.has_rare()
            && !self.subscription.is_empty()
            && matches!(&self.owed, Owed::Names(names) if names.is_empty())
            && match &self.held {
                Held::Nothing => true,
                Held::Each(claims) => claims.is_empty(),
                Held::AllAt(_) => false,
            }
    }
}

impl Steps {
    /// What a stream is told that goes from what it was sent to what it is to be served.
    fn between(
        &self,
        from: &Snapshot,
        context: &Context<'_>,
        subscription: &Subscription,
        bytes_max: usize,
    ) -> Told {
        let resource_type = subscription.resource_type();
        let Context { variant, .. } = *context;
        let (from, to) = match difference(from, &context.stage.snapshot, resource_type) {
            Difference::Nowhere => return Told::Nothing,
            Difference::In(from, to) => (from, to),
            Difference::Elsewhere => return Told::More,
        };
        // In state of the world resources have no version of their own on the wire.
        let has_parents = variant == Variant::Delta && resource_type.parent().is_some();
        let parents = context.parents.layers().first().filter(|_| has_parents);
        if has_parents && parents.is_none() {
            return Told::More;
        }
        let names = (!subscription.has_wildcard()).then(|| subscription.names());
        let key = |about| Key {
            from: Arc::as_ptr(from).addr(),
            to: Arc::as_ptr(to).addr(),
            resource_type,
            variant,
            about,
        };
        let asked = About::Asked {
            names: names.map(Names::address),
            parents: parents.map_or(0, |parents| Arc::as_ptr(parents).addr()),
        };
        let known = match self.recall(&key(asked)) {
            Some(Known::Says(content)) => self.recall(&key(About::Saying(content))),
            known => known,
        };
        match known {
            Some(Known::None) => return Told::More,
            Some(Known::Step(step)) => return Told::from(Some(step)),
            Some(Known::Says(_)) | None => {}
        }
        // Nothing is made under the lock. Two streams may do it at once, and one result is kept.
        let remember = |about, known, parents: Option<&Arc<Layer>>, names: Option<&Names>| {
            let entry = Entry {
                known,
                is_used: true,
                _held: (from.clone(), to.clone(), parents.cloned(), names.cloned()),
            };
            self.remembered.lock().insert(key(about), entry)
        };
        let everything = self.recall(&key(About::Everything)).unwrap_or_else(|| {
            let everything = everything(from, to, resource_type);
            let known = everything.map_or(Known::None, |step| Known::Step(Arc::new(step)));
            remember(About::Everything, known, None, None)
        });
        let step = everything.step().and_then(|everything| {
            let is_asked_for = |(resource, _): &&(Resource, Version)| {
                names.is_none() || subscription.asks_for_resource(resource)
            };
            let resources = everything.resources.iter().filter(is_asked_for);
            let step = Step::new(resource_type, resources, parents.map(|layer| &**layer))?;
            (step.bytes <= bytes_max).then_some(step)
        });
        let Some(step) = step else {
            remember(asked, Known::None, parents, names);
            return Told::More;
        };
        let content = step.content();
        let known = Known::Step(Arc::new(step));
        let known = remember(About::Saying(content), known, None, None);
        remember(asked, Known::Says(content), parents, names);
        Told::from(known.step().cloned())
    }

    /// What is remembered of a step.
    fn recall(&self, key: &Key) -> Option<Known> {
        let mut remembered = self.remembered.lock();
        let entry = remembered.steps.get_mut(key)?;
        entry.is_used = true;
        Some(entry.known.clone())
    }

    /// Forgets what no stream has taken since this was called last.
    pub(crate) fn forget_unused(&self) {
        let Remembered {
            steps,
            order,
            bytes,
        } = &mut *self.remembered.lock();
        steps.retain(|_, entry| std::mem::take(&mut entry.is_used));
        order.retain(|key| steps.contains_key(key));
        *bytes = steps.values().map(Entry::bytes).sum();
    }
}

impl Known {
    fn step(&self) -> Option<&Arc<Step>> {
        match self {
            Self::Step(step) => Some(step),
            Self::None | Self::Says(_) => None,
        }
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        self.known.step().map_or(0, |step| step.bytes)
    }
}

impl Remembered {
    /// What is known from now on: where somebody was quicker, what they found.
    fn insert(&mut self, key: Key, entry: Entry) -> Known {
        if let Some(entry) = self.steps.get(&key) {
            return entry.known.clone();
        }
        self.bytes += entry.bytes();
        let is_full =
            |this: &Self| this.steps.len() >= REMEMBERED_MAX || this.bytes > REMEMBERED_BYTES_MAX;
        while is_full(self)
            && let Some(oldest) = self.order.pop_front()
        {
            let forgotten = self.steps.remove(&oldest);
            self.bytes -= forgotten.map_or(0, |entry| entry.bytes());
        }
        let known = entry.known.clone();
        self.order.push_back(key);
        self.steps.insert(key, entry);
        known
    }
}

fn difference<'s>(
    from: &'s Snapshot,
    to: &'s Snapshot,
    resource_type: ResourceType,
) -> Difference<'s> {
    let (from, to) = (from.layers(), to.layers());
    if from.len() != to.len() {
        return Difference::Elsewhere;
    }
    let set = |layer: &'s Layer| layer.of_type(resource_type);
    let is_other = |from: &'s Arc<Layer>, to: &'s Arc<Layer>| {
        !Arc::ptr_eq(from, to) && !set(from).is_same(set(to))
    };
    let places = from.iter().zip(to).enumerate();
    let mut differing = places.filter(|(_, (from, to))| is_other(from, to));
    let Some((place, (before, now))) = differing.next() else {
        return Difference::Nowhere;
    };
    let mut earlier = to.iter().take(place);
    match differing.next().is_none() && earlier.all(|layer| set(layer).is_empty()) {
        true => Difference::In(before, now),
        false => Difference::Elsewhere,
    }
}

/// The step from one layer to the one that came after it for who asks for everything, if members with other content are all that it is about.
/// Resources have their own versions in it.
fn everything(from: &Layer, to: &Layer, resource_type: ResourceType) -> Option<Step> {
    let [from, to] = [from, to].map(|layer| layer.of_type(resource_type));
    if !to.has_same_but_members(from) {
        return None;
    }
    let mut resources = Vec::new();
    for change in to.changes_since(from) {
        let ResourceChange::Upserted(resource) = change else {
            return None;
        };
        from.member(resource.name())?;
        resources.push((resource.clone(), resource.version()));
    }
    Step::new(resource_type, resources.iter(), None)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{
        names::NameTable,
        session::{
            client::Client,
            stage::Stage,
            work::{Overdue, Removals},
        },
        testing::{layer, snapshot_of, type_named},
    };

    /// The subscription to some names of a type, or to all.
    fn subscription(text: &str, table: &NameTable) -> Subscription {
        let words: Vec<&str> = text.split(' ').collect();
        let [short_name, names @ ..] = &words[..] else {
            panic!("{text} is not `TYPE name`");
        };
        let mut subscription = Subscription::new(type_named(short_name), true);
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        subscription.update(names, Vec::new(), table);
        subscription
    }

    impl Told {
        fn step(self) -> Arc<Step> {
            match self {
                Self::Step(step) => step,
                Self::Nothing | Self::More => panic!("{self:?}"),
            }
        }
    }

    struct Scene {
        steps: Steps,
        table: NameTable,
        variant: Variant,
        bytes_max: usize,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                steps: Steps::default(),
                table: NameTable::default(),
                variant: Variant::Delta,
                bytes_max: 10_000,
            }
        }

        fn step(
            &self,
            subscribed: &str,
            from: &Snapshot,
            to: &Snapshot,
            parents: &Snapshot,
        ) -> Told {
            let stage = Stage {
                number: 1,
                snapshot: to.clone(),
            };
            let context = Context {
                stage: &stage,
                newest: to,
                parents,
                removals: Removals::Immediate,
                referrers_settled: None,
                now: Instant::now(),
                overdue: Overdue::Stays,
                linger_until: Instant::now(),
                variant: self.variant,
                client: Client::PLAIN,
            };
            let subscription = subscription(subscribed, &self.table);
            self.steps
                .between(from, &context, &subscription, self.bytes_max)
        }
    }

    /// What a stream is told: names, `nothing`, or `more`. Snapshots are lists of layers.
    fn said(subscribed: &str, from: &[&[&str]], to: &[&[&str]]) -> String {
        let snapshot = |layers: &[&[&str]]| Snapshot::new(1, layers.iter().map(|it| layer(it)));
        let (from, to) = (snapshot(from), snapshot(to));
        match Scene::new().step(subscribed, &from, &to, &to) {
            Told::More => "more".to_owned(),
            Told::Nothing => "nothing".to_owned(),
            Told::Step(step) => {
                let names = step.resources().iter().map(|(it, _)| it.name().to_string());
                names.collect::<Vec<_>>().join(" ")
            }
        }
    }

    #[test]
    fn a_step_is_about_what_has_other_content_and_is_subscribed() {
        let from: &[&[&str]] = &[&["CDS a 1", "CDS b 1", "CDS c 1"]];
        let to: &[&[&str]] = &[&["CDS a 2", "CDS b 1", "CDS c 2"]];
        assert_eq!(said("CDS *", from, to), "a c");
        assert_eq!(said("CDS b c", from, to), "c");
        assert_eq!(said("CDS b", from, to), "nothing");
        assert_eq!(said("LDS *", from, to), "nothing");
    }

    #[test]
    fn there_is_no_step_where_more_is_to_be_said_than_other_content() {
        let from: &[&[&str]] = &[&["CDS a 1", "CDS b 1"], &[]];
        for to in [
            // Gone, new, and both.
            &[&["CDS a 1"][..], &[]],
            &[&["CDS a 1", "CDS b 1", "CDS c 1"], &[]],
            &[&["CDS a 1", "CDS c 1"], &[]],
            // In two layers, or in none that was there.
            &[&["CDS a 2", "CDS b 1"], &["CDS c 1"]],
            &[&["CDS a 1", "CDS b 1"], &["CDS b 2"]],
            // On demand, with an alias, and for a time.
            &[&["CDS a 2", "CDS b 1", "CDS ~c 1"], &[]],
            &[&["CDS a 2", "CDS b 1 alias"], &[]],
            &[&["CDS a 2!10", "CDS b 1"], &[]],
        ] {
            assert_eq!(said("CDS *", from, to), "more", "{to:?}");
        }
        assert_eq!(said("CDS *", &[&["CDS a 1"], &[]], &[&["CDS a 2"]]), "more");
    }

    #[test]
    fn there_is_no_step_in_a_layer_that_another_may_hide() {
        let from: &[&[&str]] = &[&["CDS a 1", "EDS e 1"], &["CDS b 1", "LDS l 1"]];
        let to: &[&[&str]] = &[&["CDS a 1", "EDS e 1"], &["CDS b 2", "LDS l 2"]];
        assert_eq!(said("CDS *", from, to), "more");
        assert_eq!(said("LDS *", from, to), "l");
    }

    #[test]
    fn endpoints_have_the_version_that_they_have_behind_their_cluster() {
        let from = snapshot_of(1, &["CDS a 1", "EDS a 1"]);
        let to = snapshot_of(2, &["CDS a 2", "EDS a 2"]);
        let scene = Scene::new();
        for parents in [&from, &to] {
            let step = scene.step("EDS a", &from, &to, parents).step();
            let [(resource, version)] = step.resources() else {
                panic!("{step:?}");
            };
            assert_eq!(
                *version,
                parents.wire_version(ResourceType::ENDPOINT, resource)
            );
        }
        // Their cluster may be in a layer that other streams do not have.
        let elsewhere = Snapshot::new(3, [layer(&[]), layer(&["CDS a 1"])]);
        let told = scene.step("EDS a", &from, &to, &elsewhere);
        assert!(matches!(told, Told::More), "{told:?}");
        let state_of_the_world = Scene {
            variant: Variant::StateOfTheWorld,
            ..Scene::new()
        };
        state_of_the_world
            .step("EDS a", &from, &to, &elsewhere)
            .step();
    }

    #[test]
    fn a_step_is_made_once_for_all_who_ask_for_the_same_of_what_changed() {
        let from = snapshot_of(1, &["CDS a 1", "CDS b 1", "CDS c 1"]);
        let to = snapshot_of(2, &["CDS a 2", "CDS b 2", "CDS c 1"]);
        let scene = Scene::new();
        let held = ["CDS a b", "CDS a", "CDS a b c"].map(|text| subscription(text, &scene.table));
        let step = |subscribed: &str| scene.step(subscribed, &from, &to, &to).step();
        let all = step("CDS *");
        for _ in 0..2 {
            for subscribed in ["CDS a b", "CDS b a", "CDS a b c"] {
                assert!(Arc::ptr_eq(&all, &step(subscribed)));
            }
            assert!(!Arc::ptr_eq(&all, &step("CDS a")));
            assert!(Arc::ptr_eq(&step("CDS a"), &step("CDS a")));
        }
        assert_eq!(scene.steps.remembered.lock().steps.len(), 7);
        drop(held);
        scene.steps.forget_unused();
        assert_eq!(scene.steps.remembered.lock().steps.len(), 7);
        scene.steps.forget_unused();
        let remembered = scene.steps.remembered.lock();
        assert!(remembered.steps.is_empty() && remembered.order.is_empty());
        assert_eq!(remembered.bytes, 0);
    }

    #[test]
    fn streams_with_clusters_of_their_own_are_told_the_same_where_those_that_matter_are_the_same() {
        let from = snapshot_of(1, &["EDS a 1"]);
        let to = snapshot_of(2, &["EDS a 2"]);
        let [one, other, another] = [
            &["CDS a 1"][..],
            &["CDS a 1", "CDS b 1"],
            &["CDS a 2", "CDS b 1"],
        ]
        .map(|clusters| snapshot_of(1, clusters));
        let scene = Scene::new();
        let step = |parents| scene.step("EDS a", &from, &to, parents).step();
        assert!(Arc::ptr_eq(&step(&one), &step(&other)));
        assert!(!Arc::ptr_eq(&step(&one), &step(&another)));
    }

    #[test]
    fn what_others_ask_for_makes_nobodys_step_impossible() {
        let from = snapshot_of(1, &["EDS a 1", "EDS b 1"]);
        let to = snapshot_of(2, &["EDS a 2", "EDS b 2"]);
        let parents = snapshot_of(1, &["CDS a 1"]);
        let scene = Scene::new();
        let told = scene.step("EDS a b", &from, &to, &parents);
        assert!(matches!(told, Told::More), "{told:?}");
        assert_eq!(
            scene
                .step("EDS a", &from, &to, &parents)
                .step()
                .resources()
                .len(),
            1
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let scene = Scene::new();
        for number in 0..REMEMBERED_MAX + 10 {
            let from = snapshot_of(1, &[&format!("CDS a {number}")]);
            let to = snapshot_of(2, &["CDS a new"]);
            scene.step("CDS *", &from, &to, &to).step();
        }
        let remembered = scene.steps.remembered.lock();
        assert_eq!(remembered.steps.len(), REMEMBERED_MAX);
        assert_eq!(remembered.order.len(), REMEMBERED_MAX);
        let bytes: usize = remembered.steps.values().map(Entry::bytes).sum();
        assert_eq!(remembered.bytes, bytes);
    }

    #[test]
    fn what_does_not_fit_into_one_response_is_no_step() {
        let from = snapshot_of(1, &["CDS a 1", "CDS b 1"]);
        let to = snapshot_of(2, &["CDS a 2", "CDS b 2"]);
        let small = Scene {
            bytes_max: 200,
            ..Scene::new()
        };
        let told = small.step("CDS *", &from, &to, &to);
        assert!(matches!(told, Told::More), "{told:?}");
        small.step("CDS a", &from, &to, &to).step();
    }
}
