//! What is asked for at each scrape.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use bowline_ads::{LoadTotals, ProxyStatus, Sums};
use bowline_mesh::{PartState, Problem, RegistryId, RegistryPart, RegistryState, RegistryStatus};
use bowline_state::WriteStatus;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::config::ConfigurationStatus;
use crate::pipeline::LayerStatus;

/// What other parts of the program know at one moment.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Now.
    pub now: SystemTime,
    /// When the process started.
    pub started: SystemTime,
    /// Connected streams.
    pub proxies: Vec<ProxyStatus>,
    /// How every registry is doing.
    pub registries: Vec<RegistryStatus>,
    /// How their parts are doing, where they have such.
    pub parts: Vec<(RegistryId, Vec<RegistryPart>)>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Layers that are served.
    pub layers: Vec<LayerStatus>,
    /// Loads that proxies have reported.
    pub loads: LoadTotals,
    /// TLS connections that were accepted and refused, where TLS is served.
    pub handshakes: Option<Handshakes>,
    /// How writing the state goes.
    pub writes: WriteStatus,
    /// How the configuration file stands to what runs.
    pub configuration: ConfigurationStatus,
}

/// TLS connections since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshakes {
    /// Of clients that proved an identity.
    pub accepted: u64,
    /// Of others.
    pub refused: u64,
    /// When the server's certificate expires.
    pub certificate_expires: SystemTime,
}

impl Facts {
    /// The facts as metrics.
    pub(super) fn registry(&self) -> Registry {
        let mut metrics = Sheet(Registry::with_prefix("bowline"));
        self.proxies(&mut metrics);
        self.registries(&mut metrics);
        self.parts(&mut metrics);
        self.problems(&mut metrics);
        self.layers(&mut metrics);
        self.loads(&mut metrics);
        self.tls(&mut metrics);
        self.state(&mut metrics);
        self.configuration(&mut metrics);
        self.process(&mut metrics);
        metrics.0
    }

    fn proxies(&self, metrics: &mut Sheet) {
        let mut connected: BTreeMap<_, f64> = BTreeMap::new();
        for proxy in &self.proxies {
            let protocol = proxy.protocol.name().to_owned();
            // Without the name of the gateway: there may be thousands.
            let role = proxy.role.split([' ', ',']).next().unwrap_or_default();
            let labels = [("role", role.to_owned()), ("protocol", protocol)];
            *connected.entry(labels).or_default() += 1.0;
        }
        metrics.gauges("connected_proxies", "Connected streams", connected);
        let mut quarantined: BTreeMap<_, f64> = BTreeMap::new();
        for (name, status) in self.proxies.iter().flat_map(|proxy| &proxy.types) {
            let labels = [("type", (*name).to_owned())];
            *quarantined.entry(labels).or_default() += status.quarantined.len() as f64;
        }
        metrics.gauges(
            "xds_quarantined",
            "Resources that a stream has rejected and is not sent before they change, over all streams",
            quarantined,
        );
    }

    fn registries(&self, metrics: &mut Sheet) {
        let now = since_epoch(self.now);
        let ages = self.registries.iter().filter_map(|status| {
            let age = status.state.age(now)?;
            Some((of_registry(status), age.as_secs_f64()))
        });
        metrics.gauges_in(
            "registry_age",
            "Time for which what is served of a registry has not been confirmed: 0 while it is live, however quiet",
            Unit::Seconds,
            ages,
        );
        let mut each = |name, help, value: fn(&RegistryStatus) -> f64| {
            let values = self.registries.iter();
            metrics.gauges(
                name,
                help,
                values.map(|status| (of_registry(status), value(status))),
            );
        };
        each(
            "registry_objects",
            "Objects that are served of a registry",
            |status| status.objects as f64,
        );
        each(
            "registry_endpoints",
            "Endpoints that are served of a registry",
            |status| status.endpoints as f64,
        );
        each(
            "registry_held_back_endpoints",
            "Endpoints of a registry whose loss is not believed yet",
            |status| {
                status
                    .held
                    .as_ref()
                    .map_or(0.0, |held| held.endpoints as f64)
            },
        );
        each(
            "registry_failing",
            "1 where a registry cannot be read, else 0",
            |status| {
                f64::from(u8::from(matches!(
                    status.state,
                    RegistryState::Failing { .. }
                )))
            },
        );
        let last_events = self.registries.iter().filter_map(|status| {
            let RegistryState::Live { last_event } = status.state else {
                return None;
            };
            Some((of_registry(status), last_event.as_secs_f64()))
        });
        metrics.gauges_in(
            "registry_last_event_time",
            "When a live registry last said something, as time since the epoch",
            Unit::Seconds,
            last_events,
        );
        let events = self.registries.iter();
        metrics.counters(
            "registry_events",
            "Events received from a registry",
            events.map(|status| (of_registry(status), status.events)),
        );
    }

