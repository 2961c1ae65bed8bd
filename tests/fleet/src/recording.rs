//! What Bowline served: what other servers are told to serve.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use base64::{Engine, prelude::BASE64_STANDARD};
use bowline_proto::{
    Message,
    envoy::{
        config::{
            core::v3::{address::Address, socket_address::PortSpecifier},
            endpoint::v3::{ClusterLoadAssignment, lb_endpoint::HostIdentifier},
        },
        service::discovery::v3::Resource,
    },
};
use bytes::Bytes;
use memchr::memmem;
use serde::{Deserialize, Serialize};

use crate::{
    crowd::Crowd,
    proxy::{
        kind::{Kind, PerKind},
        memo::{MARKER, PayloadId},
    },
    world::{Change, Group, World},
};

/// Resources as delta responses have them, by groups of proxies that are served the same.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    /// Each distinct one once.
    resources: Vec<Bytes>,
    /// By the number of the group: what is served, by name.
    groups: PerKind<Vec<BTreeMap<String, usize>>>,
    /// Every combination of groups that a proxy is in.
    nodes: BTreeSet<Group>,
}

/// A recording for a server, in JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct Script {
    /// Each distinct resource, in base 64.
    pub resources: Vec<String>,
    /// By type URL, by group: which of the resources.
    pub groups: BTreeMap<String, Vec<Vec<usize>>>,
    /// The clusters of all Nodes: the numbers of their groups.
    pub nodes: Vec<String>,
}

/// A change for a server, in JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct Update {
    /// The type of the resource.
    pub type_url: String,
    /// Who is served it.
    pub groups: Vec<usize>,
    /// What takes the place of the one with its name, in base 64.
    pub resource: String,
}

/// The number of the group that decides about one kind.
pub fn group_of(group: Group, kind: Kind) -> usize {
    match kind {
        Kind::Clusters | Kind::Listeners => group.workload,
        Kind::Endpoints => group.place,
        Kind::Routes | Kind::Hosts => group.namespace,
    }
}

impl Recording {
    /// Of what a crowd holds that has kept it all, for all proxies of a world.
    ///
    /// # Errors
    /// When something was not kept.
    pub fn of(crowd: &Crowd, world: &World) -> Result<Self> {
        let mut recording = Self {
            nodes: (0..world.proxies).map(|proxy| world.group(proxy)).collect(),
            ..Self::default()
        };
        for kind in Kind::ALL {
            let mut indices: BTreeMap<PayloadId, usize> = BTreeMap::new();
            for (proxy, member) in crowd.members().iter().enumerate() {
                let number = group_of(world.group(proxy), kind);
                let groups = recording.groups.of_mut(kind);
                if groups.len() <= number {
                    groups.resize_with(number + 1, BTreeMap::new);
                }
                let Some(group) = groups.get_mut(number).filter(|group| group.is_empty()) else {
                    continue;
                };
                for id in member.all(kind) {
                    let (name, resource) = crowd
                        .with_memo(|memo| {
                            let payload = memo.payload(kind, id)?;
                            let name = memo.name(kind, payload.name).to_owned();
                            Some((name, payload.kept.clone()?))
                        })
                        .context("a resource was not kept")?;
                    let index = *indices.entry(id).or_insert_with(|| {
                        recording.resources.push(resource);
                        recording.resources.len() - 1
                    });
                    group.insert(name, index);
                }
            }
        }
        Ok(recording)
    }

    /// For a server.
    pub fn script(&self) -> Script {
        let groups = Kind::ALL.into_iter().map(|kind| {
            let groups = self.groups.of(kind).iter();
            let groups = groups.map(|group| group.values().copied().collect());
            (kind.url().to_owned(), groups.collect())
        });
        Script {
            resources: self
                .resources
                .iter()
                .map(|bytes| BASE64_STANDARD.encode(bytes))
                .collect(),
            groups: groups.collect(),
            nodes: self.nodes.iter().map(Group::to_string).collect(),
        }
    }

