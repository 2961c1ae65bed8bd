//! Keys: what may influence one layer of a proxy's configuration.

use std::{collections::BTreeSet, fmt};

use bowline_identity::SpiffeId;

use crate::{
    Balancer, Capture, HostLookup, IpFamilies, Locality, Mesh, Namespace, Network, Proxy,
    RegistryId, Role, RouteDelivery, Workload, WorkloadPort,
};

/// What may influence one layer of a proxy's configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ViewKey {
    /// Clusters, listeners and routes towards others.
    Outbound(OutboundKey),
    /// ClusterLoadAssignments.
    Endpoints(EndpointsKey),
    /// What a workload itself listens on.
    Inbound(InboundKey),
    /// Secrets of one identity.
    Own(OwnKey),
}

/// What influences clusters, listeners and routes towards others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboundKey {
    /// Sidecars with one way of capture share; every gateway is its own.
    pub role: Role,
    /// The registry of the proxy's workload, whose policies act on it. Empty where no registry has policies of its own.
    pub registry: Option<RegistryId>,
    /// The namespace, whose services it may call by their short names.
    pub namespace: Namespace,
    /// Which address families it can listen on and connect to.
    pub families: IpFamilies,
    /// Of the local ports on which services are offered, those that the workload's own application has. Explicit listeners only;
    /// nearly always none.
    pub taken_ports: Vec<u16>,
    /// Whether it can forward requests to hosts that only their name tells. Explicit listeners only; nobody else needs it.
    pub host_lookup: HostLookup,
    /// How its routes come to it.
    pub route_delivery: RouteDelivery,
}

/// What influences which endpoints a proxy uses, and in which order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointsKey {
    /// What it reaches directly.
    pub network: Network,
    /// Where it stands; with its node only where there is a service whose balancing looks at nodes.
    pub locality: Locality,
    /// Which addresses it can connect to.
    pub families: IpFamilies,
    /// Who reads them.
    pub balancer: Balancer,
}

/// What influences what a workload itself listens on. Its address is not in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InboundKey {
    /// A sidecar listens for it.
    Sidecar(SidecarPorts),
    /// Its gRPC library does, where its own code says.
    Grpc,
}

/// What influences what a sidecar listens on for its workload.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SidecarPorts {
    /// How connections come to it.
    pub capture: Capture,
    /// What the workload serves, by number.
    pub ports: Vec<WorkloadPort>,
    /// Which address families it listens on.
    pub families: IpFamilies,
}

/// Whose secrets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnKey {
    /// Proven by the proxy.
    pub identity: SpiffeId,
}

impl ViewKey {
    /// The keys of everything that a proxy is served, in the order of its snapshot's layers.
    pub fn of(proxy: &Proxy, mesh: &Mesh) -> Vec<Self> {
        let workload = proxy.workload(mesh);
        let families = match workload {
            Some((_, workload)) if proxy.addresses.is_empty() => {
                IpFamilies::of(&workload.addresses)
            }
            _ => IpFamilies::of(&proxy.addresses),
        };
        let network = proxy
            .network
            .clone()
            .or_else(|| workload.map(|(_, workload)| workload.network.clone()))
            .unwrap_or_default();
        let locality = locality(proxy, workload.map(|(_, workload)| &**workload), mesh);
        let registry = workload
            .map(|(key, _)| key.registry.clone())
            .filter(|registry| mesh.has_policies_of_its_own(registry));
        let mut keys = vec![
            Self::Outbound(OutboundKey {
                role: proxy.role.clone(),
                registry,
                namespace: proxy.namespace.clone(),
                families,
                taken_ports: taken_ports(proxy, workload.map(|(_, workload)| &**workload), mesh),
                host_lookup: needed_host_lookup(proxy),
                route_delivery: match proxy.role {
                    Role::Sidecar(_) | Role::Gateway(_) => proxy.route_delivery,
                    // The one has no tables, and those of the other have one host each.
                    Role::EastWest | Role::Grpc => RouteDelivery::Whole,
                },
            }),
            Self::Endpoints(EndpointsKey {
                network,
                locality,
                families,
                balancer: Balancer::of(&proxy.role),
            }),
        ];
        let inbound = match proxy.role {
            Role::Sidecar(capture) => {
                let mut ports = workload
                    .map(|(_, workload)| workload.ports.clone())
                    .unwrap_or_default();
                ports.sort();
                Some(InboundKey::Sidecar(SidecarPorts {
                    capture,
                    ports,
                    families,
                }))
            }
            Role::Grpc => Some(InboundKey::Grpc),
            // All that they listen on is towards others.
            Role::Gateway(_) | Role::EastWest => None,
        };
        keys.extend(inbound.map(Self::Inbound));
        keys
    }
}

