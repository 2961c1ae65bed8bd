//! The paths of the API.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bowline_manifests::as_written;
use bowline_mesh::{Problem, RegistryId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::failure::Failure;
use super::proxies::{self, ListedProxy};
use super::resources::{self, Listed, Selection, TypeName};
use super::wire::{
    IssueRequest, IssueResponse, ListedLoad, ListedRegistry, Readiness, Released, Version,
};
use super::{Shared, certificates, loads, problems, registries};
use crate::metrics::{Facts, Handshakes};
use crate::pipeline::{Blocker, LayerStatus};

type Answer<T> = Result<Json<T>, Failure>;

/// What a server says that has not read its saved state yet.
pub(super) fn starting() -> Router {
    let state = || Blocker {
        name: "saved state".to_owned(),
        reason: "it is being read".to_owned(),
    };
    Router::new()
        .route("/healthz", get(healthy))
        .route("/readyz", get(async move || told(vec![state()])))
        .fallback(async || Failure::Starting)
}

async fn healthy() -> &'static str {
    "ok\n"
}

async fn readiness(State(shared): State<Shared>) -> Response {
    told(shared.api.pipeline.readiness())
}

fn told(blockers: Vec<Blocker>) -> Response {
    let ready = blockers.is_empty();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(Readiness { ready, blockers })).into_response()
}

/// What may be read by whoever reaches the API.
pub(super) fn reading() -> Router<Shared> {
    Router::new()
        .route("/", get(index))
        .route("/healthz", get(healthy))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .route("/v1/version", get(version))
        .route("/v1/proxies", get(listed_proxies))
        .route("/v1/proxies/{id}/resources", get(proxy_resources))
        .route("/v1/loads", get(listed_loads))
        .route("/v1/registries", get(listed_registries))
        .route("/v1/problems", get(listed_problems))
        .route("/v1/layers", get(layers))
        .route("/v1/ca/bundle", get(bundle))
}

/// What only the owner of the state directory may do.
pub(super) fn acting() -> Router<Shared> {
    Router::new()
        .route("/v1/registries/{name}/release", post(release))
        .route("/v1/ca/issue", post(issue))
}

pub(super) async fn unknown(uri: Uri) -> Failure {
    Failure::NoRoute(uri.path().to_owned())
}

pub(super) async fn wrong_method(method: Method) -> Failure {
    Failure::Method(method.to_string())
}

async fn index() -> Json<Value> {
    Json(json!({
        "/healthz": "the process is alive",
        "/readyz": "whether it is ready, and what keeps it from being",
        "/metrics": "for Prometheus",
        "/v1/version": "which program this is",
        "/v1/proxies": "who is connected, and what each acknowledged or rejected",
        "/v1/proxies/{id}/resources?type=cds&name=…": "what a proxy is served",
        "/v1/loads": "who calls whom, how much, and how many errors: what proxies report",
        "/v1/registries": "how every registry is doing",
        "/v1/problems": "what is wrong with objects, registries, their translation, and the server itself",
        "/v1/layers": "what is served, and to how many",
        "/v1/ca/bundle": "the roots of the mesh's certificates, as PEM",
        "POST /v1/registries/{name}/release": "believe a loss of endpoints; on the socket in the state directory only",
        "POST /v1/ca/issue": "a certificate; on the socket in the state directory only",
    }))
}

