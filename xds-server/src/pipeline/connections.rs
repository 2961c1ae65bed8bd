//! Connected proxies, the layers that they read, and who must look again when a workload changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bowline_mesh::{GatewayName, Mesh, Namespace, ObjectKey, Proxy, Role, view::ViewKey};
use bowline_snapshot::{Assignment, LayerName};

/// Every stream that reads from the pipeline.
#[derive(Debug, Default)]
pub struct Connected {
    next_id: u64,
    connections: BTreeMap<u64, Connection>,
    uses: BTreeMap<ViewKey, Use>,
    /// Grows whenever a key comes into use that was not.
    keys_version: u64,
    by_name: BTreeMap<(Namespace, Arc<str>), BTreeSet<u64>>,
    by_address: BTreeMap<IpAddr, BTreeSet<u64>>,
    by_workload: BTreeMap<ObjectKey, BTreeSet<u64>>,
    /// The gateways of which a proxy is connected.
    gateways: Arc<BTreeSet<GatewayName>>,
}

#[derive(Debug)]
struct Connection {
    proxy: Proxy,
    workload: Option<ObjectKey>,
    keys: Vec<ViewKey>,
    assignment: Assignment,
}

#[derive(Debug)]
struct Use {
    readers: usize,
    /// Since when nobody reads it.
    idle_since: Option<Instant>,
}

/// The names of the layers for some keys, in their order.
pub(super) fn layer_names(keys: &[ViewKey]) -> Vec<LayerName> {
    keys.iter().map(layer_name).collect()
}

/// The name of the layer for a key.
pub(super) fn layer_name(key: &ViewKey) -> LayerName {
    LayerName::new(key.to_string())
}

impl Connected {
    /// Takes in a stream.
    pub(super) fn add(
        &mut self,
        proxy: Proxy,
        mesh: &Mesh,
        keys: Vec<ViewKey>,
        assignment: Assignment,
    ) {
        let id = self.next_id;
        self.next_id += 1;
        let workload = proxy.workload(mesh).map(|(key, _)| key.clone());
        let named = (proxy.namespace.clone(), proxy.name.clone());
        self.by_name.entry(named).or_default().insert(id);
        if let Some(address) = proxy.addresses.first() {
            self.by_address.entry(*address).or_default().insert(id);
        }
        if let Some(workload) = &workload {
            self.by_workload
                .entry(workload.clone())
                .or_default()
                .insert(id);
        }
        self.begin_use(&keys);
        if let Role::Gateway(gateway) = &proxy.role
            && !self.gateways.contains(gateway)
        {
            Arc::make_mut(&mut self.gateways).insert(gateway.clone());
        }
        self.connections.insert(
            id,
            Connection {
                proxy,
                workload,
                keys,
                assignment,
            },
        );
    }

    /// Gives the streams that changed workloads concern the layers that they need now.
    pub(super) fn follow_workloads(
        &mut self,
        mesh: &Mesh,
        workloads: &BTreeSet<ObjectKey>,
        now: Instant,
    ) {
        let mut concerned = BTreeSet::new();
        for key in workloads {
            let bound = self.by_workload.get(key).into_iter().flatten();
            let named = self
                .by_name
                .get(&(key.namespace.clone(), key.name.clone()))
                .into_iter()
                .flatten();
            concerned.extend(bound.chain(named).copied());
            for address in mesh
                .workload(key)
                .iter()
                .flat_map(|workload| &workload.addresses)
            {
                concerned.extend(self.by_address.get(address).into_iter().flatten().copied());
            }
        }
        self.follow(mesh, concerned, now);
    }

    /// Gives all streams the layers that they need now.
    pub(super) fn follow_everything(&mut self, mesh: &Mesh, now: Instant) {
        self.follow(mesh, self.connections.keys().copied().collect(), now);
    }

