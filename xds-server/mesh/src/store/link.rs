//! Linking objects into the mesh and out of it, and finding out whom that concerns.

use std::{collections::BTreeSet, sync::Arc};

use imbl::OrdMap;

use super::{Applied, MeshStore, Persist, discovery, has_names, permission::not_allowed};
use crate::{
    Discovery, EndpointGroup, GatewayName, Hostname, MergedService, Mesh, MutualTls, Network,
    Object, ObjectKey, RegistryId, RouteParent, SmallMap, Spec,
    merge::merge,
    mesh::{Ranked, Said},
    registry::endpoints_in,
    small_map::SmallSet,
};

/// One atomic change of the store: nobody sees half of it.
pub(super) struct Transaction<'s> {
    store: &'s mut MeshStore,
    applied: Applied,
    /// Hostnames whose contributions, or whose way of discovery, may have changed.
    merges: BTreeSet<Hostname>,
    /// Networks whose gateways may have changed.
    networks: BTreeSet<Network>,
    /// As it was before.
    registries_with_policies: OrdMap<RegistryId, usize>,
}

impl MeshStore {
    /// Runs a change and settles what follows from it.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Transaction<'_>)) -> Applied {
        let registries_with_policies = self.mesh.index.registries_with_policies.clone();
        let mut transaction = Transaction {
            store: self,
            applied: Applied::default(),
            merges: BTreeSet::new(),
            networks: BTreeSet::new(),
            registries_with_policies,
        };
        change(&mut transaction);
        transaction.settle()
    }
}

