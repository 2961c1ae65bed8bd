//! Changes to a store that happen together or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Key, Prefix};

/// Puts, deletes and cleared prefixes that are committed as one.
///
/// The last word on a key wins, so a `Writes` never has more entries than there are keys: this is what bounds the write-behind queue.
#[derive(Debug, Clone, Default)]
pub struct Writes {
    /// Emptied before the values below are written.
    clears: BTreeSet<Prefix>,
    /// `None` deletes.
    values: BTreeMap<Key, Option<Value>>,
}

/// What a key is set to.
#[derive(Clone)]
pub enum Value {
    /// As it is stored.
    Encoded(Bytes),
    /// What says how it is stored, and always the same, when it is committed. A large registry's objects wait for that without
    /// being in memory a second time. `None` means that it cannot be stored: the key has no value then.
    Later(Arc<dyn Fn() -> Option<Bytes> + Send + Sync>),
}

impl Value {
    fn encoded(&self) -> Option<Bytes> {
        match self {
            Self::Encoded(value) => Some(value.clone()),
            Self::Later(encode) => encode(),
        }
    }
}

impl<B: Into<Bytes>> From<B> for Value {
    fn from(value: B) -> Self {
        Self::Encoded(value.into())
    }
}

/// Values may be secret.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Writes {
    /// No changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key's value. The value that the key already has is no change.
    pub fn put(&mut self, key: Key, value: impl Into<Value>) {
        self.values.insert(key, Some(value.into()));
    }

    /// Removes a key, if it is there.
    pub fn delete(&mut self, key: Key) {
        self.values.insert(key, None);
    }

    /// Removes every key below the prefix but those that are put after this call.
    pub fn clear(&mut self, prefix: Prefix) {
        self.values
            .extract_if(prefix.range(), |_, _| true)
            .for_each(drop);
        self.clears.retain(|narrower| !prefix.covers(narrower));
        self.clears.insert(prefix);
    }

    /// Adds changes that were made after these.
    pub fn append(&mut self, newer: Self) {
        let Self { clears, values } = newer;
        for prefix in clears {
            self.clear(prefix);
        }
        if self.values.is_empty() {
            self.values = values;
        } else {
            self.values.extend(values);
        }
    }

    /// How many keys and prefixes are changed.
    pub fn len(&self) -> usize {
        self.clears.len() + self.values.len()
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.clears.is_empty() && self.values.is_empty()
    }

    pub(crate) fn clears(&self) -> impl Iterator<Item = &Prefix> {
        self.clears.iter()
    }

    /// The values as they are stored, each encoded when it is asked for; `None` deletes.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&Key, Option<Bytes>)> {
        let values = self.values.iter();
        values.map(|(key, value)| (key, value.as_ref().and_then(Value::encoded)))
    }

    /// Whether a key below a cleared prefix stays because it is put again.
    pub(crate) fn keeps(&self, key: &Key) -> bool {
        matches!(self.values.get(key), Some(Some(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Put(u8, u8, u8),
        PutLater(u8, u8, Option<u8>),
        Delete(u8, u8),
        Clear(u8),
        ClearAll,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..3u8, 0..3u8, any::<u8>())
                .prop_map(|(area, name, value)| Step::Put(area, name, value)),
            (0..3u8, 0..3u8, any::<Option<u8>>())
                .prop_map(|(area, name, value)| Step::PutLater(area, name, value)),
            (0..3u8, 0..3u8).prop_map(|(area, name)| Step::Delete(area, name)),
            (0..3u8).prop_map(Step::Clear),
            Just(Step::ClearAll),
        ]
    }

    fn area(area: u8) -> Prefix {
        Prefix::of("all").child([area])
    }

    fn write(writes: &mut Writes, step: &Step) {
        match step {
            Step::Put(a, name, value) => writes.put(area(*a).key([*name]), vec![*value]),
            Step::PutLater(a, name, value) => {
                let value = value.map(|value| Bytes::from(vec![value]));
                let later = Value::Later(Arc::new(move || value.clone()));
                writes.put(area(*a).key([*name]), later);
            }
            Step::Delete(a, name) => writes.delete(area(*a).key([*name])),
            Step::Clear(a) => writes.clear(area(*a)),
            Step::ClearAll => writes.clear(Prefix::of("all")),
        }
    }

    fn apply(map: &mut BTreeMap<Key, Bytes>, writes: &Writes) {
        for prefix in writes.clears() {
            map.retain(|key, _| !prefix.contains(key));
        }
        for (key, value) in writes.values() {
            match value {
                Some(value) => map.insert(key.clone(), value),
                None => map.remove(key),
            };
        }
    }

    proptest! {
        /// Whatever is merged while the disk is slow ends as if each step had been committed by itself.
        #[test]
        fn merged_writes_end_like_single_ones(
            steps in proptest::collection::vec(step(), 0..30),
            split in 0..30usize,
        ) {
            let mut one_by_one = BTreeMap::new();
            for step in &steps {
                let mut single = Writes::new();
                write(&mut single, step);
                apply(&mut one_by_one, &single);
            }
            let (older, newer) = steps.split_at(split.min(steps.len()));
            let mut merged = Writes::new();
            older.iter().for_each(|step| write(&mut merged, step));
            let mut later = Writes::new();
            newer.iter().for_each(|step| write(&mut later, step));
            merged.append(later);
            let mut at_once = BTreeMap::new();
            apply(&mut at_once, &merged);
            prop_assert_eq!(one_by_one, at_once);
            prop_assert!(merged.len() <= 9 + 4);
        }
    }
}