async fn metrics(State(shared): State<Shared>) -> Result<Response, Failure> {
    let Shared { api, started } = shared;
    let expires = api
        .tls_status
        .as_ref()
        .map(|status| status.borrow().not_after);
    let handshakes = api
        .tls_counts
        .as_ref()
        .zip(expires)
        .map(|(counts, certificate_expires)| Handshakes {
            accepted: counts.accepted(),
            refused: counts.refused(),
            certificate_expires,
        });
    let registries = api.pipeline.registries();
    let facts = Facts {
        now: SystemTime::now(),
        started,
        proxies: api.fleet.list(),
        parts: registries
            .iter()
            .map(|status| (status.registry.clone(), api.reports.of(&status.registry)))
            .collect(),
        registries,
        problems: problems::list(&api).await?,
        layers: api.pipeline.layers().await?,
        loads: api.loads.totals(),
        handshakes,
        writes: api.state.borrow().clone(),
        configuration: api.configuration.borrow().clone(),
    };
    let text = api
        .metrics
        .text(&facts)
        .map_err(|error| Failure::Internal(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

async fn version(State(shared): State<Shared>) -> Json<Version> {
    let started = OffsetDateTime::from(shared.started);
    Json(Version {
        program: "bowline",
        version: env!("CARGO_PKG_VERSION"),
        started_at: started.format(&Rfc3339).unwrap_or_default(),
        trust_domain: shared.api.authority.trust_domain().to_string(),
    })
}

async fn listed_proxies(State(shared): State<Shared>) -> Json<Vec<ListedProxy>> {
    let mesh = shared.api.pipeline.mesh();
    Json(proxies::list(shared.api.fleet.list(), &mesh))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResourceQuery {
    r#type: Option<String>,
    name: Option<String>,
}

/// What a proxy is served.
#[derive(Debug, Serialize)]
struct Served {
    proxy: String,
    generation: u64,
    resources: BTreeMap<&'static str, Vec<Listed>>,
}

async fn proxy_resources(
    State(shared): State<Shared>,
    Path(proxy): Path<String>,
    query: Result<Query<ResourceQuery>, QueryRejection>,
) -> Answer<Served> {
    let Query(ResourceQuery { r#type, name }) =
        query.map_err(|rejection| Failure::Invalid(rejection.body_text()))?;
    let resource_type = r#type
        .map(|text| text.parse::<TypeName>())
        .transpose()
        .map_err(|error| Failure::Invalid(error.to_string()))?
        .map(|TypeName(resource_type)| resource_type);
    let Some(snapshot) = shared.api.pipeline.snapshot_of(&proxy).await? else {
        return Err(Failure::NotFound {
            what: "the proxy",
            name: proxy,
            hint: "it is not connected, or nothing is ready for it yet; `bowline proxies` lists who is connected",
        });
    };
    let selection = Selection {
        resource_type,
        name,
    };
    Ok(Json(Served {
        proxy,
        generation: snapshot.generation(),
        resources: resources::list(&snapshot, &selection),
    }))
}

async fn listed_loads(State(shared): State<Shared>) -> Json<Vec<ListedLoad>> {
    Json(loads::list(shared.api.loads.list(Instant::now())))
}

async fn listed_registries(State(shared): State<Shared>) -> Json<Vec<ListedRegistry>> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let registries = shared.api.pipeline.registries();
    Json(registries::list(registries, &shared.api.reports, now))
}

async fn listed_problems(State(shared): State<Shared>) -> Answer<Vec<Problem>> {
    let mut problems = problems::list(&shared.api).await?;
    let placed = tokio::task::spawn_blocking(move || {
        as_written(&mut problems, |place| std::fs::read(place).ok());
        problems.sort();
        problems
    });
    let placed = placed.await;
    Ok(Json(
        placed.map_err(|error| Failure::Internal(error.to_string()))?,
    ))
}

async fn layers(State(shared): State<Shared>) -> Answer<Vec<LayerStatus>> {
    Ok(Json(shared.api.pipeline.layers().await?))
}

async fn bundle(State(shared): State<Shared>) -> Response {
    let bundle = shared.api.authority.bundle_pem().to_owned();
    (
        [(header::CONTENT_TYPE, "application/pem-certificate-chain")],
        bundle,
    )
        .into_response()
}

async fn release(State(shared): State<Shared>, Path(name): Path<String>) -> Answer<Released> {
    let pipeline = &shared.api.pipeline;
    let registry = pipeline
        .registries()
        .into_iter()
        .map(|status| status.registry)
        .find(|registry: &RegistryId| registry.as_str() == name)
        .ok_or(Failure::NotFound {
            what: "the registry",
            name,
            hint: "`bowline registries` lists them",
        })?;
    let released = pipeline.release(registry.clone()).await?;
    if released {
        tracing::warn!(%registry, "a loss of endpoints is believed because a person says so");
    }
    Ok(Json(Released { released }))
}

async fn issue(
    State(shared): State<Shared>,
    request: Result<Json<IssueRequest>, JsonRejection>,
) -> Answer<IssueResponse> {
    let Json(request) = request.map_err(|rejection| Failure::Invalid(rejection.body_text()))?;
    let response = certificates::issue(&shared.api.authority, &request, SystemTime::now())
        .map_err(|error| Failure::Invalid(error.to_string()))?;
    tracing::info!(identity = %request.identity, "certificate issued");
    Ok(Json(response))
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