impl Transaction<'_> {
    /// Adds an object or puts it in the place of the one with its key.
    pub(super) fn put(&mut self, object: Object) {
        let (key, source, spec) = object.into_parts();
        let Some(record) = self.store.records.get_mut(&key.registry) else {
            return;
        };
        if let Some(problem) = not_allowed(&record.settings, &key, &source, &spec) {
            self.delete(&key);
            self.store.mesh.not_allowed.insert(key, problem);
            return;
        }
        self.store.mesh.not_allowed.remove(&key);
        let said = self.store.mesh.said(&key);
        if let Some(said) = said.filter(|said| said.spec == spec) {
            // A line that moved is not worth a write to disk or a look from anybody.
            if said.source != source {
                self.say(key, Said { source, spec });
            }
            return;
        }
        let rank = record.rank;
        self.unlink(&key);
        self.link(
            Ranked {
                rank,
                key: key.clone(),
            },
            &spec,
        );
        if let Some(record) = self.store.records.get_mut(&key.registry) {
            record.endpoints += endpoints_in(&spec);
            record.objects += 1;
        }
        let said = Said { source, spec };
        self.say(key.clone(), said.clone());
        self.applied.persist.push(Persist::Put(said.with_key(key)));
    }

    fn say(&mut self, key: ObjectKey, said: Said) {
        let objects = &mut self.store.mesh.objects;
        let objects = objects.entry(key.registry.clone()).or_default();
        objects.insert(key, said);
    }

    /// Takes an object out, if it is there.
    pub(super) fn delete(&mut self, key: &ObjectKey) {
        self.store.mesh.not_allowed.remove(key);
        if self.unlink(key) {
            self.applied.persist.push(Persist::Delete(key.clone()));
        }
    }

    /// Says whether the object was there.
    fn unlink(&mut self, key: &ObjectKey) -> bool {
        let Some(record) = self.store.records.get_mut(&key.registry) else {
            return false;
        };
        let Some(Said { source: _, spec }) = self.store.mesh.said(key).cloned() else {
            return false;
        };
        if let Some(objects) = self.store.mesh.objects.get_mut(&key.registry) {
            objects.remove(key);
        }
        record.objects -= 1;
        record.endpoints -= endpoints_in(&spec);
        let ranked = Ranked {
            rank: record.rank,
            key: key.clone(),
        };
        self.mark(&spec, key);
        let mesh = &mut self.store.mesh;
        match &spec {
            Spec::Service(service) => {
                take(&mut mesh.contributions, &service.hostname, |services| {
                    services.remove(&ranked);
                    services.is_empty()
                });
            }
            Spec::Endpoints(group) => take(&mut mesh.endpoints, &group.service, |groups| {
                groups.remove(key);
                groups.is_empty()
            }),
            Spec::Workload(workload) => {
                let index = &mut mesh.index;
                let named = (key.namespace.clone(), key.name.clone());
                withdraw(&mut index.workloads_named, &named, &ranked);
                for address in &workload.addresses {
                    withdraw(&mut index.workloads_at, address, &ranked);
                }
            }
            Spec::HttpRoute(route) => {
                mesh.http_routes.remove(key);
                unindex_route(mesh, key, &route.parents, route.destinations());
            }
            Spec::StreamRoute(route) => {
                mesh.stream_routes.remove(key);
                unindex_route(mesh, key, &route.parents, route.destinations());
            }
            Spec::Gateway(_) => take(&mut mesh.gateways, &gateway_name(key), |gateways| {
                gateways.remove(&ranked);
                gateways.is_empty()
            }),
            Spec::NetworkGateway(gateway) => {
                take(&mut mesh.network_gateways, &gateway.network, |gateways| {
                    gateways.remove(key);
                    gateways.is_empty()
                });
            }
            Spec::Policy(policy) => {
                take(&mut mesh.policies, &policy.service, |policies| {
                    policies.remove(&ranked);
                    policies.is_empty()
                });
                let count = mesh
                    .index
                    .registries_with_policies
                    .get(&key.registry)
                    .copied();
                match count.unwrap_or_default().checked_sub(1) {
                    None | Some(0) => mesh.index.registries_with_policies.remove(&key.registry),
                    Some(left) => mesh
                        .index
                        .registries_with_policies
                        .insert(key.registry.clone(), left),
                };
            }
        }
        true
    }

    fn link(&mut self, ranked: Ranked, spec: &Spec) {
        let key = ranked.key.clone();
        let mesh = &mut self.store.mesh;
        match spec {
            Spec::Service(service) => {
                let services = mesh
                    .contributions
                    .entry(service.hostname.clone())
                    .or_default();
                services.insert(ranked, service.clone());
            }
            Spec::Endpoints(group) => {
                mesh.endpoints
                    .entry(group.service.clone())
                    .or_default()
                    .insert(key.clone(), group.clone());
            }
            Spec::Workload(workload) => {
                let index = &mut mesh.index;
                let named = (key.namespace.clone(), key.name.clone());
                index
                    .workloads_named
                    .entry(named)
                    .or_default()
                    .insert(ranked.clone(), ());
                for address in &workload.addresses {
                    index
                        .workloads_at
                        .entry(*address)
                        .or_default()
                        .insert(ranked.clone(), ());
                }
            }
            Spec::HttpRoute(route) => {
                mesh.http_routes.insert(key.clone(), route.clone());
                index_route(mesh, &key, &route.parents, route.destinations());
            }
            Spec::StreamRoute(route) => {
                mesh.stream_routes.insert(key.clone(), route.clone());
                index_route(mesh, &key, &route.parents, route.destinations());
            }
            Spec::Gateway(gateway) => {
                mesh.gateways
                    .entry(gateway_name(&key))
                    .or_default()
                    .insert(ranked, gateway.clone());
            }
            Spec::NetworkGateway(gateway) => {
                mesh.network_gateways
                    .entry(gateway.network.clone())
                    .or_default()
                    .insert(key.clone(), gateway.clone());
            }
            Spec::Policy(policy) => {
                mesh.policies
                    .entry(policy.service.clone())
                    .or_default()
                    .insert(ranked, policy.clone());
                *mesh
                    .index
                    .registries_with_policies
                    .entry(key.registry.clone())
                    .or_insert(0) += 1;
            }
        }
        self.mark(spec, &key);
    }

    /// Notes whom an object concerns that comes or goes.
    fn mark(&mut self, spec: &Spec, key: &ObjectKey) {
        let changed = &mut self.applied.changed;
        match spec {
            Spec::Service(service) => {
                self.merges.insert(service.hostname.clone());
            }
            Spec::Endpoints(group) => {
                changed.endpoints.insert(group.service.clone());
                if has_names(spec) {
                    self.merges.insert(group.service.clone());
                }
            }
            Spec::Workload(_) => {
                changed.workloads.insert(key.clone());
            }
            Spec::HttpRoute(route) => self.mark_parents(&route.parents),
            Spec::StreamRoute(route) => self.mark_parents(&route.parents),
            Spec::Gateway(_) => {
                changed.gateways.insert(gateway_name(key));
            }
            Spec::NetworkGateway(gateway) => {
                self.networks.insert(gateway.network.clone());
            }
            Spec::Policy(policy) => self.mark_service(&policy.service),
        }
    }

    fn mark_parents(&mut self, parents: &[RouteParent]) {
        for parent in parents {
            match parent {
                RouteParent::Gateway { gateway, .. } => {
                    self.applied.changed.gateways.insert(gateway.clone());
                }
                RouteParent::Service { hostname, .. } => {
                    self.applied.changed.services.insert(hostname.clone());
                }
            }
        }
    }

    /// A service is seen differently, and with it every route that sends to it.
    fn mark_service(&mut self, hostname: &Hostname) {
        self.applied.changed.services.insert(hostname.clone());
        let routes = self
            .store
            .mesh
            .index
            .routes_to_service
            .get(hostname)
            .cloned();
        for key in routes.iter().flat_map(SmallMap::keys) {
            let mesh = &self.store.mesh;
            let parents = match (mesh.http_routes.get(key), mesh.stream_routes.get(key)) {
                (Some(route), _) => route.parents.clone(),
                (None, Some(route)) => route.parents.clone(),
                (None, None) => continue,
            };
            self.mark_parents(&parents);
        }
    }

    fn settle(mut self) -> Applied {
        for hostname in std::mem::take(&mut self.merges) {
            self.merge(&hostname);
        }
        self.mark_crossing();
        // Endpoints that are names are written into the cluster.
        let names: Vec<_> = self
            .applied
            .changed
            .endpoints
            .iter()
            .filter(|hostname| {
                let service = self.store.mesh.services.get(*hostname);
                service.is_some_and(|service| service.discovery == Discovery::Dns)
            })
            .cloned()
            .collect();
        for hostname in names {
            self.mark_service(&hostname);
        }
        // Whether proxies of a registry share their outbound layer with those of others hangs on its having policies.
        let with_policies = &self.store.mesh.index.registries_with_policies;
        if !self
            .registries_with_policies
            .keys()
            .eq(with_policies.keys())
        {
            self.applied.changed.everything = true;
        }
        self.applied
    }

    /// Services with endpoints in a network are seen differently from other networks when its gateways change. That is seldom, so they
    /// are looked for.
    fn mark_crossing(&mut self) {
        let networks = std::mem::take(&mut self.networks);
        let mesh = &self.store.mesh;
        match mesh.settings.mutual_tls {
            MutualTls::Spoken if !networks.is_empty() => {}
            MutualTls::Spoken | MutualTls::Absent => return,
        }
        let is_there = |group: &EndpointGroup| {
            let mut endpoints = group.endpoints.iter();
            endpoints.any(|endpoint| networks.contains(&endpoint.network))
        };
        let behind = mesh.endpoints.iter().filter_map(|(hostname, groups)| {
            let is_behind = groups.values().any(|group| is_there(group));
            is_behind.then(|| hostname.clone())
        });
        self.applied.changed.endpoints.extend(behind);
    }

    fn merge(&mut self, hostname: &Hostname) {
        let MeshStore {
            mesh,
            virtual_addresses,
            ..
        } = &mut *self.store;
        let contributions = mesh
            .contributions
            .get(hostname)
            .cloned()
            .unwrap_or_default();
        let discovery = discovery(mesh, hostname);
        let persist = &mut self.applied.persist;
        let merged = merge(
            contributions
                .iter()
                .map(|(ranked, service)| (&ranked.key, &**service)),
            discovery,
            |hostname| {
                let (address, is_new) = virtual_addresses.address(hostname)?;
                if is_new {
                    persist.push(Persist::VirtualAddress(hostname.clone(), address));
                }
                Some(address)
            },
        );
        let before = mesh.services.get(hostname);
        if before.map(|service| &**service) == merged.as_ref() {
            return;
        }
        let offered = |service: Option<&MergedService>| -> BTreeSet<u16> {
            let ports = service.into_iter().flat_map(|service| &service.ports);
            ports.filter_map(|port| port.port.explicit_port()).collect()
        };
        let (old_ports, new_ports) = (
            offered(before.map(|service| &**service)),
            offered(merged.as_ref()),
        );
        for port in old_ports.difference(&new_ports) {
            let left = mesh.explicit_ports.get(port).copied().unwrap_or_default();
            match left.checked_sub(1) {
                None | Some(0) => {
                    mesh.explicit_ports.remove(port);
                    self.applied.changed.explicit_ports = true;
                }
                Some(left) => {
                    mesh.explicit_ports.insert(*port, left);
                }
            }
        }
        for port in new_ports.difference(&old_ports) {
            let wanted = mesh.explicit_ports.entry(*port).or_insert(0);
            *wanted += 1;
            self.applied.changed.explicit_ports |= *wanted == 1;
        }
        let looks = |service: Option<&MergedService>| {
            usize::from(service.is_some_and(|service| service.balancing.looks_at_node()))
        };
        let by_node = mesh.services_by_node + looks(merged.as_ref())
            - looks(before.map(|service| &**service));
        self.applied.changed.nodes |= (by_node == 0) != (mesh.services_by_node == 0);
        mesh.services_by_node = by_node;
        match merged {
            Some(merged) => mesh.services.insert(hostname.clone(), Arc::new(merged)),
            None => mesh.services.remove(hostname),
        };
        // Ports and their names decide what an assignment is, too.
        self.applied.changed.endpoints.insert(hostname.clone());
        self.mark_service(hostname);
    }
}

