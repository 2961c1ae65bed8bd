//! Endpoints as gRPC's own balancers understand them (gRFC A27, A37, A56).
//!
//! They look at the weight of a locality and not at that of an endpoint, at priorities and not at degraded health, and refuse a whole
//! assignment for what Envoy would only ignore. So that weights and health mean to them what they mean to Envoy, endpoints of different
//! weights become localities of their own, and degraded ones a priority behind the others of their place.

use std::collections::{BTreeMap, BTreeSet};

use bowline_mesh::Health;
use bowline_proto::envoy::config::{core::v3 as core, endpoint::v3::LocalityLbEndpoints};

use super::{Place, Placed, Places, divisor, lb_endpoint, scaled};

/// A priority before gaps are closed: preference of the place, then whether better endpoints of the place go before.
type Rank = (usize, bool);

/// The localities of one assignment. Endpoints that should get no request are not in it.
pub(super) fn localities(places: Places<'_>) -> Vec<LocalityLbEndpoints> {
    let mut groups: BTreeMap<(Rank, Place<'_>), BTreeMap<u64, Vec<Placed<'_>>>> = BTreeMap::new();
    for ((rank, place), placed) in places {
        for placed in placed {
            let is_degraded = match placed.health {
                Health::Healthy | Health::Unknown => false,
                Health::Degraded => true,
                Health::Draining | Health::Unhealthy => continue,
            };
            groups
                .entry(((rank, is_degraded), place))
                .or_default()
                .entry(placed.weight)
                .or_default()
                .push(placed);
        }
    }
    let divisor = divisor(groups.values().flat_map(BTreeMap::values).flatten());
    let ranks: BTreeSet<Rank> = groups.keys().map(|(rank, _)| *rank).collect();
    let priorities: BTreeMap<Rank, u32> = ranks.into_iter().zip(0..).collect();
    let mut localities = Vec::new();
    for ((rank, place), by_weight) in groups {
        let is_split = by_weight.len() > 1;
        for (weight, placed) in by_weight {
            let Place {
                region,
                zone,
                subzone,
            } = place;
            localities.push(LocalityLbEndpoints {
                locality: Some(core::Locality {
                    region: region.to_owned(),
                    zone: zone.to_owned(),
                    sub_zone: match is_split {
                        true => format!("{subzone}#{weight}"),
                        false => subzone.to_owned(),
                    },
                }),
                priority: priorities.get(&rank).copied().unwrap_or_default(),
                load_balancing_weight: Some(placed.iter().map(|_| scaled(weight, divisor)).sum()),
                lb_endpoints: placed
                    .into_iter()
                    .map(|placed| {
                        let mut made = lb_endpoint(&placed, scaled(weight, divisor));
                        // The registry's "degraded" is told by the priority: gRPC uses only healthy ones.
                        made.health_status = core::HealthStatus::Healthy.into();
                        made
                    })
                    .collect(),
                ..LocalityLbEndpoints::default()
            });
        }
    }
    localities
}

#[cfg(test)]
mod tests {
    use bowline_mesh::{
        Balancer, Balancing, Endpoint, Locality, Protocol, RegionOrder, Service, Spec,
        view::{EndpointsKey, EndpointsView},
    };
    use serde_json::{Value, json};

    use super::*;
    use crate::{endpoints, testing::*};

    /// What a client in `eu/eu-1` gets: priority, subzone, weight and addresses of each locality.
    fn check(balancing: Balancing, places: &[(&str, &str, u32, Health)], expected: Value) {
        let service = Service {
            balancing,
            ..plain_service("cart", &[(80, Protocol::Grpc)])
        };
        let at = |(address, locality, weight, health): &(&str, &str, u32, Health)| Endpoint {
            locality: locality.parse::<Locality>().unwrap(),
            weight: *weight,
            health: *health,
            ..endpoint(address)
        };
        let mesh = mesh(vec![
            object("cart", Spec::Service(std::sync::Arc::new(service))),
            endpoints_object("one", "cart", places.iter().map(at).collect()),
        ]);
        let key = EndpointsKey {
            balancer: Balancer::Grpc,
            ..endpoints_key("", "eu/eu-1")
        };
        let view = EndpointsView::new(&mesh, &key, &hostname("cart")).unwrap();
        let translated = endpoints(&view).value;
        let assignment = json(bowline_snapshot::ResourceType::ENDPOINT, &translated[0]);
        let localities = assignment["endpoints"].as_array().cloned();
        let short: Vec<Value> = localities
            .unwrap_or_default()
            .iter()
            .map(|locality| {
                let addresses: Vec<&Value> = locality["lb_endpoints"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|endpoint| &endpoint["endpoint"]["address"]["socket_address"]["address"])
                    .collect();
                json!([
                    locality["priority"].as_u64().unwrap_or(0),
                    locality["locality"]["sub_zone"].as_str().unwrap_or(""),
                    locality["load_balancing_weight"],
                    addresses
                ])
            })
            .collect();
        assert_eq!(Value::Array(short), expected);
    }

    #[test]
    fn endpoints_of_equal_weight_stay_together_and_others_are_localities_of_their_own() {
        check(
            Balancing::Everywhere,
            &[
                ("10.0.0.1", "eu/eu-1/rack", 2, Health::Unknown),
                ("10.0.0.2", "eu/eu-1/rack", 2, Health::Healthy),
            ],
            json!([[0, "rack", 4, ["10.0.0.1", "10.0.0.2"]]]),
        );
        check(
            Balancing::Everywhere,
            &[
                ("10.0.0.1", "eu/eu-1/rack", 1, Health::Unknown),
                ("10.0.0.2", "eu/eu-1/rack", 9, Health::Unknown),
                ("10.0.0.3", "eu/eu-1/rack", 9, Health::Unknown),
            ],
            json!([
                [0, "rack#1", 1, ["10.0.0.1"]],
                [0, "rack#9", 18, ["10.0.0.2", "10.0.0.3"]]
            ]),
        );
    }

    #[test]
    fn degraded_endpoints_go_last_in_their_place_and_unusable_ones_leave_no_gap() {
        check(
            Balancing::PreferZone(RegionOrder::default()),
            &[
                ("10.0.0.1", "eu/eu-1", 1, Health::Degraded),
                ("10.0.0.2", "eu/eu-1", 1, Health::Healthy),
                ("10.0.0.3", "eu/eu-2", 1, Health::Draining),
                ("10.0.0.4", "us/us-1", 1, Health::Unknown),
                ("10.0.0.5", "us/us-1", 1, Health::Unhealthy),
            ],
            json!([
                [0, "", 1, ["10.0.0.2"]],
                [1, "", 1, ["10.0.0.1"]],
                [2, "", 1, ["10.0.0.4"]]
            ]),
        );
        check(
            Balancing::Everywhere,
            &[("10.0.0.1", "", 1, Health::Draining)],
            json!([]),
        );
    }

    #[test]
    fn sums_of_large_weights_fit() {
        check(
            Balancing::Everywhere,
            &[
                ("10.0.0.1", "", u32::MAX, Health::Unknown),
                ("10.0.0.2", "", u32::MAX, Health::Unknown),
            ],
            json!([[0, "", 1_717_986_918, ["10.0.0.1", "10.0.0.2"]]]),
        );
    }
}
