use std::time::{Duration, Instant, SystemTime};

use bowline_ads::Variant;
use bowline_mesh::{PartState, RegistryPart, RegistryState, RegistryStatus};
use bowline_state::WriteStatus;

use super::facts::Handshakes;
use super::*;
use crate::config::ConfigurationStatus;
use crate::pipeline::LayerStatus;

fn no_facts() -> Facts {
    Facts {
        loads: Default::default(),
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(1000),
        started: SystemTime::UNIX_EPOCH,
        proxies: vec![],
        registries: vec![],
        parts: vec![],
        problems: vec![],
        layers: vec![],
        handshakes: None,
        writes: WriteStatus::default(),
        configuration: ConfigurationStatus::default(),
    }
}

fn lines(metrics: &Metrics, facts: &Facts) -> Vec<String> {
    let text = metrics.text(facts).unwrap();
    assert_eq!(text.matches("# EOF\n").count(), 1);
    text.lines().map(ToOwned::to_owned).collect()
}

fn assert_has(lines: &[String], expected: &[&str]) {
    for line in expected {
        assert!(
            lines.iter().any(|found| found == line),
            "no line {line} in\n{}",
            lines.join("\n")
        );
    }
}

#[test]
fn what_happens_on_streams_is_counted_by_type() {
    let births = Births::default();
    births.note(7, Instant::now());
    let metrics = Metrics::new();
    let observe = metrics.observer(births);
    let resource_type = ResourceType::ENDPOINT;
    let sent = Event::Sent {
        variant: Variant::Delta,
        resource_type,
        bytes: 120,
        resources: 3,
        removed: 1,
    };
    observe(&sent);
    observe(&sent);
    for generation in [7, 8] {
        observe(&Event::Acknowledged {
            resource_type,
            generation,
            waited: Duration::ZERO,
        });
    }
    observe(&Event::Rejected {
        resource_type,
        message: "no",
    });
    observe(&Event::Stale { resource_type });
    metrics.build_times().observe(0.003);
    let expected = [
        "bowline_xds_pushes_total{type=\"EDS\"} 2",
        "bowline_xds_pushes_total{type=\"CDS\"} 0",
        "bowline_xds_sent_bytes_total{type=\"EDS\"} 240",
        "bowline_xds_resources_total{type=\"EDS\"} 6",
        "bowline_xds_removals_total{type=\"EDS\"} 2",
        "bowline_xds_acks_total{type=\"EDS\"} 2",
        "bowline_xds_nacks_total{type=\"EDS\"} 1",
        "bowline_xds_stale_nonces_total{type=\"EDS\"} 1",
        // Of generation 8 it is not known when it was born.
        "bowline_event_to_ack_seconds_count 1",
        "bowline_build_seconds_bucket{le=\"0.002\"} 0",
        "bowline_build_seconds_bucket{le=\"0.005\"} 1",
    ];
    assert_has(&lines(&metrics, &no_facts()), &expected);
}

#[test]
fn facts_are_those_of_the_moment() {
    let registry = |name: &str, state| RegistryStatus {
        registry: name.parse().unwrap(),
        state,
        objects: 3,
        endpoints: 20,
        events: 5,
        held: None,
    };
    let layer = |name: &str, bytes| LayerStatus {
        name: name.to_owned(),
        resources: 1,
        bytes,
        readers: 2,
    };
    let part = |name: &str| RegistryPart {
        name: name.into(),
        state: PartState::Stale,
        stale_for: Some(Duration::from_secs(9)),
        services: 2,
        instances: 7,
        changes_per_second_milli: 0,
        throttled: 3,
        denied: 0,
        drift: 1,
        mode: "".into(),
        last_error: None,
    };
    let seconds = Duration::from_secs;
    let facts = Facts {
        registries: vec![
            registry(
                "vms",
                RegistryState::Live {
                    last_event: seconds(990),
                },
            ),
            registry(
                "dc1",
                RegistryState::Failing {
                    since: seconds(900),
                    last_good: Some(seconds(880)),
                    error: "gone".to_owned(),
                },
            ),
            registry("dc2", RegistryState::Starting),
        ],
        parts: vec![("dc1".parse().unwrap(), vec![part("west-1")])],
        layers: vec![
            layer("inbound/a", 10),
            layer("inbound/b", 5),
            layer("endpoints/x", 1),
        ],
        handshakes: Some(Handshakes {
            accepted: 4,
            refused: 1,
            certificate_expires: SystemTime::UNIX_EPOCH + seconds(2000),
        }),
        configuration: ConfigurationStatus {
            error: Some("is wrong".to_owned()),
            needs_restart: vec!["xds.tls", "state"],
        },
        ..no_facts()
    };
    let lines = lines(&Metrics::new(), &facts);
    let expected = [
        "bowline_registry_age_seconds{registry=\"vms\"} 0.0",
        "bowline_registry_last_event_time_seconds{registry=\"vms\"} 990.0",
        "bowline_registry_age_seconds{registry=\"dc1\"} 120.0",
        "bowline_registry_failing{registry=\"dc1\"} 1.0",
        "bowline_registry_failing{registry=\"vms\"} 0.0",
        "bowline_registry_endpoints{registry=\"vms\"} 20.0",
        "bowline_registry_events_total{registry=\"vms\"} 5",
        "bowline_registry_part_live{registry=\"dc1\",part=\"west-1\"} 0.0",
        "bowline_registry_part_instances{registry=\"dc1\",part=\"west-1\"} 7.0",
        "bowline_registry_part_throttled_total{registry=\"dc1\",part=\"west-1\"} 3",
        "bowline_registry_part_drift_total{registry=\"dc1\",part=\"west-1\"} 1",
        "bowline_layers{kind=\"inbound\"} 2.0",
        "bowline_layer_bytes{kind=\"inbound\"} 15.0",
        "bowline_tls_handshakes_total{outcome=\"refused\"} 1",
        "bowline_tls_certificate_expiry_time_seconds{} 2000.0",
        "bowline_state_write_errors_total{} 0",
        "bowline_configuration_valid{} 0.0",
        "bowline_configuration_restart_needed{} 2.0",
    ];
    assert_has(&lines, &expected);
    // Nothing was ever heard of it, so it has no age.
    assert!(
        !lines
            .iter()
            .any(|line| line.starts_with("bowline_registry_age_seconds{registry=\"dc2\""))
    );
}
