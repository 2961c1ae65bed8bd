//! A store that keeps nothing: for commands that work offline, and for tests.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::recent::Recent;
use crate::store::check_expected;
use crate::{
    Changes, CommitError, Expected, Key, Listing, Prefix, Revision, Store, StoreError, Stored,
    Writes,
};

/// A store in memory.
#[derive(Debug)]
pub struct Memory {
    content: Mutex<Content>,
    recent: Recent,
}

#[derive(Debug, Default)]
struct Content {
    entries: BTreeMap<Key, Stored>,
    revision: Revision,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self {
            content: Mutex::default(),
            recent: Recent::after(Revision::default()),
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for Memory {
    fn get(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        Ok(self.content.lock().entries.get(key).cloned())
    }

    fn list(&self, prefix: &Prefix) -> Result<Listing, StoreError> {
        let content = self.content.lock();
        let below = content.entries.range(prefix.range());
        let entries = below
            .map(|(key, stored)| (key.clone(), stored.clone()))
            .collect();
        Ok(Listing {
            entries,
            revision: content.revision,
        })
    }

    fn commit(
        &self,
        expected: &[(Key, Expected)],
        writes: &Writes,
    ) -> Result<Revision, CommitError> {
        let mut content = self.content.lock();
        for (key, expected) in expected {
            let found = content.entries.get(key).map(|stored| stored.revision);
            check_expected(key, *expected, found)?;
        }
        let revision = Revision(content.revision.0 + 1);
        let changed = content.apply(writes, revision);
        if changed.is_empty() {
            return Ok(content.revision);
        }
        content.revision = revision;
        // Recorded under the lock, so that the commits stay in order.
        self.recent.record(revision, changed);
        Ok(revision)
    }

    fn changes(&self, prefix: &Prefix, after: Revision) -> Result<Changes, StoreError> {
        let Some((keys, revision)) = self.recent.changed(prefix, after) else {
            return Ok(Changes::Compacted);
        };
        let content = self.content.lock();
        let now = |key: Key| {
            let stored = content.entries.get(&key).cloned();
            (key, stored)
        };
        Ok(Changes::Since {
            changes: keys.into_iter().map(now).collect(),
            revision,
        })
    }

    fn revisions(&self) -> watch::Receiver<Revision> {
        self.recent.newest()
    }
}

impl Content {
    /// Makes the changes and returns the keys that they really changed.
    fn apply(&mut self, writes: &Writes, revision: Revision) -> Vec<Key> {
        let mut changed = Vec::new();
        for prefix in writes.clears() {
            let removed = self
                .entries
                .extract_if(prefix.range(), |key, _| !writes.keeps(key));
            changed.extend(removed.map(|(key, _)| key));
        }
        for (key, value) in writes.values() {
            let before = self.entries.get(key).map(|stored| &stored.value);
            if before == value.as_ref() {
                continue;
            }
            changed.push(key.clone());
            match value {
                Some(value) => {
                    self.entries.insert(key.clone(), Stored { value, revision });
                }
                None => {
                    self.entries.remove(key);
                }
            }
        }
        changed
    }
}
