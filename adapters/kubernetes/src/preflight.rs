//! What could keep a cluster from being watched, or statuses from being written, found before it does: who we are there, what we may do, which versions it has, whether
//! its clock agrees with ours.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use bowline_manifests::ManifestKind;
use bowline_mesh::Namespace;
use http::{Request, header::DATE};
use kube::{Client, client::Body};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Access, Facts, Watched, Writing,
    api::{self, ApiError},
    item::has_status,
};

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether it is as it must be.
    pub verdict: Verdict,
    /// What was found.
    pub what: String,
    /// What to do; empty where nothing is to be done.
    pub hint: String,
}

/// Whether something is as it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is.
    Ok,
    /// It is not, and need not be.
    Note,
    /// It works, but not all of it, or not for long.
    Warning,
    /// It does not work.
    Error,
}

/// The first version of Kubernetes with all that is asked for.
const MINOR_MIN: u32 = 21;
/// Certificates begin to be refused about here.
const SKEW_MAX: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Looks at a cluster that is to be watched.
pub async fn preflight(access: &Access, facts: &Facts, writing: &Writing) -> Vec<Finding> {
    let client = match access.client().await {
        Ok(client) => client,
        Err(error) => return vec![wrong(error.to_string(), "correct the kubeconfig")],
    };
    let mut findings = Vec::new();
    match version(&client).await {
        Ok(found) => findings.extend(found),
        Err(error) => {
            let hint = match error {
                ApiError::Unauthorized(_) => "give credentials that the API server accepts",
                _ => "look whether the address is right and the API server is up",
            };
            return vec![wrong(error.to_string(), hint)];
        }
    }
    for watched in Watched::all(facts) {
        findings.push(match watched.is_required() {
            true => kind(&client, &watched).await,
            // There need be no look whether every cluster has Secrets: it would show one.
            false => permission(&client, &watched).await,
        });
    }
    if let Writing::Statuses { lease_namespace } = writing {
        let namespace = lease_namespace.as_ref().map(|namespace| namespace.as_str());
        let namespace = namespace.unwrap_or(client.default_namespace());
        findings.push(statuses(&client, facts, namespace).await);
    }
    findings
}

/// Version and clock.
async fn version(client: &Client) -> Result<Vec<Finding>, ApiError> {
    #[derive(Deserialize)]
    struct Version {
        #[serde(rename = "gitVersion")]
        git: String,
        minor: String,
    }
    let request = Request::get("/version")
        .body(Body::empty())
        .map_err(|error| ApiError::Garbled(error.to_string()))?;
    let response = api::send(client, request).await?;
    let now = SystemTime::now();
    let date = response.headers().get(DATE);
    let date = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    let body = api::collect(response.into_body(), ANSWER_BYTES_MAX).await?;
    let Version { git, minor } =
        serde_json::from_slice(&body).map_err(|error| ApiError::Garbled(error.to_string()))?;
    let digits: String = minor.chars().take_while(char::is_ascii_digit).collect();
    let is_known = digits.parse::<u32>().is_ok_and(|minor| minor >= MINOR_MIN);
    let version = match is_known {
        true => fine(format!("Kubernetes {git}")),
        false => wrong(
            format!("Kubernetes {git} has no EndpointSlices of discovery.k8s.io/v1"),
            "upgrade it to 1.21 or later",
        ),
    };
    Ok(std::iter::once(version)
        .chain(date.map(|date| clock(date, now)))
        .collect())
}

fn clock(theirs: SystemTime, ours: SystemTime) -> Finding {
    let skew = match theirs.duration_since(ours) {
        Ok(ahead) => ahead,
        Err(behind) => behind.duration(),
    };
    match skew > SKEW_MAX {
        true => Finding {
            verdict: Verdict::Warning,
            what: format!(
                "the clocks of the cluster and of this machine differ by {} s",
                skew.as_secs()
            ),
            hint: "set both by NTP: certificates that are valid here are not yet, or not any more, valid there".to_owned(),
        },
        false => fine("the clocks agree".to_owned()),
    }
}

/// Whether a kind is installed, and may be watched.
async fn kind(client: &Client, watched: &Watched) -> Finding {
    let mut is_missing = true;
    for version in watched.versions() {
        let path = format!("{}?limit=1", watched.collection(version).path);
        match api::get(client, &path, usize::MAX).await {
            Err(ApiError::Missing) => {}
            Ok(_) | Err(ApiError::Denied(_)) => {
                is_missing = false;
                break;
            }
            Err(error) => return wrong(format!("{watched}: {error}"), "look at the API server"),
        }
    }
    if is_missing {
        return match watched.is_built_in() {
            true => wrong(
                format!("{watched}: the API server does not have it"),
                "watch a Kubernetes cluster",
            ),
            false => fine(format!(
                "{watched}: not installed, so nothing is read of it"
            )),
        };
    }
    permission(client, watched).await
}

