//! Endpoints as callers see them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use super::EndpointsKey;
use crate::{
    Balancer, Balancing, Discovery, EndpointGroups, Hostname, IpFamilies, Locality, MergedService,
    Mesh, MutualTls, Network,
};

/// The endpoints of one service as proxies with one key see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointsView {
    /// The service.
    pub service: Arc<MergedService>,
    /// All its endpoints.
    pub groups: EndpointGroups,
    /// The caller's network, if any endpoint is in it.
    pub network: Option<Network>,
    /// The other networks that endpoints are in, as far as it matters to the caller that there are others.
    pub elsewhere: BTreeMap<Network, Elsewhere>,
    /// A port at which nobody serves but east-west gateways, where the caller is one and would call itself.
    pub gateways_own_port: Option<u16>,
    /// Where the caller stands, if the service's balancing looks at it.
    pub locality: Option<Locality>,
    /// Which addresses the caller can connect to.
    pub families: IpFamilies,
    /// Who reads them.
    pub balancer: Balancer,
}

/// Endpoints of a network that is not the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// How many there are.
    pub endpoints: usize,
    /// How the caller comes to them.
    pub way: Way,
}

/// How a caller comes to endpoints of another network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Not at all: workloads do not speak mutual TLS.
    NoMutualTls,
    /// Not at all: whoever has no proxy cannot say to a gateway which service it wants.
    NoProxy,
    /// Through the gateways of the network.
    Gateways {
        /// Where they are.
        places: BTreeSet<SocketAddr>,
        /// Of the endpoints, those to which no gateway leads ([`crate::Endpoint::is_behind_gateways`]).
        left_behind: usize,
    },
}

impl EndpointsView {
    /// What proxies with a key see of a service; `None` where there is no such service, or its endpoints are not served by EDS.
    pub fn new(mesh: &Mesh, key: &EndpointsKey, hostname: &Hostname) -> Option<Self> {
        let service = mesh.service(hostname)?;
        match service.discovery {
            Discovery::Dns => return None,
            Discovery::Eds => {}
        }
        let EndpointsKey {
            network,
            locality,
            families,
            balancer,
        } = key;
        let groups = mesh.endpoints(hostname);
        let is_here = |endpoint: &crate::Endpoint| endpoint.network == *network;
        let any_here = groups
            .values()
            .any(|group| group.endpoints.iter().any(is_here));
        let gateways_own_port = match balancer {
            Balancer::Proxy | Balancer::Grpc => None,
            Balancer::EastWest => Some(mesh.settings.east_west_port),
        };
        let elsewhere = match (balancer, &service.balancing) {
            // Nobody's own node is in another network.
            (Balancer::EastWest, _) | (_, Balancing::OnNode) => BTreeMap::new(),
            (Balancer::Proxy | Balancer::Grpc, _) => elsewhere(mesh, key, &groups),
        };
        Some(Self {
            service: service.clone(),
            groups,
            network: any_here.then(|| network.clone()),
            elsewhere,
            gateways_own_port,
            locality: match &service.balancing {
                balancing if balancing.looks_at_node() => Some(locality.clone()),
                balancing if balancing.looks_at_locality() => Some(locality.without_node()),
                _ => None,
            },
            families: *families,
            balancer: *balancer,
        })
    }
}

/// The networks other than the caller's that endpoints are in. Those that get no requests are not counted.
fn elsewhere(
    mesh: &Mesh,
    key: &EndpointsKey,
    groups: &EndpointGroups,
) -> BTreeMap<Network, Elsewhere> {
    let mut networks: BTreeMap<Network, Elsewhere> = BTreeMap::new();
    let endpoints = groups.values().flat_map(|group| &group.endpoints);
    for endpoint in endpoints.filter(|endpoint| endpoint.network != key.network) {
        if endpoint.weight == 0 {
            continue;
        }
        if !networks.contains_key(&endpoint.network) {
            let elsewhere = Elsewhere {
                endpoints: 0,
                way: way(mesh, key.balancer, &endpoint.network),
            };
            networks.insert(endpoint.network.clone(), elsewhere);
        }
        if let Some(Elsewhere { endpoints, way }) = networks.get_mut(&endpoint.network) {
            *endpoints += 1;
            match way {
                Way::Gateways { left_behind, .. } if !endpoint.is_behind_gateways() => {
                    *left_behind += 1;
                }
                Way::Gateways { .. } | Way::NoMutualTls | Way::NoProxy => {}
            }
        }
    }
    networks
}

fn way(mesh: &Mesh, balancer: Balancer, network: &Network) -> Way {
    match (mesh.settings.mutual_tls, balancer) {
        (MutualTls::Absent, _) => Way::NoMutualTls,
        (MutualTls::Spoken, Balancer::Grpc) => Way::NoProxy,
        (MutualTls::Spoken, Balancer::Proxy | Balancer::EastWest) => Way::Gateways {
            places: mesh.network_places(network).collect(),
            left_behind: 0,
        },
    }
}
