//! What a workload's ports mean.

use std::collections::{BTreeMap, BTreeSet};

use bowline_mesh::{Protocol, WorkloadPort};

use crate::{entry::Findings, format::WorkloadPortEntry};

/// All ports, by the names that services give them.
pub(super) fn workload_ports(
    entries: Vec<WorkloadPortEntry>,
    findings: &mut Findings,
) -> Vec<WorkloadPort> {
    let mut names = BTreeSet::new();
    let mut app_ports = BTreeMap::new();
    let mut ports = Vec::with_capacity(entries.len());
    for entry in entries {
        let WorkloadPortEntry {
            name,
            number,
            protocol,
            app_port,
        } = entry;
        if name.is_empty() {
            findings.refuse("ports", "a port has an empty name", "");
        }
        if !names.insert(name.clone()) {
            findings.refuse("ports", format!("the name `{name}` is given twice"), "");
        }
        if app_port == Some(number) {
            findings.refuse(
                "ports",
                format!("the application and its sidecar cannot both listen on {number}"),
                "leave out `app_port` where callers reach the application directly",
            );
        }
        // One port may serve the ports of several services, under the name of each.
        if app_ports
            .insert(number, app_port)
            .is_some_and(|before| before != app_port)
        {
            let message = format!("port {number} has different application ports");
            findings.refuse("ports", message, "");
        }
        let protocol = protocol.or_else(|| Protocol::from_name(&name));
        ports.push(WorkloadPort {
            number: number.get(),
            name: name.into(),
            protocol: protocol.unwrap_or(Protocol::Auto),
            app_port: app_port.map(|port| port.get()),
        });
    }
    ports
}
