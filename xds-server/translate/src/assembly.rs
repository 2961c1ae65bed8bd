//! A sidecar's outbound layer, kept up with changes of single services.

mod claims;
mod shared;

use std::{collections::BTreeSet, net::Ipv4Addr, sync::Arc};

use bowline_mesh::{
    Capture, Code, Hostname, MeshSettings, Problem, Role, RouteDelivery, view::OutboundKey,
};
use bowline_snapshot::{Body, Layer, Parts, Resource, ResourceType};
use imbl::OrdMap;

use crate::{
    Translated, name,
    problem::Report,
    service::{ListenerPart, Rank, ServiceParts, SharedRoutes, VirtualHostPart},
};
use claims::{Claims, Subject};

/// The outbound layer of sidecars with one key, put together from [`ServiceParts`].
///
/// [`set`](Self::set) costs the service, and [`layer`](Self::layer) costs what changed: nothing else is encoded, hashed or looked at
/// again. Virtual hosts are resources of their own, or parts of a route configuration that shares all others with the one before, as
/// the key says. A clone shares everything, so assemblies for many namespaces begin as clones of one.
#[derive(Debug, Clone)]
pub struct OutboundAssembly {
    settings: Arc<MeshSettings>,
    key: OutboundKey,
    services: OrdMap<Hostname, Arc<ServiceParts>>,
    claims: Claims,
    /// The virtual hosts of route configurations that are delivered whole.
    tables: OrdMap<SharedRoutes, Parts>,
    dns: Parts,
    layer: Layer,
    conflicts: OrdMap<Subject, Vec<Problem>>,
    touched: Touched,
}

/// What has changed since the layer was last finished.
#[derive(Debug, Clone, Default)]
struct Touched {
    subjects: BTreeSet<Subject>,
    virtual_hosts: BTreeSet<(SharedRoutes, Hostname, u16)>,
    /// The base, which depends on no service, is not there yet.
    is_new: bool,
}

impl OutboundAssembly {
    /// An assembly without services.
    pub fn new(settings: &Arc<MeshSettings>, key: &OutboundKey) -> Self {
        Self {
            settings: settings.clone(),
            key: key.clone(),
            services: OrdMap::new(),
            claims: Claims::default(),
            tables: OrdMap::new(),
            dns: Parts::default(),
            layer: Layer::default(),
            conflicts: OrdMap::new(),
            touched: Touched {
                is_new: true,
                ..Touched::default()
            },
        }
    }

    /// An assembly for another key with the same services, which whoever asked then [`set`](Self::set)s where the other key sees
    /// other parts. It begins without any where keys or settings differ in what parts depend on.
    pub fn for_key(&self, settings: &Arc<MeshSettings>, key: &OutboundKey) -> Self {
        let OutboundKey {
            role,
            registry: _,
            namespace: _,
            families,
            taken_ports,
            host_lookup,
            route_delivery,
        } = key;
        if *self.settings != **settings
            || self.key.role != *role
            || self.key.families != *families
            || self.key.host_lookup != *host_lookup
        {
            return Self::new(settings, key);
        }
        if self.key.route_delivery != *route_delivery {
            let mut assembly = Self::new(settings, key);
            for (hostname, parts) in &self.services {
                assembly.set(hostname, Some(parts.clone()));
            }
            return assembly;
        }
        let mut assembly = Self {
            settings: settings.clone(),
            key: key.clone(),
            ..self.clone()
        };
        for port in self.key.taken_ports.iter().chain(taken_ports) {
            let local = Subject::Address(Ipv4Addr::LOCALHOST.into(), *port);
            assembly.touched.subjects.insert(local);
        }
        assembly
    }

