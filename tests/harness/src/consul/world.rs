//! The servers behind the agents: datacenters, their leaders, and who may read what. No I/O.

use std::{cell::Cell, collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::json;

use super::{
    catalogue::{Catalogue, Tenancy},
    query::{Consistency, Query},
    rows::{Deregistration, Registration},
};

const VERSION: &str = "1.21.4";

/// Whether a datacenter's servers have a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leader {
    /// There is one.
    Known,
    /// There is none: only `stale` reads are answered.
    Lost,
}

/// Which Consul it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edition {
    /// Without namespaces and partitions: asking for one is an error.
    Community,
    /// With them.
    Enterprise,
}

/// How an agent answers blocking queries for a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceQueries {
    /// From a materialised view that its servers stream into, as agents do since Consul 1.10.
    Streaming,
    /// By asking the servers, as older agents do: a watch of a service that does not exist wakes whenever another one ceases to.
    Blocking,
}

/// What a token may read. Its rules are prefixes of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    services: Vec<String>,
    nodes: Vec<String>,
}

impl Grant {
    /// Every service and every node.
    pub fn everything() -> Self {
        Self::services([""])
    }

    /// Services whose names begin with one of these, on every node.
    pub fn services<'a>(prefixes: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            services: prefixes.into_iter().map(str::to_owned).collect(),
            nodes: vec![String::new()],
        }
    }

    fn nothing() -> Self {
        Self {
            services: Vec::new(),
            nodes: Vec::new(),
        }
    }

    fn reads(&self, service: &str, node: &str) -> bool {
        self.reads_service(service) && self.reads_node(node)
    }

    fn reads_service(&self, name: &str) -> bool {
        self.services
            .iter()
            .any(|prefix| name.starts_with(prefix.as_str()))
    }

    fn reads_node(&self, name: &str) -> bool {
        self.nodes
            .iter()
            .any(|prefix| name.starts_with(prefix.as_str()))
    }
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) edition: Edition,
    /// `None` while ACLs are disabled.
    pub(super) tokens: Option<BTreeMap<String, Grant>>,
    pub(super) sites: BTreeMap<String, Site>,
}

/// A datacenter.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) catalogue: Catalogue,
    pub(super) leader: Leader,
    pub(super) last_contact: Duration,
    /// Counts restored snapshots: a query that began before one ends with it.
    pub(super) restored: u64,
}

/// An answer before it is on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
}

/// What a query has come to.
#[derive(Debug)]
pub(super) enum Step {
    Answered(Reply),
    /// It waits for another index; meanwhile this would be the answer.
    Waiting {
        restored: u64,
        meanwhile: Reply,
    },
}

