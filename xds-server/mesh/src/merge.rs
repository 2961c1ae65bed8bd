//! One hostname over several registries: one service.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use crate::{
    Balancing, Code, Endpoint, HealthCheck, Hostname, Namespace, ObjectKey, Problem, RegistryId,
    Service, ServicePort, Severity,
};

/// A service as the mesh knows it: united over all registries that have its hostname.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedService {
    /// The name by which it is called.
    pub hostname: Hostname,
    /// The namespace of the object that wins conflicts.
    pub namespace: Namespace,
    /// The name of that object: the short name by which callers in its namespace know it.
    pub name: Arc<str>,
    /// Its own addresses, those of the winning registry first.
    pub addresses: Vec<IpAddr>,
    /// The address that the mesh gave it because it has none.
    pub virtual_address: Option<Ipv4Addr>,
    /// Its ports by number.
    pub ports: Vec<MergedPort>,
    /// How a caller picks an endpoint.
    pub balancing: Balancing,
    /// How callers check endpoints.
    pub health_check: Option<HealthCheck>,
    /// How proxies learn its endpoints.
    pub discovery: Discovery,
    /// The objects it is made from, the winning one first.
    pub origins: Vec<ObjectKey>,
}

/// A port of a merged service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedPort {
    /// As the winning registry has it.
    pub port: ServicePort,
    /// The name by which another registry's endpoints know it, where that differs.
    pub other_names: BTreeMap<RegistryId, Arc<str>>,
}

/// How proxies learn a service's endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Discovery {
    /// From us, by EDS: all endpoints have addresses.
    Eds,
    /// At least one endpoint is a DNS name, so the proxies resolve names and the endpoints are written into the cluster.
    Dns,
}

impl MergedService {
    /// The port with this number.
    pub fn port(&self, number: u16) -> Option<&MergedPort> {
        self.ports.iter().find(|port| port.port.number == number)
    }

    /// The port number on which an endpoint of a registry serves one of the ports; `None` where it does not serve it.
    pub fn endpoint_port(
        &self,
        port: &MergedPort,
        registry: &RegistryId,
        endpoint: &Endpoint,
    ) -> Option<u16> {
        let name = port.other_names.get(registry).unwrap_or(&port.port.name);
        let unnamed = || match (self.ports.len(), endpoint.ports.len()) {
            // The only port of either may do without a name.
            (1, 1) => endpoint.ports.get("").copied(),
            _ => None,
        };
        endpoint.ports.get(name).copied().or_else(unnamed)
    }

    /// All addresses by which it can be called: its own, or the virtual one.
    pub fn reachable_at(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses
            .iter()
            .copied()
            .chain(self.virtual_address.map(IpAddr::V4))
    }
}

/// Unites what registries say about a hostname, given in the order in which they win. `None` where nobody says anything.
pub(crate) fn merge<'a>(
    contributions: impl IntoIterator<Item = (&'a ObjectKey, &'a Service)>,
    discovery: Discovery,
    virtual_address: impl FnOnce(&Hostname) -> Option<Ipv4Addr>,
) -> Option<MergedService> {
    let mut contributions = contributions.into_iter();
    let (winner, service) = contributions.next()?;
    let Service {
        hostname,
        addresses,
        ports,
        balancing,
        health_check,
    } = service;
    let mut merged = MergedService {
        hostname: hostname.clone(),
        namespace: winner.namespace.clone(),
        name: winner.name.clone(),
        addresses: addresses.clone(),
        virtual_address: None,
        ports: ports
            .iter()
            .map(|port| MergedPort {
                port: port.clone(),
                other_names: BTreeMap::new(),
            })
            .collect(),
        balancing: balancing.clone(),
        health_check: health_check.clone(),
        discovery,
        origins: vec![winner.clone()],
    };
    for (key, other) in contributions {
        merged.origins.push(key.clone());
        for address in &other.addresses {
            if !merged.addresses.contains(address) {
                merged.addresses.push(*address);
            }
        }
        if merged.health_check.is_none() {
            merged.health_check.clone_from(&other.health_check);
        }
        for port in &other.ports {
            match merged
                .ports
                .iter_mut()
                .find(|known| known.port.number == port.number)
            {
                Some(known) => {
                    if known.port.name != port.name {
                        known
                            .other_names
                            .insert(key.registry.clone(), port.name.clone());
                    }
                }
                None => merged.ports.push(MergedPort {
                    port: port.clone(),
                    other_names: BTreeMap::new(),
                }),
            }
        }
    }
    merged.ports.sort_by_key(|port| port.port.number);
    if merged.addresses.is_empty() && merged.balancing != Balancing::ByAddress {
        merged.virtual_address = virtual_address(&merged.hostname);
    }
    Some(merged)
}

/// Where registries disagree about a hostname, given in the order in which they win.
pub(crate) fn conflicts<'a>(
    contributions: impl IntoIterator<Item = (&'a ObjectKey, &'a Service)>,
) -> Vec<Problem> {
    let contributions: Vec<_> = contributions.into_iter().collect();
    let mut problems = Vec::new();
    let Some(((winner, first), others)) = contributions.split_first() else {
        return problems;
    };
    let mut conflict = |key: &ObjectKey, field: &str, message: String| {
        problems.push(Problem {
            code: Code::Conflict,
            severity: Severity::Warning,
            object: Some(key.clone()),
            source: None,
            field: field.into(),
            message: message.into(),
            meanwhile: format!("what {winner} says is used").into(),
            hint: "make both agree, or change the order of `registries` in the configuration"
                .into(),
        });
    };
    let mut known: BTreeMap<u16, (&ObjectKey, &ServicePort)> = first
        .ports
        .iter()
        .map(|port| (port.number, (*winner, port)))
        .collect();
    for (key, other) in others {
        for port in &other.ports {
            let (owner, winning) = known.entry(port.number).or_insert((key, port));
            if winning.protocol != port.protocol {
                conflict(
                    key,
                    "ports",
                    format!(
                        "port {} of {} is {:?} here and {:?} in {owner}",
                        port.number, other.hostname, port.protocol, winning.protocol
                    ),
                );
            }
        }
        if other.balancing != first.balancing {
            conflict(
                key,
                "balancing",
                format!(
                    "{} is balanced {:?} here and {:?} in {winner}",
                    other.hostname, other.balancing, first.balancing
                ),
            );
        }
    }
    problems
}
