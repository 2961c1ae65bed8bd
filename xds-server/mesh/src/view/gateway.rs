//! Gateways as their proxies see them.

use std::{collections::BTreeMap, sync::Arc};

use super::{OutboundKey, RouteView, ServiceView, service::precedence};
use crate::{
    AttachedRoute, Gateway, GatewayListener, GatewayName, HostPattern, Hostname, IpFamilies, Mesh,
    MeshSettings, ObjectKey, Role, RouteDelivery, RouteParent, RouteTraffic, SmallMap, StreamRoute,
};

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
    /// How its routes come to it.
    pub route_delivery: RouteDelivery,
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
            route_delivery: key.route_delivery,
            listeners,
            backends,
        })
    }
}

impl Mesh {
    /// A gateway's listeners with what is attached to each.
    pub(crate) fn listeners(&self, name: &GatewayName, gateway: &Gateway) -> Vec<ListenerView> {
        let routes = self.index.routes_of_gateway.get(name);
        let attached = |listener: &GatewayListener| {
            let mut view = ListenerView {
                listener: listener.clone(),
                http_routes: Vec::new(),
                stream_routes: Vec::new(),
            };
            for key in routes.into_iter().flat_map(SmallMap::keys) {
                let candidate = |traffic, hosts| AttachedRoute {
                    namespace: &key.namespace,
                    traffic,
                    hosts,
                };
                if let Some(route) = self.http_routes.get(key)
                    && means(&route.parents, name, listener)
                    && let Ok(hostnames) =
                        listener.take(name, candidate(RouteTraffic::Requests, &route.hostnames))
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
                    && means(&route.parents, name, listener)
                    && let Ok(server_names) = listener.take(
                        name,
                        candidate(RouteTraffic::Connections, &route.server_names),
                    )
                {
                    view.stream_routes.push(StreamRouteView {
                        key: key.clone(),
                        server_names,
                        route: route.clone(),
                        missing: self.missing_backends(route.destinations()),
                    });
                }
            }
            view.http_routes.sort_by(|one, other| {
                precedence(
                    (&one.key, one.route.created),
                    (&other.key, other.route.created),
                )
            });
            view.stream_routes.sort_by(|one, other| {
                precedence(
                    (&one.key, one.route.created),
                    (&other.key, other.route.created),
                )
            });
            view
        };
        gateway.listeners.iter().map(attached).collect()
    }
}

/// Whether one of a route's parents is this listener.
fn means(parents: &[RouteParent], name: &GatewayName, listener: &GatewayListener) -> bool {
    let mut parents = parents.iter();
    parents.any(|parent| listener.is_meant_by(parent, name))
}
