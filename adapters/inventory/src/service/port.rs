//! What a service's ports mean.

use std::{collections::BTreeMap, sync::Arc};

use bowline_mesh::{Code, Protocol, ServicePort};

use crate::{entry::Findings, format::ServicePortEntry};

/// The ports, with what is not written filled in.
pub(super) fn service_ports(
    entries: Vec<ServicePortEntry>,
    findings: &mut Findings,
) -> Vec<ServicePort> {
    if entries.is_empty() {
        findings.refuse(
            "ports",
            "a service needs at least one port",
            "such as `ports: [{number: 80, protocol: http}]`",
        );
    }
    let mut numbers = BTreeMap::new();
    let mut names: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    for (index, entry) in entries.iter().enumerate() {
        if let Some(first) = numbers.insert(entry.number, index) {
            let message = format!(
                "port {} is given twice, first in ports[{first}]",
                entry.number
            );
            findings.refuse(format!("ports[{index}].number"), message, "");
        }
        let Some(name) = &entry.name else { continue };
        if name.is_empty() {
            findings.refuse(format!("ports[{index}].name"), "the name is empty", "");
        }
        if let Some(first) = names.insert(name.as_str().into(), index) {
            let message = format!("the name `{name}` is given twice, first in ports[{first}]");
            findings.refuse(format!("ports[{index}].name"), message, "");
        }
    }
    let mut ports = Vec::with_capacity(entries.len());
    for (index, entry) in entries.into_iter().enumerate() {
        let ServicePortEntry {
            number,
            name,
            protocol,
            local_port,
        } = entry;
        let said = protocol.or_else(|| Protocol::from_name(name.as_deref()?));
        let protocol = said.unwrap_or(Protocol::Auto);
        let name = match name {
            Some(name) => name.into(),
            None => default_name(protocol, number.get(), &names),
        };
        names.insert(name.clone(), index);
        if protocol.is_http() && local_port.is_some() {
            findings.remark(
                Code::UnsupportedField,
                format!("ports[{index}].local_port"),
                "HTTP ports share one local listener that routes by host",
                "the field is ignored",
                "remove it, or set `protocol: tcp` if this is not HTTP",
            );
        }
        ports.push(ServicePort {
            number: number.get(),
            name,
            protocol,
            local_port: local_port
                .filter(|_| !protocol.is_http())
                .map(|port| port.get()),
        });
    }
    ports
}

/// The protocol's name; with the number where that is not said or would not be unique.
fn default_name(protocol: Protocol, number: u16, taken: &BTreeMap<Arc<str>, usize>) -> Arc<str> {
    let word = match protocol {
        Protocol::Http => "http",
        Protocol::Http2 => "http2",
        Protocol::Grpc => "grpc",
        Protocol::Tls => "tls",
        Protocol::Tcp => "tcp",
        Protocol::Auto => return format!("port-{number}").into(),
    };
    match taken.contains_key(word) {
        false => word.into(),
        true => format!("{word}-{number}").into(),
    }
}
