//! What Prometheus reads: counters that streams write as they go, and facts that are asked for at each scrape.
//!
//! Streams write to atomics that were made beforehand; an event costs neither a lock nor an allocation. Everything that somebody else
//! knows already (registries, problems, layers, connected proxies) is not counted a second time here: see [`Facts`].

mod facts;

use std::fmt;
use std::sync::Arc;

use bowline_ads::{Event, Observer};
use bowline_snapshot::ResourceType;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::pipeline::Births;

pub use facts::{Facts, Handshakes};

#[cfg(test)]
mod tests;

/// The process's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    streams: StreamMetrics,
    build: Histogram,
    lost_connections: Counter,
}

/// What streams write to. A clone is the same.
#[derive(Debug, Clone)]
struct StreamMetrics {
    types: Arc<[(ResourceType, TypeCounters)]>,
    event_to_acknowledged: Histogram,
}

/// Counters of one type of resources.
#[derive(Debug, Clone)]
struct TypeCounters {
    pushes: Counter,
    bytes: Counter,
    resources: Counter,
    removals: Counter,
    acknowledged: Counter,
    rejected: Counter,
    stale: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeLabels {
    r#type: &'static str,
}

impl Metrics {
    /// Metrics at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("bowline");
        let family = || Family::<TypeLabels, Counter>::default();
        let (pushes, bytes, resources, removals) = (family(), family(), family(), family());
        let (acknowledged, rejected, stale) = (family(), family(), family());
        registry.register("xds_pushes", "Responses sent to proxies", pushes.clone());
        registry.register_with_unit(
            "xds_sent",
            "Length of the responses sent to proxies",
            Unit::Bytes,
            bytes.clone(),
        );
        registry.register(
            "xds_resources",
            "Resources in the responses sent to proxies",
            resources.clone(),
        );
        registry.register(
            "xds_removals",
            "Names of resources that proxies were told are gone",
            removals.clone(),
        );
        registry.register(
            "xds_acks",
            "Responses that proxies took over",
            acknowledged.clone(),
        );
        registry.register(
            "xds_nacks",
            "Responses that proxies rejected",
            rejected.clone(),
        );
        registry.register(
            "xds_stale_nonces",
            "Requests about a response that was not the last one",
            stale.clone(),
        );
        let event_to_acknowledged = Histogram::new(SECONDS);
        registry.register_with_unit(
            "event_to_ack",
            "Time from a registry's event to its acknowledgement by a proxy, for each response",
            Unit::Seconds,
            event_to_acknowledged.clone(),
        );
        let build = Histogram::new(SECONDS);
        registry.register_with_unit(
            "build",
            "Time to build the layers that a change touches",
            Unit::Seconds,
            build.clone(),
        );
        let lost_connections = Counter::default();
        registry.register(
            "xds_connections_lost",
            "Connections that were ended because their peer gave no sign of life",
            lost_connections.clone(),
        );
        let types = ResourceType::ALL
            .into_iter()
            .map(|resource_type| {
                let labels = TypeLabels {
                    r#type: resource_type.short_name(),
                };
                let counter = |family: &Family<_, Counter>| family.get_or_create(&labels).clone();
                let counters = TypeCounters {
                    pushes: counter(&pushes),
                    bytes: counter(&bytes),
                    resources: counter(&resources),
                    removals: counter(&removals),
                    acknowledged: counter(&acknowledged),
                    rejected: counter(&rejected),
                    stale: counter(&stale),
                };
                (resource_type, counters)
            })
            .collect();
        Self {
            registry,
            streams: StreamMetrics {
                types,
                event_to_acknowledged,
            },
            build,
            lost_connections,
        }
    }

    /// Counts what happens on streams. `births` says when what a generation brings was heard of.
    pub fn observer(&self, births: Births) -> Observer {
        let streams = self.streams.clone();
        Arc::new(move |event| streams.count(event, &births))
    }

    /// Where the time that a build takes is observed, in seconds.
    pub fn build_times(&self) -> Histogram {
        self.build.clone()
    }

    /// Where connections are counted whose peers are gone.
    pub fn lost_connections(&self) -> Counter {
        self.lost_connections.clone()
    }

    /// Everything in the text format of OpenMetrics.
    ///
    /// # Errors
    /// Never: writing to a text does not fail.
    pub fn text(&self, facts: &Facts) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, &facts.registry())?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamMetrics {
    fn count(&self, event: &Event<'_>, births: &Births) {
        match event {
            Event::Connected { .. } | Event::Disconnected { .. } => {}
            Event::Sent {
                resource_type,
                variant: _,
                bytes,
                resources,
                removed,
            } => {
                if let Some(counters) = self.of(*resource_type) {
                    counters.pushes.inc();
                    counters.bytes.inc_by(*bytes as u64);
                    counters.resources.inc_by(*resources as u64);
                    counters.removals.inc_by(*removed as u64);
                }
            }
            Event::Acknowledged {
                resource_type,
                generation,
                waited: _,
            } => {
                if let Some(counters) = self.of(*resource_type) {
                    counters.acknowledged.inc();
                }
                if let Some(received) = births.of(*generation) {
                    self.event_to_acknowledged
                        .observe(received.elapsed().as_secs_f64());
                }
            }
            Event::Rejected { resource_type, .. } => {
                if let Some(counters) = self.of(*resource_type) {
                    counters.rejected.inc();
                }
            }
            Event::Stale { resource_type } => {
                if let Some(counters) = self.of(*resource_type) {
                    counters.stale.inc();
                }
            }
        }
    }

    /// There are five types: looking through them is faster than a map.
    fn of(&self, resource_type: ResourceType) -> Option<&TypeCounters> {
        let (_, counters) = self.types.iter().find(|(of, _)| *of == resource_type)?;
        Some(counters)
    }
}

/// From a millisecond, which an endpoint may take, to a minute, which is an incident.
const SECONDS: [f64; 15] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0,
];