    /// Makes a change, and says what a server has to serve because of it.
    ///
    /// # Errors
    /// When the change is not one of resources that were recorded.
    pub fn change(&mut self, world: &World, change: Change) -> Result<Vec<Update>> {
        let awaited = world.awaited(change);
        let [awaited] = &awaited[..] else {
            bail!("{change:?} makes new resources, which were not recorded");
        };
        let kind = match awaited.kind {
            // Where virtual hosts come by themselves the marker is in one of them.
            Kind::Routes
                if self
                    .groups
                    .of(Kind::Hosts)
                    .iter()
                    .any(|group| !group.is_empty()) =>
            {
                Kind::Hosts
            }
            kind => kind,
        };
        let is_concerned = |name: &str, index: usize| match kind {
            Kind::Hosts => {
                let resource = self.resources.get(index);
                let is_marked = resource
                    .is_some_and(|resource| memmem::find(resource, MARKER.as_bytes()).is_some());
                let within = name.rsplit_once('/').map(|(routes, _)| routes);
                is_marked && within == Some(&awaited.name)
            }
            Kind::Clusters | Kind::Endpoints | Kind::Listeners | Kind::Routes => {
                name == awaited.name
            }
        };
        let mut concerned: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (number, group) in self.groups.of(kind).iter().enumerate() {
            for (_, index) in group
                .iter()
                .filter(|(name, index)| is_concerned(name, **index))
            {
                concerned.entry(*index).or_default().push(number);
            }
        }
        let mut updates = Vec::new();
        for (index, groups) in concerned {
            let resource = self
                .resources
                .get_mut(index)
                .context("a resource is lost")?;
            *resource = changed(resource, change)?;
            updates.push(Update {
                type_url: kind.url().to_owned(),
                groups,
                resource: BASE64_STANDARD.encode(resource),
            });
        }
        Ok(updates)
    }
}

/// A resource after a change.
fn changed(before: &[u8], change: Change) -> Result<Bytes> {
    let mut resource = Resource::decode(before)?;
    let content = resource.resource.take().context("a resource is empty")?;
    let marker = match change {
        Change::Endpoint { marker, .. }
        | Change::Route { marker }
        | Change::Replacement { marker, .. }
        | Change::Service { marker } => marker,
    };
    let value = match change {
        Change::Endpoint { .. } => assignment(&content.value, marker, None)?,
        Change::Replacement { replaced, .. } => assignment(&content.value, marker, Some(replaced))?,
        Change::Route { .. } => marked(&content.value, marker)?,
        Change::Service { .. } => bail!("a new service has no resource before"),
    };
    resource.version = format!("{marker:032x}");
    resource.resource = Some(bowline_proto::Any {
        type_url: content.type_url,
        value,
    });
    Ok(resource.encode_to_vec().into())
}

fn assignment(before: &[u8], marker: u64, replaced: Option<usize>) -> Result<Bytes> {
    let mut assignment = ClusterLoadAssignment::decode(before)?;
    let marker = u32::try_from(marker).context("the marker is too large for a weight")?;
    let mut endpoints = assignment
        .endpoints
        .iter_mut()
        .flat_map(|locality| &mut locality.lb_endpoints);
    let first = endpoints.next().context("an assignment has no endpoints")?;
    first.load_balancing_weight = Some(marker);
    if let Some(replaced) = replaced {
        let mut others: Vec<_> = endpoints.collect();
        let count = others.len().max(1);
        let other = others
            .get_mut(replaced % count)
            .context("there is one endpoint only")?;
        if let Some(HostIdentifier::Endpoint(endpoint)) = &mut other.host_identifier
            && let Some(address) = &mut endpoint.address
            && let Some(Address::SocketAddress(address)) = &mut address.address
        {
            address.port_specifier = Some(PortSpecifier::PortValue(
                8081 + u32::try_from(replaced / count)?,
            ));
        }
    }
    if let Some(locality) = assignment.endpoints.first_mut() {
        let weights = locality.lb_endpoints.iter();
        let sum = weights
            .filter_map(|endpoint| endpoint.load_balancing_weight)
            .sum::<u32>();
        locality.load_balancing_weight = Some(sum);
    }
    Ok(assignment.encode_to_vec().into())
}

/// With another number after each text marker, of the same length.
fn marked(before: &[u8], marker: u64) -> Result<Bytes> {
    let mut after = before.to_vec();
    let number = format!("{marker:09}");
    let places: Vec<usize> = memmem::find_iter(before, MARKER).collect();
    if places.is_empty() {
        bail!("there is no marker to change");
    }
    for place in places {
        let from = place + MARKER.len();
        let digits = after.get_mut(from..from + number.len());
        digits
            .context("a marker is cut off")?
            .copy_from_slice(number.as_bytes());
    }
    Ok(after.into())
}

#[cfg(test)]
mod tests {
    use bowline_proto::{
        any,
        envoy::config::{
            core::v3::{Address as EnvoyAddress, SocketAddress},
            endpoint::v3::{Endpoint, LbEndpoint, LocalityLbEndpoints},
            route::v3::{RouteConfiguration, VirtualHost},
        },
    };

    use super::*;
    use crate::proxy::memo::{Keep, Memo};