    fn parts(&self, metrics: &mut Sheet) {
        let parts = || {
            self.parts.iter().flat_map(|(registry, parts)| {
                parts.iter().map(move |part| {
                    let labels = [
                        ("registry", registry.to_string()),
                        ("part", part.name.to_string()),
                    ];
                    (labels, part)
                })
            })
        };
        metrics.gauges(
            "registry_part_live",
            "1 where what is known of a part of a registry is what it has, else 0",
            parts().filter_map(|(labels, part)| {
                let is_live = match part.state {
                    PartState::Live | PartState::Throttled => true,
                    PartState::Starting
                    | PartState::Stale
                    | PartState::Denied
                    | PartState::Down => false,
                    // Nobody need be told of what need not be there.
                    PartState::NotPermitted => return None,
                };
                Some((labels, f64::from(u8::from(is_live))))
            }),
        );
        metrics.gauges(
            "registry_part_instances",
            "Instances that a part of a registry has",
            parts().map(|(labels, part)| (labels, part.instances as f64)),
        );
        let mut count = |name, help, value: fn(&RegistryPart) -> u64| {
            metrics.counters(
                name,
                help,
                parts().map(|(labels, part)| (labels, value(part))),
            );
        };
        count(
            "registry_part_throttled",
            "Requests that a part of a registry refused because there were too many",
            |part| part.throttled,
        );
        count(
            "registry_part_denied",
            "Requests that a part of a registry refused because the credentials may not",
            |part| part.denied,
        );
        count(
            "registry_part_drift",
            "Changes in a part of a registry that were missed, and found when all of it was read again",
            |part| part.drift,
        );
    }

    fn problems(&self, metrics: &mut Sheet) {
        let mut problems: BTreeMap<_, f64> = BTreeMap::new();
        for problem in &self.problems {
            let severity = problem.severity.to_string();
            let labels = [("code", problem.code.to_string()), ("severity", severity)];
            *problems.entry(labels).or_default() += 1.0;
        }
        metrics.gauges(
            "problems",
            "Problems of objects, registries, their translation, and the server itself",
            problems,
        );
    }

    fn layers(&self, metrics: &mut Sheet) {
        let (mut counts, mut bytes) = (BTreeMap::<_, f64>::new(), BTreeMap::<_, f64>::new());
        for layer in &self.layers {
            // Names themselves are as many as there are workloads.
            let kind = layer.name.split('/').next().unwrap_or_default();
            let labels = [("kind", kind.to_owned())];
            *counts.entry(labels.clone()).or_default() += 1.0;
            *bytes.entry(labels).or_default() += layer.bytes as f64;
        }
        metrics.gauges("layers", "Layers that are served", counts);
        let help = "Length of the encodings in the layers that are served";
        metrics.gauges_in("layer", help, Unit::Bytes, bytes);
    }

    fn loads(&self, metrics: &mut Sheet) {
        let LoadTotals {
            by_cluster,
            beyond,
            reports,
            refused,
            streams,
        } = &self.loads;
        let of = |service: &str, cluster: &str, sums: &Sums| {
            let labels = |outcome: &str| {
                [
                    ("source", service.to_owned()),
                    ("cluster", cluster.to_owned()),
                    ("outcome", outcome.to_owned()),
                ]
            };
            [
                (labels("success"), sums.succeeded),
                (labels("error"), sums.errors),
                (labels("dropped"), sums.dropped),
            ]
        };
        let mut requests: Vec<_> = by_cluster
            .iter()
            .flat_map(|((service, cluster), sums)| of(service, cluster, sums))
            .collect();
        if *beyond != Sums::default() {
            // What sums over all labels show must not lack them.
            requests.extend(of("", "", beyond));
        }
        metrics.counters(
            "load_requests",
            "Requests that proxies reported, by who sent them, to which cluster, and what became of them; without names where there are too many",
            requests,
        );
        metrics.counters("load_reports", "Reports of loads", [([], *reports)]);
        metrics.counters(
            "load_entries_refused",
            "Entries of reports that are in no listing: there are too many, or their names are too long",
            [([], *refused)],
        );
        metrics.gauges(
            "load_streams",
            "Streams that report loads",
            [([], *streams as f64)],
        );
    }

