//! An instance of a service, as a test writes it.

use std::collections::BTreeMap;

use serde_json::Map;

use super::{
    catalogue::Tenancy,
    rows::{
        AddressRow, CheckRow, Deregistration, Health, LocalityRow, NodeRow, Registration,
        ServiceRow, WeightsRow,
    },
};

/// An instance of a service, with a node of its own unless [`Instance::on`] says otherwise, and one check that passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    node: NodeRow,
    service: ServiceRow,
    check: CheckRow,
}

impl Instance {
    /// An instance of `service` with its id, its address and its port.
    pub fn new(service: &str, id: &str, address: &str, port: u16) -> Self {
        let node = format!("node-of-{id}");
        Self {
            node: NodeRow {
                id: String::new(),
                node: node.clone(),
                address: "127.0.0.1".to_owned(),
                datacenter: String::new(),
                tagged_addresses: None,
                meta: None,
                partition: String::new(),
                peer_name: String::new(),
                create_index: 0,
                modify_index: 0,
            },
            service: ServiceRow {
                kind: String::new(),
                id: id.to_owned(),
                service: service.to_owned(),
                tags: Vec::new(),
                address: address.to_owned(),
                tagged_addresses: BTreeMap::new(),
                meta: None,
                port,
                socket_path: String::new(),
                weights: WeightsRow::default(),
                enable_tag_override: false,
                proxy: Map::new(),
                connect: Map::new(),
                locality: None,
                peer_name: String::new(),
                namespace: String::new(),
                partition: String::new(),
                create_index: 0,
                modify_index: 0,
            },
            check: check(&node, id, &format!("service:{id}"), Health::Passing),
        }
    }

    /// The same on a node with this name and address.
    #[must_use]
    pub fn on(mut self, node: &str, address: &str) -> Self {
        node.clone_into(&mut self.node.node);
        address.clone_into(&mut self.node.address);
        node.clone_into(&mut self.check.node);
        self
    }

    /// The same with this in its node's metadata.
    #[must_use]
    pub fn node_meta(mut self, key: &str, value: &str) -> Self {
        let meta = self.node.meta.get_or_insert_default();
        meta.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The same with this tagged address (`lan`, `wan`, …) of its node.
    #[must_use]
    pub fn node_tagged(mut self, tag: &str, address: &str) -> Self {
        let tagged = self.node.tagged_addresses.get_or_insert_default();
        tagged.insert(tag.to_owned(), address.to_owned());
        self
    }

    /// The same with another tag.
    #[must_use]
    pub fn tag(mut self, tag: &str) -> Self {
        self.service.tags.push(tag.to_owned());
        self
    }

    /// The same with this in its metadata.
    #[must_use]
    pub fn meta(mut self, key: &str, value: &str) -> Self {
        let meta = self.service.meta.get_or_insert_default();
        meta.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The same with another address.
    #[must_use]
    pub fn address(mut self, address: &str) -> Self {
        address.clone_into(&mut self.service.address);
        self
    }

    /// The same on another port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.service.port = port;
        self
    }

    /// The same with this tagged address (`lan`, `wan`, `wan_ipv6`, …).
    #[must_use]
    pub fn tagged(mut self, tag: &str, address: &str, port: u16) -> Self {
        let row = AddressRow {
            address: address.to_owned(),
            port,
        };
        self.service.tagged_addresses.insert(tag.to_owned(), row);
        self
    }

    /// The same on a unix socket.
    #[must_use]
    pub fn socket(mut self, path: &str) -> Self {
        path.clone_into(&mut self.service.socket_path);
        self
    }

    /// The same with these weights.
    #[must_use]
    pub fn weights(mut self, passing: i64, warning: i64) -> Self {
        self.service.weights = WeightsRow { passing, warning };
        self
    }

    /// The same of another kind, such as `connect-proxy` or `mesh-gateway`.
    #[must_use]
    pub fn kind(mut self, kind: &str) -> Self {
        kind.clone_into(&mut self.service.kind);
        if kind == "connect-proxy" {
            let destination = self.service.service.trim_end_matches("-sidecar-proxy");
            let proxy = &mut self.service.proxy;
            proxy.insert("DestinationServiceName".to_owned(), destination.into());
        }
        self
    }

    /// The same in a region and a zone, as Consul Enterprise writes them.
    #[must_use]
    pub fn locality(mut self, region: &str, zone: &str) -> Self {
        self.service.locality = Some(LocalityRow {
            region: region.to_owned(),
            zone: zone.to_owned(),
        });
        self
    }

    /// The same with its check in this state from the start.
    #[must_use]
    pub fn health(mut self, health: Health) -> Self {
        self.check.status = health;
        self
    }

    /// The same in a namespace. Only an agent of the Enterprise edition has namespaces.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.service.namespace);
        namespace.clone_into(&mut self.check.namespace);
        self
    }

