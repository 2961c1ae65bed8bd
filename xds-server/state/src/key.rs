//! Keys and the prefixes they stand under.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

/// The place of one value: segments separated by `/`.
///
/// A segment may have any bytes. `/` and `%` in it are escaped, so no segment, whatever a user calls his registry, reaches under
/// another's prefix.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

impl Key {
    /// The key as it is stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The last segment, as it was before it was escaped.
    pub fn name(&self) -> Vec<u8> {
        unescape(
            self.0
                .rsplit(|byte| *byte == b'/')
                .next()
                .unwrap_or_default(),
        )
    }

    pub(crate) fn from_stored(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }
}

/// A part of the store: everything below some segments.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(
    /// Ends in `/`, so `registries/a` does not contain `registries/ab`.
    Bytes,
);

impl Prefix {
    /// The prefix of one segment: the name of an area of the store.
    pub fn of(area: impl AsRef<[u8]>) -> Self {
        let mut bytes = Vec::new();
        escape_into(&mut bytes, area.as_ref());
        bytes.push(b'/');
        Self(bytes.into())
    }

    /// The prefix one segment below this one.
    pub fn child(&self, segment: impl AsRef<[u8]>) -> Self {
        let mut bytes = self.0.to_vec();
        escape_into(&mut bytes, segment.as_ref());
        bytes.push(b'/');
        Self(bytes.into())
    }

    /// The key of this name directly below this prefix.
    pub fn key(&self, name: impl AsRef<[u8]>) -> Key {
        let mut bytes = self.0.to_vec();
        escape_into(&mut bytes, name.as_ref());
        Key(bytes.into())
    }

    /// Whether the key stands below this prefix, at any depth.
    pub fn contains(&self, key: &Key) -> bool {
        key.0.starts_with(&self.0)
    }

    pub(crate) fn covers(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    /// The keys below this prefix as a half-open range of an ordered map.
    pub(crate) fn range(&self) -> Range<Key> {
        let mut end = self.0.to_vec();
        // The byte after '/' is '0': the first text that no longer begins with the prefix.
        if let Some(separator) = end.last_mut() {
            *separator = b'0';
        }
        Key(self.0.clone())..Key(end.into())
    }
}

fn escape_into(bytes: &mut Vec<u8>, segment: &[u8]) {
    for byte in segment {
        match byte {
            b'/' => bytes.extend_from_slice(b"%2F"),
            b'%' => bytes.extend_from_slice(b"%25"),
            _ => bytes.push(*byte),
        }
    }
}

fn unescape(segment: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment;
    while let Some((first, tail)) = rest.split_first() {
        let (byte, tail) = match (first, tail) {
            (b'%', [b'2', b'F', tail @ ..]) => (b'/', tail),
            (b'%', [b'2', b'5', tail @ ..]) => (b'%', tail),
            _ => (*first, tail),
        };
        bytes.push(byte);
        rest = tail;
    }
    bytes
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prefix({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_segment_cannot_reach_under_another_prefix() {
        let registries = Prefix::of("registries");
        let outer = registries.child("a");
        for name in ["a/b", "a/", "ab", "", "a%2Fb", "a0"] {
            let key = registries.child(name).key("x");
            assert!(!outer.contains(&key), "{key} is under {outer}");
            assert!(
                !outer.range().contains(&key),
                "{key} is in the range of {outer}"
            );
        }
        assert_ne!(
            registries.child("a/b").key("x"),
            registries.child("a").child("b").key("x")
        );
        assert_ne!(
            registries.child("a/b").key("x"),
            registries.child("a%2Fb").key("x")
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_name_and_come_back(name in proptest::collection::vec(any::<u8>(), 0..20)) {
            let prefix = Prefix::of("area").child(&name);
            let key = prefix.key(&name);
            prop_assert_eq!(key.name(), name);
            prop_assert!(prefix.contains(&key));
            prop_assert!(prefix.range().contains(&key));
        }

        #[test]
        fn prefix_and_range_agree(
            left in proptest::collection::vec(any::<u8>(), 0..4),
            right in proptest::collection::vec(any::<u8>(), 0..4),
        ) {
            let prefix = Prefix::of("area").child(&left);
            let key = Prefix::of("area").child(&right).key("x");
            prop_assert_eq!(prefix.contains(&key), prefix.range().contains(&key));
            prop_assert_eq!(prefix.contains(&key), left == right);
        }
    }
}
