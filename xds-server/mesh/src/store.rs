//! The store: the single writer that turns registry events into the next mesh.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

use crate::{
    Change, Code, Discovery, GatewayName, Hostname, Mesh, MeshSettings, Object, ObjectKey, Problem,
    RegistryEvent, RegistryId, RegistrySettings, RegistryState, RegistryStatus, Severity, Source,
    Spec,
    guard::HeldBack,
    registry::{Record, endpoints_in},
    virtual_address::VirtualAddresses,
};

mod link;
mod permission;

/// The single writer of a [`Mesh`].
///
/// Applying one change of an endpoint costs O(log n) and shares everything else with the mesh of before. Time is an argument: the
/// store never asks for it.
#[derive(Debug)]
pub struct MeshStore {
    mesh: Mesh,
    records: BTreeMap<RegistryId, Record>,
    virtual_addresses: VirtualAddresses,
}

/// What applying something led to.
#[derive(Debug, Default)]
pub struct Applied {
    /// What must be looked at again.
    pub changed: Changed,
    /// What must outlive the process. Order matters within one key only.
    pub persist: Vec<Persist>,
}

/// What may be seen differently since the mesh of before. What is not named here is not different.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// Services whose clusters, listeners or routes may differ.
    pub services: BTreeSet<Hostname>,
    /// Services whose endpoints may differ.
    pub endpoints: BTreeSet<Hostname>,
    /// Gateways whose configuration may differ.
    pub gateways: BTreeSet<GatewayName>,
    /// Workloads that may differ, come or go: proxies beside them may need other keys.
    pub workloads: BTreeSet<ObjectKey>,
    /// Keys of sidecars with explicit listeners may differ: a local port is wanted that was not, or not any more.
    pub explicit_ports: bool,
    /// Keys of proxies on nodes may differ: there is a service whose balancing looks at nodes where there was none, or none any more.
    pub nodes: bool,
    /// All of it may differ, the keys of all proxies too.
    pub everything: bool,
}

impl Changed {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        let Self {
            services,
            endpoints,
            gateways,
            workloads,
            explicit_ports,
            nodes,
            everything,
        } = self;
        services.is_empty()
            && endpoints.is_empty()
            && gateways.is_empty()
            && workloads.is_empty()
            && !explicit_ports
            && !nodes
            && !everything
    }

    /// Adds what another change named.
    pub fn merge(&mut self, other: Self) {
        let Self {
            services,
            endpoints,
            gateways,
            workloads,
            explicit_ports,
            nodes,
            everything,
        } = other;
        self.services.extend(services);
        self.endpoints.extend(endpoints);
        self.gateways.extend(gateways);
        self.workloads.extend(workloads);
        self.explicit_ports |= explicit_ports;
        self.nodes |= nodes;
        self.everything |= everything;
    }
}

/// Something that must outlive the process.
#[derive(Debug, Clone, PartialEq)]
pub enum Persist {
    /// An object as it is now.
    Put(Object),
    /// An object is gone.
    Delete(ObjectKey),
    /// A service was given a virtual address.
    VirtualAddress(Hostname, Ipv4Addr),
    /// All objects of a registry are gone, because it was taken out of the configuration.
    Forget(RegistryId),
}

impl MeshStore {
    /// A store for registries in the order in which they win, with the virtual addresses that were given before.
    pub fn new(
        settings: Arc<MeshSettings>,
        registries: impl IntoIterator<Item = RegistrySettings>,
        virtual_addresses: impl IntoIterator<Item = (Hostname, Ipv4Addr)>,
    ) -> Self {
        let virtual_addresses =
            VirtualAddresses::new(settings.virtual_addresses, virtual_addresses);
        let mut mesh = Mesh::empty(settings);
        let mut records = BTreeMap::new();
        for (rank, settings) in registries.into_iter().enumerate() {
            if settings.policies_for_mesh {
                mesh.policies_for_mesh.insert(settings.id.clone());
            }
            records.insert(settings.id.clone(), Record::new(settings, rank));
        }
        Self {
            mesh,
            records,
            virtual_addresses,
        }
    }

