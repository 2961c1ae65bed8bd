//! The admin API: health, readiness, metrics, and what the commands ask a running server.
//!
//! It is served twice. The address of the configuration has what may be read by whoever reaches it, and no secrets. The socket in the
//! state directory has, besides, what changes something or issues certificates: only the owner of the directory can open it.

mod certificates;
mod connections;
mod failure;
mod loads;
mod problems;
mod proxies;
mod registries;
pub mod resources;
mod routes;
mod socket;
mod state_file;
pub mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use bowline_ads::{Fleet, Loads};
use bowline_cert_authority::CertificateAuthority;
use bowline_state::WriteStatus;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tower::limit::GlobalConcurrencyLimitLayer;

use crate::config::ConfigurationStatus;
use crate::metrics::Metrics;
use crate::pipeline::PipelineHandle;
use crate::registries::Reports;
use crate::tls::{TlsCounts, TlsStatus};

use connections::Bounded;
use failure::Failure;
pub use state_file::StateFile;

#[cfg(test)]
mod tests;

/// What the API reads from.
#[derive(Debug, Clone)]
pub struct Api {
    /// The mesh, its registries and layers.
    pub pipeline: PipelineHandle,
    /// What adapters report of the parts of their registries.
    pub reports: Reports,
    /// Connected proxies.
    pub fleet: Fleet,
    /// Loads that proxies have reported.
    pub loads: Loads,
    /// The process's metrics.
    pub metrics: Arc<Metrics>,
    /// Who issues certificates.
    pub authority: Arc<CertificateAuthority>,
    /// How fresh the certificate of the xDS server is, where it has one.
    pub tls_status: Option<watch::Receiver<TlsStatus>>,
    /// What became of TLS connections, where they are served.
    pub tls_counts: Option<Arc<TlsCounts>>,
    /// How writing the state goes.
    pub state: watch::Receiver<WriteStatus>,
    /// The state store's file, where it has one.
    pub state_file: Option<StateFile>,
    /// How the configuration file stands to what runs.
    pub configuration: watch::Receiver<ConfigurationStatus>,
}

/// What handlers get.
#[derive(Debug, Clone)]
struct Shared {
    api: Api,
    started: SystemTime,
}

/// Opens the API: until then, a server says that it lives and is starting, and nothing else.
#[derive(Debug)]
pub struct Opening {
    started: SystemTime,
    opened: watch::Sender<Option<Router>>,
}

/// Serves the API at an address until the token is cancelled. It answers from the first moment on, because reading a large state takes
/// longer than whoever asks for the process's health may be willing to wait.
///
/// The future fails when the listener does.
pub fn serve(
    listener: TcpListener,
    shutdown: CancellationToken,
) -> (
    Opening,
    impl Future<Output = anyhow::Result<()>> + Send + 'static,
) {
    let (opened, open) = watch::channel(None);
    let opening = Opening {
        started: SystemTime::now(),
        opened,
    };
    let serving = async move {
        axum::serve(Bounded::new(listener), when_open(open))
            .with_graceful_shutdown(shutdown.cancelled_owned())
            .await
            .context("the admin API has failed")
    };
    (opening, serving)
}

impl Opening {
    /// Opens it: from now on it answers everything.
    pub fn open(self, api: Api) -> OwnerApi {
        let Self { started, opened } = self;
        let shared = Shared { api, started };
        opened.send_replace(Some(for_everyone(shared.clone())));
        OwnerApi { shared }
    }
}

/// The part of the API that is for the owner of the state directory.
#[derive(Debug)]
pub struct OwnerApi {
    shared: Shared,
}

impl OwnerApi {
    /// Serves it on a socket until the token is cancelled. The socket is there when this returns; what serves is the future.
    ///
    /// # Errors
    /// When the socket cannot be made. The future fails when the listener does.
    pub fn serve(
        self,
        socket: PathBuf,
        shutdown: CancellationToken,
    ) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + Send + 'static> {
        let Self { shared } = self;
        let OwnerSocket { listener, path } = OwnerSocket::bind(socket)?;
        Ok(async move {
            let served = axum::serve(Bounded::new(listener), for_owner(shared))
                .with_graceful_shutdown(shutdown.cancelled_owned())
                .await;
            // Whoever finds no socket knows that nobody serves.
            let _ = std::fs::remove_file(&path);
            served.context("the admin socket has failed")
        })
    }
}

struct OwnerSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl OwnerSocket {
    fn bind(path: PathBuf) -> anyhow::Result<Self> {
        let listener = socket::bind(&path)
            .with_context(|| format!("cannot make the admin socket {}", path.display()))?;
        Ok(Self { listener, path })
    }
}

/// Answers what a starting server can, and everything when it is open.
fn when_open(open: watch::Receiver<Option<Router>>) -> Router {
    let starting = bounded(routes::starting());
    Router::new().fallback(move |request: Request| {
        let now = open.borrow().clone().unwrap_or_else(|| starting.clone());
        now.oneshot(request)
    })
}

fn for_everyone(shared: Shared) -> Router {
    bounded(with_fallbacks(routes::reading().with_state(shared)))
}

fn for_owner(shared: Shared) -> Router {
    let all = routes::reading().merge(routes::acting());
    bounded(with_fallbacks(all.with_state(shared)))
}

fn with_fallbacks(router: Router) -> Router {
    router
        .fallback(routes::unknown)
        .method_not_allowed_fallback(routes::wrong_method)
}

/// No request is large, takes long, or is one of very many.
fn bounded(router: Router) -> Router {
    router
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(in_time))
        .layer(GlobalConcurrencyLimitLayer::new(REQUESTS_MAX))
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Failure::Timeout.into_response(),
    }
}

const BODY_BYTES_MAX: usize = 64 << 10;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
const REQUESTS_MAX: usize = 64;
