//! Encoded parts of one big resource, in order.

use bowline_snapshot::Version;
use bytes::Bytes;
use imbl::OrdMap;

/// Parts by key, with the fingerprint of them all kept up with each change.
#[derive(Debug, Clone)]
pub(super) struct Table<K: Ord + Clone> {
    parts: OrdMap<K, (Bytes, Version)>,
    version: Version,
}

impl<K: Ord + Clone> Table<K> {
    pub(super) fn new() -> Self {
        Self {
            parts: OrdMap::new(),
            version: Version::EMPTY,
        }
    }

    /// Puts a part in its place or takes it away. Says whether that changed anything.
    pub(super) fn set(&mut self, key: K, part: Option<(Bytes, Version)>) -> bool {
        let version = part.as_ref().map(|(_, version)| *version);
        let before = match part {
            Some(part) => self.parts.insert(key, part),
            None => self.parts.remove(&key),
        };
        let before = before.map(|(_, version)| version);
        if before == version {
            return false;
        }
        // The order of parts is that of their keys, so the set of parts says everything.
        if let Some(before) = before {
            self.version = self.version.without_member(before);
        }
        if let Some(version) = version {
            self.version = self.version.with_member(version);
        }
        true
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = Bytes> {
        self.parts.values().map(|(bytes, _)| bytes.clone())
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }
}
