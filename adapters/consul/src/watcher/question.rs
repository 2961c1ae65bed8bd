//! What is asked, and what is answered.

use std::{collections::BTreeMap, collections::BTreeSet, sync::Arc, time::Duration};

use crate::{
    mapping::Mapped,
    watch::{LaneId, Transport},
};

/// A request, until its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RequestId(pub(crate) u64);

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Query {
    /// Which services there are.
    Names,
    /// One service, by its name in lower case.
    Service(Arc<str>),
    /// All checks: a hint at what changed.
    Checks,
}

impl Query {
    /// How long Consul holds the question back while there is no answer that is new. It adds up to a sixteenth.
    pub(crate) fn wait(&self) -> Duration {
        match self {
            // Its answers also tell whether there still is a leader.
            Self::Names => Duration::from_secs(10),
            Self::Service(_) | Self::Checks => Duration::from_secs(60),
        }
    }
}

/// Who may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consistency {
    /// Any server, also without a leader.
    Stale,
    /// A server that just heard from the others that it leads.
    Default,
}

/// Something to do.
#[derive(Debug)]
pub(crate) enum Action {
    /// Ask this.
    Send(Request),
    /// Do not wait for this answer any more.
    Cancel(RequestId),
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) id: RequestId,
    pub(crate) query: Query,
    pub(crate) lane: LaneId,
    /// Answer when there is something after it; `None` answers at once.
    pub(crate) index: Option<u64>,
    pub(crate) consistency: Consistency,
    /// Which machine the index is from: another one has other indexes.
    pub(crate) host: Option<u64>,
    /// Of the body that is known; the same one need not be read.
    pub(crate) fingerprint: Option<u64>,
    /// What is known of the service.
    pub(crate) before: Option<Arc<Mapped>>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) index: Option<u64>,
    /// Since when the server that answered has not heard from its leader.
    pub(crate) last_contact: Duration,
    pub(crate) has_leader: bool,
    /// It is from a view of the agent's, which shows nothing of what goes wrong, nor that something is hidden.
    pub(crate) is_streamed: bool,
    /// The token may not see all of it.
    pub(crate) is_filtered: bool,
    pub(crate) transport: Transport,
    /// Which machine answered.
    pub(crate) host: u64,
    pub(crate) bytes: usize,
    pub(crate) fingerprint: u64,
    pub(crate) body: Body,
}

/// What an answer says.
#[derive(Debug)]
pub(crate) enum Body {
    /// What is known already.
    Unchanged,
    /// Names of services, in lower case.
    Names(BTreeSet<Arc<str>>),
    /// One service.
    Service(Arc<Mapped>),
    /// All checks.
    Checks(Checks),
}

/// Fingerprints of checks: what differs has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Checks {
    /// By the service's name in lower case.
    pub(crate) services: BTreeMap<Arc<str>, u64>,
    /// Of machines.
    pub(crate) nodes: BTreeMap<Arc<str>, u64>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The agent cannot be reached.
    Unreachable(String),
    /// The connection, or the answer, ended early, or did not come.
    Cut(String),
    /// The index is from another machine than the one that would answer.
    Moved,
    /// Too many connections.
    TooManyConnections(String),
    /// Too many requests.
    Throttled(String),
    /// The token may not.
    Denied(String),
    /// Consul says that it cannot.
    Server(String),
    /// The answer is no answer to this question.
    Garbage(String),
    /// The answer is too large.
    TooLarge(String),
}

impl Failure {
    /// As people read it.
    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Moved => "another agent answers",
            Self::Unreachable(message)
            | Self::Cut(message)
            | Self::TooManyConnections(message)
            | Self::Throttled(message)
            | Self::Denied(message)
            | Self::Server(message)
            | Self::Garbage(message)
            | Self::TooLarge(message) => message,
        }
    }
}
