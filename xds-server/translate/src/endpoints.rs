//! ClusterLoadAssignments: where a service is served, and in which order of preference.

mod crossing;
mod grpc;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use bowline_mesh::{
    Address, Balancer, Balancing, Code, Endpoint, EndpointGroups, Health, IpFamilies, Locality,
    MergedPort, MergedService, Network, Problem, RegistryId,
    view::{Elsewhere, EndpointsView, ServiceView},
};
use bowline_proto::envoy::config::{
    core::v3::{self as core, HealthStatus, Pipe},
    endpoint::v3::{
        ClusterLoadAssignment, Endpoint as EnvoyEndpoint, LbEndpoint, LocalityLbEndpoints,
        lb_endpoint,
    },
};
use bowline_snapshot::{Origin, Resource};

use crate::{Translated, listener::plain_socket_address, name, problem::Report};
use crossing::Crossing;

/// One ClusterLoadAssignment for each port of the service, named like its cluster. A port without endpoints has an empty one, so that
/// its cluster does not wait for it.
pub fn endpoints(view: &EndpointsView) -> Translated<Vec<Resource>> {
    let EndpointsView {
        service,
        groups,
        network,
        elsewhere,
        gateways_own_port,
        locality,
        families,
        balancer,
    } = view;
    let reach = Reach {
        networks: Networks::Own {
            network: network.as_ref(),
            elsewhere,
        },
        left_out_port: *gateways_own_port,
        families: *families,
        names: Names::AreLeftOut,
        balancer: *balancer,
    };
    let mut problems = crossing::problems(service, elsewhere, *families);
    let origins = origins(service);
    let resources = service
        .ports
        .iter()
        .map(|port| {
            let assignment = assignment(
                service,
                port,
                groups,
                reach,
                locality.as_ref(),
                &mut problems,
            );
            Resource::encode(
                assignment.cluster_name.as_str(),
                &assignment,
                origins.clone(),
            )
        })
        .collect();
    Translated::new(resources, problems)
}

/// The objects that a service is made from, as people would name them.
pub(crate) fn origins(service: &MergedService) -> Arc<[Origin]> {
    service
        .origins
        .iter()
        .map(|key| key.to_string().into())
        .collect()
}

/// The endpoints of a cluster that holds them itself.
///
/// All proxies share it, wherever they stand: preference of the caller's zone needs EDS, and endpoints of all networks are in it.
pub(crate) fn inline(
    view: &ServiceView,
    port: &MergedPort,
    problems: &mut Vec<Problem>,
) -> ClusterLoadAssignment {
    let service = &view.service;
    let none = EndpointGroups::default();
    let groups = view.inline_endpoints.as_ref().unwrap_or(&none);
    if service.balancing.looks_at_locality() {
        problems.push(
            Report {
                code: Code::NotTranslatable,
                object: service.origins.first(),
                field: "balancing",
                message: format!(
                    "{} has endpoints with DNS names, for which proxies have no preference",
                    service.hostname
                ),
                meanwhile: "all endpoints are used alike",
                hint: "give all its endpoints addresses, or take the preference out",
            }
            .warning(),
        );
    }
    let reach = Reach {
        networks: Networks::All,
        left_out_port: None,
        families: view.families,
        names: Names::AreResolved,
        balancer: Balancer::Proxy,
    };
    assignment(service, port, groups, reach, None, problems)
}

/// What a caller can connect to.
#[derive(Clone, Copy)]
struct Reach<'a> {
    networks: Networks<'a>,
    /// A port at which nothing is for it.
    left_out_port: Option<u16>,
    families: IpFamilies,
    names: Names,
    balancer: Balancer,
}

/// Which networks' endpoints a caller gets.
#[derive(Clone, Copy)]
enum Networks<'a> {
    /// Those of all: it is not known which is the caller's.
    All,
    /// Those of its own; for others, the gateways to them.
    Own {
        /// `None` where no endpoint is in it.
        network: Option<&'a Network>,
        elsewhere: &'a BTreeMap<Network, Elsewhere>,
    },
}

/// Whether the cluster resolves DNS names. Such a cluster cannot have unix sockets, and the other cannot have names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    AreResolved,
    AreLeftOut,
}

/// Endpoints and gateways by preference and place.
type Places<'a> = BTreeMap<(usize, Place<'a>), Vec<Placed<'a>>>;

/// Where endpoints stand together, as Envoy tells places apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place<'a> {
    region: &'a str,
    zone: &'a str,
    subzone: &'a str,
}

impl<'a> Place<'a> {
    fn of(locality: &'a Locality) -> Self {
        let Locality {
            region,
            zone,
            subzone,
            node: _,
        } = locality;
        Self {
            region,
            zone,
            subzone,
        }
    }
}

