//! gRPC reflection: what `grpcurl` asks to know the services and every message of Envoy's API.

use std::{convert::Infallible, sync::OnceLock};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tonic::{Status, body::Body};
use tonic_reflection::server::Builder;
use tower::{Service, ServiceExt, util::BoxCloneSyncService};

/// The service's name.
pub(super) const V1: &str = "grpc.reflection.v1.ServerReflection";
/// The name that older clients know.
pub(super) const V1_ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";

type Server = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// Made when it is first asked for: the descriptors take megabytes, and most servers are never asked.
pub(super) struct Reflection {
    names: Vec<String>,
    v1: OnceLock<Server>,
    v1_alpha: OnceLock<Server>,
}

impl Reflection {
    pub(super) fn of(names: &[&str]) -> Self {
        Self {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            v1: OnceLock::new(),
            v1_alpha: OnceLock::new(),
        }
    }

    pub(super) fn call(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, Infallible>> {
        let is_alpha = request.uri().path().contains(V1_ALPHA);
        let server = match is_alpha {
            true => self.v1_alpha.get_or_init(|| {
                let built = self.builder().build_v1alpha();
                built.map_or_else(|_| unavailable(), BoxCloneSyncService::new)
            }),
            false => self.v1.get_or_init(|| {
                let built = self.builder().build_v1();
                built.map_or_else(|_| unavailable(), BoxCloneSyncService::new)
            }),
        };
        let mut server = server.clone();
        Box::pin(async move {
            match server.ready().await {
                Ok(server) => server.call(request).await,
                Err(never) => match never {},
            }
        })
    }

    fn builder(&self) -> Builder<'static> {
        let builder = Builder::configure()
            .register_encoded_file_descriptor_set(bowline_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        let names = self.names.iter();
        names.fold(builder, |builder, name| builder.with_service_name(name))
    }
}

/// What answers where descriptors are not understood, which a test rules out.
fn unavailable() -> Server {
    BoxCloneSyncService::new(tower::service_fn(async |_| {
        Ok(Status::internal("the descriptors of this build are not understood").into_http())
    }))
}
