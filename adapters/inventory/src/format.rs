//! What is written: the fields of the entries, as README.md documents them.

use std::{collections::BTreeMap, fmt, num::NonZeroU16, num::NonZeroU32, time::Duration};

use bowline_identity::SpiffeId;
use bowline_mesh::{Health, Hostname, Namespace, Network, Protocol};
use serde::{
    Deserialize, Deserializer,
    de::{self, value::MapAccessDeserializer, value::SeqAccessDeserializer},
};

/// An item of `services`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceEntry {
    pub(crate) name: Option<String>,
    pub(crate) hostname: Option<Hostname>,
    pub(crate) namespace: Option<Namespace>,
    #[serde(default)]
    pub(crate) addresses: Vec<String>,
    pub(crate) ports: Vec<ServicePortEntry>,
    pub(crate) prefer: Option<Prefer>,
    #[serde(default)]
    pub(crate) failover: Vec<String>,
    #[serde(default)]
    pub(crate) headless: bool,
    pub(crate) health_check: Option<HealthCheckEntry>,
    pub(crate) traffic: Option<TrafficEntry>,
}

/// An item of a service's `ports`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServicePortEntry {
    pub(crate) number: NonZeroU16,
    pub(crate) name: Option<String>,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) local_port: Option<NonZeroU16>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Prefer {
    Zone,
    Region,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HealthCheckEntry {
    pub(crate) tcp: Option<TcpProbe>,
    pub(crate) http: Option<HttpProbe>,
    pub(crate) grpc: Option<GrpcProbe>,
    #[serde(default, with = "bowline_document::duration::option")]
    pub(crate) interval: Option<Duration>,
    #[serde(default, with = "bowline_document::duration::option")]
    pub(crate) timeout: Option<Duration>,
    pub(crate) healthy_threshold: Option<NonZeroU32>,
    pub(crate) unhealthy_threshold: Option<NonZeroU32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TcpProbe {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpProbe {
    pub(crate) path: String,
    pub(crate) host: Option<Hostname>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrpcProbe {
    #[serde(default)]
    pub(crate) service: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrafficEntry {
    #[serde(default, with = "bowline_document::duration::option")]
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) connections_max: Option<NonZeroU32>,
    pub(crate) pending_requests_max: Option<NonZeroU32>,
    pub(crate) requests_max: Option<NonZeroU32>,
    pub(crate) retries_max: Option<NonZeroU32>,
}

/// An item of `networks`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NetworkEntry {
    pub(crate) name: Network,
    pub(crate) gateways: Vec<String>,
}

/// An item of `workloads`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkloadEntry {
    pub(crate) name: String,
    pub(crate) namespace: Option<Namespace>,
    pub(crate) address: Option<String>,
    #[serde(default)]
    pub(crate) addresses: Vec<String>,
    #[serde(default)]
    pub(crate) services: Vec<String>,
    #[serde(default)]
    pub(crate) ports: WorkloadPorts,
    pub(crate) locality: Option<LocalityEntry>,
    pub(crate) network: Option<Network>,
    /// Of a larger type than it may have: one message names its limits, whichever of them it exceeds.
    pub(crate) weight: Option<i64>,
    pub(crate) health: Option<Health>,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) service_account: Option<String>,
    pub(crate) identity: Option<SpiffeId>,
}

/// `{http: 8080}`, or a list with all details.
#[derive(Debug, Default)]
pub(crate) struct WorkloadPorts(pub(crate) Vec<WorkloadPortEntry>);

/// An item of a workload's `ports`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkloadPortEntry {
    pub(crate) name: String,
    pub(crate) number: NonZeroU16,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) app_port: Option<NonZeroU16>,
}

impl<'de> Deserialize<'de> for WorkloadPorts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = WorkloadPorts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("ports by name, such as `{http: 8080}`, or a list of ports")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<WorkloadPorts, A::Error> {
                let ports = BTreeMap::deserialize(MapAccessDeserializer::new(map))?;
                let port = |(name, number)| WorkloadPortEntry {
                    name,
                    number,
                    protocol: None,
                    app_port: None,
                };
                Ok(WorkloadPorts(ports.into_iter().map(port).collect()))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<WorkloadPorts, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(WorkloadPorts)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// `region/zone/subzone`, or the parts by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LocalityEntry {
    pub(crate) region: String,
    pub(crate) zone: String,
    pub(crate) subzone: String,
}

impl<'de> Deserialize<'de> for LocalityEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Parts {
            #[serde(default)]
            region: String,
            #[serde(default)]
            zone: String,
            #[serde(default)]
            subzone: String,
        }

        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = LocalityEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a locality such as `eu/eu-1/rack-7` or `{region: eu, zone: eu-1}`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<LocalityEntry, E> {
                Ok(LocalityEntry::from_path(text))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<LocalityEntry, A::Error> {
                let Parts {
                    region,
                    zone,
                    subzone,
                } = Parts::deserialize(MapAccessDeserializer::new(map))?;
                Ok(LocalityEntry {
                    region,
                    zone,
                    subzone,
                })
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl LocalityEntry {
    pub(crate) fn from_path(text: &str) -> Self {
        let mut parts = text.splitn(3, '/').map(str::to_owned);
        let mut part = || parts.next().unwrap_or_default();
        Self {
            region: part(),
            zone: part(),
            subzone: part(),
        }
    }
}
