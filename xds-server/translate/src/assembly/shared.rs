//! Resources that services share: the base, listeners of a port, route configurations, the DNS listener.

use std::{net::Ipv4Addr, sync::Arc};

use bowline_mesh::{Capture, HostLookup, Hostname, OutboundMode, Problem, RouteDelivery};
use bowline_proto::{
    Message,
    envoy::config::{
        core::v3::TrafficDirection,
        listener::v3::{FilterChain, Listener},
        route::v3::{RouteConfiguration, VirtualHost, route::Action},
    },
};
use bowline_snapshot::{Body, Resource, ResourceType, Version};
use bytes::Bytes;

use super::{OutboundAssembly, Subject, whole_listener};
use crate::{
    dns,
    http::{Downstream, Routes, connection_manager, forward_proxy, hosts_by_themselves},
    listener::{
        self, Place, Silence, Socket, any_chain, http_chain, http_inspector, inspect,
        server_name_chain, tls_inspector,
    },
    name,
    own_connections::refuse_own,
    route,
    service::{ListenerPart, SharedRoutes},
    tcp::{StreamTarget, tcp_proxy},
    unknown_host::{self, UnknownHost},
    virtual_outbound::{
        black_hole_cluster, passthrough_cluster, unknown_destination, virtual_outbound,
    },
};

/// What an application reads where unknown destinations are refused.
const REFUSED: &str =
    "bowline: no registry has this destination, and unknown destinations are refused.\n";

impl OutboundAssembly {
    /// What is there without any service. Says which shared routes are among it.
    pub(super) fn add_base(&mut self) -> Option<SharedRoutes> {
        match self.capture() {
            Capture::Transparent => {
                for cluster in [black_hole_cluster(), passthrough_cluster()] {
                    let resource = Resource::encode(cluster.name.as_str(), &cluster, []);
                    self.layer.upsert(ResourceType::CLUSTER, resource);
                }
                self.upsert_listener(&virtual_outbound(self.key.families, self.settings.outbound));
                None
            }
            Capture::Explicit => {
                let place = Place::At(Ipv4Addr::LOCALHOST.into());
                let port = self.settings.explicit_http_port;
                let mut http =
                    listener::listener(place, port, Socket::Bound, TrafficDirection::Outbound);
                let routes = Routes::Named(name::EXPLICIT_ROUTES.to_owned());
                let prefix = format!("outbound_{}", http.name);
                let filter = match self.unknown_host() {
                    UnknownHost::IsLookedUp => {
                        let cluster = unknown_host::cluster(self.key.families);
                        let resource = Resource::encode(cluster.name.as_str(), &cluster, []);
                        self.layer.upsert(ResourceType::CLUSTER, resource);
                        let lookup = unknown_host::http_filter(self.key.families);
                        forward_proxy(&prefix, routes, lookup)
                    }
                    UnknownHost::IsRefused => {
                        connection_manager(&prefix, Downstream::Trusted, routes)
                    }
                };
                http.filter_chains.push(any_chain("http", filter));
                refuse_own(&mut http);
                self.upsert_listener(&http);
                Some(SharedRoutes::Explicit)
            }
        }
    }

    /// What sidecars with explicit listeners do with requests for hosts that no service has.
    fn unknown_host(&self) -> UnknownHost {
        match (self.settings.outbound, self.key.host_lookup) {
            (OutboundMode::PassThrough, HostLookup::Available) => UnknownHost::IsLookedUp,
            (OutboundMode::PassThrough, HostLookup::Unavailable) | (OutboundMode::Refuse, _) => {
                UnknownHost::IsRefused
            }
        }
    }

    fn upsert_listener(&mut self, listener: &Listener) {
        let resource = Resource::encode(listener.name.as_str(), listener, []);
        self.layer.upsert(ResourceType::LISTENER, resource);
    }

