//! The methods of the discovery services: which variant each speaks, and of which type.

use bowline_snapshot::ResourceType;

use crate::session::Variant;

/// A streaming method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Method {
    pub(crate) variant: Variant,
    /// The type URL that requests of a per-type service need not say and may not contradict.
    pub(crate) type_url: Option<&'static str>,
}

/// A service of the discovery API.
struct Service {
    name: &'static str,
    /// What follows `Stream` and `Delta` in the names of its methods.
    suffix: &'static str,
    resource_type: Option<ResourceType>,
}

const fn of_type(name: &'static str, suffix: &'static str, resource_type: ResourceType) -> Service {
    Service {
        name,
        suffix,
        resource_type: Some(resource_type),
    }
}

static SERVICES: [Service; 10] = [
    Service {
        name: "envoy.service.discovery.v3.AggregatedDiscoveryService",
        suffix: "AggregatedResources",
        resource_type: None,
    },
    of_type(
        "envoy.service.cluster.v3.ClusterDiscoveryService",
        "Clusters",
        ResourceType::CLUSTER,
    ),
    of_type(
        "envoy.service.endpoint.v3.EndpointDiscoveryService",
        "Endpoints",
        ResourceType::ENDPOINT,
    ),
    of_type(
        "envoy.service.listener.v3.ListenerDiscoveryService",
        "Listeners",
        ResourceType::LISTENER,
    ),
    of_type(
        "envoy.service.route.v3.RouteDiscoveryService",
        "Routes",
        ResourceType::ROUTE,
    ),
    of_type(
        "envoy.service.secret.v3.SecretDiscoveryService",
        "Secrets",
        ResourceType::SECRET,
    ),
    of_type(
        "envoy.service.route.v3.ScopedRoutesDiscoveryService",
        "ScopedRoutes",
        ResourceType::SCOPED_ROUTE,
    ),
    of_type(
        "envoy.service.route.v3.VirtualHostDiscoveryService",
        "VirtualHosts",
        ResourceType::VIRTUAL_HOST,
    ),
    of_type(
        "envoy.service.runtime.v3.RuntimeDiscoveryService",
        "Runtime",
        ResourceType::RUNTIME,
    ),
    of_type(
        "envoy.service.extension.v3.ExtensionConfigDiscoveryService",
        "ExtensionConfigs",
        ResourceType::EXTENSION,
    ),
];

/// The names of all services that [`crate::DiscoveryService`] answers for.
pub(crate) fn service_names() -> impl Iterator<Item = &'static str> {
    SERVICES.iter().map(|service| service.name)
}

impl Method {
    /// The method at a path of HTTP/2; none where there is no streaming method.
    pub(crate) fn at(path: &str) -> Option<Self> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        let service = SERVICES.iter().find(|known| known.name == service)?;
        let is_delta_only = service.resource_type.is_some_and(|of| of.spec().delta_only);
        let variant = match method.strip_suffix(service.suffix)? {
            "Stream" if !is_delta_only => Variant::StateOfTheWorld,
            "Delta" => Variant::Delta,
            _ => return None,
        };
        Some(Self {
            variant,
            type_url: service.resource_type.map(ResourceType::url),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_has_its_methods_and_its_type() {
        let of =
            |path: &str| Method::at(path).map(|method| (method.variant, method.type_url.is_some()));
        for (path, expected) in [
            (
                "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
                Some((Variant::StateOfTheWorld, false)),
            ),
            (
                "/envoy.service.endpoint.v3.EndpointDiscoveryService/DeltaEndpoints",
                Some((Variant::Delta, true)),
            ),
            (
                "/envoy.service.endpoint.v3.EndpointDiscoveryService/FetchEndpoints",
                None,
            ),
            (
                "/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamClusters",
                None,
            ),
            (
                "/envoy.service.route.v3.VirtualHostDiscoveryService/DeltaVirtualHosts",
                Some((Variant::Delta, true)),
            ),
            (
                "/envoy.service.route.v3.VirtualHostDiscoveryService/StreamVirtualHosts",
                None,
            ),
            (
                "/envoy.service.runtime.v3.RuntimeDiscoveryService/StreamRuntime",
                Some((Variant::StateOfTheWorld, true)),
            ),
            ("/grpc.health.v1.Health/Check", None),
            ("", None),
        ] {
            assert_eq!(of(path), expected, "{path}");
        }
    }
}