    /// The mesh as it is now.
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// How every registry is doing, in the order in which they win.
    pub fn registries(&self) -> Vec<RegistryStatus> {
        let mut records: Vec<_> = self.records.values().collect();
        records.sort_by_key(|record| record.rank);
        records.into_iter().map(Record::status).collect()
    }

    /// The registries' places in the mesh, in the order in which they win.
    pub fn registry_settings(&self) -> Vec<RegistrySettings> {
        let mut records: Vec<_> = self.records.values().collect();
        records.sort_by_key(|record| record.rank);
        records
            .into_iter()
            .map(|record| record.settings.clone())
            .collect()
    }

    /// How a registry is doing.
    pub fn registry_state(&self, registry: &RegistryId) -> Option<&RegistryState> {
        self.records.get(registry).map(|record| &record.state)
    }

    /// Number of problems that a registry reports of its own objects.
    pub fn problems_reported_by(&self, registry: &RegistryId) -> usize {
        self.mesh
            .reported
            .get(registry)
            .map_or(0, |problems| problems.len())
    }

    /// Whether a registry has neither answered nor left anything from before the start.
    pub fn lacks_a_registry(&self) -> bool {
        self.records.values().any(|record| !record.state.is_known())
    }

    /// Whether a loss of a registry's endpoints is held back.
    pub fn holds_back(&self, registry: &RegistryId) -> bool {
        self.records
            .get(registry)
            .is_some_and(|record| record.held.is_some())
    }

    /// Takes in a registry's objects of before the start. They are served until it answers, and the guard compares its first answer
    /// with them.
    pub fn restore(
        &mut self,
        registry: &RegistryId,
        objects: Vec<Object>,
        saved_at: Duration,
    ) -> Applied {
        let Some(record) = self.records.get_mut(registry) else {
            return Applied::default();
        };
        record.state = RegistryState::Restored { saved_at };
        let mut applied = self.change(|transaction| {
            for object in objects {
                if object.key().registry == *registry {
                    transaction.put(object);
                }
            }
        });
        applied
            .persist
            .retain(|persist| matches!(persist, Persist::VirtualAddress(..)));
        applied
    }

    /// Applies what a registry says. An event of a registry that is not (any more) configured changes nothing.
    pub fn apply(&mut self, event: RegistryEvent, now: Duration) -> Applied {
        let RegistryEvent {
            registry,
            change,
            problems,
        } = event;
        let Some(record) = self.records.get_mut(&registry) else {
            return Applied::default();
        };
        record.events += 1;
        let is_own = |key: &ObjectKey| key.registry == registry;
        let applied = match change {
            Change::Failing { error } => {
                record.state = match &record.state {
                    RegistryState::Failing {
                        since, last_good, ..
                    } => RegistryState::Failing {
                        since: *since,
                        last_good: *last_good,
                        error,
                    },
                    // It is watched: until now, what is served was what it had.
                    RegistryState::Live { .. } => RegistryState::Failing {
                        since: now,
                        last_good: Some(now),
                        error,
                    },
                    state @ (RegistryState::Starting | RegistryState::Restored { .. }) => {
                        RegistryState::Failing {
                            since: now,
                            last_good: state.last_good(),
                            error,
                        }
                    }
                };
                Applied::default()
            }
            Change::Replace(mut objects) => {
                record.state = RegistryState::Live { last_event: now };
                objects.retain(|object| is_own(object.key()));
                let named: BTreeSet<&ObjectKey> = objects.iter().map(Object::key).collect();
                let missing = self
                    .mesh
                    .objects_of(&registry)
                    .filter(|(key, _)| !named.contains(key))
                    .filter(|(key, said)| {
                        !problems
                            .iter()
                            .any(|problem| keeps(problem, key, &said.source))
                    })
                    .map(|(key, _)| key.clone())
                    .collect();
                let gone = record.believe(missing, true, &self.mesh, now);
                self.change(|transaction| {
                    objects
                        .into_iter()
                        .for_each(|object| transaction.put(object));
                    gone.iter().for_each(|key| transaction.delete(key));
                })
            }
            Change::Update {
                mut upserts,
                mut removes,
            } => {
                record.state = RegistryState::Live { last_event: now };
                upserts.retain(|object| is_own(object.key()));
                removes.retain(is_own);
                if let Some(held) = &mut record.held {
                    // What the registry names again is no longer in doubt; what it removes by name is.
                    upserts.iter().for_each(|object| {
                        held.objects.remove(object.key());
                    });
                    removes.iter().for_each(|key| {
                        held.objects.remove(key);
                    });
                    if held.objects.is_empty() {
                        record.held = None;
                    }
                }
                let removes = removes.into_iter().collect();
                let gone = record.believe(removes, false, &self.mesh, now);
                self.change(|transaction| {
                    upserts
                        .into_iter()
                        .for_each(|object| transaction.put(object));
                    gone.iter().for_each(|key| transaction.delete(key));
                })
            }
        };
        self.report(&registry, problems);
        applied
    }

