//! Endpoints: where a service is served.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

use bowline_identity::SpiffeId;
use serde::{Deserialize, Serialize};

use crate::{Hostname, Named, Network, RegistryId};

/// Labels of a workload, by key.
pub type Labels = Named<Arc<str>>;

/// Some endpoints of one service that come and go together: a Kubernetes EndpointSlice, one VM, one Consul instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointGroup {
    /// The service that they serve. It may come later than they do.
    pub service: Hostname,
    /// In an order that the registry keeps: content is compared.
    pub endpoints: Vec<Endpoint>,
}

/// One place where a service is served.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// Where.
    pub address: Address,
    /// Port numbers by the name of the service's port. For [`Address::Unix`] the numbers are ignored.
    pub ports: Named<u16>,
    /// Where it runs.
    pub locality: Locality,
    /// From where it can be reached.
    pub network: Network,
    /// What a subset selects by.
    pub labels: Labels,
    /// Share of the traffic among the endpoints of a service; 0 takes it out without forgetting it.
    pub weight: u32,
    /// What the registry knows about its health.
    pub health: Health,
    /// Who answers there; what a caller's mutual TLS verifies.
    pub identity: Option<SpiffeId>,
}

impl Endpoint {
    /// Whether callers of other networks may come to it through a gateway: who answers must be verified, and the gateway must find it.
    pub fn is_behind_gateways(&self) -> bool {
        self.identity.is_some() && matches!(self.address, Address::Ip(_))
    }
}

/// Where an endpoint listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Address {
    /// An IP address.
    Ip(IpAddr),
    /// A DNS name that the proxies resolve.
    Dns(Hostname),
    /// A unix domain socket on the proxy's own machine.
    Unix(Arc<str>),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::Dns(hostname) => write!(f, "{hostname}"),
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

/// Whether an endpoint should get requests, as its registry sees it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It should.
    Healthy,
    /// It works, but others are better.
    Degraded,
    /// It finishes what it has and should get nothing new.
    Draining,
    /// It should not.
    Unhealthy,
    /// The registry does not say; treated as healthy until a health check says otherwise.
    #[default]
    Unknown,
}

/// Region, zone, sub-zone and node, each empty where not known; of the first three a narrower one has no meaning without the wider.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(from = "Stored", into = "String")]
pub struct Locality {
    /// Such as `eu-central-1`.
    pub region: Arc<str>,
    /// Such as `eu-central-1a`.
    pub zone: Arc<str>,
    /// Such as a rack.
    pub subzone: Arc<str>,
    /// A machine that several workloads share, with its registry before it: different registries may call theirs the same.
    pub node: Arc<str>,
}

impl Locality {
    /// A locality from its parts.
    pub fn new(region: &str, zone: &str, subzone: &str) -> Self {
        Self {
            region: region.into(),
            zone: zone.into(),
            subzone: subzone.into(),
            node: Arc::default(),
        }
    }

    /// A node there, by the name that its registry has for it.
    #[must_use]
    pub fn on_node(&self, registry: &RegistryId, node: &str) -> Self {
        Self {
            node: format!("{registry}/{node}").into(),
            ..self.clone()
        }
    }

    /// The same place for all nodes that are there.
    #[must_use]
    pub fn without_node(&self) -> Self {
        Self {
            node: Arc::default(),
            ..self.clone()
        }
    }
}

/// Why a text is not a locality.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' has more than a region, a zone and a subzone: write it as `region/zone/subzone`")]
pub struct LocalityError(String);

/// From `region/zone/subzone`, of which the later parts may be missing: what people write has no node.
impl FromStr for Locality {
    type Err = LocalityError;

    fn from_str(text: &str) -> Result<Self, LocalityError> {
        let mut parts = text.split('/');
        let mut part = || parts.next().unwrap_or_default();
        let locality = Self::new(part(), part(), part());
        match parts.next() {
            None => Ok(locality),
            Some(_) => Err(LocalityError(text.to_owned())),
        }
    }
}

/// As it is stored: `region/zone/subzone/node`.
#[derive(Deserialize)]
struct Stored(String);

impl From<Stored> for Locality {
    fn from(Stored(text): Stored) -> Self {
        let mut parts = text.splitn(4, '/');
        let mut part = || parts.next().unwrap_or_default();
        let place = Self::new(part(), part(), part());
        Self {
            node: part().into(),
            ..place
        }
    }
}

impl From<Locality> for String {
    fn from(locality: Locality) -> Self {
        locality.to_string()
    }
}

impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            region,
            zone,
            subzone,
            node,
        } = self;
        let text = format!("{region}/{zone}/{subzone}/{node}");
        f.write_str(text.trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locality_is_stored_with_its_node_and_written_by_people_without() {
        let registry_id: RegistryId = "a".parse().unwrap();
        let places = [
            Locality::default(),
            Locality::new("eu", "eu-1", "rack"),
            Locality::new("", "", "").on_node(&registry_id, "one"),
            Locality::new("eu", "", "").on_node(&registry_id, "one"),
        ];
        for place in places {
            assert_eq!(Locality::from(Stored(String::from(place.clone()))), place);
        }
        assert!("eu/eu-1/rack/one".parse::<Locality>().is_err());
    }
}
