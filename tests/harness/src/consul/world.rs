//! The servers behind the agents: datacenters, their leaders, what they are told. No I/O.

use std::{collections::BTreeMap, time::Duration};

use http::{Method, StatusCode};
use serde_json::json;

use super::{
    access::Grant,
    catalogue::{Catalogue, Tenancy},
    query::Query,
    read::{Began, Read, Step},
    reply::Reply,
    rows::{Deregistration, Registration},
};

const VERSION: &str = "1.21.4";

/// How a datacenter's servers are doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leader {
    /// They have a leader.
    Known,
    /// They have none: only `stale` reads are answered, and what waits goes on waiting.
    Lost,
    /// None of them can be reached: agents answer from what was streamed to them, and nothing else.
    Unreachable,
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
    /// From a view that its servers stream into, as agents do since Consul 1.10. It wakes for its own service only, says nothing of what
    /// a token hides, and never mentions an error.
    Streaming,
    /// By asking the servers, as older agents do: a watch of a service that does not exist wakes whenever another one ceases to.
    Blocking,
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
    /// Counts restored snapshots: they end queries that wait.
    pub(super) restored: u64,
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

    /// What an agent in `own` answers to a read, which may have begun to wait before.
    pub(super) fn read(
        &mut self,
        own: &str,
        service_queries: ServiceQueries,
        query: &Query,
        began: Option<&Began>,
    ) -> Step {
        let path = query.path.as_str();
        Step::Answered(match path {
            "/v1/agent/self" => self.agent_self(own, query),
            "/v1/status/leader" => self.status_leader(own),
            "/v1/catalog/datacenters" => Reply::json(&self.sites.keys().collect::<Vec<_>>()),
            _ => match Read::of(path) {
                Ok(read) => return self.watched(own, service_queries, query, &read, began),
                Err(reply) => reply,
            },
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
        let known = ["/v1/catalog/register", "/v1/catalog/deregister"];
        if *method != Method::PUT || !known.contains(&query.path.as_str()) {
            let text = format!("method {method} not allowed");
            return Reply::plain(StatusCode::METHOD_NOT_ALLOWED, &text);
        }
        match self.grant(query) {
            Ok(None) => {}
            Ok(Some(grant)) if grant == Grant::everything() => {}
            Ok(Some(_)) => return Reply::denied("Permission denied"),
            Err(reply) => return reply,
        }
        let written = match query.path.as_str() {
            "/v1/catalog/register" => self.register(own, query, body),
            _ => self.deregister(own, query, body),
        };
        match written {
            Ok(()) => Reply::json(&true),
            Err(reply) => reply,
        }
    }

    /// What the query's token may read; `None` is everything, as there are no ACLs.
    pub(super) fn grant(&self, query: &Query) -> Result<Option<Grant>, Reply> {
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

    /// What every answer of a path that Consul knows says.
    pub(super) fn default_policy(&self) -> &'static str {
        if self.tokens.is_some() {
            "deny"
        } else {
            "allow"
        }
    }

    fn register(&mut self, own: &str, query: &Query, body: &[u8]) -> Result<(), Reply> {
        let registration: Registration = serde_json::from_slice(body)
            .map_err(|error| Reply::bad(&format!("Request decode failed: {error}")))?;
        let service = registration.service.as_ref();
        let tenancy = Tenancy::new(
            &registration.partition,
            service.map_or("", |service| &service.namespace),
            &registration.peer_name,
        );
        let datacenter = [query.datacenter.as_deref(), Some(&registration.datacenter)]
            .into_iter()
            .flatten()
            .find(|name| !name.is_empty())
            .unwrap_or(own);
        self.reachable(datacenter)?
            .register(&tenancy, &registration)
            .map_err(|refusal| Reply::failure(&refusal.to_string()))
    }

    fn deregister(&mut self, own: &str, query: &Query, body: &[u8]) -> Result<(), Reply> {
        let removal: Deregistration = serde_json::from_slice(body)
            .map_err(|error| Reply::bad(&format!("Request decode failed: {error}")))?;
        if removal.node.is_empty() {
            return Err(Reply::failure("Must provide node"));
        }
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
            Leader::Lost | Leader::Unreachable => Err(Reply::failure("No cluster leader")),
        }
    }

    fn agent_self(&self, own: &str, query: &Query) -> Reply {
        match self.grant(query) {
            Ok(None) => {}
            Ok(Some(grant)) if grant.reads_node("agent") => {}
            Ok(Some(_)) => {
                return Reply::denied(
                    "Permission denied: lacks permission 'agent:read' on \"agent\"",
                );
            }
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
