//! Asking agents over HTTP: pooled connections with an exact limit, HTTP/2 where the agent has it, TLS, unix sockets.

mod agent;
mod connect;
mod connection;
mod token;

use std::time::Duration;

use bytes::Bytes;

pub(crate) use agent::Agent;
pub(crate) use token::{Token, TokenFile};

use crate::{watch::Transport, watcher::Failure};

/// One question.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    /// Path and query.
    pub(crate) path: String,
    pub(crate) token: Option<Token>,
    /// The machine that must answer, where it matters.
    pub(crate) host: Option<u64>,
    /// For how long an answer is waited for.
    pub(crate) patience: Duration,
    /// The most that is read.
    pub(crate) bytes_max: usize,
}

/// A successful answer.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) transport: Transport,
    /// Which machine answered.
    pub(crate) host: u64,
}

/// What a status other than success means.
fn refusal(status: http::StatusCode, body: &[u8]) -> Failure {
    let text = crate::mapping::shortened(String::from_utf8_lossy(body).trim());
    let message = match text.is_empty() {
        true => format!("Consul answers {status}"),
        false => format!("Consul answers {}: {text}", status.as_u16()),
    };
    match status.as_u16() {
        401 | 403 => Failure::Denied(message),
        429 if text.contains("concurrent connections") => Failure::TooManyConnections(message),
        // Servers with rate limits say 503 where only the leader could answer.
        429 => Failure::Throttled(message),
        503 if text.contains("rate limit") => Failure::Throttled(message),
        _ if text.contains("rate limit exceeded") => Failure::Throttled(message),
        // ACL errors come with 500 from servers that forward them.
        _ if text.contains("ACL not found") || text.contains("Permission denied") => {
            Failure::Denied(message)
        }
        _ => Failure::Server(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        let failure = |status, body: &str| {
            refusal(http::StatusCode::from_u16(status).unwrap(), body.as_bytes())
        };
        assert!(matches!(
            failure(500, "No cluster leader"),
            Failure::Server(_)
        ));
        assert!(matches!(failure(500, ""), Failure::Server(_)));
        assert!(matches!(
            failure(403, "Permission denied"),
            Failure::Denied(_)
        ));
        assert!(matches!(
            failure(500, "rpc error: ACL not found"),
            Failure::Denied(_)
        ));
        assert!(matches!(
            failure(429, "Too many requests"),
            Failure::Throttled(_)
        ));
        assert!(matches!(
            failure(429, "Your IP is issuing too many concurrent connections"),
            Failure::TooManyConnections(_)
        ));
        let long = failure(500, &"x".repeat(10_000));
        assert!(long.message().len() < 300);
    }
}
