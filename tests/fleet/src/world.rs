//! The mesh that is served, and who is connected: as real fleets are, some workloads of many instances, in namespaces, zones and networks.

pub mod files;

use std::{fmt, net::Ipv4Addr};

use bowline_proto::{
    Message,
    envoy::{
        config::core::v3::{BuildVersion, Node, node::UserAgentVersionType},
        r#type::v3::SemanticVersion,
    },
};

use crate::proxy::{kind::Kind, memo::MARKER, response::Variant};

/// A mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct World {
    /// How many services there are.
    pub services: usize,
    /// How many endpoints each has in every network.
    pub endpoints: usize,
    /// Of one more service, the same; there is none where it is 0.
    pub large: usize,
    /// How many proxies connect.
    pub proxies: usize,
    /// Kinds of workload that the proxies stand beside, each with a port of its own.
    pub workloads: usize,
    /// Namespaces of services and workloads.
    pub namespaces: usize,
    /// Zones in which they are.
    pub zones: usize,
    /// Networks that cannot reach each other.
    pub networks: usize,
    /// Of a hundred proxies so many speak state of the world.
    pub state_of_the_world_percent: usize,
    /// How routes come to those who speak delta.
    pub routes: Routes,
}

/// How routes come to proxies, which is a matter of the Envoy that they say they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Routes {
    /// Host by host, as to a current one
    #[default]
    ByHost,
    /// In whole tables, as to an old one
    Whole,
}

impl Routes {
    fn envoy(self) -> SemanticVersion {
        let minor_number = match self {
            Self::ByHost => 40,
            Self::Whole => 36,
        };
        SemanticVersion {
            major_number: 1,
            minor_number,
            patch: 0,
        }
    }
}

/// What a proxy has when a change has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaited {
    /// The kind of the resource that changes.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// How new it is then.
    pub marker: u64,
}

/// Something that changes. Markers only grow in a run, whatever changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// One endpoint of a service has another weight, in every network.
    Endpoint {
        /// The service.
        service: usize,
        /// The weight.
        marker: u64,
    },
    /// One route has another header.
    Route {
        /// What is in it.
        marker: u64,
    },
    /// So many endpoints of the large service were replaced, one after the other.
    Replacement {
        /// How many.
        replaced: usize,
        /// The weight of one that stays.
        marker: u64,
    },
    /// There is one more service.
    Service {
        /// What is in its name.
        marker: u64,
    },
}

/// What the parts of a proxy's configuration depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// Clusters and listeners.
    pub workload: usize,
    /// Assignments: zone and network.
    pub place: usize,
    /// Route configurations and virtual hosts.
    pub namespace: usize,
}

/// As the cluster of a Node, by which servers of a recording tell proxies apart.
impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            workload,
            place,
            namespace,
        } = self;
        write!(f, "{workload}/{place}/{namespace}")
    }
}

impl Default for World {
    fn default() -> Self {
        Self {
            services: 1000,
            endpoints: 10,
            large: 0,
            proxies: 1000,
            workloads: 200,
            namespaces: 50,
            zones: 3,
            networks: 2,
            state_of_the_world_percent: 0,
            routes: Routes::default(),
        }
    }
}

impl World {
    /// How many services change: the first so many.
    pub fn changing(&self) -> usize {
        self.services.min(CHANGING_MAX)
    }

    /// What a proxy's configuration depends on.
    pub fn group(&self, proxy: usize) -> Group {
        let workload = proxy % self.workloads;
        Group {
            workload,
            place: (proxy + proxy / self.workloads) % (self.zones * self.networks),
            namespace: workload % self.namespaces,
        }
    }

    /// How many proxies have all configuration that there is between them: the first so many.
    pub fn representatives(&self) -> usize {
        self.workloads
            .max(self.zones * self.networks)
            .min(self.proxies)
    }

    /// The namespace of a proxy.
    pub fn namespace_of_proxy(&self, proxy: usize) -> usize {
        self.group(proxy).namespace
    }