/// What is asked for, of what is watched by index.
enum Read<'a> {
    Names,
    Service(&'a str),
    Checks(&'a str),
}

/// Rows as they are written, and whether the token hides others.
struct Rows {
    body: Bytes,
    filtered: bool,
}

impl Step {
    pub(super) fn reply(self) -> Reply {
        match self {
            Self::Answered(reply)
            | Self::Waiting {
                meanwhile: reply, ..
            } => reply,
        }
    }
}

impl World {
    pub(super) fn new(edition: Edition, datacenter: &str) -> Self {
        Self {
            edition,
            tokens: None,
            sites: BTreeMap::from([(datacenter.to_owned(), Site::new(datacenter))]),
        }
    }

    pub(super) fn site(&mut self, datacenter: &str) -> &mut Site {
        self.sites
            .entry(datacenter.to_owned())
            .or_insert_with(|| Site::new(datacenter))
    }

    /// What an agent in `own` answers to a read. `since` is the count of restored snapshots when the query began to wait.
    pub(super) fn read(
        &mut self,
        own: &str,
        service_queries: ServiceQueries,
        query: &Query,
        since: Option<u64>,
    ) -> Step {
        let path = query.path.as_str();
        let read = match path {
            "/v1/agent/self" => return Step::Answered(self.agent_self(own, query)),
            "/v1/status/leader" => return Step::Answered(self.status_leader(own)),
            "/v1/catalog/datacenters" => {
                let names: Vec<_> = self.sites.keys().collect();
                return Step::Answered(Reply::json(&names));
            }
            "/v1/catalog/services" => Read::Names,
            _ => match (
                path.strip_prefix("/v1/health/service/"),
                path.strip_prefix("/v1/health/state/"),
            ) {
                (Some(""), _) => return Step::Answered(Reply::bad("Missing service name")),
                (_, Some("")) => return Step::Answered(Reply::bad("Missing check state")),
                (Some(name), _) => Read::Service(name),
                (None, Some(state)) => Read::Checks(state),
                (None, None) => return Step::Answered(Reply::not_found(path)),
            },
        };
        self.rows(own, service_queries, query, &read, since)
            .unwrap_or_else(Step::Answered)
    }

    fn rows(
        &mut self,
        own: &str,
        service_queries: ServiceQueries,
        query: &Query,
        read: &Read<'_>,
        since: Option<u64>,
    ) -> Result<Step, Reply> {
        if let (Edition::Community, Some((parameter, feature))) = (self.edition, query.enterprise) {
            return Err(Reply::bad(&format!(
                "Invalid query parameter: \"{parameter}\" - {feature} are a Consul Enterprise feature"
            )));
        }
        let grant = self.grant(query)?;
        let datacenter = query.datacenter.as_deref().unwrap_or(own);
        let site = self
            .sites
            .get_mut(datacenter)
            .ok_or_else(|| Reply::failure("No path to datacenter"))?;
        let stale = query.consistency == Consistency::Stale;
        if !stale && site.leader == Leader::Lost {
            return Err(Reply::failure("No cluster leader"));
        }
        let streamed = service_queries == ServiceQueries::Streaming
            && query.index > 0
            && matches!(read, Read::Service(_));
        let catalogue = &mut site.catalogue;
        let index = match read {
            Read::Names => catalogue.names_index(&query.tenancy),
            Read::Service(name) if streamed => catalogue.view_index(&query.tenancy, name),
            Read::Service(name) => catalogue.service_index(&query.tenancy, name),
            Read::Checks(_) => catalogue.checks_index(&query.tenancy),
        };
        let rows = read.rows(catalogue, query, grant.as_ref());
        let mut headers = vec![
            // A client that asks with 0 does not block: it would come back at once, for ever.
            ("X-Consul-Index", index.max(1).to_string()),
            (
                "X-Consul-KnownLeader",
                (site.leader == Leader::Known).to_string(),
            ),
            (
                "X-Consul-LastContact",
                match query.consistency {
                    Consistency::Stale => site.last_contact.as_millis().to_string(),
                    Consistency::Leader | Consistency::Consistent => "0".to_owned(),
                },
            ),
            (
                "X-Consul-Effective-Consistency",
                query.consistency.name().to_owned(),
            ),
            (
                "X-Consul-Query-Backend",
                if streamed {
                    "streaming"
                } else {
                    "blocking-query"
                }
                .to_owned(),
            ),
        ];
        // Who shows no token is not told that something is hidden.
        if rows.filtered && query.token.is_some() {
            headers.push(("X-Consul-Results-Filtered-By-ACLs", "true".to_owned()));
        }
        if let Some(tokens) = &self.tokens {
            let policy = if tokens.is_empty() { "allow" } else { "deny" };
            headers.push(("X-Consul-Default-ACL-Policy", policy.to_owned()));
        }
        let reply = Reply {
            headers,
            ..Reply::written(rows.body)
        };
        let restored = site.restored;
        let ended = since.is_some_and(|since| since != restored);
        Ok(if query.index == 0 || index > query.index || ended {
            Step::Answered(reply)
        } else {
            Step::Waiting {
                restored,
                meanwhile: reply,
            }
        })
    }

    /// What an agent in `own` answers to a write.
    pub(super) fn write(
        &mut self,
        own: &str,
        query: &Query,
        method: &Method,
        body: &[u8],
    ) -> Reply {
        if *method != Method::PUT {
            return Reply::plain(
                StatusCode::METHOD_NOT_ALLOWED,
                &format!("method {method} not allowed"),
            );
        }
        match self.grant(query) {
            Ok(None) => {}
            Ok(Some(grant)) if grant == Grant::everything() => {}
            Ok(Some(_)) => return Reply::denied("Permission denied"),
            Err(reply) => return reply,
        }
        let written = match query.path.as_str() {
            "/v1/catalog/register" => self.register(own, query, body),
            "/v1/catalog/deregister" => self.deregister(own, query, body),
            path => return Reply::not_found(path),
        };
        match written {
            Ok(()) => Reply::json(&true),
            Err(reply) => reply,
        }
    }

    fn register(&mut self, own: &str, query: &Query, body: &[u8]) -> Result<(), Reply> {
        let registration: Registration = serde_json::from_slice(body)
            .map_err(|error| Reply::bad(&format!("Request decode failed: {error}")))?;
        let service = registration.service.as_ref();
        let tenancy = Tenancy::new(
            &registration.node.partition,
            service.map_or("", |service| &service.namespace),
            &registration.node.peer_name,
        );
        let datacenter = [
            query.datacenter.as_deref(),
            Some(&registration.node.datacenter),
        ]
        .into_iter()
        .flatten()
        .find(|name| !name.is_empty())
        .unwrap_or(own);
        self.reachable(datacenter)?
            .register(&tenancy, &registration)
            .map_err(|refusal| Reply::failure(refusal.message()))
    }

    fn deregister(&mut self, own: &str, query: &Query, body: &[u8]) -> Result<(), Reply> {
        let removal: Deregistration = serde_json::from_slice(body)
            .map_err(|error| Reply::bad(&format!("Request decode failed: {error}")))?;
        let tenancy = Tenancy::new(&removal.partition, &removal.namespace, &removal.peer_name);
        let datacenter = [query.datacenter.as_deref(), Some(&removal.datacenter)]
            .into_iter()
            .flatten()
            .find(|name| !name.is_empty())
            .unwrap_or(own);
        self.reachable(datacenter)?.deregister(&tenancy, &removal);
        Ok(())
    }

    fn reachable(&mut self, datacenter: &str) -> Result<&mut Catalogue, Reply> {
        let site = self
            .sites
            .get_mut(datacenter)
            .ok_or_else(|| Reply::failure("No path to datacenter"))?;
        match site.leader {
            Leader::Known => Ok(&mut site.catalogue),
            Leader::Lost => Err(Reply::failure("No cluster leader")),
        }
    }

    /// What the query's token may read; `None` is everything, as there are no ACLs.
    fn grant(&self, query: &Query) -> Result<Option<Grant>, Reply> {
        let Some(tokens) = &self.tokens else {
            return Ok(None);
        };
        match &query.token {
            None => Ok(Some(Grant::nothing())),
            Some(token) => match tokens.get(token) {
                Some(grant) => Ok(Some(grant.clone())),
                None => Err(Reply::denied("ACL not found")),
            },
        }
    }

    fn agent_self(&self, own: &str, query: &Query) -> Reply {
        match self.grant(query) {
            Ok(None) => {}
            Ok(Some(grant)) if grant.reads_node("agent") => {}
            Ok(Some(_)) => return Reply::denied("Permission denied"),
            Err(reply) => return reply,
        }
        let version = match self.edition {
            Edition::Community => VERSION.to_owned(),
            Edition::Enterprise => format!("{VERSION}+ent"),
        };
        Reply::json(&json!({
            "Config": {
                "Datacenter": own,
                "PrimaryDatacenter": own,
                "NodeName": "agent",
                "NodeID": "2a8b6a36-5a3c-4b09-8a0b-3b8f4a9d2f10",
                "Revision": "",
                "Server": false,
                "Version": version,
            },
            "Member": {"Name": "agent", "Addr": "127.0.0.1", "Status": 1},
            "Meta": {"consul-network-segment": ""},
        }))
    }

    fn status_leader(&self, own: &str) -> Reply {
        let known = self
            .sites
            .get(own)
            .is_some_and(|site| site.leader == Leader::Known);
        Reply::json(&if known { "127.0.0.1:8300" } else { "" })
    }
}

impl Site {
    fn new(datacenter: &str) -> Self {
        Self {
            catalogue: Catalogue::new(datacenter),
            leader: Leader::Known,
            last_contact: Duration::ZERO,
            restored: 0,
        }
    }
}

impl Read<'_> {
    fn rows(&self, catalogue: &Catalogue, query: &Query, grant: Option<&Grant>) -> Rows {
        let filtered = Cell::new(false);
        let readable = |allowed: &dyn Fn(&Grant) -> bool| {
            let readable = grant.is_none_or(allowed);
            filtered.set(filtered.get() | !readable);
            readable
        };
        let tenancy = &query.tenancy;
        let body = match self {
            Read::Names => written(&catalogue.names(tenancy, |service, node| {
                readable(&|grant| grant.reads(&service.service, node))
            })),
            Read::Service(name) => {
                let mut instances = catalogue.instances(tenancy, name);
                instances.retain(|row| {
                    readable(&|grant| grant.reads(&row.service.service, &row.node.node))
                });
                instances.retain(|row| !query.passing || row.passes());
                written(&instances)
            }
            Read::Checks(state) => {
                let checks: Vec<_> = catalogue
                    .checks(tenancy)
                    .filter(|check| *state == "any" || check.status.name() == *state)
                    .filter(|check| {
                        readable(&|grant| match check.service_name.as_str() {
                            "" => grant.reads_node(&check.node),
                            service => grant.reads(service, &check.node),
                        })
                    })
                    .collect();
                written(&checks)
            }
        };
        Rows {
            body,
            filtered: filtered.get(),
        }
    }
}

impl Reply {
    pub(super) fn plain(status: StatusCode, text: &str) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::copy_from_slice(text.as_bytes()),
        }
    }

    pub(super) fn bad(text: &str) -> Self {
        Self::plain(StatusCode::BAD_REQUEST, text)
    }

    fn denied(text: &str) -> Self {
        Self::plain(StatusCode::FORBIDDEN, text)
    }

    fn failure(text: &str) -> Self {
        Self::plain(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    fn not_found(path: &str) -> Self {
        Self::plain(
            StatusCode::NOT_FOUND,
            &format!("Invalid URL path: not a recognized HTTP API endpoint: {path}"),
        )
    }

    fn json(value: &impl serde::Serialize) -> Self {
        Self::written(written(value))
    }

    fn written(body: Bytes) -> Self {
        Self {
            status: StatusCode::OK,
            headers: Vec::new(),
            body,
        }
    }
}

fn written(value: &impl serde::Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(value).expect("rows have string keys only, so they are JSON"))
}
