//! A persistent map for the many places where there is nearly always one member, and may be thousands.

use std::{fmt, sync::Arc};

use imbl::OrdMap;

/// An ordered map whose clones share, and that is small where it has few members.
///
/// A node of [`OrdMap`] has room for 32 members, however few there are. Where each of a hundred thousand addresses has a map of its own with one
/// member, that room is most of the memory of the mesh. Here few members are a slice of just their size, and many are an [`OrdMap`].
#[derive(Clone)]
pub struct SmallMap<K, V>(Members<K, V>);

/// An ordered set of the same kind.
pub(crate) type SmallSet<K> = SmallMap<K, ()>;

#[derive(Clone)]
enum Members<K, V> {
    /// In order. To change one is to copy all.
    Few(Arc<[(K, V)]>),
    /// Behind a pointer, so that a map takes no more room in others than a slice.
    Many(Arc<OrdMap<K, V>>),
}

/// More members than these are many.
const FEW_MAX: usize = 8;
/// Many become few again when no more than these are left: a map at the limit does not change its form with every change.
const FEW_AGAIN: usize = 4;

impl<K: Ord + Clone, V: Clone> SmallMap<K, V> {
    /// Number of members.
    pub fn len(&self) -> usize {
        match &self.0 {
            Members::Few(few) => few.len(),
            Members::Many(many) => many.len(),
        }
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        match &self.0 {
            Members::Few(few) => {
                let place = place(few, key).ok()?;
                few.get(place).map(|(_, value)| value)
            }
            Members::Many(many) => many.get(key),
        }
    }

    /// The member that comes first.
    pub fn first(&self) -> Option<(&K, &V)> {
        match &self.0 {
            Members::Few(few) => few.first().map(|(key, value)| (key, value)),
            Members::Many(many) => many.get_min().map(|(key, value)| (key, value)),
        }
    }

    /// Adds a member, or puts it in the place of the one with its key, whose value is given back.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let few = match &mut self.0 {
            Members::Few(few) => few,
            Members::Many(many) => return Arc::make_mut(many).insert(key, value),
        };
        match place(few, &key) {
            Ok(place) => {
                let (_, current) = Arc::make_mut(few).get_mut(place)?;
                Some(std::mem::replace(current, value))
            }
            Err(_) if few.len() == FEW_MAX => {
                let mut many: OrdMap<K, V> = few.iter().cloned().collect();
                many.insert(key, value);
                self.0 = Members::Many(Arc::new(many));
                None
            }
            Err(place) => {
                let (before, after) = few.split_at(place);
                let before = before.iter().cloned();
                let after = after.iter().cloned();
                *few = before.chain([(key, value)]).chain(after).collect();
                None
            }
        }
    }

    /// Takes a member out and gives its value back.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        match &mut self.0 {
            Members::Few(few) => {
                let place = place(few, key).ok()?;
                let (_, value) = few.get(place)?.clone();
                let kept = few.iter().filter(|(other, _)| other != key);
                *few = kept.cloned().collect();
                Some(value)
            }
            Members::Many(many) => {
                let value = Arc::make_mut(many).remove(key);
                if many.len() <= FEW_AGAIN {
                    let few = many.iter().map(|(key, value)| (key.clone(), value.clone()));
                    self.0 = Members::Few(few.collect());
                }
                value
            }
        }
    }

    /// All members in order.
    pub fn iter(&self) -> Iter<'_, K, V> {
        match &self.0 {
            Members::Few(few) => Iter::Few(few.iter()),
            Members::Many(many) => Iter::Many(many.iter()),
        }
    }

    /// All keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// All values in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

/// Where a key is among few, or belongs.
fn place<K: Ord, V>(few: &[(K, V)], key: &K) -> Result<usize, usize> {
    few.binary_search_by(|(other, _)| other.cmp(key))
}

