//! Services as their callers see them.

use std::{cmp::Ordering, sync::Arc};

use super::OutboundKey;
use crate::{
    Discovery, EndpointGroups, HostPattern, Hostname, HttpRoute, IpFamilies, MergedService, Mesh,
    MeshSettings, ObjectKey, RegistryId, RouteParent, SmallMap, TrafficSettings,
};

/// A service as callers with one key see it: policies merged, routes attached, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceView {
    /// Settings of the mesh as a whole.
    pub settings: Arc<MeshSettings>,
    /// The service.
    pub service: Arc<MergedService>,
    /// Whether the caller is in its namespace, and may call it by its short name.
    pub is_same_namespace: bool,
    /// Which address families the caller can connect to.
    pub families: IpFamilies,
    /// Limits and timeouts; what is still `None` is left to Envoy.
    pub traffic: TrafficSettings,
    /// HTTP routes attached to it, in the order in which they win ties.
    pub routes: Vec<RouteView>,
    /// Its endpoints, where they are written into the cluster ([`Discovery::Dns`]).
    pub inline_endpoints: Option<EndpointGroups>,
}

/// An HTTP route with its references resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteView {
    /// The object.
    pub key: ObjectKey,
    /// The hosts that it is about here: its own, as far as its parent allows.
    pub hostnames: Vec<HostPattern>,
    /// To which port of the parent it is limited. For routes of a service only; a gateway's are sorted by listener already.
    pub port: Option<u16>,
    /// What it says.
    pub route: Arc<HttpRoute>,
    /// Backends, by hostname and port, that no registry has. Requests for them are answered with 500.
    pub missing: Vec<(Hostname, u16)>,
}

impl ServiceView {
    /// What callers with a key see of a service; `None` where there is no such service.
    pub fn new(mesh: &Mesh, key: &OutboundKey, hostname: &Hostname) -> Option<Self> {
        let service = mesh.service(hostname)?;
        let parent = |route: &HttpRoute| -> Vec<Option<u16>> {
            let port = |parent: &RouteParent| match parent {
                RouteParent::Service { hostname: of, port } if of == hostname => Some(*port),
                RouteParent::Service { .. } | RouteParent::Gateway { .. } => None,
            };
            route.parents.iter().filter_map(port).collect()
        };
        let mut routes = Vec::new();
        for route_key in mesh
            .index
            .routes_of_service
            .get(hostname)
            .into_iter()
            .flat_map(SmallMap::keys)
        {
            let Some(route) = mesh.http_routes.get(route_key) else {
                continue;
            };
            // A route in the service's namespace is its producer's and acts for all callers; one elsewhere is a consumer's and
            // acts for callers in its own namespace (Gateway API, GAMMA "Route types").
            if route_key.namespace != service.namespace && route_key.namespace != key.namespace {
                continue;
            }
            for port in parent(route) {
                routes.push(RouteView {
                    key: route_key.clone(),
                    hostnames: vec![HostPattern::Exact(hostname.clone())],
                    port,
                    route: route.clone(),
                    missing: mesh.missing_backends(route.destinations()),
                });
            }
        }
        // A consumer's route goes before the producer's.
        routes.sort_by(|one, other| {
            let is_producers = |view: &RouteView| view.key.namespace == service.namespace;
            is_producers(one).cmp(&is_producers(other)).then_with(|| {
                precedence(
                    (&one.key, one.route.created),
                    (&other.key, other.route.created),
                )
            })
        });
        Some(Self {
            settings: mesh.settings.clone(),
            is_same_namespace: service.namespace == key.namespace,
            families: key.families,
            traffic: mesh.traffic_settings(hostname, key.registry.as_ref()),
            routes,
            inline_endpoints: (service.discovery == Discovery::Dns)
                .then(|| mesh.endpoints(hostname)),
            service: service.clone(),
        })
    }

    /// Whether callers with two keys could see a service differently; cheap, and only ever wrong by saying yes.
    ///
    /// For keys that differ in more than namespace and registry the answer is always yes.
    pub fn may_differ(
        mesh: &Mesh,
        one: &OutboundKey,
        other: &OutboundKey,
        service: &MergedService,
    ) -> bool {
        if one.role != other.role || one.families != other.families {
            return true;
        }
        let is_in = |key: &OutboundKey| key.namespace == service.namespace;
        let by_namespace = one.namespace != other.namespace
            && (is_in(one)
                || is_in(other)
                || mesh.index.routes_of_service.contains_key(&service.hostname));
        by_namespace
            || (one.registry != other.registry && mesh.policies.contains_key(&service.hostname))
    }
}

impl Mesh {
    /// The policies for a service that act on proxies of a registry, merged, with the mesh's defaults behind them.
    fn traffic_settings(
        &self,
        hostname: &Hostname,
        registry: Option<&RegistryId>,
    ) -> TrafficSettings {
        let policies = self.policies.get(hostname).into_iter().flatten();
        policies
            .filter(|(ranked, _)| {
                let owner = &ranked.key.registry;
                self.policies_for_mesh.contains(owner) || Some(owner) == registry
            })
            .fold(TrafficSettings::default(), |settings, (_, policy)| {
                settings.or(policy.settings)
            })
            .or(self.settings.traffic)
    }

    /// Backends, by hostname and port, that no registry has.
    pub(super) fn missing_backends<'a>(
        &self,
        destinations: impl Iterator<Item = (&'a Hostname, u16)>,
    ) -> Vec<(Hostname, u16)> {
        let is_missing = |hostname: &Hostname, port: u16| {
            self.service(hostname)
                .is_none_or(|service| service.port(port).is_none())
        };
        let mut missing: Vec<_> = destinations
            .filter(|(hostname, port)| is_missing(hostname, *port))
            .map(|(hostname, port)| (hostname.clone(), port))
            .collect();
        missing.sort();
        missing.dedup();
        missing
    }
}

/// Which of two routes wins a tie: the older one, then by namespace and name (Gateway API, "Conflict resolution"). `created` is in seconds
/// since the epoch.
pub(super) fn precedence(
    one: (&ObjectKey, Option<i64>),
    other: (&ObjectKey, Option<i64>),
) -> Ordering {
    let rank = |(key, created): (&ObjectKey, Option<i64>)| {
        let ObjectKey {
            registry,
            partition: _,
            kind: _,
            namespace,
            name,
        } = key.clone();
        (created.unwrap_or(i64::MAX), namespace, name, registry)
    };
    rank(one).cmp(&rank(other))
}