/// Where one port is served.
struct Placed<'a> {
    target: Target<'a>,
    port: u16,
    weight: u64,
    health: Health,
}

/// Who gets the requests for a place.
enum Target<'a> {
    Endpoint(&'a Address),
    Gateway(IpAddr),
}

fn assignment(
    service: &MergedService,
    port: &MergedPort,
    groups: &EndpointGroups,
    reach: Reach<'_>,
    locality: Option<&Locality>,
    problems: &mut Vec<Problem>,
) -> ClusterLoadAssignment {
    let mut unreachable = BTreeSet::new();
    // Envoy refuses an assignment with the same address twice. The first in order of keys wins, not who came first.
    let mut seen = BTreeSet::new();
    let mut places = Places::new();
    let mut crossing = Crossing::default();
    let rank = |place: &Locality| preference(&service.balancing, locality, place);
    for (key, group) in groups {
        for endpoint in &group.endpoints {
            let Some(port) = served_at(service, port, &key.registry, endpoint)
                .filter(|port| Some(*port) != reach.left_out_port)
            else {
                continue;
            };
            match reachable(endpoint, reach) {
                Reachable::Yes => {}
                Reachable::No => continue,
                Reachable::InAnotherNetwork => {
                    // A gateway leads to any node.
                    if let Some(rank) = rank(&endpoint.locality.without_node()) {
                        crossing.add(rank, endpoint);
                    }
                    continue;
                }
                Reachable::NotFromHere(why) => {
                    unreachable.insert(why);
                    continue;
                }
            }
            let Some(rank) = rank(&endpoint.locality) else {
                continue;
            };
            if seen.insert((&endpoint.address, port)) {
                places
                    .entry((rank, Place::of(&endpoint.locality)))
                    .or_default()
                    .push(Placed {
                        target: Target::Endpoint(&endpoint.address),
                        port,
                        weight: endpoint.weight.into(),
                        health: endpoint.health,
                    });
            }
        }
    }
    if let Networks::Own { elsewhere, .. } = reach.networks {
        crossing.place(elsewhere, reach.families, &mut places);
    }
    problems.extend(unreachable.into_iter().map(|why| {
        Report {
            code: Code::Unreachable,
            object: service.origins.first(),
            field: "",
            message: format!("endpoints of {} {why}", service.hostname),
            meanwhile: "callers there use the endpoints that they can reach",
            hint: "run instances where the callers are, or correct the endpoints' address",
        }
        .warning()
    }));
    ClusterLoadAssignment {
        cluster_name: cluster_name(service, port, reach.balancer),
        endpoints: match reach.balancer {
            Balancer::Proxy | Balancer::EastWest => localities(places),
            Balancer::Grpc => grpc::localities(places),
        },
        ..ClusterLoadAssignment::default()
    }
}

/// The cluster that an assignment is for.
fn cluster_name(service: &MergedService, port: &MergedPort, balancer: Balancer) -> String {
    match balancer {
        Balancer::Proxy | Balancer::Grpc => {
            name::outbound_cluster(port.port.number, &service.hostname)
        }
        Balancer::EastWest => name::server_name(port.port.number, &service.hostname),
    }
}

/// The port at which an endpoint serves; `None` where it does not, or is taken out by its weight.
fn served_at(
    service: &MergedService,
    port: &MergedPort,
    registry: &RegistryId,
    endpoint: &Endpoint,
) -> Option<u16> {
    if endpoint.weight == 0 {
        return None;
    }
    match endpoint.address {
        Address::Unix(_) => Some(0),
        Address::Ip(_) | Address::Dns(_) => service.endpoint_port(port, registry, endpoint),
    }
}

enum Reachable {
    Yes,
    /// As it should be: the other family of a service that has both, for example.
    No,
    /// Only through its gateways.
    InAnotherNetwork,
    NotFromHere(String),
}

fn reachable(endpoint: &Endpoint, reach: Reach<'_>) -> Reachable {
    if let Networks::Own { network, .. } = reach.networks
        && network != Some(&endpoint.network)
    {
        return Reachable::InAnotherNetwork;
    }
    match (&endpoint.address, reach.names) {
        (Address::Ip(address), _) if reach.families.reach(*address) => Reachable::Yes,
        (Address::Ip(_), _) | (Address::Dns(_), Names::AreLeftOut) => Reachable::No,
        // A socket is on the machine of its workload, and the gateway is not.
        (Address::Unix(_), _) if reach.balancer == Balancer::EastWest => Reachable::No,
        (Address::Unix(path), Names::AreLeftOut) if reach.balancer == Balancer::Grpc => {
            Reachable::NotFromHere(format!(
                "are at the socket {path}, which gRPC clients without a proxy do not take"
            ))
        }
        (Address::Dns(_), Names::AreResolved) | (Address::Unix(_), Names::AreLeftOut) => {
            Reachable::Yes
        }
        (Address::Unix(path), Names::AreResolved) => Reachable::NotFromHere(format!(
            "have DNS names, with which the socket {path} cannot be mixed"
        )),
    }
}