/// The members of a [`SmallMap`] in order.
pub enum Iter<'m, K, V> {
    /// Of few.
    Few(std::slice::Iter<'m, (K, V)>),
    /// Of many.
    Many(imbl::ordmap::Iter<'m, K, V, imbl::shared_ptr::DefaultSharedPtr>),
}

impl<'m, K, V> Iterator for Iter<'m, K, V> {
    type Item = (&'m K, &'m V);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(few) => few.next().map(|(key, value)| (key, value)),
            Self::Many(many) => many.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::Few(few) => few.size_hint(),
            Self::Many(many) => many.size_hint(),
        }
    }
}

impl<K, V> fmt::Debug for Iter<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").finish_non_exhaustive()
    }
}

impl<'m, K: Ord + Clone, V: Clone> IntoIterator for &'m SmallMap<K, V> {
    type Item = (&'m K, &'m V);
    type IntoIter = Iter<'m, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K, V> Default for SmallMap<K, V> {
    fn default() -> Self {
        Self(Members::Few(Arc::default()))
    }
}

impl<K: Ord + Clone, V: Clone + PartialEq> PartialEq for SmallMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Members::Few(one), Members::Few(other)) => Arc::ptr_eq(one, other) || one == other,
            (Members::Many(one), Members::Many(other)) => one == other,
            (Members::Few(_), Members::Many(_)) | (Members::Many(_), Members::Few(_)) => {
                self.len() == other.len() && self.iter().eq(other)
            }
        }
    }
}

impl<K: Ord + Clone, V: Clone + Eq> Eq for SmallMap<K, V> {}

impl<K: Ord + Clone + fmt::Debug, V: Clone + fmt::Debug> fmt::Debug for SmallMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u8, u8),
        Remove(u8),
        /// What is there now must stay as it is while the map goes on.
        Keep,
    }

    /// Keys of a small range, so that maps become large, small and large again.
    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..24_u8, any::<u8>()).prop_map(|(key, value)| Step::Insert(key, value)),
            4 => (0..24_u8).prop_map(Step::Remove),
            1 => Just(Step::Keep),
        ]
    }

    type Pair = (SmallMap<u8, u8>, BTreeMap<u8, u8>);

    fn check((map, expected): &Pair) {
        assert!(map.iter().eq(expected));
        assert!(map.keys().eq(expected.keys()) && map.values().eq(expected.values()));
        assert_eq!(
            map.iter().size_hint(),
            (expected.len(), Some(expected.len()))
        );
        assert_eq!(map.len(), expected.len());
        assert_eq!(map.is_empty(), expected.is_empty());
        assert_eq!(map.first(), expected.first_key_value());
        for key in 0..25 {
            assert_eq!(map.get(&key), expected.get(&key));
        }
    }

    proptest! {
        #[test]
        fn it_is_an_ordered_map_and_what_was_cloned_stays(
            steps in proptest::collection::vec(step(), 0..200),
        ) {
            let mut pair = Pair::default();
            let mut kept: Vec<Pair> = Vec::new();
            for step in steps {
                let (map, expected) = &mut pair;
                match step {
                    Step::Insert(key, value) => {
                        prop_assert_eq!(map.insert(key, value), expected.insert(key, value));
                    }
                    Step::Remove(key) => prop_assert_eq!(map.remove(&key), expected.remove(&key)),
                    Step::Keep => kept.push(pair.clone()),
                }
                check(&pair);
            }
            kept.iter().for_each(check);
            // Whether few or many, and by whichever way they came to be so.
            for (map, expected) in &kept {
                prop_assert_eq!(*map == pair.0, *expected == pair.1);
                let mut anew = SmallMap::default();
                for (key, value) in expected {
                    anew.insert(*key, *value);
                }
                prop_assert_eq!(&anew, map);
            }
        }
    }

    #[test]
    fn in_another_map_it_takes_no_more_room_than_a_slice() {
        assert_eq!(
            size_of::<SmallMap<String, String>>(),
            size_of::<Arc<[u8]>>()
        );
    }
}