    /// The service's parts, or that it is gone. The same `Arc` again changes nothing.
    pub fn set(&mut self, hostname: &Hostname, parts: Option<Arc<ServiceParts>>) {
        let before = self.services.get(hostname).cloned();
        match (&before, &parts) {
            (None, None) => return,
            (Some(before), Some(parts)) if Arc::ptr_eq(before, parts) => return,
            (Some(_) | None, Some(_) | None) => {}
        }
        if let Some(before) = &before {
            let is_kept = |resource: &Resource, of: fn(&ServiceParts) -> &[Resource]| {
                parts.as_ref().is_some_and(|parts| {
                    of(parts).iter().any(|kept| kept.name() == resource.name())
                })
            };
            for cluster in before
                .clusters
                .iter()
                .filter(|cluster| !is_kept(cluster, |parts| &parts.clusters))
            {
                self.layer.remove(ResourceType::CLUSTER, cluster.name());
            }
            for routes in before
                .routes
                .iter()
                .filter(|routes| !is_kept(routes, |parts| &parts.routes))
            {
                self.layer.remove(ResourceType::ROUTE, routes.name());
            }
            for (subject, rank) in claims::claims(before) {
                self.claims.remove(subject.clone(), rank, hostname);
                self.touched.subjects.insert(subject);
            }
            self.touch_virtual_hosts(hostname, before);
        }
        if let Some(parts) = &parts {
            for cluster in &parts.clusters {
                self.layer.upsert(ResourceType::CLUSTER, cluster.clone());
            }
            for routes in &parts.routes {
                self.layer.upsert(ResourceType::ROUTE, routes.clone());
            }
            for (subject, rank) in claims::claims(parts) {
                self.claims.insert(subject.clone(), rank, hostname);
                self.touched.subjects.insert(subject);
            }
            self.touch_virtual_hosts(hostname, parts);
        }
        match parts {
            Some(parts) => self.services.insert(hostname.clone(), parts),
            None => self.services.remove(hostname),
        };
    }

    /// The layer with all changes in it, and where services stand in each other's way.
    pub fn layer(&mut self) -> Translated<Layer> {
        let Touched {
            subjects,
            mut virtual_hosts,
            is_new,
        } = std::mem::take(&mut self.touched);
        let mut routes = BTreeSet::new();
        let mut ports = BTreeSet::new();
        let mut is_dns_touched = false;
        if is_new {
            routes.extend(self.add_base());
            is_dns_touched = self.capture() == Capture::Transparent;
        }
        for subject in subjects {
            match &subject {
                Subject::Domain(routes, _) => {
                    for hostname in self.claims.of(&subject) {
                        let hosts = self
                            .services
                            .get(hostname)
                            .map(|parts| parts.virtual_hosts.as_slice());
                        for host in hosts
                            .unwrap_or_default()
                            .iter()
                            .filter(|host| host.routes == *routes)
                        {
                            virtual_hosts.insert((*routes, hostname.clone(), host.port));
                        }
                    }
                    self.report_losers(&subject);
                }
                Subject::DnsName(name) => {
                    is_dns_touched |= self.update_dns(name);
                    self.report_losers(&subject);
                }
                Subject::Address(address, port) => match self.capture() {
                    Capture::Explicit => {
                        ports.insert(*port);
                    }
                    Capture::Transparent => {
                        self.update_whole(&subject, &name::listener(*address, *port));
                        self.report_losers(&subject);
                    }
                },
                Subject::ServerName(port, _) => {
                    ports.insert(*port);
                    self.report_losers(&subject);
                }
                Subject::Http(port) => {
                    // Only where the first has come or the last has gone: what is in it is told by virtual hosts.
                    let is_there = self
                        .layer
                        .get(ResourceType::ROUTE, &port.to_string())
                        .is_some();
                    if is_there != self.claims.winner(&subject).is_some() {
                        routes.insert(SharedRoutes::Port(*port));
                    }
                    ports.insert(*port);
                }
                Subject::Bytes(port) | Subject::Tls(port) => {
                    ports.insert(*port);
                }
            }
        }
        for (of, hostname, port) in virtual_hosts {
            if self.update_virtual_host(of, &hostname, port) {
                routes.insert(of);
            }
        }
        routes
            .into_iter()
            .for_each(|routes| self.update_routes(routes));
        ports.into_iter().for_each(|port| self.update_port(port));
        if is_dns_touched {
            self.update_dns_listener();
        }
        let problems = self.conflicts.values().flatten().cloned().collect();
        Translated::new(self.layer.clone(), problems)
    }

    fn capture(&self) -> Capture {
        match self.key.role {
            Role::Sidecar(capture) => capture,
            // These have no assembly of this kind; explicit listeners take nothing away from anybody.
            Role::Gateway(_) | Role::EastWest | Role::Grpc => Capture::Explicit,
        }
    }

    fn touch_virtual_hosts(&mut self, hostname: &Hostname, parts: &ServiceParts) {
        let key = |host: &VirtualHostPart| (host.routes, hostname.clone(), host.port);
        self.touched
            .virtual_hosts
            .extend(parts.virtual_hosts.iter().map(key));
    }

    /// Puts the winner's listener in its place.
    fn update_whole(&mut self, subject: &Subject, listener_name: &str) {
        let listener = self
            .claims
            .winner(subject)
            .and_then(|hostname| self.services.get(hostname))
            .and_then(|parts| whole_listener(parts, subject));
        match listener {
            Some(listener) => self.layer.upsert(ResourceType::LISTENER, listener),
            None => self.layer.remove(ResourceType::LISTENER, listener_name),
        };
    }

