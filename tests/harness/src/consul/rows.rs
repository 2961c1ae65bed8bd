//! What a catalogue has, field by field as Consul's HTTP API writes and reads it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A node: a machine on which instances run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct NodeRow {
    #[serde(rename = "ID")]
    pub(super) id: String,
    pub(super) node: String,
    pub(super) address: String,
    pub(super) datacenter: String,
    pub(super) tagged_addresses: Option<BTreeMap<String, String>>,
    pub(super) meta: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) partition: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) peer_name: String,
    pub(super) create_index: u64,
    pub(super) modify_index: u64,
}

/// An instance of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ServiceRow {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) kind: String,
    #[serde(rename = "ID", default)]
    pub(super) id: String,
    pub(super) service: String,
    #[serde(default)]
    pub(super) tags: Vec<String>,
    #[serde(default)]
    pub(super) address: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) tagged_addresses: BTreeMap<String, AddressRow>,
    #[serde(default)]
    pub(super) meta: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "is_unsaid")]
    pub(super) port: u16,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) socket_path: String,
    #[serde(default)]
    pub(super) weights: WeightsRow,
    #[serde(default)]
    pub(super) enable_tag_override: bool,
    #[serde(default)]
    pub(super) proxy: Map<String, Value>,
    #[serde(default)]
    pub(super) connect: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) locality: Option<LocalityRow>,
    #[serde(default)]
    pub(super) peer_name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) namespace: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) partition: String,
    #[serde(default)]
    pub(super) create_index: u64,
    #[serde(default)]
    pub(super) modify_index: u64,
}

/// A tagged address of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AddressRow {
    pub(super) address: String,
    #[serde(default)]
    pub(super) port: u16,
}

/// An instance's weights by its health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WeightsRow {
    pub(super) passing: i64,
    pub(super) warning: i64,
}

impl Default for WeightsRow {
    fn default() -> Self {
        Self {
            passing: 1,
            warning: 1,
        }
    }
}

/// Where an instance runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct LocalityRow {
    pub(super) region: String,
    pub(super) zone: String,
}

/// A health check of a node (without a service) or of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct CheckRow {
    pub(super) node: String,
    #[serde(rename = "CheckID")]
    pub(super) check_id: String,
    pub(super) name: String,
    pub(super) status: Health,
    pub(super) notes: String,
    pub(super) output: String,
    #[serde(rename = "ServiceID")]
    pub(super) service_id: String,
    pub(super) service_name: String,
    pub(super) service_tags: Vec<String>,
    #[serde(rename = "Type")]
    pub(super) kind: String,
    pub(super) interval: String,
    pub(super) timeout: String,
    pub(super) exposed_port: u16,
    pub(super) definition: Map<String, Value>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) partition: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) peer_name: String,
    pub(super) create_index: u64,
    pub(super) modify_index: u64,
}

/// A check's status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// All is well.
    Passing,
    /// It still serves.
    Warning,
    /// It does not serve. A check that says nothing is critical.
    #[default]
    Critical,
}

impl Health {
    /// As Consul writes it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// An instance as `/v1/health/service/:name` answers it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InstanceRow<'a> {
    pub(super) node: &'a NodeRow,
    pub(super) service: &'a ServiceRow,
    pub(super) checks: Vec<&'a CheckRow>,
}

/// The body of `PUT /v1/catalog/register`. Consul refuses fields that it does not know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Registration {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) datacenter: String,
    #[serde(rename = "ID", skip_serializing_if = "String::is_empty")]
    pub(super) id: String,
    pub(super) node: String,
    pub(super) address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tagged_addresses: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) node_meta: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) partition: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) peer_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service: Option<ServiceRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) check: Option<CheckRow>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) checks: Vec<CheckRow>,
    pub(super) skip_node_update: bool,
}

impl Registration {
    /// A node, with nothing on it yet.
    pub(super) fn of(node: &NodeRow) -> Self {
        let node = node.clone();
        Self {
            datacenter: node.datacenter,
            id: node.id,
            node: node.node,
            address: node.address,
            tagged_addresses: node.tagged_addresses,
            node_meta: node.meta,
            partition: node.partition,
            peer_name: node.peer_name,
            service: None,
            check: None,
            checks: Vec::new(),
            skip_node_update: false,
        }
    }

    /// Its node, in a datacenter.
    pub(super) fn node_row(&self, datacenter: &str) -> NodeRow {
        NodeRow {
            id: self.id.clone(),
            node: self.node.clone(),
            address: self.address.clone(),
            datacenter: datacenter.to_owned(),
            tagged_addresses: self.tagged_addresses.clone(),
            meta: self.node_meta.clone(),
            partition: self.partition.clone(),
            peer_name: self.peer_name.clone(),
            create_index: 0,
            modify_index: 0,
        }
    }
}

/// The body of `PUT /v1/catalog/deregister`: what is named most closely is removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Deregistration {
    pub(super) datacenter: String,
    pub(super) node: String,
    #[serde(rename = "ServiceID", skip_serializing_if = "String::is_empty")]
    pub(super) service_id: String,
    #[serde(rename = "CheckID", skip_serializing_if = "String::is_empty")]
    pub(super) check_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) partition: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) peer_name: String,
}

fn is_unsaid(port: &u16) -> bool {
    *port == 0
}
