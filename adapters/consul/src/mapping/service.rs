//! What a service is, from what its instances say.

use std::{collections::BTreeMap, sync::Arc};

use bowline_mesh::{Balancing, Hostname, Protocol, Service, ServicePort};

use super::{Instance, convention::CalledPort};

/// A service from its instances: nobody else in Consul says anything about it. `None` where there are none.
///
/// Where instances differ, most of them decide, and of as many the lower number: the same instances are the same service on every
/// replica, in whatever order they came.
pub(crate) fn service<'a>(
    hostname: Hostname,
    instances: impl IntoIterator<Item = &'a Instance>,
    service_port: Option<u16>,
    balancing: Balancing,
) -> Option<Service> {
    let mut by_name: BTreeMap<&Arc<str>, Vec<&CalledPort>> = BTreeMap::new();
    for port in instances.into_iter().flat_map(|instance| &instance.ports) {
        by_name.entry(&port.name).or_default().push(port);
    }
    let mut ports: Vec<ServicePort> = Vec::new();
    // The port that Consul knows first: it wins where two would be called by the same number.
    let main = |name: &str| name != "main";
    let mut names: Vec<_> = by_name.into_iter().collect();
    names.sort_by_key(|(name, _)| main(name));
    for (name, said) in names {
        let default = |port: &CalledPort| match (main(name), service_port) {
            (false, Some(number)) => number,
            _ => port.instance,
        };
        let called = most(said.iter().filter_map(|port| port.called));
        let number = called.or_else(|| most(said.iter().map(|port| default(port))))?;
        let protocol = most(said.iter().filter_map(|port| port.protocol));
        if ports.iter().any(|port| port.number == number) {
            continue;
        }
        ports.push(ServicePort {
            number,
            name: name.clone(),
            protocol: protocol.unwrap_or(Protocol::Auto),
            local_port: None,
        });
    }
    ports.sort();
    (!ports.is_empty()).then_some(Service {
        hostname,
        addresses: Vec::new(),
        ports,
        balancing,
        health_check: None,
    })
}

/// What is said most often, and of that the least.
fn most<T: Ord + Copy>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: BTreeMap<T, usize> = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    let best = counts
        .into_iter()
        .max_by(|(one, count), (other, others)| count.cmp(others).then(other.cmp(one)));
    best.map(|(value, _)| value)
}