    /// Believes a loss that is held back, because a person says so or its time has passed.
    pub fn release(&mut self, registry: &RegistryId) -> Applied {
        let Some(held) = self
            .records
            .get_mut(registry)
            .and_then(|record| record.held.take())
        else {
            return Applied::default();
        };
        let applied = self.change(|transaction| {
            held.objects.iter().for_each(|key| transaction.delete(key));
        });
        self.report_held(registry);
        applied
    }

    /// Believes losses whose time has passed. Says when to ask next.
    pub fn release_expired(&mut self, now: Duration) -> (Applied, Option<Duration>) {
        let until = |record: &Record| {
            record
                .held
                .as_ref()
                .map(|held| held.since + record.settings.guard.hold)
        };
        let expired: Vec<RegistryId> = self
            .records
            .values()
            .filter(|record| until(record).is_some_and(|until| until <= now))
            .map(|record| record.settings.id.clone())
            .collect();
        let mut all = Applied::default();
        for registry in expired {
            let Applied { changed, persist } = self.release(&registry);
            all.changed.merge(changed);
            all.persist.extend(persist);
        }
        (all, self.records.values().filter_map(until).min())
    }

    /// Takes over a changed configuration: other settings, registries, permissions, precedence. Objects of registries that stay are
    /// kept; those of registries that are gone are removed, which the guard does not doubt.
    pub fn configure(
        &mut self,
        settings: Arc<MeshSettings>,
        registries: impl IntoIterator<Item = RegistrySettings>,
    ) -> Applied {
        let given: Vec<_> = self
            .virtual_addresses
            .given()
            .map(|(hostname, address)| (hostname.clone(), address))
            .collect();
        let mut next = Self::new(settings, registries, given);
        let mut applied = Applied::default();
        for (id, old) in &mut self.records {
            let Some(record) = next.records.get_mut(id) else {
                applied.persist.push(Persist::Forget(id.clone()));
                continue;
            };
            record.state = old.state.clone();
            record.held = old.held.take();
            record.events = old.events;
            if let Some(problems) = self.mesh.reported.get(id) {
                next.mesh.reported.insert(id.clone(), problems.clone());
            }
            let objects: Vec<Object> = self
                .mesh
                .objects_of(id)
                .map(|(key, said)| said.clone().with_key(key.clone()))
                .collect();
            let put = next.change(|transaction| {
                objects
                    .into_iter()
                    .for_each(|object| transaction.put(object));
            });
            applied.persist.extend(
                put.persist
                    .into_iter()
                    .filter(|persist| matches!(persist, Persist::VirtualAddress(..))),
            );
        }
        *self = next;
        applied.changed.everything = true;
        applied
    }

    fn report(&mut self, registry: &RegistryId, problems: Vec<Problem>) {
        let mut problems = problems;
        problems.retain(|problem| problem.code != Code::HeldBack);
        self.mesh.reported.insert(registry.clone(), problems.into());
        self.report_held(registry);
    }

