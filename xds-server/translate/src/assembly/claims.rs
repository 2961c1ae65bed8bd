//! Who may have what: names, addresses and ports that several services want.

use std::{net::IpAddr, sync::Arc};

use bowline_mesh::Hostname;
use imbl::OrdSet;

use crate::service::{ListenerPart, Rank, ServiceParts, SharedRoutes};

/// Something that services claim.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// A domain in a route configuration. Envoy refuses the whole configuration where one is in it twice.
    Domain(SharedRoutes, Arc<str>),
    /// A listener on an address and port.
    Address(IpAddr, u16),
    /// HTTP on a port. Any number may share it.
    Http(u16),
    /// Bytes on a port.
    Bytes(u16),
    /// TLS on a port. Any number may share it.
    Tls(u16),
    /// A server name on a port.
    ServerName(u16, Arc<str>),
    /// A name in the DNS table.
    DnsName(Arc<str>),
}

/// All claims, in order: of one subject, own names go before short ones, then the first hostname wins. Never who came first, so that
/// every replica decides alike.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims(OrdSet<Claim>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    subject: Subject,
    rank: Rank,
    /// `None` goes before all, and stands for the beginning of a range.
    hostname: Option<Hostname>,
}

impl Claims {
    pub(super) fn insert(&mut self, subject: Subject, rank: Rank, hostname: &Hostname) {
        self.0.insert(Claim {
            subject,
            rank,
            hostname: Some(hostname.clone()),
        });
    }

    pub(super) fn remove(&mut self, subject: Subject, rank: Rank, hostname: &Hostname) {
        self.0.remove(&Claim {
            subject,
            rank,
            hostname: Some(hostname.clone()),
        });
    }

    /// Who claims a subject, the winner first.
    pub(super) fn of<'a>(&'a self, subject: &'a Subject) -> impl Iterator<Item = &'a Hostname> {
        let beginning = Claim {
            subject: subject.clone(),
            rank: Rank::Own,
            hostname: None,
        };
        self.0
            .range(beginning..)
            .take_while(move |claim| claim.subject == *subject)
            .filter_map(|claim| claim.hostname.as_ref())
    }

    /// Who has a subject.
    pub(super) fn winner(&self, subject: &Subject) -> Option<&Hostname> {
        // One look-up, where the beginning of a range takes two.
        let first = self.0.get_next(&Claim {
            subject: subject.clone(),
            rank: Rank::Own,
            hostname: None,
        })?;
        (first.subject == *subject)
            .then_some(first.hostname.as_ref())
            .flatten()
    }
}

/// What a service claims.
pub(super) fn claims(parts: &ServiceParts) -> Vec<(Subject, Rank)> {
    let mut claims = Vec::new();
    for host in &parts.virtual_hosts {
        let domain = |(domain, rank): &(Arc<str>, Rank)| {
            (Subject::Domain(host.routes, domain.clone()), *rank)
        };
        claims.extend(host.domains.iter().map(domain));
    }
    for listener in &parts.listeners {
        match listener {
            ListenerPart::Whole {
                address,
                port,
                listener: _,
            } => claims.push((Subject::Address(*address, *port), Rank::Own)),
            ListenerPart::Http { port } => claims.push((Subject::Http(*port), Rank::Own)),
            ListenerPart::Bytes { port, cluster: _ } => {
                claims.push((Subject::Bytes(*port), Rank::Own));
            }
            ListenerPart::Tls {
                port,
                server_names,
                cluster: _,
            } => {
                claims.push((Subject::Tls(*port), Rank::Own));
                let name = |(name, rank): &(Arc<str>, Rank)| {
                    (Subject::ServerName(*port, name.clone()), *rank)
                };
                claims.extend(server_names.iter().map(name));
            }
        }
    }
    claims.extend(
        parts
            .dns
            .iter()
            .map(|dns| (Subject::DnsName(dns.name.clone()), dns.rank)),
    );
    claims
}
