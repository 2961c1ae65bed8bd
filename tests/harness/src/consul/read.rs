//! Reads that can be waited for, as an agent answers them.
//!
//! Measured on real agents (1.21): what a *streamed* answer says about errors is nothing. Where there is no datacenter of that name, no server,
//! or no such token, it is `200 []` with index 1 after the whole wait; what the token hides is missing without a sign; and it never says that
//! there is a leader. A read without an index is never streamed, and says all of that.

use std::cell::Cell;

use bytes::Bytes;
use http::StatusCode;

use super::{
    access::Grant,
    catalogue::Catalogue,
    query::{Consistency, Query},
    reply::{Reply, written},
    world::{Edition, Leader, ServiceQueries, Site, World},
};

/// What is asked for, of what can be waited for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Read<'a> {
    Names,
    Service(&'a str),
    /// Checks with this status, or with `any`.
    Checks(&'a str),
}

/// What a query has come to.
#[derive(Debug)]
pub(super) enum Step {
    Answered(Reply),
    Waiting(Began),
}

/// What is known of a query that waits.
#[derive(Debug, Clone)]
pub(super) struct Began {
    /// The answer, if nothing happens.
    pub(super) meanwhile: Reply,
    restored: u64,
    grant: Option<Grant>,
    sees: Sees,
}

/// Whether there is a view behind a streamed query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sees {
    Something,
    Nothing,
}

/// Rows as they are written.
struct Rows {
    body: Bytes,
    count: usize,
    /// Whether the token hides others.
    filtered: bool,
}

impl Step {
    pub(super) fn reply(self) -> Reply {
        match self {
            Self::Answered(reply) => reply,
            Self::Waiting(began) => began.meanwhile,
        }
    }
}

impl World {
    /// The answer to a read that can be waited for.
    pub(super) fn watched(
        &mut self,
        own: &str,
        service_queries: ServiceQueries,
        query: &Query,
        read: &Read<'_>,
        began: Option<&Began>,
    ) -> Step {
        if let (Edition::Community, Some((parameter, feature))) = (self.edition, query.enterprise) {
            return Step::Answered(Reply::bad(&format!(
                "Invalid query parameter: \"{parameter}\" - {feature} are a Consul Enterprise feature"
            )));
        }
        if let (Read::Service(_), None) = (read, query.passing) {
            return Step::Answered(Reply::bad("Invalid value for ?passing"));
        }
        match (service_queries, read) {
            (ServiceQueries::Streaming, Read::Service(name)) if query.index > 0 => {
                self.streamed(own, query, name, began)
            }
            _ => self
                .blocking(own, query, read, began)
                .unwrap_or_else(|error| Step::Answered(read.failed(error))),
        }
    }

    /// From the servers.
    fn blocking(
        &mut self,
        own: &str,
        query: &Query,
        read: &Read<'_>,
        began: Option<&Began>,
    ) -> Result<Step, Reply> {
        // Who waits goes on with what the token was allowed at the beginning.
        let grant = match began {
            Some(began) => began.grant.clone(),
            None => self.grant(query)?,
        };
        let datacenter = query.datacenter.as_deref().unwrap_or(own);
        let site = self
            .sites
            .get_mut(datacenter)
            .ok_or_else(|| Reply::failure("No path to datacenter"))?;
        match (site.leader, query.consistency) {
            (Leader::Unreachable, _) => {
                return Err(Reply::failure(
                    "rpc error getting client: failed to get conn: connect: connection refused",
                ));
            }
            (Leader::Lost, Consistency::Leader | Consistency::Consistent) if began.is_none() => {
                return Err(Reply::failure("No cluster leader"));
            }
            (Leader::Lost | Leader::Known, _) => {}
        }
        if let Some(began) = began
            && began.restored != site.restored
        {
            // A restored snapshot ends what waits: with the answer from before it.
            return Ok(Step::Answered(began.meanwhile.clone()));
        }
        let catalogue = &site.catalogue;
        let index = match read {
            Read::Names => catalogue.names_index(&query.tenancy),
            Read::Service(name) => catalogue.service_index(&query.tenancy, name),
            Read::Checks(_) => catalogue.checks_index(&query.tenancy),
        };
        let rows = read.rows(catalogue, query, grant.as_ref());
        let contact = match query.consistency {
            Consistency::Stale => site.last_contact.as_millis(),
            Consistency::Leader | Consistency::Consistent => 0,
        };
        let mut headers = vec![
            // A client that asks with 0 does not wait: it would come back at once, for ever.
            ("X-Consul-Index", index.max(1).to_string()),
            (
                "X-Consul-KnownLeader",
                (site.leader == Leader::Known).to_string(),
            ),
            ("X-Consul-LastContact", contact.to_string()),
            (
                "X-Consul-Effective-Consistency",
                query.consistency.name().to_owned(),
            ),
            ("X-Consul-Query-Backend", "blocking-query".to_owned()),
        ];
        // Who shows no token is not told that something is hidden.
        if rows.filtered && query.token.is_some() {
            headers.push(("X-Consul-Results-Filtered-By-ACLs", "true".to_owned()));
        }
        let reply = Reply::with_headers(headers, rows.body);
        Ok(if query.index == 0 || index > query.index {
            Step::Answered(reply)
        } else {
            Step::Waiting(Began {
                meanwhile: reply,
                restored: site.restored,
                grant,
                sees: Sees::Something,
            })
        })
    }

