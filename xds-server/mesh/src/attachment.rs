//! Whether a gateway's listener takes a route, and why not.

use std::fmt;

use crate::{
    GatewayListener, GatewayName, GatewayProtocol, HostPattern, Mesh, Namespace, ObjectKey,
    RouteParent, SmallMap, mesh::Index,
};

/// A route, as far as a listener looks at it.
#[derive(Debug, Clone, Copy)]
pub struct AttachedRoute<'r> {
    /// Where it stands.
    pub namespace: &'r Namespace,
    /// What it is for.
    pub traffic: RouteTraffic,
    /// Which hosts or server names it is about; empty means all.
    pub hosts: &'r [HostPattern],
}

/// What a route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteTraffic {
    /// HTTP requests.
    Requests,
    /// Connections that are not looked into.
    Connections,
}

/// Why a route does not act at its parent. Of several listeners the one that comes nearest says it, which is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotAttached {
    /// There is no such gateway or service.
    NoParent,
    /// The gateway has no listener with the name and port that the route gives, or the service no such port.
    NoListener,
    /// The listener is for another kind of traffic.
    OtherTraffic,
    /// The listener does not allow routes from the route's namespace.
    NotAllowed,
    /// The listener is for other hosts.
    OtherHosts,
}

impl fmt::Display for NotAttached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoParent => "there is no such parent",
            Self::NoListener => "the parent has no listener of this name and port",
            Self::OtherTraffic => "the listener does not take routes of this kind",
            Self::NotAllowed => "the listener does not allow routes from this namespace",
            Self::OtherHosts => "the listener is for other hostnames",
        })
    }
}

impl GatewayListener {
    /// The hosts for which it takes a route that is attached to it.
    ///
    /// # Errors
    /// When it does not take it.
    pub fn take(
        &self,
        gateway: &GatewayName,
        route: AttachedRoute<'_>,
    ) -> Result<Vec<HostPattern>, NotAttached> {
        let traffic = match self.protocol {
            GatewayProtocol::Http => RouteTraffic::Requests,
            GatewayProtocol::TlsPassthrough | GatewayProtocol::Tcp => RouteTraffic::Connections,
        };
        if traffic != route.traffic {
            return Err(NotAttached::OtherTraffic);
        }
        if !self
            .allowed_routes
            .allow(route.namespace, &gateway.namespace)
        {
            return Err(NotAttached::NotAllowed);
        }
        shared_hosts(route.hosts, &self.hostname).ok_or(NotAttached::OtherHosts)
    }

    /// Whether a route's parent means this listener of a gateway.
    pub(crate) fn is_meant_by(&self, parent: &RouteParent, name: &GatewayName) -> bool {
        match parent {
            RouteParent::Gateway {
                gateway,
                section,
                port,
            } => {
                gateway == name
                    && section.as_ref().is_none_or(|section| *section == self.name)
                    && port.is_none_or(|port| port == self.port)
            }
            RouteParent::Service { .. } => false,
        }
    }
}

impl Mesh {
    /// Whether a route acts at one of its parents.
    ///
    /// # Errors
    /// When it does not.
    pub fn attach(
        &self,
        route: AttachedRoute<'_>,
        parent: &RouteParent,
    ) -> Result<(), NotAttached> {
        match parent {
            RouteParent::Gateway { gateway, .. } => {
                let (_, object) = self.gateway(gateway).ok_or(NotAttached::NoParent)?;
                let meant = object
                    .listeners
                    .iter()
                    .filter(|listener| listener.is_meant_by(parent, gateway));
                let mut nearest = NotAttached::NoListener;
                for listener in meant {
                    match listener.take(gateway, route) {
                        Ok(_) => return Ok(()),
                        Err(reason) => nearest = nearest.max(reason),
                    }
                }
                Err(nearest)
            }
            RouteParent::Service { hostname, port } => {
                let service = self.service(hostname).ok_or(NotAttached::NoParent)?;
                match port {
                    Some(port) if service.port(*port).is_none() => Err(NotAttached::NoListener),
                    Some(_) | None => Ok(()),
                }
            }
        }
    }

    /// The routes that a listener of a gateway takes.
    pub fn attached(
        &self,
        gateway: &GatewayName,
        listener: &GatewayListener,
    ) -> impl Iterator<Item = &ObjectKey> {
        let Index {
            routes_of_gateway, ..
        } = &self.index;
        let routes = routes_of_gateway.get(gateway).into_iter();
        routes.flat_map(SmallMap::keys).filter(move |key| {
            let requests = self.http_routes.get(*key);
            let connections = self.stream_routes.get(*key);
            let requests = requests.map(|route| {
                let hosts = route.hostnames.as_slice();
                (RouteTraffic::Requests, hosts, &route.parents)
            });
            let connections = connections.map(|route| {
                let hosts = route.server_names.as_slice();
                (RouteTraffic::Connections, hosts, &route.parents)
            });
            let mut kinds = requests.into_iter().chain(connections);
            kinds.any(|(traffic, hosts, parents)| {
                let route = AttachedRoute {
                    namespace: &key.namespace,
                    traffic,
                    hosts,
                };
                let is_meant = |parent: &RouteParent| listener.is_meant_by(parent, gateway);
                parents.iter().any(is_meant) && listener.take(gateway, route).is_ok()
            })
        })
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AllowedRoutes;

    #[test]
    fn a_listener_says_why_it_does_not_take_a_route() {
        let gateway = GatewayName {
            namespace: "infra".parse().unwrap(),
            name: "edge".into(),
        };
        let listener = |protocol, allowed_routes| GatewayListener {
            name: "web".into(),
            port: 80,
            protocol,
            hostname: "*.example".parse().unwrap(),
            allowed_routes,
        };
        let taken = |listener: &GatewayListener, host: &str| {
            let hosts = [host.parse().unwrap()];
            let route = AttachedRoute {
                namespace: &"shop".parse().unwrap(),
                traffic: RouteTraffic::Requests,
                hosts: &hosts,
            };
            listener.take(&gateway, route).map(|hosts| hosts.len())
        };
        let open = listener(GatewayProtocol::Http, AllowedRoutes::All);
        assert_eq!(taken(&open, "shop.example"), Ok(1));
        assert_eq!(taken(&open, "shop.test"), Err(NotAttached::OtherHosts));
        let closed = listener(GatewayProtocol::Http, AllowedRoutes::Same);
        assert_eq!(taken(&closed, "shop.example"), Err(NotAttached::NotAllowed));
        let other = listener(GatewayProtocol::Tcp, AllowedRoutes::All);
        assert_eq!(
            taken(&other, "shop.example"),
            Err(NotAttached::OtherTraffic)
        );
    }
}
