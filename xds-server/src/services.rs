//! The gRPC services of an xDS listener, by the path of the request.

mod health;
mod reflection;

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use bowline_ads::{ClientStatusService, DiscoveryService, LoadReportingService};
use bowline_proto::envoy::service::{
    load_stats::v3::load_reporting_service_server::LoadReportingServiceServer,
    status::v3::client_status_discovery_service_server::ClientStatusDiscoveryServiceServer,
};
use futures_util::future::BoxFuture;
use http::{Request, Response};
use tonic::{body::Body, server::NamedService};
use tonic_health::pb::health_server::HealthServer;
use tower::Service;

use self::{health::Health, reflection::Reflection};
use crate::{grpc::Incoming, source::MeshSource};

pub use health::Readiness;

type Discovery = DiscoveryService<MeshSource>;
type Clients = ClientStatusDiscoveryServiceServer<ClientStatusService>;
type Loads = LoadReportingServiceServer<LoadReportingService<MeshSource>>;

/// Everything that is served on an xDS listener. A clone is the same.
#[derive(Clone)]
pub struct Services {
    discovery: Discovery,
    clients: Clients,
    loads: Loads,
    health: HealthServer<Health>,
    reflection: Arc<Reflection>,
}

impl Services {
    /// These services, with health and reflection of all of them.
    pub fn new(discovery: Discovery, clients: Clients, loads: Loads, readiness: Readiness) -> Self {
        let others = [
            Clients::NAME,
            Loads::NAME,
            HealthServer::<Health>::NAME,
            reflection::V1,
            reflection::V1_ALPHA,
        ];
        let names: Vec<&str> = Discovery::service_names().chain(others).collect();
        Self {
            discovery,
            clients,
            loads,
            health: HealthServer::new(Health::new(readiness, &names)),
            reflection: Arc::new(Reflection::of(&names)),
        }
    }
}

impl Service<Request<Incoming>> for Services {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let path = request.uri().path();
        let service = path
            .strip_prefix('/')
            .and_then(|path| path.split_once('/'))
            .map(|(service, _)| service);
        match service {
            Some(Clients::NAME) => self.clients.call(request.map(Body::new)),
            Some(Loads::NAME) => self.loads.call(request.map(Body::new)),
            Some(HealthServer::<Health>::NAME) => self.health.call(request.map(Body::new)),
            Some(reflection::V1 | reflection::V1_ALPHA) => {
                self.reflection.call(request.map(Body::new))
            }
            // Which also says what is not there.
            _ => Box::pin(self.discovery.call(request)),
        }
    }
}

#[cfg(test)]
mod tests;
