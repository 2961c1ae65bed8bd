//! Views: what one kind of proxy sees of the mesh.
//!
//! A [`ViewKey`] holds what may influence one kind of a proxy's configuration and nothing else, so thousands of proxies share one.
//! What is built from a view is built from the view alone; two views that are equal make equal resources, and may be built once.

use std::{collections::BTreeMap, fmt, sync::Arc};

use bowline_identity::SpiffeId;

use crate::{
    Capture, Discovery, EndpointGroups, Gateway, GatewayListener, GatewayName, HostPattern,
    Hostname, HttpRoute, IpFamilies, Locality, MergedService, Mesh, MeshSettings, Namespace,
    Network, ObjectKey, Proxy, RegistryId, Role, RouteParent, StreamRoute, TrafficSettings,
    WorkloadPort,
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
}

/// What influences which endpoints a proxy uses, and in which order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointsKey {
    /// What it can reach.
    pub network: Network,
    /// Where it stands.
    pub locality: Locality,
    /// Which addresses it can connect to.
    pub families: IpFamilies,
}

/// What influences what a workload itself listens on. Its address is not in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboundKey {
    /// How connections come to it.
    pub capture: Capture,
    /// What it serves, by number.
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
        let locality = proxy
            .locality
            .clone()
            .or_else(|| workload.map(|(_, workload)| workload.locality.clone()))
            .unwrap_or_default();
        let registry = workload
            .map(|(key, _)| key.registry.clone())
            .filter(|registry| mesh.has_policies_of_its_own(registry));
        let mut keys = vec![
            Self::Outbound(OutboundKey {
                role: proxy.role.clone(),
                registry,
                namespace: proxy.namespace.clone(),
                families,
            }),
            Self::Endpoints(EndpointsKey {
                network,
                locality,
                families,
            }),
        ];
        if let Role::Sidecar(capture) = proxy.role {
            let mut ports = workload
                .map(|(_, workload)| workload.ports.clone())
                .unwrap_or_default();
            ports.sort();
            keys.push(Self::Inbound(InboundKey {
                capture,
                ports,
                families,
            }));
        }
        keys
    }
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
            }) => {
                write!(f, "outbound/{role}/{namespace}/{families:?}")?;
                registry
                    .iter()
                    .try_for_each(|registry| write!(f, "/policies of {registry}"))
            }
            Self::Endpoints(EndpointsKey {
                network,
                locality,
                families,
            }) => {
                write!(
                    f,
                    "endpoints/{network}/{}/{}/{}/{families:?}",
                    locality.region, locality.zone, locality.subzone
                )
            }
            Self::Inbound(InboundKey {
                capture,
                ports,
                families,
            }) => {
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

/// A route for connections with its references resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRouteView {
    /// The object.
    pub key: ObjectKey,
    /// The server names that it is about here; `[HostPattern::Any]` where it does not look.
    pub server_names: Vec<HostPattern>,
    /// What it says.
    pub route: Arc<StreamRoute>,
    /// Backends that no registry has. Connections for them are closed.
    pub missing: Vec<(Hostname, u16)>,
}

/// What one gateway proxy sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayView {
    /// Settings of the mesh as a whole.
    pub settings: Arc<MeshSettings>,
    /// Which gateway.
    pub name: GatewayName,
    /// The object; `None` where no registry has it (yet): the proxy then listens on nothing.
    pub key: Option<ObjectKey>,
    /// Which address families it can listen on.
    pub families: IpFamilies,
    /// Its listeners with the routes attached to each.
    pub listeners: Vec<ListenerView>,
    /// The services that its routes send to.
    pub backends: BTreeMap<Hostname, ServiceView>,
}

/// One listener of a gateway and what is attached to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerView {
    /// The listener.
    pub listener: GatewayListener,
    /// HTTP routes, in the order in which they win ties.
    pub http_routes: Vec<RouteView>,
    /// Routes for connections, in the order in which they win ties.
    pub stream_routes: Vec<StreamRouteView>,
}

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
}

/// What a workload itself listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundView {
    /// Settings of the mesh as a whole.
    pub settings: Arc<MeshSettings>,
    /// Everything else.
    pub key: InboundKey,
}

impl InboundView {
    /// The view for a key.
    pub fn new(mesh: &Mesh, key: &InboundKey) -> Self {
        Self {
            settings: mesh.settings.clone(),
            key: key.clone(),
        }
    }
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
        })
    }
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
            .flatten()
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
            is_producers(one)
                .cmp(&is_producers(other))
                .then_with(|| precedence(one, other))
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
}

impl ServiceView {
    /// Whether callers with two keys could see a service differently; cheap, and only ever wrong by saying yes.
    ///
    /// For keys that differ in more than namespace and registry the answer is always yes.
    pub fn may_differ(mesh: &Mesh, one: &OutboundKey, other: &OutboundKey, service: &MergedService) -> bool {
        if one.role != other.role || one.families != other.families {
            return true;
        }
        let is_in = |key: &OutboundKey| key.namespace == service.namespace;
        let by_namespace = one.namespace != other.namespace
            && (is_in(one) || is_in(other) || mesh.index.routes_of_service.contains_key(&service.hostname));
        by_namespace || (one.registry != other.registry && mesh.policies.contains_key(&service.hostname))
    }
}