fn called(network: &Network) -> String {
    match network.as_str() {
        "" => "default network".to_owned(),
        name => format!("network {name}"),
    }
}

/// How good a place is for a caller: 0 is best. May have gaps. `None` where it is of no use.
fn preference(
    balancing: &Balancing,
    caller: Option<&Locality>,
    endpoint: &Locality,
) -> Option<usize> {
    let unknown = Locality::default();
    let caller = caller.unwrap_or(&unknown);
    let has_node = !caller.node.is_empty();
    let is_same_node = has_node && caller.node == endpoint.node;
    let has_region = !caller.region.is_empty();
    let is_same_region = has_region && caller.region == endpoint.region;
    let is_same_zone = is_same_region && caller.zone == endpoint.zone && !caller.zone.is_empty();
    let rank = match balancing {
        Balancing::OnNode if has_node && !is_same_node => return None,
        Balancing::Everywhere | Balancing::ByAddress | Balancing::OnNode => 0,
        Balancing::PreferNode if is_same_node => 0,
        Balancing::PreferNode if is_same_zone => 1,
        Balancing::PreferNode if is_same_region => 2,
        Balancing::PreferNode => 3,
        Balancing::PreferRegion(_) | Balancing::PreferZone(_) if !has_region => 0,
        Balancing::PreferRegion(_) if is_same_region => 0,
        Balancing::PreferRegion(others) => 1 + others.before(&endpoint.region),
        Balancing::PreferZone(_) if is_same_zone => 0,
        Balancing::PreferZone(_) if is_same_region => 1,
        Balancing::PreferZone(others) => 2 + others.before(&endpoint.region),
    };
    Some(rank)
}

/// By what weights are divided so that they fit: their sums must have 32 bits, and half of that leaves room for what rounding up adds.
fn divisor<'a>(placed: impl Iterator<Item = &'a Placed<'a>>) -> u64 {
    let total = placed.fold(0_u64, |total, placed| total.saturating_add(placed.weight));
    total / (u64::from(u32::MAX) / 2) + 1
}

fn scaled(weight: u64, divisor: u64) -> u32 {
    u32::try_from(weight.div_ceil(divisor)).unwrap_or(u32::MAX)
}

fn localities(places: Places<'_>) -> Vec<LocalityLbEndpoints> {
    let divisor = divisor(places.values().flatten());
    // Envoy refuses priorities with gaps.
    let ranks: BTreeSet<usize> = places.keys().map(|(rank, _)| *rank).collect();
    let priorities: BTreeMap<usize, u32> = ranks.into_iter().zip(0..).collect();
    places
        .into_iter()
        .map(|((rank, place), placed)| LocalityLbEndpoints {
            locality: Some(core::Locality {
                region: place.region.to_owned(),
                zone: place.zone.to_owned(),
                sub_zone: place.subzone.to_owned(),
            }),
            priority: priorities.get(&rank).copied().unwrap_or_default(),
            // Envoy looks at it only where it balances by locality; gRPC drops a locality that has none.
            load_balancing_weight: Some(
                placed
                    .iter()
                    .map(|placed| scaled(placed.weight, divisor))
                    .sum(),
            ),
            lb_endpoints: placed
                .into_iter()
                .map(|placed| lb_endpoint(&placed, scaled(placed.weight, divisor)))
                .collect(),
            ..LocalityLbEndpoints::default()
        })
        .collect()
}

fn lb_endpoint(placed: &Placed<'_>, weight: u32) -> LbEndpoint {
    let at =
        |host: &str| core::address::Address::SocketAddress(plain_socket_address(host, placed.port));
    let address = match placed.target {
        Target::Gateway(ip) | Target::Endpoint(&Address::Ip(ip)) => at(&ip.to_string()),
        Target::Endpoint(Address::Dns(host)) => at(host.as_str()),
        Target::Endpoint(Address::Unix(path)) => core::address::Address::Pipe(Pipe {
            path: path.to_string(),
            ..Pipe::default()
        }),
    };
    let health = match placed.health {
        Health::Healthy => HealthStatus::Healthy,
        Health::Degraded => HealthStatus::Degraded,
        Health::Draining => HealthStatus::Draining,
        Health::Unhealthy => HealthStatus::Unhealthy,
        Health::Unknown => HealthStatus::Unknown,
    };
    LbEndpoint {
        health_status: health.into(),
        load_balancing_weight: Some(weight),
        host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(EnvoyEndpoint {
            address: Some(core::Address {
                address: Some(address),
            }),
            ..EnvoyEndpoint::default()
        })),
        ..LbEndpoint::default()
    }
}

#[cfg(test)]
mod tests;
