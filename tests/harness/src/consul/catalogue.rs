//! The catalogue of one datacenter with its indexes. No I/O.
//!
//! The rules of the indexes were read off Consul's behaviour:
//! - every write has a Raft index of its own; a write that changes nothing leaves all other indexes as they are;
//! - the names of services have the index of the last change of any instance, not of its checks;
//! - an existing service has the index of the last change of its instances, their checks, their nodes and these nodes' checks, so
//!   that also output which changes nothing else moves it;
//! - a service that does not exist has the index of the last service that ceased to exist, or of the last change of anything where
//!   none has: changes elsewhere move it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::rows::{
    CheckRow, Deregistration, Health, InstanceRow, NodeRow, Registration, ServiceRow,
};

/// Partition, namespace and peer: names are unique within one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tenancy {
    partition: String,
    namespace: String,
    peer: String,
}

impl Tenancy {
    /// Empty and `default` mean the same.
    pub(super) fn new(partition: &str, namespace: &str, peer: &str) -> Self {
        let or_default = |name: &str| match name {
            "" => "default".to_owned(),
            name => name.to_owned(),
        };
        Self {
            partition: or_default(partition),
            namespace: or_default(namespace),
            peer: peer.to_owned(),
        }
    }
}

/// A registration that Consul would refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("Must provide node")]
    NodeUnnamed,
    #[error("Must provide address if SkipNodeUpdate is not set")]
    NoAddress,
    #[error("Missing node registration")]
    UnknownNode,
    #[error("Unknown service ID '{service}' for check ID '{check}'")]
    UnknownService { service: String, check: String },
}

#[derive(Debug, Clone)]
pub(super) struct Catalogue {
    datacenter: String,
    raft: u64,
    tenants: BTreeMap<Tenancy, Tenant>,
}

/// Everything of one tenancy: `(node, id)` is an instance's key, `(node, check)` a check's.
#[derive(Debug, Clone, Default)]
struct Tenant {
    nodes: BTreeMap<String, NodeRow>,
    services: BTreeMap<(String, String), ServiceRow>,
    names: BTreeMap<String, BTreeSet<(String, String)>>,
    checks: BTreeMap<(String, String), CheckRow>,
    nodes_index: u64,
    services_index: u64,
    checks_index: u64,
    /// Of every service that exists.
    service_indexes: BTreeMap<String, u64>,
    /// Of the last service that ceased to exist.
    extinction_index: Option<u64>,
    /// Of services that were asked for by streaming while they did not exist: only they themselves move these.
    view_indexes: BTreeMap<String, u64>,
}

impl Catalogue {
    pub(super) fn new(datacenter: &str) -> Self {
        Self {
            datacenter: datacenter.to_owned(),
            // A server has written about itself before it can be asked.
            raft: 10,
            tenants: BTreeMap::new(),
        }
    }

    /// The index of the last write.
    pub(super) fn raft(&self) -> u64 {
        self.raft
    }

    /// A write that concerns no service: the Raft index moves, nobody wakes.
    pub(super) fn unrelated_write(&mut self) {
        self.raft += 1;
    }

    /// Later writes come after this one.
    pub(super) fn advance(&mut self, raft: u64) {
        self.raft = raft.max(self.raft) + 1;
        for tenant in self.tenants.values_mut() {
            tenant.view_indexes.clear();
        }
    }

    pub(super) fn register(
        &mut self,
        tenancy: &Tenancy,
        registration: &Registration,
    ) -> Result<(), Refusal> {
        if registration.node.is_empty() {
            return Err(Refusal::NodeUnnamed);
        }
        if registration.address.is_empty() && !registration.skip_node_update {
            return Err(Refusal::NoAddress);
        }
        self.raft += 1;
        let raft = self.raft;
        let tenant = self.tenants.entry(tenancy.clone()).or_default();
        let is_known = tenant.nodes.contains_key(&registration.node);
        if !(registration.skip_node_update && is_known) {
            tenant.ensure_node(registration.node_row(&self.datacenter), raft);
        }
        if let Some(service) = &registration.service {
            tenant.ensure_service(&registration.node, service.clone(), raft);
        }
        for check in registration.check.iter().chain(&registration.checks) {
            let node = match check.node.as_str() {
                "" => &registration.node,
                named => named,
            };
            let check = CheckRow {
                node: node.to_owned(),
                ..check.clone()
            };
            tenant.ensure_check(check, raft)?;
        }
        Ok(())
    }

    pub(super) fn deregister(&mut self, tenancy: &Tenancy, removal: &Deregistration) {
        self.raft += 1;
        let raft = self.raft;
        let Some(tenant) = self.tenants.get_mut(tenancy) else {
            return;
        };
        if !removal.service_id.is_empty() {
            tenant.remove_service(&removal.node, &removal.service_id, raft);
        } else if !removal.check_id.is_empty() {
            tenant.remove_check(&removal.node, &removal.check_id, raft);
        } else {
            tenant.remove_node(&removal.node, raft);
        }
    }