    /// The same in a partition. Only an agent of the Enterprise edition has partitions.
    #[must_use]
    pub fn partition(mut self, partition: &str) -> Self {
        partition.clone_into(&mut self.node.partition);
        partition.clone_into(&mut self.service.partition);
        partition.clone_into(&mut self.check.partition);
        self
    }

    /// The same as one that a peered cluster exports.
    #[must_use]
    pub fn peer(mut self, peer: &str) -> Self {
        peer.clone_into(&mut self.node.peer_name);
        peer.clone_into(&mut self.service.peer_name);
        peer.clone_into(&mut self.check.peer_name);
        self
    }

    /// The name of its service.
    pub fn service(&self) -> &str {
        &self.service.service
    }

    /// Its id, which is unique on its node.
    pub fn id(&self) -> &str {
        &self.service.id
    }

    /// The name of its node.
    pub fn node(&self) -> &str {
        &self.node.node
    }

    pub(super) fn tenancy(&self) -> Tenancy {
        Tenancy::new(
            &self.service.partition,
            &self.service.namespace,
            &self.service.peer_name,
        )
    }

    pub(super) fn registration(&self) -> Registration {
        Registration {
            service: Some(self.service.clone()),
            checks: vec![self.check.clone()],
            ..Registration::of(&self.node)
        }
    }

    /// Its check with this status and this output, and nothing else.
    pub(super) fn check(&self, health: Health, output: &str) -> Registration {
        let check = CheckRow {
            status: health,
            output: output.to_owned(),
            ..self.check.clone()
        };
        self.with_check(check)
    }

    /// The check that stands for maintenance of this instance.
    pub(super) fn maintenance(&self, reason: &str) -> Registration {
        let check = CheckRow {
            check_id: self.maintenance_id(),
            name: "Service Maintenance Mode".to_owned(),
            status: Health::Critical,
            notes: reason.to_owned(),
            kind: "maintenance".to_owned(),
            ..self.check.clone()
        };
        self.with_check(check)
    }

    /// A check of its node, such as `serfHealth` or `_node_maintenance`.
    pub(super) fn node_check(&self, id: &str, health: Health) -> Registration {
        let check = CheckRow {
            namespace: String::new(),
            partition: self.node.partition.clone(),
            peer_name: self.node.peer_name.clone(),
            ..check(&self.node.node, "", id, health)
        };
        self.with_check(check)
    }

    pub(super) fn removal(&self) -> Deregistration {
        Deregistration {
            service_id: self.service.id.clone(),
            ..self.node_removal()
        }
    }

    pub(super) fn node_removal(&self) -> Deregistration {
        Deregistration {
            datacenter: String::new(),
            node: self.node.node.clone(),
            service_id: String::new(),
            check_id: String::new(),
            namespace: self.service.namespace.clone(),
            partition: self.service.partition.clone(),
            peer_name: self.service.peer_name.clone(),
        }
    }

    pub(super) fn check_removal(&self, check_id: &str) -> Deregistration {
        Deregistration {
            check_id: check_id.to_owned(),
            ..self.node_removal()
        }
    }

    pub(super) fn maintenance_id(&self) -> String {
        format!("_service_maintenance:{}", self.service.id)
    }

    fn with_check(&self, check: CheckRow) -> Registration {
        Registration {
            checks: vec![check],
            skip_node_update: true,
            ..Registration::of(&self.node)
        }
    }
}

fn check(node: &str, service_id: &str, check_id: &str, status: Health) -> CheckRow {
    CheckRow {
        node: node.to_owned(),
        check_id: check_id.to_owned(),
        name: check_id.to_owned(),
        status,
        notes: String::new(),
        output: String::new(),
        service_id: service_id.to_owned(),
        service_name: String::new(),
        service_tags: Vec::new(),
        kind: "ttl".to_owned(),
        interval: String::new(),
        timeout: String::new(),
        exposed_port: 0,
        definition: Map::new(),
        namespace: String::new(),
        partition: String::new(),
        peer_name: String::new(),
        create_index: 0,
        modify_index: 0,
    }
}
