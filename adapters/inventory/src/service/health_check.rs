//! What a service's health check means.

use std::time::Duration;

use bowline_mesh::{Code, HealthCheck, Probe};

use crate::{
    entry::Findings,
    format::{GrpcProbe, HealthCheckEntry, HttpProbe},
};

/// The health check, with what is not written filled in.
pub(super) fn health_check(
    entry: HealthCheckEntry,
    findings: &mut Findings,
) -> Option<HealthCheck> {
    let HealthCheckEntry {
        tcp,
        http,
        grpc,
        interval,
        timeout,
        healthy_threshold,
        unhealthy_threshold,
    } = entry;
    let interval = interval.unwrap_or(INTERVAL);
    let timeout = timeout.unwrap_or(TIMEOUT);
    for (field, duration) in [("interval", interval), ("timeout", timeout)] {
        if duration.is_zero() {
            findings.refuse(
                format!("health_check.{field}"),
                "it must be longer than 0",
                "such as `5s`",
            );
        }
    }
    if timeout > interval && !interval.is_zero() {
        findings.remark(
            Code::InvalidField,
            "health_check.timeout",
            "it is longer than the interval, so checks are made less often than the interval says",
            "it is used as written",
            "make it shorter than `interval`",
        );
    }
    let probe = match (tcp, http, grpc) {
        (Some(_), None, None) => Probe::Tcp,
        (None, Some(HttpProbe { path, host }), None) => {
            if !path.starts_with('/') || path.contains(|c: char| c.is_control() || c == ' ') {
                findings.refuse(
                    "health_check.http.path",
                    "a path begins with '/' and has no spaces",
                    "such as `/healthz`",
                );
            }
            Probe::Http {
                path: path.into(),
                host,
            }
        }
        (None, None, Some(GrpcProbe { service })) => Probe::Grpc {
            service: service.into(),
        },
        _ => {
            findings.refuse(
                "health_check",
                "exactly one of `tcp`, `http` and `grpc` says what is asked",
                "such as `tcp: {}` or `http: {path: /healthz}`",
            );
            return None;
        }
    };
    Some(HealthCheck {
        probe,
        interval,
        timeout,
        unhealthy_threshold: unhealthy_threshold.map_or(UNHEALTHY_THRESHOLD, |count| count.get()),
        healthy_threshold: healthy_threshold.map_or(HEALTHY_THRESHOLD, |count| count.get()),
    })
}

const INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(1);
const UNHEALTHY_THRESHOLD: u32 = 3;
const HEALTHY_THRESHOLD: u32 = 2;