    fn endpoint(port: u32) -> LbEndpoint {
        LbEndpoint {
            load_balancing_weight: Some(1),
            host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
                address: Some(EnvoyAddress {
                    address: Some(Address::SocketAddress(SocketAddress {
                        port_specifier: Some(PortSpecifier::PortValue(port)),
                        ..SocketAddress::default()
                    })),
                }),
                ..Endpoint::default()
            })),
            ..LbEndpoint::default()
        }
    }

    fn resource(content: bowline_proto::Any) -> Vec<u8> {
        Resource {
            name: "one".to_owned(),
            version: "1".to_owned(),
            resource: Some(content),
            ..Resource::default()
        }
        .encode_to_vec()
    }

    fn assignment() -> Vec<u8> {
        resource(any(&ClusterLoadAssignment {
            cluster_name: "one".to_owned(),
            endpoints: vec![LocalityLbEndpoints {
                lb_endpoints: vec![endpoint(80), endpoint(80), endpoint(80)],
                ..LocalityLbEndpoints::default()
            }],
            ..ClusterLoadAssignment::default()
        }))
    }

    /// The marker that a fleet finds after a change.
    fn check(kind: Kind, before: &[u8], change: Change, marker: u64) -> Bytes {
        let after = changed(before, change).unwrap();
        let mut memo = Memo::new(Keep::Nothing);
        let id = memo.of_delta(kind, &after).unwrap();
        assert_eq!(memo.payload(kind, id).unwrap().marker, marker);
        after
    }

    #[test]
    fn a_change_leaves_its_marker() {
        let marker = 4711;
        let change = Change::Endpoint { service: 0, marker };
        check(Kind::Endpoints, &assignment(), change, marker);
        let routes = resource(any(&RouteConfiguration {
            name: "one".to_owned(),
            internal_only_headers: vec!["marker-000000001".to_owned()],
            ..RouteConfiguration::default()
        }));
        let after = check(Kind::Routes, &routes, Change::Route { marker }, marker);
        // Only the version is longer.
        assert_eq!(after.len(), routes.len() + 31);
    }

    #[test]
    fn a_route_changes_in_the_virtual_host_that_has_it() {
        let host = |name: &str, marker: &str| {
            Bytes::from(resource(any(&VirtualHost {
                name: name.to_owned(),
                request_headers_to_remove: vec![marker.to_owned()],
                ..VirtualHost::default()
            })))
        };
        let names = ["80/one", "80/two", "81/three"];
        let markers = ["", "marker-000000001", "marker-000000001"];
        let mut recording = Recording::default();
        for (name, marker) in names.iter().zip(markers) {
            recording.resources.push(host(name, marker));
        }
        let all = names
            .iter()
            .zip(0..)
            .map(|(name, index)| ((*name).to_owned(), index));
        recording
            .groups
            .of_mut(Kind::Hosts)
            .extend([all.clone().collect(), all.collect()]);
        let change = Change::Route { marker: 4711 };
        let updates = recording.change(&World::default(), change).unwrap();
        let told: Vec<_> = updates
            .iter()
            .map(|update| (&*update.type_url, &*update.groups))
            .collect();
        assert_eq!(told, [(Kind::Hosts.url(), &[0, 1][..])]);
        let [_, changed, _] = &recording.resources[..] else {
            panic!("there are three");
        };
        check(Kind::Hosts, changed, Change::Route { marker: 4712 }, 4712);
    }

    #[test]
    fn a_replacement_gives_one_endpoint_another_address() {
        let mut before = assignment();
        for (replaced, ports) in [
            (0, [80, 8081, 80]),
            (1, [80, 8081, 8081]),
            (2, [80, 8082, 8081]),
        ] {
            let marker = 10 + replaced as u64;
            let change = Change::Replacement { replaced, marker };
            let after = check(Kind::Endpoints, &before, change, marker);
            let content = Resource::decode(&after[..]).unwrap().resource.unwrap();
            let assignment: ClusterLoadAssignment = content.unpack().unwrap();
            let endpoints = &assignment.endpoints[0].lb_endpoints;
            let expected = ports.map(|port| endpoint(port).host_identifier);
            let found: Vec<_> = endpoints
                .iter()
                .map(|one| one.host_identifier.clone())
                .collect();
            assert_eq!(found, expected);
            before = after.to_vec();
        }
    }

    #[test]
    fn what_has_no_place_for_a_marker_cannot_change() {
        let routes = resource(any(&RouteConfiguration::default()));
        assert!(changed(&routes, Change::Route { marker: 2 }).is_err());
        let empty = resource(any(&ClusterLoadAssignment::default()));
        let change = Change::Endpoint {
            service: 0,
            marker: 2,
        };
        assert!(changed(&empty, change).is_err());
        assert!(changed(&assignment(), Change::Service { marker: 2 }).is_err());
        assert!(changed(b"\xff", Change::Route { marker: 2 }).is_err());
    }
}
