//! Registries' last good objects: what a restart serves while a registry is away.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::{Key, Prefix, Store, StoreError, Stored, Value, WriteBehind, Writes};

/// The last good objects of every registry, written behind. Keys and values are the caller's.
#[derive(Debug, Clone)]
pub struct RegistryObjects {
    store: Arc<dyn Store>,
    writer: WriteBehind,
}

/// What a registry had when it was last heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastGood {
    /// Keys and values, ordered by key as it is stored.
    pub objects: Vec<(Bytes, Bytes)>,
    /// When the registry last said that this is what it has.
    pub seen: SystemTime,
}

impl RegistryObjects {
    /// Reads from the store and writes through the writer, which must be one of the same store.
    pub fn new(store: Arc<dyn Store>, writer: WriteBehind) -> Self {
        Self { store, writer }
    }

    /// What a registry had; `None` if it was never heard of. Blocks; sees what is committed, so flush before it if that matters.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn load(&self, registry: &str) -> Result<Option<LastGood>, StoreError> {
        let seen = self.store.get(&seen_key(registry))?;
        let Some(seen) = seen.and_then(|stored| read_time(&stored.value)) else {
            return Ok(None);
        };
        let listing = self.store.list(&objects_prefix(registry))?;
        let named = |(key, stored): (Key, Stored)| (key.name().into(), stored.value);
        let objects = listing.entries.into_iter().map(named).collect();
        Ok(Some(LastGood { objects, seen }))
    }

    /// The registries of which something is kept, by name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn registries(&self) -> Result<Vec<String>, StoreError> {
        let listing = self.store.list(&seen_prefix())?;
        let names = listing.entries.iter().map(|(key, _)| key.name());
        Ok(names
            .map(|name| String::from_utf8_lossy(&name).into_owned())
            .collect())
    }

    /// A registry has exactly these objects.
    pub fn replace<K, V>(
        &self,
        registry: &str,
        objects: impl IntoIterator<Item = (K, V)>,
        seen: SystemTime,
    ) where
        K: AsRef<[u8]>,
        V: Into<Value>,
    {
        let prefix = objects_prefix(registry);
        let mut writes = Writes::new();
        writes.clear(prefix.clone());
        for (key, value) in objects {
            writes.put(prefix.key(key), value);
        }
        writes.put(seen_key(registry), time_value(seen));
        self.writer.write(writes);
    }

    /// Some objects of a registry are new or different, some are gone.
    pub fn apply<K, V>(
        &self,
        registry: &str,
        upserts: impl IntoIterator<Item = (K, V)>,
        removes: impl IntoIterator<Item = K>,
        seen: SystemTime,
    ) where
        K: AsRef<[u8]>,
        V: Into<Value>,
    {
        let prefix = objects_prefix(registry);
        let mut writes = Writes::new();
        for (key, value) in upserts {
            writes.put(prefix.key(key), value);
        }
        for key in removes {
            writes.delete(prefix.key(key));
        }
        writes.put(seen_key(registry), time_value(seen));
        self.writer.write(writes);
    }

    /// A registry still has what it had. Costs a commit, so say it every few seconds rather than at every sign of life.
    pub fn seen(&self, registry: &str, at: SystemTime) {
        let mut writes = Writes::new();
        writes.put(seen_key(registry), time_value(at));
        self.writer.write(writes);
    }

    /// A registry is no longer configured: nothing of it is kept.
    pub fn forget(&self, registry: &str) {
        let mut writes = Writes::new();
        writes.clear(objects_prefix(registry));
        writes.delete(seen_key(registry));
        self.writer.write(writes);
    }
}

fn objects_prefix(registry: &str) -> Prefix {
    Prefix::of("registry-objects").child(registry)
}

/// Apart from the objects, so that the registries can be listed without them.
fn seen_prefix() -> Prefix {
    Prefix::of("registry-seen")
}

fn seen_key(registry: &str) -> Key {
    seen_prefix().key(registry)
}

/// Milliseconds since 1970 as decimal digits.
fn time_value(time: SystemTime) -> Bytes {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().to_string().into()
}

fn read_time(value: &[u8]) -> Option<SystemTime> {
    let milliseconds = std::str::from_utf8(value).ok()?.parse().ok()?;
    UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds))
}
