//! Endpoints as callers see them.

use std::sync::Arc;

use super::EndpointsKey;
use crate::{
    Balancer, Discovery, EndpointGroups, Hostname, IpFamilies, Locality, MergedService, Mesh,
    Network,
};

/// The endpoints of one service as proxies with one key see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointsView {
    /// The service.
    pub service: Arc<MergedService>,
    /// All its endpoints.
    pub groups: EndpointGroups,
    /// What the caller can reach.
    pub network: Network,
    /// Where the caller stands, if the service's balancing looks at it.
    pub locality: Option<Locality>,
    /// Which addresses the caller can connect to.
    pub families: IpFamilies,
    /// Who reads them.
    pub balancer: Balancer,
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
        Some(Self {
            service: service.clone(),
            groups: mesh.endpoints(hostname),
            network: network.clone(),
            locality: service
                .balancing
                .looks_at_locality()
                .then(|| locality.clone()),
            families: *families,
            balancer: *balancer,
        })
    }
}