    /// Says whether the route configuration is another one now.
    fn update_virtual_host(&mut self, of: SharedRoutes, hostname: &Hostname, port: u16) -> bool {
        let host = self.services.get(hostname).and_then(|parts| {
            parts
                .virtual_hosts
                .iter()
                .find(|host| host.routes == of && host.port == port)
        });
        let won = host.and_then(|host| {
            let is_won = |(domain, _): &&(Arc<str>, Rank)| {
                self.claims.winner(&Subject::Domain(of, domain.clone())) == Some(hostname)
            };
            let won: Vec<&str> = host
                .domains
                .iter()
                .filter(is_won)
                .map(|(domain, _)| &**domain)
                .collect();
            let encoded = match won.len() {
                0 => return None,
                all if all == host.domains.len() => host.whole.clone(),
                _ => host.with(won.into_iter()),
            };
            Some((encoded, host.origins.clone()))
        });
        let name: Arc<str> = of.host_name(hostname, port).into();
        match self.key.route_delivery {
            RouteDelivery::Whole => {
                let part = won.map(|(encoded, _)| (encoded.field, encoded.version));
                self.tables.entry(of).or_default().set(name, part)
            }
            RouteDelivery::ByHost => {
                match won {
                    Some((encoded, origins)) => {
                        let body = Body::Whole(encoded.message);
                        let host = Resource::new(name, body, encoded.version, origins);
                        self.layer.upsert(ResourceType::VIRTUAL_HOST, host)
                    }
                    None => self.layer.remove(ResourceType::VIRTUAL_HOST, &name),
                };
                false
            }
        }
    }

    fn update_dns(&mut self, name: &Arc<str>) -> bool {
        let winner = Subject::DnsName(name.clone());
        let part = self
            .claims
            .winner(&winner)
            .and_then(|hostname| self.services.get(hostname))
            .and_then(|parts| parts.dns.iter().find(|dns| dns.name == *name))
            .map(|dns| {
                (
                    dns.entry.clone(),
                    bowline_snapshot::Version::of([&dns.entry[..]]),
                )
            });
        self.dns.set(name.clone(), part)
    }

    /// Says who has lost a subject that only one can have.
    fn report_losers(&mut self, subject: &Subject) {
        let mut claimants = self.claims.of(subject);
        let Some(winner) = claimants.next() else {
            self.conflicts.remove(subject);
            return;
        };
        let losers: Vec<Problem> = claimants
            .filter(|loser| *loser != winner)
            .map(|loser| self.conflict(subject, loser, winner.as_str()))
            .collect();
        if losers.is_empty() {
            self.conflicts.remove(subject);
        } else {
            self.conflicts.insert(subject.clone(), losers);
        }
    }

    fn conflict(&self, subject: &Subject, loser: &Hostname, winner: &str) -> Problem {
        let object = self
            .services
            .get(loser)
            .and_then(|parts| parts.object.as_ref());
        let (code, what, hint) = match subject {
            Subject::Domain(_, name) | Subject::ServerName(_, name) | Subject::DnsName(name) => (
                Code::Shadowed,
                format!("the name {name}"),
                "call it by its full hostname, or give one of the services another name",
            ),
            Subject::Address(address, port) => (
                Code::ListenerConflict,
                format!("the listener {}", name::listener(*address, *port)),
                "give one of the services another address or port (`local_port`, where sidecars have explicit listeners)",
            ),
            Subject::Http(port) | Subject::Bytes(port) | Subject::Tls(port) => (
                Code::ListenerConflict,
                format!("port {port}"),
                "give one of the services another port (`local_port`, where sidecars have explicit listeners) or an address of its own",
            ),
        };
        Report {
            code,
            object,
            field: "",
            message: format!("{what} is that of {winner} and cannot be that of {loser} too"),
            meanwhile: "what is called by it goes to the first",
            hint,
        }
        .warning()
    }
}

fn whole_listener(parts: &ServiceParts, subject: &Subject) -> Option<Resource> {
    parts.listeners.iter().find_map(|part| match part {
        ListenerPart::Whole {
            address,
            port,
            listener,
        } if *subject == Subject::Address(*address, *port) => Some(listener.clone()),
        ListenerPart::Whole { .. }
        | ListenerPart::Http { .. }
        | ListenerPart::Bytes { .. }
        | ListenerPart::Tls { .. } => None,
    })
}

#[cfg(test)]
mod tests;
