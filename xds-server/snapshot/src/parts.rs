//! Parts of a big resource.

use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;

use crate::Version;

/// Encodings that follow each other in the order of their keys. A clone costs nothing, and changing one part costs that part: a
/// route configuration of a hundred thousand virtual hosts is not gone through because of one of them.
#[derive(Clone, Debug)]
pub struct Parts {
    parts: OrdMap<Arc<str>, (Bytes, Version)>,
    /// Of all parts together, in bytes.
    len: usize,
    digest: Version,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            parts: OrdMap::new(),
            len: 0,
            digest: Version::EMPTY,
        }
    }
}

impl Parts {
    /// Puts a part in its place or takes it away. Says whether that changed anything.
    ///
    /// The version of a part must be a function of its key and its encoding.
    pub fn set(&mut self, key: Arc<str>, part: Option<(Bytes, Version)>) -> bool {
        let after = part
            .as_ref()
            .map(|(bytes, version)| (bytes.len(), *version));
        let before = match part {
            Some(part) => self.parts.insert(key, part),
            None => self.parts.remove(&key),
        };
        let before = before.map(|(bytes, version)| (bytes.len(), version));
        if before == after {
            return false;
        }
        // The order of parts is that of their keys, so the set of parts says everything.
        if let Some((len, version)) = before {
            self.len -= len;
            self.digest = self.digest.without_member(version);
        }
        if let Some((len, version)) = after {
            self.len += len;
            self.digest = self.digest.with_member(version);
        }
        true
    }

    /// The encodings in order.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.parts.values().map(|(bytes, _)| bytes)
    }

    /// Length of all encodings in bytes. Costs nothing to ask for.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing in them.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The fingerprint of all parts. Costs nothing to ask for.
    pub fn digest(&self) -> Version {
        self.digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(text: &'static str) -> Option<(Bytes, Version)> {
        let bytes = Bytes::from_static(text.as_bytes());
        Some((bytes, Version::of([text.as_bytes()])))
    }

    fn text(parts: &Parts) -> String {
        let bytes: Vec<u8> = parts.iter().flatten().copied().collect();
        assert_eq!(bytes.len(), parts.len());
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn parts_follow_their_keys_whatever_led_to_them() {
        let mut one = Parts::default();
        assert!(one.set("b".into(), part("two ")));
        assert!(one.set("a".into(), part("one ")));
        assert!(one.set("c".into(), part("gone ")));
        let before = one.clone();
        assert!(one.set("b".into(), part("three ")));
        assert!(one.set("c".into(), None));
        assert_eq!(text(&one), "one three ");
        assert_eq!(text(&before), "one two gone ");

        let mut other = Parts::default();
        other.set("a".into(), part("one "));
        other.set("b".into(), part("three "));
        assert_eq!(one.digest(), other.digest());
        assert_ne!(one.digest(), before.digest());
    }

    #[test]
    fn what_changes_nothing_says_so() {
        let mut parts = Parts::default();
        assert!(!parts.set("a".into(), None));
        assert!(parts.set("a".into(), part("one")));
        assert!(!parts.set("a".into(), part("one")));
        assert!(parts.set("a".into(), None));
        assert!(parts.is_empty());
        assert_eq!(parts.digest(), Version::EMPTY);
    }
}
