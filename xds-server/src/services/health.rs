//! gRPC health checking: every service serves as soon as the server is ready.

use std::{collections::BTreeSet, fmt, pin::Pin, sync::Arc, time::Duration};

use bowline_ads::Retiring;
use futures_util::{Stream, StreamExt, stream::unfold};
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_server::Health as HealthService,
};

/// Says whether the server is ready.
#[derive(Clone)]
pub struct Readiness(Arc<dyn Fn() -> bool + Send + Sync>);

impl Readiness {
    /// Asked whenever somebody wants to know.
    pub fn new(is_ready: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_ready))
    }

    fn status(&self) -> ServingStatus {
        match self.0() {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        }
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Readiness({:?})", self.status())
    }
}

/// The health of the services with some names, and of the server, whose name is empty.
pub(super) struct Health {
    readiness: Readiness,
    names: BTreeSet<String>,
}

impl Health {
    pub(super) fn new(readiness: Readiness, names: &[&str]) -> Self {
        let names = names.iter().copied().chain([""]).map(str::to_owned);
        Self {
            readiness,
            names: names.collect(),
        }
    }
}

#[tonic::async_trait]
impl HealthService for Health {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let HealthCheckRequest { service } = request.into_inner();
        if !self.names.contains(&service) {
            return Err(Status::not_found("no such service"));
        }
        Ok(Response::new(said(self.readiness.status())))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let retiring = Retiring::of(request.extensions());
        let HealthCheckRequest { service } = request.into_inner();
        if !self.names.contains(&service) {
            // The protocol wants the stream to stay, in case that the service appears: none will.
            let unknown =
                futures_util::stream::once(async { Ok(said(ServingStatus::ServiceUnknown)) });
            let stream = unknown.chain(futures_util::stream::pending());
            return Ok(Response::new(Box::pin(
                stream.take_until(retiring.cancelled_owned()),
            )));
        }
        let changes = unfold(
            (self.readiness.clone(), None),
            |(readiness, told)| async move {
                loop {
                    let status = readiness.status();
                    if told != Some(status) {
                        return Some((Ok(said(status)), (readiness, Some(status))));
                    }
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            },
        );
        Ok(Response::new(Box::pin(
            changes.take_until(retiring.cancelled_owned()),
        )))
    }
}

fn said(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

const LOOK_AGAIN: Duration = Duration::from_millis(500);
