//! Other clusters that one cluster knows: kubeconfigs in Secrets, as `istioctl create-remote-secret` writes them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bowline_mesh::{Namespace, RegistryId};
use serde::Deserialize;
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    Access,
    api::{self, ApiError, Collection, Shown},
};

/// What such Secrets are labelled with.
const SELECTOR: &str = "labelSelector=istio%2FmultiCluster%3Dtrue";
/// More clusters than one server can watch.
const SECRETS_MAX: usize = 1_000;

/// Where a cluster knows of others.
#[derive(Debug, Clone)]
pub struct RemoteClusters {
    /// The registry whose cluster has the Secrets.
    pub hub: RegistryId,
    /// How its API server is reached.
    pub access: Access,
    /// The namespace of the Secrets. In no other are any read.
    pub namespace: Namespace,
    /// How often they are looked at.
    pub every: Duration,
}

/// The clusters that were found, by name.
pub type FoundClusters = BTreeMap<RegistryId, Access>;

#[derive(Deserialize)]
struct Secret {
    metadata: SecretMetadata,
    #[serde(default)]
    data: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct SecretMetadata {
    name: String,
}

impl RemoteClusters {
    /// Says which clusters there are whenever that changes, until it is told to end or nobody listens any more. While the Secrets cannot be
    /// read, nothing is said.
    pub async fn run(
        self,
        found: mpsc::Sender<(RegistryId, FoundClusters)>,
        shutdown: CancellationToken,
    ) {
        let _ = shutdown.run_until_cancelled(self.follow(&found)).await;
    }

    async fn follow(&self, found: &mpsc::Sender<(RegistryId, FoundClusters)>) {
        let mut last = None;
        let mut last_error = None;
        let mut last_wrong = BTreeSet::new();
        loop {
            match self.look().await {
                Ok((clusters, wrong)) => {
                    for reason in wrong.difference(&last_wrong) {
                        tracing::warn!(registry = %self.hub, reason, "a Secret with clusters is not used");
                    }
                    last_wrong = wrong;
                    last_error = None;
                    if last.as_ref() != Some(&clusters) {
                        last = Some(clusters.clone());
                        if found.send((self.hub.clone(), clusters)).await.is_err() {
                            return;
                        }
                    }
                }
                Err(error) => {
                    if last_error.as_ref() != Some(&error) {
                        tracing::warn!(registry = %self.hub, error, "the Secrets with other clusters cannot be read; the clusters of before stay");
                    }
                    last_error = Some(error);
                }
            }
            sleep(self.every).await;
        }
    }

    /// The clusters that are there, and why some are not used.
    async fn look(&self) -> Result<(FoundClusters, BTreeSet<String>), String> {
        let client = self.access.client().await;
        let client = client.map_err(|error| error.to_string())?;
        let secrets = Collection {
            path: format!("/api/v1/namespaces/{}/secrets", self.namespace),
            selector: Some(SELECTOR),
            shown: Shown::Whole,
        };
        let mut clusters = FoundClusters::new();
        let mut wrong = BTreeSet::new();
        let mut count = 0_usize;
        let listed = api::list(&client, &secrets, |json| {
            count += 1;
            if count <= SECRETS_MAX {
                take(json, &mut clusters, &mut wrong);
            }
        });
        match listed.await {
            Ok(_) => Ok((clusters, wrong)),
            Err(ApiError::Denied(message)) => Err(format!(
                "denied: {message} (grant list of secrets in the namespace {})",
                self.namespace
            )),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The clusters of one Secret. Of several with one name the first Secret by name has it, which is the order of lists.
fn take(json: &str, clusters: &mut FoundClusters, wrong: &mut BTreeSet<String>) {
    let secret: Secret = match serde_json::from_str(json) {
        Ok(secret) => secret,
        // The error may show what is secret.
        Err(_) => {
            wrong.insert("a Secret is not of the form of one".to_owned());
            return;
        }
    };
    let name = secret.metadata.name;
    for (cluster, kubeconfig) in secret.data.unwrap_or_default() {
        let id = match cluster.parse::<RegistryId>() {
            Ok(id) => id,
            Err(error) => {
                wrong.insert(format!("{name}: {error}"));
                continue;
            }
        };
        let text = STANDARD
            .decode(kubeconfig.as_bytes())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        match text {
            Some(_) if clusters.contains_key(&id) => {
                wrong.insert(format!("{name}: another Secret has a cluster {id} too"));
            }
            Some(text) => {
                clusters.insert(id, Access::Given(Arc::from(text)));
            }
            None => {
                wrong.insert(format!("{name}: {id} is not the base64 of a text"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_name_clusters_and_what_is_wrong_with_them_is_said_without_showing_it() {
        let secret = |name: &str, data: &str| {
            format!(r#"{{"metadata": {{"name": "{name}"}}, "data": {data}}}"#)
        };
        let mut clusters = FoundClusters::new();
        let mut wrong = BTreeSet::new();
        for json in [
            secret("a", r#"{"east": "a3ViZWNvbmZpZw=="}"#),
            secret("b", r#"{"east": "bm8=", "West!": "bm8=", "north": "***"}"#),
            secret("c", "null"),
            secret("d", r#"{"south": 7}"#),
            "[]".to_owned(),
        ] {
            take(&json, &mut clusters, &mut wrong);
        }
        let names: Vec<_> = clusters.keys().map(RegistryId::as_str).collect();
        assert_eq!(names, ["east"]);
        assert_eq!(wrong.len(), 4, "{wrong:?}");
        let shown = format!("{clusters:?} {wrong:?}");
        assert!(
            !shown.contains("kubeconfig\"") && !shown.contains("***"),
            "{shown}"
        );
    }
}
