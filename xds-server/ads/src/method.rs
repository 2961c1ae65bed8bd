//! The methods of the discovery services: which variant each speaks, and of which type.

use bowline_snapshot::ResourceType;

use crate::{
    session::Variant,
    source::{Coverage, StreamKind},
};

/// A service of the discovery API.
struct Service {
    name: &'static str,
    /// What follows `Stream` and `Delta` in the names of its methods.
    suffix: &'static str,
    coverage: Coverage,
}

const fn of_type(name: &'static str, suffix: &'static str, resource_type: ResourceType) -> Service {
    Service {
        name,
        suffix,
        coverage: Coverage::One(resource_type),
    }
}

static SERVICES: [Service; 10] = [
    Service {
        name: "envoy.service.discovery.v3.AggregatedDiscoveryService",
        suffix: "AggregatedResources",
        coverage: Coverage::All,
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

impl StreamKind {
    /// That of the method at a path of HTTP/2; none where there is no streaming method.
    pub(crate) fn at(path: &str) -> Option<Self> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        let service = SERVICES.iter().find(|known| known.name == service)?;
        let is_delta_only = match service.coverage {
            Coverage::All => false,
            Coverage::One(resource_type) => resource_type.spec().delta_only,
        };
        let variant = match method.strip_suffix(service.suffix)? {
            "Stream" if !is_delta_only => Variant::StateOfTheWorld,
            "Delta" => Variant::Delta,
            _ => return None,
        };
        Some(Self {
            variant,
            coverage: service.coverage,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_has_its_methods_and_its_type() {
        let of = |path: &str| {
            StreamKind::at(path).map(|kind| (kind.variant, kind.coverage != Coverage::All))
        };
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
