//! What goes wrong on purpose.

use http::StatusCode;

/// What an agent does in place of a good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// 500 `No cluster leader`.
    NoLeader,
    /// 500 `No path to datacenter`.
    NoPath,
    /// 429, as an agent answers above its `rpc_rate`.
    Throttled,
    /// 403 `Permission denied`.
    Denied,
    /// Another status with this body.
    Status(StatusCode, String),
    /// 200 with this body and the headers that the good answer would have.
    Body(String),
    /// The good answer with this as its `X-Consul-Index`.
    Index(String),
    /// The good answer without `X-Consul-Index`.
    NoIndex,
    /// The good answer's headers and half of its body, then the end of the connection.
    Partial,
    /// The end of the connection (of the stream in HTTP/2) without an answer.
    Cut,
    /// No answer, ever.
    Silent,
}

/// A fault, for which paths, and how often.
#[derive(Debug)]
struct Rule {
    prefix: String,
    remaining: Option<usize>,
    fault: Fault,
}

/// The faults of one agent.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Rule>);

impl Faults {
    pub(super) fn add(&mut self, prefix: &str, remaining: Option<usize>, fault: Fault) {
        self.0.push(Rule {
            prefix: prefix.to_owned(),
            remaining,
            fault,
        });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The newest fault for a path, which is used up by this.
    pub(super) fn take(&mut self, path: &str) -> Option<Fault> {
        let position = self
            .0
            .iter()
            .rposition(|rule| path.starts_with(&rule.prefix))?;
        let rule = self.0.get_mut(position)?;
        let fault = rule.fault.clone();
        if let Some(remaining) = &mut rule.remaining {
            *remaining = remaining.saturating_sub(1);
            if *remaining == 0 {
                self.0.remove(position);
            }
        }
        Some(fault)
    }
}

impl Fault {
    /// The answer of a fault that does not need the good one.
    pub(super) fn answer(&self) -> Option<(StatusCode, &str)> {
        match self {
            Self::NoLeader => Some((StatusCode::INTERNAL_SERVER_ERROR, "No cluster leader")),
            Self::NoPath => Some((StatusCode::INTERNAL_SERVER_ERROR, "No path to datacenter")),
            Self::Throttled => Some((StatusCode::TOO_MANY_REQUESTS, "RPC rate limit exceeded")),
            Self::Denied => Some((StatusCode::FORBIDDEN, "Permission denied")),
            Self::Status(status, body) => Some((*status, body)),
            Self::Body(_)
            | Self::Index(_)
            | Self::NoIndex
            | Self::Partial
            | Self::Cut
            | Self::Silent => None,
        }
    }
}
