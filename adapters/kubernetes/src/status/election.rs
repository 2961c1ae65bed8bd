//! Holding the Lease: asked for once there is something to write, renewed for as long as this runs, given up at the end.

use std::{hash::BuildHasher, sync::Arc, time::Duration};

use bowline_mesh::{PartState, RegistryId};
use http::Method;
use kube::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Health, Timing,
    lease::{Candidate, LeaseSpec, Move},
};
use crate::{
    access::Clients,
    api::{self, ApiError},
};

/// The Lease's name: one for all replicas that watch a cluster.
const NAME: &str = "bowline-status";
/// How long giving it up may take.
const RELEASE: Duration = Duration::from_secs(2);
const BYTES_MAX: usize = 1024 * 1024;

/// Holds, or waits for, one cluster's Lease.
#[derive(Debug)]
pub(crate) struct Election {
    pub(crate) registry: RegistryId,
    pub(crate) clients: Clients,
    /// Where the Lease is; `None` means the namespace of the credentials.
    pub(crate) namespace: Option<String>,
    pub(crate) timing: Timing,
    /// Whether there is anything to write.
    pub(crate) needed: watch::Receiver<bool>,
    pub(crate) leadership: watch::Sender<Option<Instant>>,
    pub(crate) health: Health,
}

#[derive(Deserialize)]
struct Lease {
    metadata: LeaseMetadata,
    #[serde(default)]
    spec: LeaseSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LeaseMetadata {
    #[serde(default)]
    resource_version: String,
}

/// One candidate on its way.
struct Campaign {
    election: Election,
    candidate: Candidate,
    /// The Lease as we wrote it last, with its version.
    held: Option<(LeaseSpec, String)>,
}

impl Election {
    /// Takes part until it is told to end, and gives the Lease up then.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut campaign = Campaign {
            candidate: Candidate::new(holder(), self.timing.lease),
            held: None,
            election: self,
        };
        let _ = shutdown.run_until_cancelled(campaign.run()).await;
        campaign.election.leadership.send_replace(None);
        let _ = timeout(RELEASE, campaign.release()).await;
    }
}

impl Campaign {
    async fn run(&mut self) {
        if self
            .election
            .needed
            .wait_for(|is_needed| *is_needed)
            .await
            .is_err()
        {
            return;
        }
        loop {
            let pause = self.step().await;
            sleep(pause).await;
        }
    }

    /// Looks at the Lease once. Says how long to wait before the next look.
    async fn step(&mut self) -> Duration {
        let Timing {
            renew,
            retry,
            denied,
            ..
        } = self.election.timing;
        let newest = self.election.clients.newest().await;
        let Some(Ok(client)) = &newest.client else {
            return retry;
        };
        let started = Instant::now();
        // An answer that comes after the time to renew is none.
        let attempt = timeout(renew, self.attempt(client)).await;
        let late = |_| Err(ApiError::Unreachable("no answer in time".to_owned()));
        match attempt.unwrap_or_else(late) {
            Ok(()) if self.held.is_some() => self.lead_until(started + renew),
            Ok(()) => self.follow(),
            Err(error) => {
                self.failed(&error);
                match error {
                    ApiError::Denied(_) => return denied,
                    ApiError::Unauthorized(_) | ApiError::Unreachable(_) => {
                        self.election.clients.renew(newest.generation);
                    }
                    ApiError::Expired
                    | ApiError::Missing
                    | ApiError::Refused { .. }
                    | ApiError::Garbled(_) => {}
                }
            }
        }
        retry
    }

    fn lead_until(&mut self, until: Instant) {
        if self.election.leadership.send_replace(Some(until)).is_none() {
            tracing::info!(registry = %self.election.registry, holder = self.candidate.holder(), "this server writes the statuses of the cluster's objects");
        }
        let holder = self.candidate.holder().into();
        self.election.health.written_by(Some(holder));
    }

    fn follow(&mut self) {
        if self.election.leadership.send_replace(None).is_some() {
            tracing::info!(registry = %self.election.registry, "another server writes the statuses of the cluster's objects now");
        }
    }

