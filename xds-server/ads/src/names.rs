//! Sets of names, shared by all streams that subscribe to the same ones.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use bowline_snapshot::Version;
use parking_lot::Mutex;

/// Names in order, without duplicates. A clone shares them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names(Arc<[Arc<str>]>);

impl Names {
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.0
            .binary_search_by(|member| (**member).cmp(name))
            .is_ok()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter()
    }

    pub(crate) fn texts(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.0.iter().map(|name| &**name)
    }

    /// Whether both are the same set, and not only equal: cheap to see.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Where the set is: the same for as long as somebody holds it, and of no other set.
    pub(crate) fn address(&self) -> usize {
        self.0.as_ptr().addr()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Of names in order, each there once.
impl FromIterator<Arc<str>> for Names {
    fn from_iter<I: IntoIterator<Item = Arc<str>>>(names: I) -> Self {
        let names = Self(names.into_iter().collect());
        debug_assert!(names.0.is_sorted(), "names are in order");
        names
    }
}

/// The sets of names that some stream holds, so that equal ones are kept once.
///
/// Ten thousand proxies of one kind subscribe to the same ten thousand clusters' endpoints: without this table those would be a
/// hundred million strings.
#[derive(Debug, Default)]
pub(crate) struct NameTable {
    sets: Mutex<Sets>,
}

#[derive(Debug, Default)]
struct Sets {
    by_hash: BTreeMap<Version, Vec<Weak<[Arc<str>]>>>,
    /// Sets that nobody holds any more are cleared away when the table has grown to this.
    sweep_at: usize,
}

/// Smallest table that is worth a sweep.
const SWEEP_MIN: usize = 64;

impl NameTable {
    /// The shared set with these members.
    pub(crate) fn intern(&self, mut members: Vec<Arc<str>>) -> Names {
        if members.is_empty() {
            return Names::default();
        }
        members.sort_unstable();
        members.dedup();
        let texts = members.iter().map(|name| &**name);
        let hash = hash(texts.clone());
        if let Some(same) = self.with(hash, texts) {
            return same;
        }
        let set: Arc<[Arc<str>]> = members.into();
        let mut sets = self.sets.lock();
        sets.by_hash
            .entry(hash)
            .or_default()
            .push(Arc::downgrade(&set));
        sets.sweep_if_due();
        Names(set)
    }

    /// The set with these members, which are in order and each there once, if some stream holds it: nothing has to be allocated for it.
    pub(crate) fn find(&self, members: &[Cow<'_, str>]) -> Option<Names> {
        let texts = members.iter().map(|name| &**name);
        self.with(hash(texts.clone()), texts)
    }

    fn with<'a>(
        &self,
        hash: Version,
        members: impl ExactSizeIterator<Item = &'a str> + Clone,
    ) -> Option<Names> {
        let candidates: Vec<_> = {
            let sets = self.sets.lock();
            let bucket = sets.by_hash.get(&hash).map_or(&[][..], Vec::as_slice);
            bucket.iter().filter_map(Weak::upgrade).collect()
        };
        // The hash is no proof: names come from clients, who could make two sets with the same.
        let is_same = |set: &Arc<[Arc<str>]>| set.iter().map(|name| &**name).eq(members.clone());
        candidates.into_iter().find(is_same).map(Names)
    }
}

fn hash<'a>(members: impl Iterator<Item = &'a str>) -> Version {
    Version::of(members.map(str::as_bytes))
}

impl Sets {
    fn sweep_if_due(&mut self) {
        if self.by_hash.len() < self.sweep_at.max(SWEEP_MIN) {
            return;
        }
        self.by_hash.retain(|_, bucket| {
            bucket.retain(|set| set.strong_count() > 0);
            !bucket.is_empty()
        });
        self.sweep_at = self.by_hash.len() * 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    #[test]
    fn equal_sets_are_kept_once() {
        let table = NameTable::default();
        let one = table.intern(members(&["b", "a", "b"]));
        let other = table.intern(members(&["a", "b"]));
        assert!(Arc::ptr_eq(&one.0, &other.0));
        assert_eq!(one.len(), 2);
        assert!(one.contains("a") && !one.contains("c"));
        assert_ne!(one, table.intern(members(&["a"])));
    }

    #[test]
    fn a_set_that_is_held_is_found_by_its_members() {
        let table = NameTable::default();
        let held = table.intern(members(&["a", "b"]));
        assert!(table.find(&["a".into(), "b".into()]).unwrap().is(&held));
        assert_eq!(table.find(&["a".into()]), None);
        drop(held);
        assert_eq!(table.find(&["a".into(), "b".into()]), None);
    }

    #[test]
    fn sets_that_nobody_holds_are_freed() {
        let table = NameTable::default();
        let held = table.intern(members(&["held"]));
        for number in 0..10 * SWEEP_MIN {
            table.intern(members(&[&number.to_string()]));
        }
        assert!(table.sets.lock().by_hash.len() <= SWEEP_MIN);
        assert!(Arc::ptr_eq(&held.0, &table.intern(members(&["held"])).0));
    }
}
