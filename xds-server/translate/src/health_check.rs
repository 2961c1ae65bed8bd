//! Active health checks: how callers find out by themselves whether an endpoint works.

use std::time::Duration;

use bowline_mesh::{HealthCheck, Hostname, Probe, Protocol};
use bowline_proto::{
    duration,
    envoy::{
        config::core::v3::{self as core, health_check as check},
        r#type::v3::{CodecClientType, Int64Range},
    },
};

const SHORTEST: Duration = Duration::from_millis(1);

/// The check for one port of a service.
///
/// A probe that a port's protocol does not speak becomes a connection check there: Envoy refuses a cluster whose gRPC probe has no
/// HTTP/2, and one probe stands for all ports of a service.
pub(crate) fn health_check(
    health_check: &HealthCheck,
    hostname: &Hostname,
    protocol: Protocol,
) -> core::HealthCheck {
    let HealthCheck {
        probe,
        interval,
        timeout,
        unhealthy_threshold,
        healthy_threshold,
    } = health_check;
    let is_http2 = matches!(protocol, Protocol::Http2 | Protocol::Grpc);
    let connect = || check::HealthChecker::TcpHealthCheck(check::TcpHealthCheck::default());
    let checker = match (probe, protocol) {
        (Probe::Tcp, _) | (_, Protocol::Tcp | Protocol::Tls) => connect(),
        (Probe::Http { path, host }, _) => {
            let codec = if is_http2 {
                CodecClientType::Http2
            } else {
                CodecClientType::Http1
            };
            check::HealthChecker::HttpHealthCheck(check::HttpHealthCheck {
                host: host.as_ref().unwrap_or(hostname).to_string(),
                path: path.to_string(),
                expected_statuses: vec![Int64Range {
                    start: 200,
                    end: 300,
                }],
                codec_client_type: codec.into(),
                ..check::HttpHealthCheck::default()
            })
        }
        (Probe::Grpc { service }, _) if is_http2 => {
            check::HealthChecker::GrpcHealthCheck(check::GrpcHealthCheck {
                service_name: service.to_string(),
                authority: hostname.to_string(),
                ..check::GrpcHealthCheck::default()
            })
        }
        (Probe::Grpc { .. }, _) => connect(),
    };
    core::HealthCheck {
        // Envoy refuses a cluster with a check that takes no time.
        interval: Some(duration((*interval).max(SHORTEST))),
        timeout: Some(duration((*timeout).max(SHORTEST))),
        unhealthy_threshold: Some((*unhealthy_threshold).max(1)),
        healthy_threshold: Some((*healthy_threshold).max(1)),
        health_checker: Some(checker),
        ..core::HealthCheck::default()
    }
}