    fn report_held(&mut self, registry: &RegistryId) {
        let Some(record) = self.records.get(registry) else {
            return;
        };
        let reported = self
            .mesh
            .reported
            .get(registry)
            .cloned()
            .unwrap_or_default();
        let mut problems: Vec<Problem> = reported
            .iter()
            .filter(|problem| problem.code != Code::HeldBack)
            .cloned()
            .collect();
        if let Some(held) = &record.held {
            problems.push(Problem {
                code: Code::HeldBack,
                severity: Severity::Error,
                object: None,
                source: None,
                field: "".into(),
                message: format!(
                    "registry {registry} no longer names {} endpoints ({} objects) of {}: a loss so large and sudden is \
                     not believed at once",
                    held.endpoints,
                    held.objects.len(),
                    record.endpoints
                )
                .into(),
                meanwhile: format!(
                    "they are served as before; {} s after the loss it is believed",
                    record.settings.guard.hold.as_secs()
                )
                .into(),
                hint: format!(
                    "if they are really gone, run `bowline registries release {registry} --config FILE` with the server's configuration; otherwise look at the source"
                )
                .into(),
            });
        }
        if problems.is_empty() {
            self.mesh.reported.remove(registry);
        } else {
            self.mesh.reported.insert(registry.clone(), problems.into());
        }
    }
}

impl Record {
    /// Which of the objects that a registry no longer names are really taken out now. The rest is held back.
    fn believe(
        &mut self,
        missing: BTreeSet<ObjectKey>,
        is_replace: bool,
        mesh: &Mesh,
        now: Duration,
    ) -> BTreeSet<ObjectKey> {
        let endpoints_of = |objects: &BTreeSet<ObjectKey>| -> usize {
            let said = objects.iter().filter_map(|key| mesh.said(key));
            said.map(|said| endpoints_in(&said.spec)).sum()
        };
        let endpoints = endpoints_of(&missing);
        let guard = self.settings.guard;
        let may_doubt = is_replace || guard.doubts_updates;
        if !may_doubt {
            return missing;
        }
        let since = self.held.as_ref().map_or(now, |held| held.since);
        let is_expired = since + guard.hold <= now;
        if guard.doubts(endpoints, self.endpoints) && !is_expired {
            let mut objects = missing;
            if !is_replace && let Some(held) = self.held.take() {
                objects.extend(held.objects);
            }
            let endpoints = endpoints_of(&objects);
            self.held = Some(HeldBack {
                objects,
                endpoints,
                since,
            });
            return BTreeSet::new();
        }
        if is_replace {
            self.held = None;
        }
        missing
    }
}

/// Whether a problem explains why an object is not named: it, or the file in which it was written, cannot be read now.
fn keeps(problem: &Problem, key: &ObjectKey, source: &Source) -> bool {
    if problem.severity != Severity::Error {
        return false;
    }
    match (&problem.object, problem.code) {
        (Some(object), _) => object == key,
        (None, Code::Unreadable | Code::Malformed | Code::TooLarge) => {
            match &problem.source {
                Some(problem) => problem.place == source.place,
                // Nobody knows what it was about, so nothing is taken away because of it.
                None => true,
            }
        }
        (None, _) => false,
    }
}

/// Whether any endpoint of a group is a DNS name.
fn has_names(spec: &Spec) -> bool {
    match spec {
        Spec::Endpoints(group) => group
            .endpoints
            .iter()
            .any(|endpoint| matches!(endpoint.address, crate::Address::Dns(_))),
        _ => false,
    }
}

fn discovery(mesh: &Mesh, hostname: &Hostname) -> Discovery {
    let groups = mesh.endpoints.get(hostname);
    let has_names = groups
        .into_iter()
        .flat_map(|groups| groups.values())
        .any(|group| {
            group
                .endpoints
                .iter()
                .any(|endpoint| matches!(endpoint.address, crate::Address::Dns(_)))
        });
    if has_names {
        Discovery::Dns
    } else {
        Discovery::Eds
    }
}

#[cfg(test)]
mod tests;