    /// From a view of the agent's.
    fn streamed(&mut self, own: &str, query: &Query, name: &str, began: Option<&Began>) -> Step {
        if let Some(began) = began
            && began.sees == Sees::Nothing
        {
            return Step::Waiting(began.clone());
        }
        let reply = |index: u64, body| {
            let headers = vec![
                ("X-Consul-Index", index.max(1).to_string()),
                ("X-Consul-KnownLeader", "false".to_owned()),
                ("X-Consul-LastContact", "0".to_owned()),
                (
                    "X-Consul-Effective-Consistency",
                    query.consistency.name().to_owned(),
                ),
                ("X-Consul-Query-Backend", "streaming".to_owned()),
            ];
            Reply::with_headers(headers, body)
        };
        let waiting = |meanwhile, site: Option<&Site>, sees| {
            Step::Waiting(Began {
                meanwhile,
                restored: site.map_or(0, |site| site.restored),
                grant: None,
                sees,
            })
        };
        let blind = || waiting(reply(0, Bytes::from_static(b"[]")), None, Sees::Nothing);
        let grant = match (self.grant(query), began) {
            (Ok(grant), _) => grant,
            // Its token is gone: the servers end the stream.
            (Err(denied), Some(_)) => return Step::Answered(denied),
            (Err(_), None) => return blind(),
        };
        let datacenter = query.datacenter.as_deref().unwrap_or(own);
        let Some(site) = self.sites.get_mut(datacenter) else {
            return blind();
        };
        if began.is_some() && site.leader == Leader::Unreachable {
            let text = "error reading from server: EOF";
            return Step::Answered(Reply::plain(StatusCode::SERVICE_UNAVAILABLE, text));
        }
        let index = site.catalogue.view_index(&query.tenancy, name);
        let rows = Read::Service(name).rows(&site.catalogue, query, grant.as_ref());
        let reply = reply(index, rows.body);
        // What the token does not see does not wake who waits already.
        let hidden = rows.filtered && rows.count == 0 && began.is_some();
        if index > query.index && !hidden {
            return Step::Answered(reply);
        }
        waiting(reply, Some(site), Sees::Something)
    }
}

impl<'a> Read<'a> {
    /// # Errors
    /// The answer to a path that is not known.
    pub(super) fn of(path: &'a str) -> Result<Self, Reply> {
        if path == "/v1/catalog/services" {
            return Ok(Self::Names);
        }
        let service = path.strip_prefix("/v1/health/service/");
        let checks = path.strip_prefix("/v1/health/state/");
        match (service, checks) {
            (Some(""), _) => Err(Reply::bad("Missing service name")),
            (_, Some("")) => Err(Reply::bad("Missing check state")),
            (Some(name), _) => Ok(Self::Service(name)),
            (_, Some(state)) => Ok(Self::Checks(state)),
            (None, None) => Err(Reply::not_found()),
        }
    }

    /// An error, with the headers that come with it: an index of 1 among them for all but services.
    fn failed(&self, mut error: Reply) -> Reply {
        match self {
            Self::Service(_) => {}
            Self::Names | Self::Checks(_) => error.headers.extend([
                ("X-Consul-Index", "1".to_owned()),
                ("X-Consul-KnownLeader", "false".to_owned()),
                ("X-Consul-LastContact", "0".to_owned()),
                ("X-Consul-Query-Backend", "blocking-query".to_owned()),
            ]),
        }
        error
    }

    fn rows(&self, catalogue: &Catalogue, query: &Query, grant: Option<&Grant>) -> Rows {
        let filtered = Cell::new(false);
        let readable = |allowed: &dyn Fn(&Grant) -> bool| {
            let readable = grant.is_none_or(allowed);
            filtered.set(filtered.get() | !readable);
            readable
        };
        let tenancy = &query.tenancy;
        let (body, count) = match self {
            Read::Names => {
                let names = catalogue.names(tenancy, |service, node| {
                    readable(&|grant| grant.reads(&service.service, node))
                });
                (written(&names), names.len())
            }
            Read::Service(name) => {
                let mut instances = catalogue.instances(tenancy, name);
                instances.retain(|row| {
                    readable(&|grant| grant.reads(&row.service.service, &row.node.node))
                });
                instances.retain(|row| query.passing != Some(true) || row.passes());
                (written(&instances), instances.len())
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
                (written(&checks), checks.len())
            }
        };
        Rows {
            body,
            count,
            filtered: filtered.get(),
        }
    }
}
