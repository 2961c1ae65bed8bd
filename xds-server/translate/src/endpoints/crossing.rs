//! Endpoints of other networks: the gateways through which they are reached stand in their place.
//!
//! A gateway stands where the endpoints behind it do: in their locality, and with their weight. It chooses among them by itself.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::SocketAddr,
};

use bowline_mesh::{
    Code, Endpoint, Health, IpFamilies, MergedService, Network, Problem,
    view::{Elsewhere, Way},
};

use super::{Place, Placed, Places, Target, called};
use crate::problem::Report;

/// Weights are multiplied by up to so much for gateways to share them evenly. Beyond it, what a share is rounded by is nothing that
/// anybody could measure.
const FACTOR_MAX: u64 = 1 << 20;

/// Endpoints behind gateways, gathered by where they stand.
#[derive(Default)]
pub(super) struct Crossing<'a>(BTreeMap<(usize, Place<'a>, &'a Network), Behind>);

/// Weights of endpoints that stand together.
#[derive(Default)]
struct Behind {
    healthy: u64,
    degraded: u64,
}

impl Behind {
    /// What counts: degraded ones only where there are no others.
    fn weight(&self) -> (u64, Health) {
        match self {
            Self {
                healthy: 0,
                degraded,
            } => (*degraded, Health::Degraded),
            Self {
                healthy,
                degraded: _,
            } => (*healthy, Health::Unknown),
        }
    }
}

impl<'a> Crossing<'a> {
    /// Notes an endpoint of another network.
    pub(super) fn add(&mut self, rank: usize, endpoint: &'a Endpoint) {
        if !endpoint.is_behind_gateways() {
            return;
        }
        let place = (rank, Place::of(&endpoint.locality), &endpoint.network);
        let weight = u64::from(endpoint.weight);
        match endpoint.health {
            Health::Healthy | Health::Unknown => self.0.entry(place).or_default().healthy += weight,
            Health::Degraded => self.0.entry(place).or_default().degraded += weight,
            Health::Draining | Health::Unhealthy => {}
        }
    }

    /// Puts gateways beside the endpoints that are reached directly, whose weights stay what they are in relation to them.
    ///
    /// Envoy takes only the first of several endpoints with one address. So a gateway of several localities stands in the first, with
    /// the weight of all that are preferred as much, and not once more behind it.
    pub(super) fn place(
        self,
        elsewhere: &'a BTreeMap<Network, Elsewhere>,
        families: IpFamilies,
        places: &mut Places<'a>,
    ) {
        let mut shared = Vec::new();
        for ((rank, place, network), behind) in self.0 {
            let gateways = gateways(elsewhere.get(network), families);
            if !gateways.is_empty() {
                shared.push((rank, place, gateways, behind.weight()));
            }
        }
        let factor = shared
            .iter()
            .fold(1, |factor, (_, _, gateways, (weight, _))| {
                let count = gateways.len() as u64;
                let needed = count / greatest_common_divisor(*weight, count);
                let next = factor / greatest_common_divisor(factor, needed) * needed;
                if next > FACTOR_MAX { factor } else { next }
            });
        if factor > 1 {
            for placed in places.values_mut().flatten() {
                placed.weight = placed.weight.saturating_mul(factor);
            }
        }
        let mut taken: BTreeMap<SocketAddr, (usize, Place<'a>, usize)> = BTreeMap::new();
        for (rank, place, gateways, (weight, health)) in shared {
            let share = weight
                .saturating_mul(factor)
                .div_ceil(gateways.len() as u64);
            for gateway in gateways {
                match taken.entry(gateway) {
                    Entry::Vacant(vacant) => {
                        let there = places.entry((rank, place)).or_default();
                        vacant.insert((rank, place, there.len()));
                        there.push(Placed {
                            target: Target::Gateway(gateway.ip()),
                            port: gateway.port(),
                            weight: share,
                            health,
                        });
                    }
                    Entry::Occupied(first) => {
                        let (first_rank, first_place, index) = *first.get();
                        let there = places.get_mut(&(first_rank, first_place));
                        let placed = there.and_then(|there| there.get_mut(index));
                        if let Some(placed) = placed.filter(|_| first_rank == rank) {
                            placed.weight = placed.weight.saturating_add(share);
                            placed.health = better(placed.health, health);
                        }
                    }
                }
            }
        }
    }
}

/// The gateways of a network that a caller can connect to.
fn gateways(elsewhere: Option<&Elsewhere>, families: IpFamilies) -> Vec<SocketAddr> {
    match elsewhere.map(|elsewhere| &elsewhere.way) {
        Some(Way::Gateways { places, .. }) => {
            let places = places.iter().copied();
            places.filter(|place| families.reach(place.ip())).collect()
        }
        Some(Way::NoMutualTls | Way::NoProxy) | None => Vec::new(),
    }
}

fn better(one: Health, other: Health) -> Health {
    match (one, other) {
        (Health::Degraded, Health::Degraded) => Health::Degraded,
        _ => Health::Unknown,
    }
}

fn greatest_common_divisor(one: u64, other: u64) -> u64 {
    match other {
        0 => one,
        _ => greatest_common_divisor(other, one % other),
    }
}

/// Endpoints of other networks to which nobody comes, and why.
pub(super) fn problems(
    service: &MergedService,
    elsewhere: &BTreeMap<Network, Elsewhere>,
    families: IpFamilies,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (network, of_network) in elsewhere {
        let Elsewhere { endpoints, way } = of_network;
        let (count, why, hint) = match way {
            Way::NoMutualTls => (
                *endpoints,
                "only mutual TLS crosses networks, which workloads do not speak with each other yet",
                "run instances in the callers' network; where the addresses do reach each other, name one network for both",
            ),
            Way::NoProxy => (
                *endpoints,
                "an application without a proxy cannot cross networks",
                "run instances in the callers' network, or give the callers a proxy",
            ),
            Way::Gateways { .. } if gateways(Some(of_network), families).is_empty() => (
                *endpoints,
                "that network has no east-west gateway with an address that callers can connect to",
                "label its gateway's Service with topology.istio.io/network, or name it in `networks` of an inventory",
            ),
            Way::Gateways { left_behind: 0, .. } => continue,
            Way::Gateways { left_behind, .. } => (
                *left_behind,
                "a gateway leads only to what has an IP address and an identity that callers can verify",
                "give the workloads a service account and an IP address",
            ),
        };
        let report = Report {
            code: Code::Unreachable,
            object: service.origins.first(),
            field: "",
            message: format!(
                "{} of {} in the {}, and callers in another network do not reach {}: {why}",
                match count {
                    1 => "1 endpoint".to_owned(),
                    more => format!("{more} endpoints"),
                },
                match count {
                    1 => format!("{} is", service.hostname),
                    _ => format!("{} are", service.hostname),
                },
                called(network),
                if count == 1 { "it" } else { "them" },
            ),
            meanwhile: "callers there use the endpoints that they can reach",
            hint,
        };
        problems.push(report.warning());
    }
    problems
}

#[cfg(test)]
mod tests;