    fn tls(&self, metrics: &mut Sheet) {
        let Some(handshakes) = self.handshakes else {
            return;
        };
        let Handshakes {
            accepted,
            refused,
            certificate_expires,
        } = handshakes;
        let outcomes = [("accepted", accepted), ("refused", refused)];
        metrics.counters(
            "tls_handshakes",
            "TLS connections by what became of them",
            outcomes.map(|(outcome, count)| ([("outcome", outcome.to_owned())], count)),
        );
        metrics.gauges_in(
            "tls_certificate_expiry_time",
            "When the certificate of the xDS server expires, as time since the epoch",
            Unit::Seconds,
            [([], since_epoch(certificate_expires).as_secs_f64())],
        );
    }

    fn state(&self, metrics: &mut Sheet) {
        let WriteStatus {
            commits, failures, ..
        } = self.writes;
        metrics.counters(
            "state_writes",
            "Commits to the state store",
            [([], commits)],
        );
        let help = "Commits to the state store that failed; each is tried again";
        metrics.counters("state_write_errors", help, [([], failures)]);
    }

    fn configuration(&self, metrics: &mut Sheet) {
        let ConfigurationStatus {
            error,
            needs_restart,
        } = &self.configuration;
        metrics.gauges(
            "configuration_valid",
            "1 where the server would start with the configuration file as it is now, 0 where the file is wrong",
            [([], f64::from(u8::from(error.is_none())))],
        );
        metrics.gauges(
            "configuration_restart_needed",
            "Changes of the configuration file that wait for a restart",
            [([], needs_restart.len() as f64)],
        );
    }

    fn process(&self, metrics: &mut Sheet) {
        metrics.gauges_in(
            "process_start_time",
            "When the process started, as time since the epoch",
            Unit::Seconds,
            [([], since_epoch(self.started).as_secs_f64())],
        );
        if let Some(bytes) = resident_bytes() {
            let help = "Memory of the process";
            metrics.gauges_in("process_resident_memory", help, Unit::Bytes, [([], bytes)]);
        }
        let version = [("version", env!("CARGO_PKG_VERSION").to_owned())];
        metrics.gauges(
            "program_version",
            "1, with the version of the program",
            [(version, 1.0)],
        );
    }
}

type Labels<const N: usize> = [(&'static str, String); N];
type FloatGauge = Gauge<f64, AtomicU64>;

/// Metrics that are filled with facts.
struct Sheet(Registry);

impl Sheet {
    fn gauges<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<N>, f64)>,
    ) {
        self.0.register(name, help, gauges(values));
    }

    fn gauges_in<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Unit,
        values: impl IntoIterator<Item = (Labels<N>, f64)>,
    ) {
        self.0.register_with_unit(name, help, unit, gauges(values));
    }

    fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<N>, u64)>,
    ) {
        let family: Family<Labels<N>, Counter> = Family::default();
        for (labels, value) in values {
            family.get_or_create(&labels).inc_by(value);
        }
        self.0.register(name, help, family);
    }
}

fn gauges<const N: usize>(
    values: impl IntoIterator<Item = (Labels<N>, f64)>,
) -> Family<Labels<N>, FloatGauge> {
    let family = Family::default();
    for (labels, value) in values {
        let gauge: FloatGauge = family.get_or_create_owned(&labels);
        gauge.set(value);
    }
    family
}

fn of_registry(status: &RegistryStatus) -> Labels<1> {
    [("registry", status.registry.to_string())]
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// As the kernel counts it (proc(5), `VmRSS`); `None` where there is no such kernel.
fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}
