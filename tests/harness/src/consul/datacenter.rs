//! The servers behind agents, and the datacenters they serve.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    catalogue::Catalogue,
    instance::Instance,
    rows::{Deregistration, Health, Registration},
    world::{Leader, Site, World},
};

/// A datacenter that an agent knows.
#[derive(Debug, Clone)]
pub struct Datacenter {
    servers: Arc<Servers>,
    name: String,
}

/// What a datacenter had registered at some time.
#[derive(Debug, Clone)]
pub struct Snapshot(Catalogue);

/// The servers, which several agents may share.
#[derive(Debug)]
pub(super) struct Servers {
    world: Mutex<World>,
    /// A new value makes everything that waits look again.
    changed: watch::Sender<()>,
}

impl Servers {
    pub(super) fn new(world: World) -> Arc<Self> {
        Arc::new(Self {
            world: Mutex::new(world),
            changed: watch::Sender::new(()),
        })
    }

    /// Looks without waking anybody.
    pub(super) fn look<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.world.lock())
    }

    /// Changes something and makes everything that waits look again.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let changed = change(&mut self.world.lock());
        self.changed.send_replace(());
        changed
    }

    /// Is told of every change from now on.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

impl Datacenter {
    pub(super) fn new(servers: &Arc<Servers>, name: &str) -> Self {
        servers.change(|world| {
            world.site(name);
        });
        Self {
            servers: Arc::clone(servers),
            name: name.to_owned(),
        }
    }

    /// Registers an instance with its node and its check.
    pub fn register(&self, instance: &Instance) {
        self.write(instance, &instance.registration());
    }

    /// Removes an instance with its check; its node stays.
    pub fn deregister(&self, instance: &Instance) {
        self.remove(instance, &instance.removal());
    }

    /// Removes an instance's node with everything on it.
    pub fn remove_node(&self, instance: &Instance) {
        self.remove(instance, &instance.node_removal());
    }

    /// Sets the state of an instance's check.
    pub fn health(&self, instance: &Instance, health: Health) {
        self.write(instance, &instance.check(health, ""));
    }

    /// Sets the state and the output of an instance's check.
    pub fn output(&self, instance: &Instance, health: Health, output: &str) {
        self.write(instance, &instance.check(health, output));
    }

    /// Sets the state of a check of an instance's node, such as `serfHealth`.
    pub fn node_health(&self, instance: &Instance, check: &str, health: Health) {
        self.write(instance, &instance.node_check(check, health));
    }

    /// Takes an instance into maintenance.
    pub fn start_maintenance(&self, instance: &Instance, reason: &str) {
        self.write(instance, &instance.maintenance(reason));
    }

    /// Takes it out of maintenance.
    pub fn end_maintenance(&self, instance: &Instance) {
        let removal = instance.check_removal(&instance.maintenance_id());
        self.remove(instance, &removal);
    }

    /// Takes an instance's node into maintenance.
    pub fn start_node_maintenance(&self, instance: &Instance) {
        self.node_health(instance, "_node_maintenance", Health::Critical);
    }

    /// Takes the node out of maintenance.
    pub fn end_node_maintenance(&self, instance: &Instance) {
        let removal = instance.check_removal("_node_maintenance");
        self.remove(instance, &removal);
    }

    /// How its servers are doing.
    pub fn leader(&self, leader: Leader) {
        self.change(|site| site.leader = leader);
    }

    /// How long ago the server that answers `stale` reads heard of its leader.
    pub fn last_contact(&self, ago: Duration) {
        self.change(|site| site.last_contact = ago);
    }

    /// Takes a snapshot of what is registered.
    pub fn snapshot(&self) -> Snapshot {
        self.servers
            .look(|world| Snapshot(world.site(&self.name).catalogue.clone()))
    }

    /// Restores a snapshot: content and indexes are those of then, and queries that wait are answered with what was before, unless they are
    /// streamed.
    pub fn restore(&self, snapshot: &Snapshot) {
        self.change(|site| {
            let raft = site.catalogue.raft();
            site.catalogue = snapshot.0.clone();
            site.catalogue.advance(raft);
            site.restored += 1;
        });
    }

    /// Sets the Raft index, as a cluster has it that was set up anew with the same content: no index is above it afterwards, and queries that
    /// wait are answered as for a restored snapshot.
    pub fn restore_index(&self, index: u64) {
        self.change(|site| {
            site.catalogue.restore_index(index);
            site.restored += 1;
        });
    }

    /// A write that concerns no service: the Raft index moves, nothing else.
    pub fn unrelated_write(&self) {
        self.change(|site| site.catalogue.unrelated_write());
    }

    /// The index of the last write.
    pub fn raft_index(&self) -> u64 {
        self.servers
            .look(|world| world.site(&self.name).catalogue.raft())
    }

    fn write(&self, instance: &Instance, registration: &Registration) {
        self.change(|site| {
            site.catalogue
                .register(&instance.tenancy(), registration)
                .expect("a test changes instances that it has registered");
        });
    }

    fn remove(&self, instance: &Instance, removal: &Deregistration) {
        self.change(|site| site.catalogue.deregister(&instance.tenancy(), removal));
    }

    fn change<T>(&self, change: impl FnOnce(&mut Site) -> T) -> T {
        self.servers.change(|world| change(world.site(&self.name)))
    }
}