/// The name of the gateway that a key is of.
pub(crate) fn gateway_name(key: &ObjectKey) -> GatewayName {
    GatewayName {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    }
}

fn index_route<'a>(
    mesh: &mut Mesh,
    key: &ObjectKey,
    parents: &[RouteParent],
    destinations: impl Iterator<Item = (&'a Hostname, u16)>,
) {
    let index = &mut mesh.index;
    for parent in parents {
        match parent {
            RouteParent::Gateway { gateway, .. } => {
                index
                    .routes_of_gateway
                    .entry(gateway.clone())
                    .or_default()
                    .insert(key.clone(), ());
            }
            RouteParent::Service { hostname, .. } => {
                index
                    .routes_of_service
                    .entry(hostname.clone())
                    .or_default()
                    .insert(key.clone(), ());
            }
        }
    }
    for (hostname, _) in destinations {
        index
            .routes_to_service
            .entry(hostname.clone())
            .or_default()
            .insert(key.clone(), ());
    }
}

fn unindex_route<'a>(
    mesh: &mut Mesh,
    key: &ObjectKey,
    parents: &[RouteParent],
    destinations: impl Iterator<Item = (&'a Hostname, u16)>,
) {
    let index = &mut mesh.index;
    for parent in parents {
        match parent {
            RouteParent::Gateway { gateway, .. } => {
                withdraw(&mut index.routes_of_gateway, gateway, key);
            }
            RouteParent::Service { hostname, .. } => {
                withdraw(&mut index.routes_of_service, hostname, key);
            }
        }
    }
    for (hostname, _) in destinations {
        withdraw(&mut index.routes_to_service, hostname, key);
    }
}

/// Takes a member out of a set in a map, and the set out of the map when it is empty.
fn withdraw<K: Ord + Clone, V: Ord + Clone>(map: &mut OrdMap<K, SmallSet<V>>, key: &K, member: &V) {
    take(map, key, |set| {
        set.remove(member);
        set.is_empty()
    });
}

/// Changes a collection in a map, and takes it out of the map if the change says that it is empty.
fn take<K: Ord + Clone, V: Clone>(
    map: &mut OrdMap<K, V>,
    key: &K,
    change: impl FnOnce(&mut V) -> bool,
) {
    let is_empty = map.get_mut(key).is_some_and(change);
    if is_empty {
        map.remove(key);
    }
}