    /// One's own leadership ends by itself when it is not renewed.
    fn failed(&mut self, error: &ApiError) {
        let state = state_of(error);
        let namespace = self
            .election
            .namespace
            .as_deref()
            .unwrap_or("its namespace");
        let text = match error {
            ApiError::Denied(message) => format!(
                "denied: {message} (grant get, create and update of leases.coordination.k8s.io in {namespace}, or set `status: {{write: false}}`)"
            ),
            other => format!("the lease {NAME} in {namespace}: {other}"),
        };
        if self.election.health.failed(state, &text) {
            tracing::warn!(registry = %self.election.registry, error = text, "statuses are not written");
        }
    }

    /// Looks at the Lease, and writes it where it may be ours. Whether it is ours then is in `held`.
    async fn attempt(&mut self, client: &Client) -> Result<(), ApiError> {
        let all = self.path(client);
        let one = format!("{all}/{NAME}");
        let found = match api::get(client, &one, BYTES_MAX).await {
            Ok(body) => Some(lease(&body)?),
            Err(ApiError::Missing) => None,
            Err(error) => return Err(error),
        };
        let spec = found.as_ref().map(|found| &found.spec);
        let next = match self.candidate.consider(spec, Instant::now(), &date()) {
            Move::Take(next) => next,
            Move::Wait { holder } => {
                self.held = None;
                self.election.health.written_by(Some(holder.into()));
                self.election.health.well();
                return Ok(());
            }
        };
        let written = match &found {
            None => api::write(client, Method::POST, &all, &object(&next, None)).await,
            Some(found) => {
                let version = &found.metadata.resource_version;
                let object = object(&next, Some(version));
                api::write(client, Method::PUT, &one, &object).await
            }
        };
        match written {
            Ok(body) => {
                self.held = Some((next, lease(&body)?.metadata.resource_version));
                Ok(())
            }
            // Somebody else was faster.
            Err(ApiError::Refused { code: 409, .. }) => {
                self.held = None;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn release(&mut self) {
        let Some((held, version)) = self.held.take() else {
            return;
        };
        let newest = self.election.clients.newest().await;
        if let Some(Ok(client)) = &newest.client {
            let one = format!("{}/{NAME}", self.path(client));
            let released = object(&Candidate::released(&held, &date()), Some(&version));
            // If it fails, the Lease ends by itself.
            let _ = api::write(client, Method::PUT, &one, &released).await;
        }
    }

    fn path(&mut self, client: &Client) -> String {
        let namespace = self
            .election
            .namespace
            .get_or_insert_with(|| client.default_namespace().to_owned());
        format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")
    }
}

fn lease(body: &[u8]) -> Result<Lease, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::Garbled(error.to_string()))
}

fn object(spec: &LeaseSpec, version: Option<&str>) -> Value {
    let metadata = match version {
        Some(version) => json!({"name": NAME, "resourceVersion": version}),
        None => json!({"name": NAME}),
    };
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata,
        "spec": spec,
    })
}

/// What a failure means for the writing.
pub(super) fn state_of(error: &ApiError) -> PartState {
    match error {
        ApiError::Denied(_) | ApiError::Unauthorized(_) => PartState::Denied,
        ApiError::Refused { code: 429, .. } => PartState::Throttled,
        ApiError::Expired
        | ApiError::Missing
        | ApiError::Refused { .. }
        | ApiError::Unreachable(_)
        | ApiError::Garbled(_) => PartState::Down,
    }
}

/// Nobody else's name, and nobody's of before: a process that is started again in one place does not hold what it held.
fn holder() -> String {
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let unique = std::hash::RandomState::new().hash_one(Arc::as_ptr(&Arc::new(())));
    match hostname.trim() {
        "" => format!("bowline_{unique:016x}"),
        name => format!("{name}_{unique:016x}"),
    }
}

/// Now, as Leases have it: with all six digits of the microseconds.
fn date() -> String {
    let now = OffsetDateTime::now_utc();
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
        now.year(),
        u8::from(now.month()),
        now.day(),
        now.hour(),
        now.minute(),
        now.second(),
        now.microsecond()
    )
}