impl GatewayView {
    /// What the proxies of a gateway see; `None` where the key is not a gateway's.
    pub fn new(mesh: &Mesh, key: &OutboundKey) -> Option<Self> {
        let Role::Gateway(name) = &key.role else {
            return None;
        };
        let (object, listeners) = match mesh.gateway(name) {
            Some((object, gateway)) => (Some(object.clone()), mesh.listeners(name, gateway)),
            None => (None, Vec::new()),
        };
        let mut backends = BTreeMap::new();
        for listener in &listeners {
            let http = listener
                .http_routes
                .iter()
                .flat_map(|view| view.route.destinations());
            let stream = listener
                .stream_routes
                .iter()
                .flat_map(|view| view.route.destinations());
            for (hostname, _) in http.chain(stream) {
                if !backends.contains_key(hostname)
                    && let Some(view) = ServiceView::new(mesh, key, hostname)
                {
                    backends.insert(hostname.clone(), view);
                }
            }
        }
        Some(Self {
            settings: mesh.settings.clone(),
            name: name.clone(),
            key: object,
            families: key.families,
            listeners,
            backends,
        })
    }
}

/// Which of two routes wins a tie: the older one, then by namespace and name (Gateway API, "Conflict resolution").
fn precedence(one: &RouteView, other: &RouteView) -> std::cmp::Ordering {
    let age = |route: &HttpRoute| route.created.unwrap_or(i64::MAX);
    (
        age(&one.route),
        &one.key.namespace,
        &one.key.name,
        &one.key.registry,
    )
        .cmp(&(
            age(&other.route),
            &other.key.namespace,
            &other.key.name,
            &other.key.registry,
        ))
}

fn stream_precedence(one: &StreamRouteView, other: &StreamRouteView) -> std::cmp::Ordering {
    let age = |route: &StreamRoute| route.created.unwrap_or(i64::MAX);
    (
        age(&one.route),
        &one.key.namespace,
        &one.key.name,
        &one.key.registry,
    )
        .cmp(&(
            age(&other.route),
            &other.key.namespace,
            &other.key.name,
            &other.key.registry,
        ))
}

impl Mesh {
    /// Whether a registry has policies that act on its own proxies only.
    fn has_policies_of_its_own(&self, registry: &RegistryId) -> bool {
        !self.policies_for_mesh.contains(registry)
            && self.index.registries_with_policies.contains_key(registry)
    }

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

    fn missing_backends<'a>(
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

    /// A gateway's listeners with what is attached to each.
    pub(crate) fn listeners(&self, name: &GatewayName, gateway: &Gateway) -> Vec<ListenerView> {
        let routes = self.index.routes_of_gateway.get(name);
        let attached = |listener: &GatewayListener| {
            let mut view = ListenerView {
                listener: listener.clone(),
                http_routes: Vec::new(),
                stream_routes: Vec::new(),
            };
            for key in routes.into_iter().flatten() {
                if !listener
                    .allowed_routes
                    .allow(&key.namespace, &name.namespace)
                {
                    continue;
                }
                if let Some(route) = self.http_routes.get(key)
                    && attaches(&route.parents, name, listener)
                    && let Some(hostnames) = shared_hosts(&route.hostnames, &listener.hostname)
                {
                    view.http_routes.push(RouteView {
                        key: key.clone(),
                        hostnames,
                        port: None,
                        route: route.clone(),
                        missing: self.missing_backends(route.destinations()),
                    });
                }
                if let Some(route) = self.stream_routes.get(key)
                    && attaches(&route.parents, name, listener)
                    && let Some(server_names) =
                        shared_hosts(&route.server_names, &listener.hostname)
                {
                    view.stream_routes.push(StreamRouteView {
                        key: key.clone(),
                        server_names,
                        route: route.clone(),
                        missing: self.missing_backends(route.destinations()),
                    });
                }
            }
            view.http_routes.sort_by(precedence);
            view.stream_routes.sort_by(stream_precedence);
            view
        };
        gateway.listeners.iter().map(attached).collect()
    }
}

/// Whether one of a route's parents is this listener.
fn attaches(parents: &[RouteParent], name: &GatewayName, listener: &GatewayListener) -> bool {
    parents.iter().any(|parent| match parent {
        RouteParent::Gateway {
            gateway,
            section,
            port,
        } => {
            gateway == name
                && section
                    .as_ref()
                    .is_none_or(|section| *section == listener.name)
                && port.is_none_or(|port| port == listener.port)
        }
        RouteParent::Service { .. } => false,
    })
}

/// The hosts that both a route and its listener are about; `None` where they have none in common.
fn shared_hosts(route: &[HostPattern], listener: &HostPattern) -> Option<Vec<HostPattern>> {
    if route.is_empty() {
        return Some(vec![listener.clone()]);
    }
    let mut shared: Vec<_> = route
        .iter()
        .filter_map(|host| host.intersection(listener))
        .collect();
    shared.sort();
    shared.dedup();
    (!shared.is_empty()).then_some(shared)
}
