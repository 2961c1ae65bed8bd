//! Everything that is wrong in a mesh, found when somebody asks.

use std::{collections::BTreeMap, net::SocketAddr};

use crate::{
    Backend, Balancing, Code, Destination, Endpoint, EndpointGroup, GatewayName, MergedService,
    Mesh, Network, ObjectKey, Problem, RouteParent, Severity, merge::conflicts, view::ListenerView,
};

/// Endpoints that serve none of their service's ports get no requests, which nobody wants.
fn without_port(
    service: &MergedService,
    key: &ObjectKey,
    group: &EndpointGroup,
) -> Option<Problem> {
    let serves_any = |endpoint: &Endpoint| {
        let mut ports = service.ports.iter();
        ports.any(|port| {
            service
                .endpoint_port(port, &key.registry, endpoint)
                .is_some()
        })
    };
    let endpoint = group.endpoints.first()?;
    if group.endpoints.iter().any(serves_any) {
        return None;
    }
    let list = |names: Vec<&str>| names.join(", ");
    let given = list(endpoint.ports.keys().map(|name| &**name).collect());
    let wanted = list(service.ports.iter().map(|port| &*port.port.name).collect());
    Some(Problem {
        code: Code::UnresolvedReference,
        severity: Severity::Error,
        object: Some(key.clone()),
        source: None,
        field: "ports".into(),
        message: format!(
            "{} has the ports {wanted}, and this has {given}",
            service.hostname
        )
        .into(),
        meanwhile: "it gets no requests for that service".into(),
        hint: "name its ports as the service does".into(),
    })
}

/// All gateways' listeners with what is attached to each.
type Gateways<'m> = BTreeMap<&'m GatewayName, Vec<ListenerView>>;