    /// What it is after an older snapshot was restored: the same content, with no index above this one.
    pub(super) fn restore_index(&mut self, index: u64) {
        self.raft = index;
        for tenant in self.tenants.values_mut() {
            let indexes = [
                &mut tenant.nodes_index,
                &mut tenant.services_index,
                &mut tenant.checks_index,
            ];
            for known in indexes
                .into_iter()
                .chain(tenant.service_indexes.values_mut())
                .chain(&mut tenant.extinction_index)
            {
                *known = index.min(*known);
            }
            tenant.view_indexes.clear();
        }
    }

    /// The index of the names of services.
    pub(super) fn names_index(&self, tenancy: &Tenancy) -> u64 {
        self.tenants
            .get(tenancy)
            .map_or(0, |tenant| tenant.services_index)
    }

    /// The index of all checks.
    pub(super) fn checks_index(&self, tenancy: &Tenancy) -> u64 {
        self.tenants
            .get(tenancy)
            .map_or(0, |tenant| tenant.checks_index)
    }

    /// The index of a service, whether it exists or not.
    pub(super) fn service_index(&self, tenancy: &Tenancy, service: &str) -> u64 {
        self.tenants
            .get(tenancy)
            .map_or(0, |tenant| tenant.service_index(service))
    }

    /// The same as a materialised view of the service has it: changes elsewhere never move it.
    pub(super) fn view_index(&mut self, tenancy: &Tenancy, service: &str) -> u64 {
        let tenant = self.tenants.entry(tenancy.clone()).or_default();
        let index = tenant.service_index(service);
        if tenant.names.contains_key(service) {
            return index;
        }
        let view = tenant.view_indexes.entry(service.to_owned());
        *view.or_insert(index)
    }

    /// The names of services with their tags.
    pub(super) fn names(
        &self,
        tenancy: &Tenancy,
        readable: impl Fn(&ServiceRow, &str) -> bool,
    ) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for ((node, _), service) in self
            .tenants
            .get(tenancy)
            .into_iter()
            .flat_map(|tenant| &tenant.services)
        {
            if readable(service, node) {
                let tags = names.entry(&service.service).or_default();
                tags.extend(service.tags.iter().map(String::as_str));
            }
        }
        names
    }

    /// The instances of a service with the checks that matter to them: their nodes' first.
    pub(super) fn instances(&self, tenancy: &Tenancy, service: &str) -> Vec<InstanceRow<'_>> {
        let Some(tenant) = self.tenants.get(tenancy) else {
            return Vec::new();
        };
        let keys = tenant.names.get(service).into_iter().flatten();
        keys.filter_map(|key| {
            let (node, id) = key;
            let of_service = tenant
                .checks_of(node)
                .filter(|check| check.service_id == *id);
            let checks = tenant
                .checks_of(node)
                .filter(|check| check.service_id.is_empty())
                .chain(of_service);
            Some(InstanceRow {
                node: tenant.nodes.get(node)?,
                service: tenant.services.get(key)?,
                checks: checks.collect(),
            })
        })
        .collect()
    }

    /// All checks.
    pub(super) fn checks(&self, tenancy: &Tenancy) -> impl Iterator<Item = &CheckRow> {
        self.tenants
            .get(tenancy)
            .into_iter()
            .flat_map(|tenant| tenant.checks.values())
    }
}

impl Tenant {
    fn service_index(&self, service: &str) -> u64 {
        match self.service_indexes.get(service) {
            Some(index) => *index,
            None => self.extinction_index.unwrap_or_else(|| {
                self.nodes_index
                    .max(self.services_index)
                    .max(self.checks_index)
            }),
        }
    }

    fn ensure_node(&mut self, mut node: NodeRow, raft: u64) {
        if let Some(known) = self.nodes.get(&node.node) {
            node.create_index = known.create_index;
            node.modify_index = known.modify_index;
            if node == *known {
                return;
            }
        } else {
            node.create_index = raft;
        }
        node.modify_index = raft;
        self.nodes_index = raft;
        self.touch_services_of(&node.node, raft);
        self.nodes.insert(node.node.clone(), node);
    }

