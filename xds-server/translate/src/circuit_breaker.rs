//! Limits of what one proxy asks of one service at a time.

use std::num::NonZeroU32;

use bowline_mesh::TrafficSettings;
use bowline_proto::envoy::config::cluster::v3::{CircuitBreakers, circuit_breakers::Thresholds};

/// Thresholds for a cluster. What nobody set is unlimited: Envoy's own limits (1,024 connections, requests and pending requests, 3
/// retries) are per proxy and would make a busy gateway answer 503 for a limit that nobody asked for.
pub(crate) fn circuit_breakers(settings: &TrafficSettings) -> CircuitBreakers {
    let TrafficSettings {
        connect_timeout: _,
        connections_max,
        pending_requests_max,
        requests_max,
        retries_max,
    } = settings;
    let limit = |max: &Option<NonZeroU32>| Some(max.map_or(u32::MAX, NonZeroU32::get));
    CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: limit(connections_max),
            max_pending_requests: limit(pending_requests_max),
            max_requests: limit(requests_max),
            max_retries: limit(retries_max),
            ..Thresholds::default()
        }],
        ..CircuitBreakers::default()
    }
}