/// Whether a kind may be watched.
async fn permission(client: &Client, watched: &Watched) -> Finding {
    let mut denied = Vec::new();
    for verb in ["list", "watch"] {
        let asking = Asking {
            group: watched.group(),
            resource: watched.plural(),
            subresource: "",
            namespace: watched.namespace().map_or("", Namespace::as_str),
            verb,
        };
        match may(client, asking).await {
            Ok(true) => {}
            Ok(false) => denied.push(verb),
            Err(error) => return wrong(format!("{watched}: {error}"), "look at the API server"),
        }
    }
    if denied.is_empty() {
        return fine(format!("{watched}: may be listed and watched"));
    }
    let (verdict, hint) = match watched {
        Watched::Pod => (
            Verdict::Error,
            "grant it with a ClusterRole, or set `pods: false`".to_owned(),
        ),
        Watched::Node => (
            Verdict::Error,
            "grant it with a ClusterRole, or set `nodes: false`".to_owned(),
        ),
        Watched::Manifest(ManifestKind::Ingress | ManifestKind::IngressClass) => (
            Verdict::Error,
            "grant it with a ClusterRole, or set `ingresses: false`".to_owned(),
        ),
        Watched::Manifest(_) => (Verdict::Error, "grant it with a ClusterRole".to_owned()),
        Watched::SecretNames => (Verdict::Note, watched.grant()),
        // Whoever names the namespace wants it read.
        Watched::Secrets(_) => (Verdict::Warning, watched.grant()),
    };
    Finding {
        verdict,
        what: format!("{watched}: may not {}", denied.join(" and ")),
        hint,
    }
}

/// Whether statuses may be written. Without them all else works.
async fn statuses(client: &Client, facts: &Facts, namespace: &str) -> Finding {
    let lease = ["get", "create", "update"].map(|verb| Asking {
        group: "coordination.k8s.io",
        resource: "leases",
        subresource: "",
        namespace,
        verb,
    });
    let kinds = Watched::all(facts)
        .into_iter()
        .filter(|watched| match watched {
            Watched::Manifest(kind) => has_status(*kind),
            Watched::Pod | Watched::Node | Watched::SecretNames | Watched::Secrets(_) => false,
        });
    let kinds = kinds.flat_map(|watched| {
        ["get", "patch"].map(|verb| Asking {
            group: watched.group(),
            resource: watched.plural(),
            subresource: "status",
            namespace: "",
            verb,
        })
    });
    let mut denied = Vec::new();
    for asking in lease.into_iter().chain(kinds) {
        match may(client, asking).await {
            Ok(true) => {}
            Ok(false) => denied.push(asking.to_string()),
            Err(error) => return wrong(format!("statuses: {error}"), "look at the API server"),
        }
    }
    match denied.as_slice() {
        [] => fine("statuses: may be written".to_owned()),
        denied => Finding {
            verdict: Verdict::Warning,
            what: format!("statuses: may not {}", denied.join(", ")),
            hint: "grant it, as examples/kubernetes/status does, or set `status: {write: false}`"
                .to_owned(),
        },
    }
}

/// Something that one may do, or not.
#[derive(Clone, Copy)]
struct Asking<'a> {
    group: &'a str,
    resource: &'a str,
    /// Empty for the whole object.
    subresource: &'a str,
    /// Empty for all.
    namespace: &'a str,
    verb: &'a str,
}

impl fmt::Display for Asking<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            group,
            resource,
            subresource,
            namespace,
            verb,
        } = self;
        write!(f, "{verb} {resource}")?;
        if !subresource.is_empty() {
            write!(f, "/{subresource}")?;
        }
        if !group.is_empty() {
            write!(f, ".{group}")?;
        }
        match *namespace {
            "" => Ok(()),
            namespace => write!(f, " in {namespace}"),
        }
    }
}

async fn may(client: &Client, asking: Asking<'_>) -> Result<bool, ApiError> {
    #[derive(Deserialize)]
    struct Review {
        status: ReviewStatus,
    }
    #[derive(Deserialize)]
    struct ReviewStatus {
        allowed: bool,
    }
    let Asking {
        group,
        resource,
        subresource,
        namespace,
        verb,
    } = asking;
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {
            "verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": namespace,
        }},
    });
    let request = Request::post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
        .header("content-type", "application/json")
        .body(Body::from(review.to_string().into_bytes()))
        .map_err(|error| ApiError::Garbled(error.to_string()))?;
    let response = api::send(client, request).await?;
    let body = api::collect(response.into_body(), ANSWER_BYTES_MAX).await?;
    let review: Review =
        serde_json::from_slice(&body).map_err(|error| ApiError::Garbled(error.to_string()))?;
    Ok(review.status.allowed)
}

fn fine(what: String) -> Finding {
    Finding {
        verdict: Verdict::Ok,
        what,
        hint: String::new(),
    }
}

fn wrong(what: String, hint: &str) -> Finding {
    Finding {
        verdict: Verdict::Error,
        what,
        hint: hint.to_owned(),
    }
}