    fn follow(&mut self, mesh: &Mesh, ids: BTreeSet<u64>, now: Instant) {
        for id in ids {
            let Some(connection) = self.connections.get_mut(&id) else {
                continue;
            };
            let workload = connection.proxy.workload(mesh).map(|(key, _)| key.clone());
            let keys = ViewKey::of(&connection.proxy, mesh);
            let before_keys = std::mem::replace(&mut connection.keys, keys.clone());
            let before_workload = std::mem::replace(&mut connection.workload, workload.clone());
            connection.assignment.assign(layer_names(&keys));
            if before_workload != workload {
                if let Some(before) = before_workload {
                    forget(&mut self.by_workload, &before, id);
                }
                if let Some(workload) = workload {
                    self.by_workload.entry(workload).or_default().insert(id);
                }
            }
            if before_keys != keys {
                self.begin_use(&keys);
                self.end_use(&before_keys, now);
            }
        }
    }

    /// Forgets streams that have ended, and says which layers nobody has read for so long that they can go.
    pub(super) fn sweep(&mut self, now: Instant, linger: Duration) -> Vec<ViewKey> {
        let ended: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.assignment.is_closed())
            .map(|(id, _)| *id)
            .collect();
        let mut gateways_left = false;
        for id in ended {
            let Some(connection) = self.connections.remove(&id) else {
                continue;
            };
            let Connection {
                proxy,
                workload,
                keys,
                assignment: _,
            } = connection;
            gateways_left |= matches!(proxy.role, Role::Gateway(_));
            forget(&mut self.by_name, &(proxy.namespace, proxy.name), id);
            if let Some(address) = proxy.addresses.first() {
                forget(&mut self.by_address, address, id);
            }
            if let Some(workload) = workload {
                forget(&mut self.by_workload, &workload, id);
            }
            self.end_use(&keys, now);
        }
        if gateways_left {
            let connections = self.connections.values();
            let gateways = connections.filter_map(|connection| match &connection.proxy.role {
                Role::Gateway(gateway) => Some(gateway.clone()),
                Role::Sidecar(_) | Role::EastWest | Role::Grpc => None,
            });
            self.gateways = Arc::new(gateways.collect());
        }
        let idle: Vec<ViewKey> = self
            .uses
            .iter()
            .filter(|(_, usage)| usage.idle_since.is_some_and(|since| since + linger <= now))
            .map(|(key, _)| key.clone())
            .collect();
        for key in &idle {
            self.uses.remove(key);
        }
        idle
    }

    /// Changes whenever a key comes into use that was not: cheaper to compare than the keys.
    pub(super) fn keys_version(&self) -> u64 {
        self.keys_version
    }

    /// The keys of all layers that are read, or were a moment ago.
    pub(super) fn wanted(&self) -> BTreeSet<ViewKey> {
        self.uses.keys().cloned().collect()
    }

    /// How many streams read a layer.
    pub(super) fn readers(&self) -> BTreeMap<LayerName, usize> {
        self.uses
            .iter()
            .map(|(key, usage)| (layer_name(key), usage.readers))
            .collect()
    }

    /// The layers of the newest stream of a node.
    pub(super) fn layers_of(&self, proxy: &str) -> Option<Vec<LayerName>> {
        let mut newest_first = self.connections.values().rev();
        newest_first
            .find(|connection| &*connection.proxy.id == proxy && !connection.assignment.is_closed())
            .map(|connection| layer_names(&connection.keys))
    }

    /// The gateways of which a proxy is connected.
    pub(super) fn gateways(&self) -> &Arc<BTreeSet<GatewayName>> {
        &self.gateways
    }

    /// Number of streams.
    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    fn begin_use(&mut self, keys: &[ViewKey]) {
        for key in keys {
            let keys_version = &mut self.keys_version;
            let usage = self.uses.entry(key.clone()).or_insert_with(|| {
                *keys_version += 1;
                Use {
                    readers: 0,
                    idle_since: None,
                }
            });
            usage.readers += 1;
            usage.idle_since = None;
        }
    }

    fn end_use(&mut self, keys: &[ViewKey], now: Instant) {
        for key in keys {
            if let Some(usage) = self.uses.get_mut(key) {
                usage.readers = usage.readers.saturating_sub(1);
                if usage.readers == 0 {
                    usage.idle_since = Some(now);
                }
            }
        }
    }
}

fn forget<K: Ord>(map: &mut BTreeMap<K, BTreeSet<u64>>, key: &K, id: u64) {
    if let Some(ids) = map.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            map.remove(key);
        }
    }
}
