//! Sending statuses, one after the other, at a bounded pace.

use std::{collections::BTreeMap, time::Duration};

use bowline_manifests::{ManifestKind, ManifestName, Status};
use bowline_mesh::{PartState, RegistryId};
use http::Method;
use kube::Client;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use super::{Health, Leadership, Seen, Timing, election::state_of, leads, merged};
use crate::{
    access::Clients,
    api::{self, ApiError},
};

/// Between two writes: no more than 50 a second.
const PACE: Duration = Duration::from_millis(20);
/// How often one write is tried. What is left is found again by the next look at everything.
const ATTEMPTS: u32 = 5;
/// After a failure. Each further one doubles it.
const PAUSE: Duration = Duration::from_millis(200);
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// A status that differs from what the cluster has.
#[derive(Debug)]
pub(crate) struct StatusWrite {
    pub(crate) name: ManifestName,
    pub(crate) status: Status,
    /// What the cluster has, as far as it is known.
    pub(crate) seen: Seen,
}

/// Sends what it is given.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) registry: RegistryId,
    pub(crate) clients: Clients,
    pub(crate) leadership: Leadership,
    pub(crate) writes: mpsc::Receiver<Vec<StatusWrite>>,
    pub(crate) health: Health,
    pub(crate) timing: Timing,
}

impl Writer {
    /// Sends until nobody gives it anything any more.
    pub(crate) async fn run(mut self) {
        let mut denied: BTreeMap<ManifestKind, Instant> = BTreeMap::new();
        while let Some(batch) = self.writes.recv().await {
            for write in batch {
                let kind = write.name.kind;
                if denied
                    .get(&kind)
                    .is_some_and(|until| Instant::now() < *until)
                {
                    continue;
                }
                match self.write(write).await {
                    Ok(()) => {
                        denied.remove(&kind);
                        if denied.is_empty() {
                            self.health.well();
                        }
                    }
                    Err(error) => {
                        if let ApiError::Denied(_) = &error {
                            denied.insert(kind, Instant::now() + self.timing.denied);
                        }
                        self.failed(kind, &error);
                    }
                }
                sleep(PACE).await;
            }
        }
    }

    fn failed(&self, kind: ManifestKind, error: &ApiError) {
        let text = match error {
            ApiError::Denied(message) => format!(
                "denied: {message} (grant get and patch of {}/status in {}, or set `status: {{write: false}}`)",
                kind.plural(),
                kind.group()
            ),
            other => format!("status of {}: {other}", kind.plural()),
        };
        let state: PartState = state_of(error);
        if self.health.failed(state, &text) {
            tracing::warn!(registry = %self.registry, error = text, "statuses are not written");
        }
    }

    async fn write(&mut self, write: StatusWrite) -> Result<(), ApiError> {
        let StatusWrite {
            name,
            status,
            mut seen,
        } = write;
        let mut versions = name.kind.versions().iter().peekable();
        let mut pause = PAUSE;
        let mut result = Ok(());
        for _ in 0..ATTEMPTS {
            let Some(version) = versions.peek() else {
                return Ok(());
            };
            let Some(patch) = merged(&name, &status, &seen, &date()) else {
                return Ok(());
            };
            let newest = self.clients.newest().await;
            let Some(Ok(client)) = &newest.client else {
                sleep(pause).await;
                continue;
            };
            // Whoever leads now would write the same, but only one should.
            if !leads(&self.leadership) {
                return Ok(());
            }
            let path = format!("{}/status", path(&name, version));
            let error = match self::patch(client, &path, &seen, patch).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            tracing::debug!(registry = %self.registry, object = %name, %error, "a status is not written");
            match &error {
                // It is gone, or not of this version of the API.
                ApiError::Missing => {
                    versions.next();
                    continue;
                }
                ApiError::Refused { code: 409, .. } => match newest_of(client, &path).await {
                    // The mesh will hear of what is new in it, too. What it said before must not be said of it.
                    Ok(found) if found.generation != seen.generation => return Ok(()),
                    Ok(found) => {
                        seen = found;
                        continue;
                    }
                    Err(ApiError::Missing) => return Ok(()),
                    Err(error) => return Err(error),
                },
                ApiError::Denied(_) | ApiError::Garbled(_) | ApiError::Expired => {
                    return Err(error);
                }
                ApiError::Refused { code, .. } if *code < 500 && *code != 429 => return Err(error),
                ApiError::Unauthorized(_) | ApiError::Unreachable(_) => {
                    self.clients.renew(newest.generation);
                }
                ApiError::Refused { .. } => {}
            }
            result = Err(error);
            sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
        result
    }
}

/// Writes what differs, if the object is still the one that was seen.
async fn patch(client: &Client, path: &str, seen: &Seen, status: Value) -> Result<(), ApiError> {
    let patch = json!({
        "metadata": {"resourceVersion": &*seen.version},
        "status": status,
    });
    api::write(client, Method::PATCH, path, &patch).await?;
    Ok(())
}

async fn newest_of(client: &Client, path: &str) -> Result<Seen, ApiError> {
    let body = api::get(client, path, BYTES_MAX).await?;
    let text = String::from_utf8(body).unwrap_or_default();
    Seen::read(&text).ok_or_else(|| ApiError::Garbled(format!("{path} has no version")))
}

fn path(name: &ManifestName, version: &str) -> String {
    let ManifestName {
        kind,
        namespace,
        name,
    } = name;
    let group = kind.group();
    let plural = kind.plural();
    match namespace {
        Some(namespace) => {
            format!("/apis/{group}/{version}/namespaces/{namespace}/{plural}/{name}")
        }
        None => format!("/apis/{group}/{version}/{plural}/{name}"),
    }
}

/// Now, as conditions have it: to the second.
fn date() -> String {
    let now = OffsetDateTime::now_utc();
    let second = now.replace_nanosecond(0).unwrap_or(now);
    second.format(&Rfc3339).unwrap_or_default()
}