/// Where a proxy says that it stands, otherwise where its workload does. Its node is its workload's.
fn locality(proxy: &Proxy, workload: Option<&Workload>, mesh: &Mesh) -> Locality {
    let of_workload = workload.map(|workload| &workload.locality);
    let place = proxy.locality.as_ref().or(of_workload);
    let mut locality = place.map(Locality::without_node).unwrap_or_default();
    if mesh.services_by_node > 0
        && let Some(Locality { node, .. }) = of_workload
    {
        locality.node = node.clone();
    }
    locality
}

/// Only requests that were sent to a listener of the proxy's own must be told by their host where they want to go.
fn needed_host_lookup(proxy: &Proxy) -> HostLookup {
    match proxy.role {
        Role::Sidecar(Capture::Explicit) => proxy.host_lookup,
        Role::Sidecar(Capture::Transparent) | Role::Gateway(_) | Role::EastWest | Role::Grpc => {
            HostLookup::Available
        }
    }
}

/// The local ports that both the workload's application and a service want: the application has them.
fn taken_ports(proxy: &Proxy, workload: Option<&Workload>, mesh: &Mesh) -> Vec<u16> {
    match proxy.role {
        Role::Sidecar(Capture::Explicit) => {}
        Role::Sidecar(Capture::Transparent) | Role::Gateway(_) | Role::EastWest | Role::Grpc => {
            return Vec::new();
        }
    }
    let ports = workload.into_iter().flat_map(|workload| &workload.ports);
    let own: BTreeSet<u16> = ports
        .flat_map(|port| [Some(port.number), port.app_port])
        .flatten()
        .collect();
    own.into_iter()
        .filter(|port| mesh.explicit_ports.contains_key(port))
        .collect()
}

/// A name that no other key has: it names the layer in listings, logs and metrics.
impl fmt::Display for ViewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outbound(OutboundKey {
                role,
                registry,
                namespace,
                families,
                taken_ports,
                host_lookup,
                route_delivery,
            }) => {
                write!(f, "outbound/{role}/{namespace}/{families:?}")?;
                registry
                    .iter()
                    .try_for_each(|registry| write!(f, "/policies of {registry}"))?;
                taken_ports
                    .iter()
                    .try_for_each(|port| write!(f, "/without port {port}"))?;
                match host_lookup {
                    HostLookup::Available => {}
                    HostLookup::Unavailable => f.write_str("/without host lookup")?,
                }
                match route_delivery {
                    RouteDelivery::Whole => Ok(()),
                    RouteDelivery::ByHost => f.write_str("/routes by host"),
                }
            }
            Self::Endpoints(EndpointsKey {
                network,
                locality,
                families,
                balancer,
            }) => {
                write!(
                    f,
                    "endpoints/{network}/{}/{}/{}/{families:?}",
                    locality.region, locality.zone, locality.subzone
                )?;
                if !locality.node.is_empty() {
                    write!(f, "/on {}", locality.node)?;
                }
                match balancer {
                    Balancer::Proxy => Ok(()),
                    Balancer::EastWest => f.write_str("/east-west"),
                    Balancer::Grpc => f.write_str("/grpc"),
                }
            }
            Self::Inbound(InboundKey::Grpc) => f.write_str("inbound/grpc"),
            Self::Inbound(InboundKey::Sidecar(SidecarPorts {
                capture,
                ports,
                families,
            })) => {
                write!(f, "inbound/{capture:?}/{families:?}")?;
                ports.iter().try_for_each(
                    |WorkloadPort {
                         number,
                         name,
                         protocol,
                         app_port,
                     }| {
                        write!(f, "/{number} {name} {protocol:?}")?;
                        app_port
                            .iter()
                            .try_for_each(|app_port| write!(f, " to {app_port}"))
                    },
                )
            }
            Self::Own(OwnKey { identity }) => write!(f, "own/{identity}"),
        }
    }
}

impl Mesh {
    /// Whether a registry has policies that act on its own proxies only.
    fn has_policies_of_its_own(&self, registry: &RegistryId) -> bool {
        !self.policies_for_mesh.contains(registry)
            && self.index.registries_with_policies.contains_key(registry)
    }
}