    /// Puts a route configuration together again: from its virtual hosts, or without any where they come by themselves.
    pub(super) fn update_routes(&mut self, routes: SharedRoutes) {
        let name = routes.name();
        let unknown_name = name::virtual_host(&name, "*");
        let (is_wanted, unknown) = match routes {
            SharedRoutes::Explicit => (
                true,
                unknown_host::routes(self.unknown_host(), self.settings.explicit_http_port),
            ),
            SharedRoutes::Port(port) => {
                let is_wanted = self.claims.winner(&Subject::Http(port)).is_some();
                let action = match self.settings.outbound {
                    OutboundMode::PassThrough => {
                        Action::Route(route::cluster_route(name::PASSTHROUGH_CLUSTER.to_owned()))
                    }
                    OutboundMode::Refuse => route::direct_response(502, REFUSED),
                };
                (is_wanted, vec![route::catch_all("unknown", action)])
            }
        };
        if !is_wanted {
            self.layer.remove(ResourceType::ROUTE, &name);
            self.layer.remove(ResourceType::VIRTUAL_HOST, &unknown_name);
            self.tables.remove(&routes);
            return;
        }
        let unknown = VirtualHost {
            name: unknown_name,
            domains: vec!["*".to_owned()],
            routes: unknown,
            ..VirtualHost::default()
        };
        let mut configuration = RouteConfiguration {
            name: name.clone(),
            // Captured requests come with or without a port in their Host; the listener already is that port's. An explicit listener
            // is that of all ports, and the Host says which.
            ignore_port_in_host_matching: matches!(routes, SharedRoutes::Port(_)),
            validate_clusters: route::VALIDATE_CLUSTERS,
            ..RouteConfiguration::default()
        };
        let resource = match self.key.route_delivery {
            RouteDelivery::Whole => {
                configuration.virtual_hosts.push(unknown);
                let head = Bytes::from(configuration.encode_to_vec());
                let hosts = self.tables.entry(routes).or_default().clone();
                let version = Version::of([&head[..], &hosts.digest().to_bytes()]);
                Resource::new(name, Body::Parts(head, hosts), version, [])
            }
            RouteDelivery::ByHost => {
                // All of them, also the one for unknown hosts: what is left never changes, so no host is sent again because of another,
                // and there always is one, for which Envoy waits before it listens. A table that asks for hosts only while it has some
                // would get those back that it had before: Envoy does not forget them.
                let host = Resource::encode(unknown.name.as_str(), &unknown, []);
                self.layer.upsert(ResourceType::VIRTUAL_HOST, host);
                configuration.vhds = Some(hosts_by_themselves());
                Resource::encode(name, &configuration, [])
            }
        };
        self.layer.upsert(ResourceType::ROUTE, resource);
    }

    /// Puts the listener of a port together again.
    pub(super) fn update_port(&mut self, port: u16) {
        match self.capture() {
            Capture::Explicit => self.update_explicit_port(port),
            Capture::Transparent => self.update_captured_port(port),
        }
    }

    /// One socket for one port: a service with TCP has it for itself, services with TLS share it.
    fn update_explicit_port(&mut self, port: u16) {
        let address = Subject::Address(Ipv4Addr::LOCALHOST.into(), port);
        let place = Place::At(Ipv4Addr::LOCALHOST.into());
        let name = name::listener(place.address(), port);
        let owner = match port {
            _ if port == self.settings.explicit_http_port => Some("HTTP requests"),
            // Whoever of the two came first would keep the other from listening.
            _ if self.key.taken_ports.contains(&port) => Some("the workload's own application"),
            _ => None,
        };
        if let Some(owner) = owner {
            let losers: Vec<_> = self
                .claims
                .of(&address)
                .chain(self.claims.of(&Subject::Tls(port)))
                .cloned()
                .collect();
            if port != self.settings.explicit_http_port {
                self.layer.remove(ResourceType::LISTENER, &name);
            }
            self.report(&address, &losers, owner);
            return;
        }
        let tcp: Vec<Hostname> = self.claims.of(&address).cloned().collect();
        let tls: Vec<Hostname> = self.claims.of(&Subject::Tls(port)).cloned().collect();
        let tcp_wins = match (tcp.first(), tls.first()) {
            (Some(tcp), Some(tls)) => tcp < tls,
            (tcp, _) => tcp.is_some(),
        };
        let losers: Vec<Hostname> = match tcp_wins {
            true => tcp.iter().skip(1).chain(&tls).cloned().collect(),
            false => tcp.clone(),
        };
        let winner = if tcp_wins { tcp.first() } else { tls.first() };
        let Some(winner) = winner else {
            self.layer.remove(ResourceType::LISTENER, &name);
            self.conflicts.remove(&address);
            return;
        };
        if tcp_wins {
            if let Some(whole) = self
                .services
                .get(winner)
                .and_then(|parts| whole_listener(parts, &address))
            {
                self.layer.upsert(ResourceType::LISTENER, whole);
            }
        } else {
            let mut listener =
                listener::listener(place, port, Socket::Bound, TrafficDirection::Outbound);
            listener.filter_chains = self.server_name_chains(port, &tls);
            // A listener of its own for TLS is on loopback: with transparent capture the port's listener is shared.
            refuse_own(&mut listener);
            inspect(&mut listener, vec![tls_inspector()], Silence::IsWaitedFor);
            self.upsert_listener(&listener);
        }
        let winner = winner.to_string();
        self.report(&address, &losers, &winner);
    }