    fn ensure_service(&mut self, node: &str, mut service: ServiceRow, raft: u64) {
        if service.id.is_empty() {
            service.id.clone_from(&service.service);
        }
        // As Consul writes what was not said.
        for (field, unsaid) in [
            ("Mode", Value::from("")),
            ("MeshGateway", json!({})),
            ("Expose", json!({})),
        ] {
            service.proxy.entry(field).or_insert(unsaid);
        }
        let key = (node.to_owned(), service.id.clone());
        if let Some(known) = self.services.get(&key) {
            service.create_index = known.create_index;
            service.modify_index = known.modify_index;
            if service == *known {
                return;
            }
            if service.service != known.service {
                let renamed = known.service.clone();
                self.forget_name(&renamed, &key, raft);
            }
        } else {
            service.create_index = raft;
        }
        service.modify_index = raft;
        self.services_index = raft;
        self.touch(&service.service, raft);
        let named = self.names.entry(service.service.clone()).or_default();
        named.insert(key.clone());
        self.services.insert(key, service);
    }

    fn ensure_check(&mut self, mut check: CheckRow, raft: u64) -> Result<(), Refusal> {
        if !self.nodes.contains_key(&check.node) {
            return Err(Refusal::UnknownNode);
        }
        if check.check_id.is_empty() {
            check.check_id.clone_from(&check.name);
        }
        if !check.service_id.is_empty() {
            let key = (check.node.clone(), check.service_id.clone());
            let Some(service) = self.services.get(&key) else {
                return Err(Refusal::UnknownService {
                    service: check.service_id,
                    check: check.check_id,
                });
            };
            check.service_name.clone_from(&service.service);
            check.service_tags.clone_from(&service.tags);
        }
        let key = (check.node.clone(), check.check_id.clone());
        if let Some(known) = self.checks.get(&key) {
            check.create_index = known.create_index;
            check.modify_index = known.modify_index;
            if check == *known {
                return Ok(());
            }
        } else {
            check.create_index = raft;
        }
        check.modify_index = raft;
        self.checks_index = raft;
        self.touch_of_check(&check, raft);
        self.checks.insert(key, check);
        Ok(())
    }

    fn remove_node(&mut self, node: &str, raft: u64) {
        let on_node: Vec<_> = self
            .services
            .keys()
            .filter(|(name, _)| name == node)
            .cloned()
            .collect();
        for (node, id) in on_node {
            self.remove_service(&node, &id, raft);
        }
        let checks: Vec<_> = self
            .checks_of(node)
            .map(|check| check.check_id.clone())
            .collect();
        for check in checks {
            self.remove_check(node, &check, raft);
        }
        if self.nodes.remove(node).is_some() {
            self.nodes_index = raft;
        }
    }

    fn remove_service(&mut self, node: &str, id: &str, raft: u64) {
        let key = (node.to_owned(), id.to_owned());
        let Some(service) = self.services.remove(&key) else {
            return;
        };
        self.checks
            .retain(|(on, _), check| !(on == node && check.service_id == id));
        self.checks_index = raft;
        self.services_index = raft;
        self.nodes_index = raft;
        self.forget_name(&service.service, &key, raft);
    }

    fn remove_check(&mut self, node: &str, check_id: &str, raft: u64) {
        let key = (node.to_owned(), check_id.to_owned());
        let Some(check) = self.checks.remove(&key) else {
            return;
        };
        self.checks_index = raft;
        if check.service_id.is_empty() {
            // Consul wakes nobody for this one, and has it in the next answer.
            self.services_index = raft;
        }
        self.touch_of_check(&check, raft);
    }

    fn forget_name(&mut self, name: &str, key: &(String, String), raft: u64) {
        self.touch(name, raft);
        let Some(instances) = self.names.get_mut(name) else {
            return;
        };
        instances.remove(key);
        if instances.is_empty() {
            self.names.remove(name);
            self.service_indexes.remove(name);
            self.extinction_index = Some(raft);
            // Whoever watches it has a view of it, which saw it leave.
            self.view_indexes.insert(name.to_owned(), raft);
        }
    }

    fn touch(&mut self, service: &str, raft: u64) {
        self.service_indexes.insert(service.to_owned(), raft);
    }

    fn touch_of_check(&mut self, check: &CheckRow, raft: u64) {
        if check.service_id.is_empty() {
            self.touch_services_of(&check.node, raft);
        } else {
            self.touch(&check.service_name, raft);
        }
    }

    fn touch_services_of(&mut self, node: &str, raft: u64) {
        let names: BTreeSet<_> = self
            .services
            .range((node.to_owned(), String::new())..)
            .take_while(|((on, _), _)| on == node)
            .map(|(_, service)| service.service.clone())
            .collect();
        for name in names {
            self.touch(&name, raft);
        }
    }

    fn checks_of(&self, node: &str) -> impl Iterator<Item = &CheckRow> {
        self.checks
            .range((node.to_owned(), String::new())..)
            .take_while(move |((on, _), _)| on == node)
            .map(|(_, check)| check)
    }
}

impl InstanceRow<'_> {
    /// Whether every check passes, which is what `?passing` asks for.
    pub(super) fn passes(&self) -> bool {
        self.checks
            .iter()
            .all(|check| check.status == Health::Passing)
    }
}
