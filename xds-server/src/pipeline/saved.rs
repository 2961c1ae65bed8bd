//! What outlives the process: registries' last good objects and the virtual addresses of services.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use bowline_mesh::{Hostname, Object, ObjectKey, Persist, RegistryId};
use bowline_state::{Prefix, RegistryObjects, Store, Value, WriteBehind, Writes};
use bytes::Bytes;
use tracing::warn;

/// The area of the state store in which virtual addresses are kept, by hostname.
const VIRTUAL_ADDRESSES: &str = "virtual-addresses";

/// The state store as the pipeline uses it. Writing never waits.
#[derive(Debug, Clone)]
pub struct Saved {
    objects: RegistryObjects,
    writer: WriteBehind,
}

/// What a start finds.
#[derive(Debug, Default)]
pub struct Restored {
    /// The last good objects of each registry, and when they were last confirmed.
    pub registries: Vec<(RegistryId, Vec<Object>, Duration)>,
    /// The virtual addresses that were given.
    pub virtual_addresses: Vec<(Hostname, Ipv4Addr)>,
}

impl Saved {
    /// Reads from the store and writes through the writer of the same store.
    pub fn new(store: Arc<dyn Store>, writer: WriteBehind) -> Self {
        Self {
            objects: RegistryObjects::new(store, writer.clone()),
            writer,
        }
    }

    /// What was saved of some registries. Blocks.
    ///
    /// An entry that cannot be read, because another version wrote it, is left out and named in the log: the registry will say it
    /// again.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn restore(
        &self,
        store: &dyn Store,
        registries: &[RegistryId],
    ) -> anyhow::Result<Restored> {
        let mut restored = Restored::default();
        for registry in registries {
            let saved = self.objects.load(registry.as_str());
            let saved = saved.with_context(|| {
                format!("cannot read the last good objects of registry {registry}")
            })?;
            let Some(saved) = saved else { continue };
            let total = saved.objects.len();
            let objects: Vec<Object> = saved
                .objects
                .into_iter()
                .filter_map(|(_, value)| serde_json::from_slice(&value).ok())
                .collect();
            if objects.len() < total {
                let unreadable = total - objects.len();
                warn!(%registry, unreadable, "saved objects of another version cannot be read and wait for their registry");
            }
            let saved_at = saved.seen.duration_since(UNIX_EPOCH).unwrap_or_default();
            restored
                .registries
                .push((registry.clone(), objects, saved_at));
        }
        let listing = store
            .list(&Prefix::of(VIRTUAL_ADDRESSES))
            .context("cannot read the virtual addresses of services")?;
        restored.virtual_addresses = listing
            .entries
            .into_iter()
            .filter_map(|(key, stored)| {
                let hostname = String::from_utf8(key.name()).ok()?.parse().ok()?;
                let address = std::str::from_utf8(&stored.value).ok()?.parse().ok()?;
                Some((hostname, address))
            })
            .collect();
        Ok(restored)
    }

    /// Writes changes behind. `heard_of` is the registry that spoke, if one did.
    pub(super) fn write(
        &self,
        persist: Vec<Persist>,
        heard_of: Option<&RegistryId>,
        now: Duration,
    ) {
        let now = UNIX_EPOCH + now;
        let mut by_registry: BTreeMap<RegistryId, Batch> = BTreeMap::new();
        let mut addresses = Writes::new();
        for change in persist {
            match change {
                Persist::Put(object) => {
                    let key = object.key();
                    let batch = by_registry.entry(key.registry.clone()).or_default();
                    let name = saved_key(key);
                    let value = Value::Later(Arc::new(move || encoded(&object)));
                    batch.puts.push((name, value));
                }
                Persist::Delete(key) => {
                    let batch = by_registry.entry(key.registry.clone()).or_default();
                    batch.deletes.push(saved_key(&key));
                }
                Persist::VirtualAddress(hostname, address) => {
                    let key = Prefix::of(VIRTUAL_ADDRESSES).key(hostname.as_str());
                    addresses.put(key, address.to_string().into_bytes());
                }
                Persist::Forget(registry) => self.objects.forget(registry.as_str()),
            }
        }
        if !addresses.is_empty() {
            self.writer.write(addresses);
        }
        if let Some(registry) = heard_of
            && !by_registry.contains_key(registry)
        {
            self.objects.seen(registry.as_str(), now);
        }
        for (registry, Batch { puts, deletes }) in by_registry {
            self.objects.apply(registry.as_str(), puts, deletes, now);
        }
    }

    /// Waits until everything is on disk.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn flush(&self) -> anyhow::Result<()> {
        self.writer
            .flush()
            .await
            .context("cannot save the registries' objects")
    }

    /// Says that a registry's objects are still what it has.
    pub(super) fn seen(&self, registry: &RegistryId, at: SystemTime) {
        self.objects.seen(registry.as_str(), at);
    }
}

#[derive(Default)]
struct Batch {
    puts: Vec<(String, Value)>,
    deletes: Vec<String>,
}

/// An object as it is saved.
fn encoded(object: &Object) -> Option<Bytes> {
    match serde_json::to_vec(object) {
        Ok(value) => Some(value.into()),
        Err(error) => {
            warn!(object = %object.key(), %error, "an object cannot be saved");
            None
        }
    }
}

/// The name under which an object is saved, within its registry.
fn saved_key(key: &ObjectKey) -> String {
    let ObjectKey {
        registry: _,
        partition,
        kind,
        namespace,
        name,
    } = key;
    format!(
        "{kind:?}\0{}\0{namespace}\0{name}",
        partition.as_deref().unwrap_or_default()
    )
}