    /// What goes to a port on an address that has no listener of its own.
    fn update_captured_port(&mut self, port: u16) {
        let place = Place::Everywhere(self.key.families);
        let http = self.claims.winner(&Subject::Http(port)).is_some();
        let bytes = self.claims.winner(&Subject::Bytes(port)).cloned();
        let tls: Vec<Hostname> = self.claims.of(&Subject::Tls(port)).cloned().collect();
        self.report_losers(&Subject::Bytes(port));
        let name = name::listener(place.address(), port);
        if !http && bytes.is_none() && tls.is_empty() {
            self.layer.remove(ResourceType::LISTENER, &name);
            return;
        }
        let mut listener =
            listener::listener(place, port, Socket::HandedOver, TrafficDirection::Outbound);
        let mut inspectors = Vec::new();
        if http || !tls.is_empty() {
            inspectors.push(tls_inspector());
        }
        if http {
            let routes = Routes::Named(port.to_string());
            let filter =
                connection_manager(&format!("outbound_{name}"), Downstream::Trusted, routes);
            listener.filter_chains.push(http_chain("http", filter));
            inspectors.push(http_inspector());
        }
        listener
            .filter_chains
            .extend(self.server_name_chains(port, &tls));
        listener.default_filter_chain = Some(
            match bytes
                .as_ref()
                .and_then(|hostname| self.bytes_cluster(hostname, port))
            {
                // Whatever the address: a headless service has as many as endpoints, and its cluster sends each connection to its own.
                Some(cluster) => any_chain(
                    "tcp",
                    tcp_proxy(&cluster, StreamTarget::Cluster(cluster.to_string())),
                ),
                None => unknown_destination(self.settings.outbound),
            },
        );
        if !inspectors.is_empty() {
            // Where nothing but HTTP and TLS is expected, a client that is silent at first (a connection made in advance) must not
            // be taken for bytes and sent to an address that nobody has.
            let silence = if bytes.is_some() {
                Silence::IsBytes
            } else {
                Silence::IsWaitedFor
            };
            inspect(&mut listener, inspectors, silence);
        }
        self.upsert_listener(&listener);
    }

    fn bytes_cluster(&self, hostname: &Hostname, of_port: u16) -> Option<Arc<str>> {
        self.services
            .get(hostname)?
            .listeners
            .iter()
            .find_map(|part| match part {
                ListenerPart::Bytes { port, cluster } if *port == of_port => Some(cluster.clone()),
                ListenerPart::Whole { .. }
                | ListenerPart::Http { .. }
                | ListenerPart::Bytes { .. }
                | ListenerPart::Tls { .. } => None,
            })
    }

    /// A chain for each service, with those of its server names that it has.
    fn server_name_chains(&self, of_port: u16, services: &[Hostname]) -> Vec<FilterChain> {
        let mut chains = Vec::new();
        for hostname in services {
            let parts = self
                .services
                .get(hostname)
                .map(|parts| parts.listeners.as_slice());
            for part in parts.unwrap_or_default() {
                let ListenerPart::Tls {
                    port,
                    server_names,
                    cluster,
                } = part
                else {
                    continue;
                };
                if *port != of_port {
                    continue;
                }
                let won: Vec<String> = server_names
                    .iter()
                    .filter(|(name, _)| {
                        self.claims
                            .winner(&Subject::ServerName(of_port, name.clone()))
                            == Some(hostname)
                    })
                    .map(|(name, _)| name.to_string())
                    .collect();
                if !won.is_empty() {
                    let filter = tcp_proxy(cluster, StreamTarget::Cluster(cluster.to_string()));
                    chains.push(server_name_chain(cluster, won, filter));
                }
            }
        }
        chains
    }

    fn report(&mut self, subject: &Subject, losers: &[Hostname], winner: &str) {
        let problems: Vec<Problem> = losers
            .iter()
            .map(|loser| self.conflict(subject, loser, winner))
            .collect();
        if problems.is_empty() {
            self.conflicts.remove(subject);
        } else {
            self.conflicts.insert(subject.clone(), problems);
        }
    }

    pub(super) fn update_dns_listener(&mut self) {
        let resource = dns::listener(self.dns.clone());
        self.layer.upsert(ResourceType::LISTENER, resource);
    }
}