impl Mesh {
    /// All problems that registries reported and that are visible in the mesh as a whole, in a stable order.
    ///
    /// Costs a pass over the mesh: for people and for a metric now and then, not for every change.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self
            .reported
            .values()
            .flat_map(|reported| reported.iter().cloned())
            .collect();
        problems.extend(self.not_allowed.values().cloned());
        for contributions in self
            .contributions
            .values()
            .filter(|contributions| contributions.len() > 1)
        {
            problems.extend(conflicts(
                contributions
                    .iter()
                    .map(|(ranked, service)| (&ranked.key, &**service)),
            ));
        }
        self.unknown_services(&mut problems);
        self.without_address(&mut problems);
        self.shared_gateways(&mut problems);
        self.unresolved_routes(&mut problems);
        self.located(problems)
    }

    /// Problems sorted, each once, with the place where the object is written that it is about.
    pub fn located(&self, mut problems: Vec<Problem>) -> Vec<Problem> {
        for problem in &mut problems {
            if problem.source.is_none() {
                let object = problem.object.as_ref();
                problem.source = object.and_then(|key| self.source(key)).cloned();
            }
        }
        problems.sort();
        problems.dedup();
        problems
    }

    fn unknown_services(&self, problems: &mut Vec<Problem>) {
        for (hostname, groups) in &self.endpoints {
            if let Some(service) = self.services.get(hostname) {
                problems.extend(
                    groups
                        .iter()
                        .filter_map(|(key, group)| without_port(service, key, group)),
                );
                continue;
            }
            problems.extend(groups.keys().map(|key| Problem {
                code: Code::UnknownService,
                severity: Severity::Warning,
                object: Some(key.clone()),
                source: None,
                field: "service".into(),
                message: format!("no registry has a service {hostname}").into(),
                meanwhile: "these endpoints get no requests".into(),
                hint:
                    "define the service in one of the registries, or correct its name here".into(),
            }));
        }
    }

    fn without_address(&self, problems: &mut Vec<Problem>) {
        for service in self.services.values() {
            let needs_one =
                service.addresses.is_empty() && service.balancing != Balancing::ByAddress;
            if needs_one && service.virtual_address.is_none() {
                problems.push(Problem {
                    code: Code::NoVirtualAddress,
                    severity: Severity::Error,
                    object: service.origins.first().cloned(),
                    source: None,
                    field: "addresses".into(),
                    message: format!(
                        "no virtual address is left for {} in {}",
                        service.hostname, self.settings.virtual_addresses
                    )
                    .into(),
                    meanwhile:
                        "sidecars with transparent capture reach it by HTTP with its name only"
                            .into(),
                    hint: "configure a larger range in `mesh.virtual_addresses`".into(),
                });
            }
        }
    }

    /// What listens in one place leads into one network: whoever comes for the other does not find its service there.
    fn shared_gateways(&self, problems: &mut Vec<Problem>) {
        let mut first: BTreeMap<SocketAddr, (&Network, &ObjectKey)> = BTreeMap::new();
        for (network, gateways) in &self.network_gateways {
            for (key, gateway) in gateways {
                for place in &gateway.places {
                    let (other, owner) = first.entry(*place).or_insert((network, key));
                    if *other == network {
                        continue;
                    }
                    problems.push(Problem {
                        code: Code::Conflict,
                        severity: Severity::Error,
                        object: Some(key.clone()),
                        source: None,
                        field: "".into(),
                        message: format!(
                            "{place} is a gateway into network {network} here and into network {other} in {owner}"
                        )
                        .into(),
                        meanwhile: "it is used for both, and fails for one of them".into(),
                        hint: "say of each gateway into which one network it leads".into(),
                    });
                }
            }
        }
    }

    fn unresolved_routes(&self, problems: &mut Vec<Problem>) {
        let gateways: Gateways<'_> = self
            .gateways()
            .filter_map(|name| Some((name, self.listeners(name, self.gateway(name)?.1))))
            .collect();
        for (key, route) in &self.http_routes {
            self.unresolved_parents(&gateways, key, &route.parents, problems);
            for (index, rule) in route.rules.iter().enumerate() {
                let field = format!("rules[{index}].backends");
                self.unresolved_backends(key, &field, rule.backends(), problems);
            }
        }
        for (key, route) in &self.stream_routes {
            self.unresolved_parents(&gateways, key, &route.parents, problems);
            self.unresolved_backends(key, "backends", &route.backends, problems);
        }
    }

    fn unresolved_backends(
        &self,
        key: &ObjectKey,
        field: &str,
        backends: &[Backend],
        problems: &mut Vec<Problem>,
    ) {
        for (index, backend) in backends.iter().enumerate() {
            let Destination::Service { hostname, port } = &backend.destination else {
                continue;
            };
            let message = match self.service(hostname) {
                None => format!("no registry has a service {hostname}"),
                Some(service) if service.port(*port).is_none() => {
                    let ports: Vec<_> = service
                        .ports
                        .iter()
                        .map(|port| port.port.number.to_string())
                        .collect();
                    format!(
                        "{hostname} has no port {port} (it has {})",
                        ports.join(", ")
                    )
                }
                Some(_) => continue,
            };
            problems.push(Problem {
                code: Code::UnknownBackend,
                severity: Severity::Error,
                object: Some(key.clone()),
                source: None,
                field: format!("{field}[{index}]").into(),
                message: message.into(),
                meanwhile: "its share of the requests is answered with 500".into(),
                hint: "correct the backend, or define the service".into(),
            });
        }
    }

    fn unresolved_parents(
        &self,
        gateways: &Gateways<'_>,
        key: &ObjectKey,
        parents: &[RouteParent],
        problems: &mut Vec<Problem>,
    ) {
        for parent in parents {
            let message = match parent {
                RouteParent::Service { hostname, port } => match self.service(hostname) {
                    None => format!("no registry has a service {hostname}"),
                    Some(service) => match port {
                        Some(port) if service.port(*port).is_none() => {
                            format!("{hostname} has no port {port}")
                        }
                        _ => continue,
                    },
                },
                RouteParent::Gateway {
                    gateway,
                    section,
                    port,
                } => match gateways.get(gateway) {
                    None => format!("there is no gateway {gateway}"),
                    Some(listeners) => {
                        let is_attached = listeners.iter().any(|view| {
                            section
                                .as_ref()
                                .is_none_or(|section| *section == view.listener.name)
                                && port.is_none_or(|port| port == view.listener.port)
                                && (view.http_routes.iter().any(|route| route.key == *key)
                                    || view.stream_routes.iter().any(|route| route.key == *key))
                        });
                        if is_attached {
                            continue;
                        }
                        let names: Vec<&str> =
                            listeners.iter().map(|view| &*view.listener.name).collect();
                        format!(
                            "no listener of gateway {gateway} takes this route: it has {}, and their names, ports, hostnames and \
                             allowed namespaces decide",
                            if names.is_empty() {
                                "none".to_owned()
                            } else {
                                names.join(", ")
                            }
                        )
                    }
                },
            };
            problems.push(Problem {
                code: Code::UnknownParent,
                severity: Severity::Error,
                object: Some(key.clone()),
                source: None,
                field: "parents".into(),
                message: message.into(),
                meanwhile: "the route does not act there".into(),
                hint: "correct the parent, or let its listener allow the route".into(),
            });
        }
    }
}
