//! Sets of names, a bit each: ten thousand proxies that subscribe to a thousand names hold a megabyte.

use xxhash_rust::xxh3::xxh3_64;

use super::memo::NameId;

/// A set of names of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameSet {
    words: Vec<u64>,
    len: usize,
}

impl NameSet {
    /// Adds a name; `false` where it is in it.
    pub fn insert(&mut self, name: NameId) -> bool {
        let (word, bit) = place(name);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        match self.words.get_mut(word) {
            Some(bits) if *bits & bit == 0 => {
                *bits |= bit;
                self.len += 1;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Takes a name out; `false` where it is not in it.
    pub fn remove(&mut self, name: NameId) -> bool {
        let (word, bit) = place(name);
        match self.words.get_mut(word) {
            Some(bits) if *bits & bit != 0 => {
                *bits &= !bit;
                self.len -= 1;
                // Equal sets have equal words.
                while self.words.last() == Some(&0) {
                    self.words.pop();
                }
                true
            }
            Some(_) | None => false,
        }
    }

    /// Whether a name is in it.
    pub fn contains(&self, name: NameId) -> bool {
        let (word, bit) = place(name);
        self.words.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// How many names are in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no name is in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The names, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = NameId> + '_ {
        (0u32..).zip(&self.words).flat_map(|(word, bits)| {
            (0..64)
                .filter(move |bit| bits & (1 << bit) != 0)
                .map(move |bit| NameId(word * 64 + bit))
        })
    }

    /// The same for equal sets.
    pub fn hash(&self) -> u64 {
        let bytes: Vec<u8> = self
            .words
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        xxh3_64(&bytes)
    }
}

fn place(name: NameId) -> (usize, u64) {
    (name.index() / 64, 1 << (name.0 % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_in_and_not_taken_out() {
        let mut set = NameSet::default();
        for number in [3, 64, 200, 3] {
            set.insert(NameId(number));
        }
        assert_eq!(set.len(), 3);
        assert!(set.remove(NameId(200)) && !set.remove(NameId(200)) && !set.remove(NameId(7)));
        assert!(set.contains(NameId(64)) && !set.contains(NameId(200)));
        assert_eq!(set.iter().collect::<Vec<_>>(), [NameId(3), NameId(64)]);
    }

    #[test]
    fn equal_sets_have_equal_hashes_whatever_was_in_them() {
        let mut one = NameSet::default();
        let mut other = NameSet::default();
        one.insert(NameId(1));
        other.insert(NameId(900));
        other.insert(NameId(1));
        assert_ne!(one.hash(), other.hash());
        other.remove(NameId(900));
        assert_eq!((one.hash(), &one), (other.hash(), &other));
        other.remove(NameId(1));
        assert!(other.is_empty());
    }
}