    /// What a proxy speaks.
    pub fn variant(&self, proxy: usize) -> Variant {
        // Spread evenly: 30 % are three of ten, one after the other.
        if (proxy * self.state_of_the_world_percent) % 100 < self.state_of_the_world_percent {
            Variant::StateOfTheWorld
        } else {
            Variant::Delta
        }
    }

    /// A proxy's encoded Node.
    pub fn node(&self, proxy: usize) -> Vec<u8> {
        let group = self.group(proxy);
        let namespace = namespace(group.namespace);
        Node {
            id: format!(
                "sidecar~{}~{}.{namespace}~{namespace}.svc.{DOMAIN}",
                address(PROXIES, proxy),
                workload(group.workload, proxy),
            ),
            cluster: group.to_string(),
            user_agent_name: "envoy".to_owned(),
            user_agent_version_type: Some(UserAgentVersionType::UserAgentBuildVersion(
                BuildVersion {
                    version: Some(self.routes.envoy()),
                    metadata: None,
                },
            )),
            ..Node::default()
        }
        .encode_to_vec()
    }

    /// The cluster of a service as sidecars name it.
    pub fn cluster(&self, service: usize) -> String {
        let (port, _) = port(service);
        outbound(port, &service_name(service), service % self.namespaces)
    }

    /// What proxies have when a change has arrived.
    pub fn awaited(&self, change: Change) -> Vec<Awaited> {
        let awaited = |kind, name, marker| Awaited { kind, name, marker };
        match change {
            Change::Endpoint { service, marker } => {
                vec![awaited(Kind::Endpoints, self.cluster(service), marker)]
            }
            Change::Replacement { marker, .. } => {
                let cluster = outbound(HTTP_PORT, LARGE, 0);
                vec![awaited(Kind::Endpoints, cluster, marker)]
            }
            Change::Route { marker } => vec![awaited(Kind::Routes, ROUTES.to_owned(), marker)],
            Change::Service { marker } => {
                let cluster = outbound(HTTP_PORT, &format!("{MARKER}{marker}"), 0);
                vec![
                    awaited(Kind::Clusters, cluster.clone(), marker),
                    awaited(Kind::Endpoints, cluster, 1),
                    awaited(Kind::Routes, ROUTES.to_owned(), marker),
                ]
            }
        }
    }

    /// The zone and the network of a place.
    fn zone_and_network(&self, place: usize) -> (usize, usize) {
        (place % self.zones, place / self.zones)
    }
}

const CHANGING_MAX: usize = 100;
const DOMAIN: &str = "cluster.local";
/// The port of most services.
pub const HTTP_PORT: u16 = 80;
/// The route configuration with their virtual hosts.
const ROUTES: &str = "80";
const LARGE: &str = "large";
/// First bytes of addresses.
const SERVICES: u8 = 10;
const ENDPOINTS: u8 = 11;
const PROXIES: u8 = 12;
const REPLACEMENTS: u8 = 13;

fn service_name(service: usize) -> String {
    format!("service-{service}")
}

fn namespace(number: usize) -> String {
    format!("namespace-{number}")
}

fn workload(kind: usize, proxy: usize) -> String {
    format!("workload-{kind}-{proxy}")
}

fn outbound(port: u16, service: &str, in_namespace: usize) -> String {
    let namespace = namespace(in_namespace);
    format!("outbound|{port}||{service}.{namespace}.svc.{DOMAIN}")
}

/// Of ten services eight speak HTTP, one gRPC and one TCP.
fn port(service: usize) -> (u16, &'static str) {
    match service % 10 {
        8 => (9000, "grpc"),
        9 => (5432, "tcp"),
        _ => (HTTP_PORT, "http"),
    }
}

/// An address that begins with `first`, another one for each number.
fn address(first: u8, number: usize) -> Ipv4Addr {
    let number = u32::try_from(number + 1).unwrap_or(u32::MAX);
    let [_, second, third, fourth] = number.to_be_bytes();
    Ipv4Addr::new(first, second, third, fourth)
}

#[cfg(test)]
mod tests;
