//! Many instances for a real Consul, sooner than one after the other.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::{Value, json};

use super::{instance::Instance, real::RealConsul, rows::Registration};

/// Instances of one transaction: three operations each, of the 64 that Consul permits.
const AT_ONCE: usize = 20;

impl RealConsul {
    /// Registers instances with their nodes and their checks.
    ///
    /// # Errors
    /// When one of them is refused.
    pub async fn register_all(&self, instances: impl IntoIterator<Item = Instance>) -> Result<()> {
        let mut instances = instances.into_iter();
        let mut nodes = BTreeSet::new();
        loop {
            let operations: Vec<Value> = instances
                .by_ref()
                .take(AT_ONCE)
                .flat_map(|instance| operations(instance.registration(), &mut nodes))
                .collect();
            if operations.is_empty() {
                return Ok(());
            }
            let body = Value::from(operations).to_string();
            self.put("/v1/txn", body).await?;
        }
    }
}

/// With its node, unless that is among those that are there already.
fn operations(registration: Registration, nodes: &mut BTreeSet<String>) -> Vec<Value> {
    let node = json!({"Node": registration.node, "Address": registration.address});
    let node = json!({"Node": {"Verb": "set", "Node": node}});
    let node = nodes.insert(registration.node.clone()).then_some(node);
    let name = registration.node;
    let service = registration
        .service
        .map(|service| json!({"Service": {"Verb": "set", "Node": name, "Service": service}}));
    let checks = registration.checks.into_iter().map(|check| {
        // Fields that Consul fills in by itself, it refuses here.
        let check = json!({
            "Node": check.node,
            "CheckID": check.check_id,
            "Name": check.name,
            "Status": check.status,
            "Notes": check.notes,
            "Output": check.output,
            "ServiceID": check.service_id,
        });
        json!({"Check": {"Verb": "set", "Check": check}})
    });
    node.into_iter().chain(service).chain(checks).collect()
}
