//! The API server, and what is written to it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bowline_harness::kubernetes::ApiServer;
use futures_util::{StreamExt, stream};
use http::{Method, Request, StatusCode, header};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use super::{
    rollout::Write,
    scale::{Pods, Scale},
};

/// An API server with a client of ours.
#[derive(Debug)]
pub struct Api {
    kubeconfig: PathBuf,
    client: ApiClient,
    double: Option<ApiServer>,
}

/// A client that shows nothing of its credentials.
struct ApiClient(Client);

impl std::fmt::Debug for ApiClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiClient")
    }
}

/// Requests that are under way at the same time.
const CONCURRENT: usize = 64;
const MERGE_PATCH: &str = "application/merge-patch+json";

impl Api {
    /// The API server of a kubeconfig; without one, the double in this process.
    ///
    /// # Errors
    /// When there is none.
    pub async fn open(kubeconfig: Option<&Path>) -> Result<Self> {
        let (kubeconfig, double) = match kubeconfig {
            Some(path) => (std::path::absolute(path)?, None),
            None => {
                let double = ApiServer::start().await?;
                (double.kubeconfig(), Some(double))
            }
        };
        let read = Kubeconfig::read_from(&kubeconfig)
            .with_context(|| format!("cannot read {}", kubeconfig.display()))?;
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        Ok(Self {
            kubeconfig,
            client: ApiClient(Client::try_from(config)?),
            double,
        })
    }

    /// The path of its kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Makes all objects. Those that are there already stay as they are.
    ///
    /// # Errors
    /// When one is refused.
    pub async fn fill(&self, scale: Scale, pods: Pods) -> Result<()> {
        if let Some(double) = &self.double {
            return double.apply_all(scale.objects(pods));
        }
        // One kind after the other: what is in a namespace needs it.
        let mut kind = Value::Null;
        let mut group: Vec<Value> = Vec::new();
        for object in scale.objects(pods) {
            let next = object.get("kind").cloned().unwrap_or_default();
            if next != kind || group.len() == CONCURRENT * 16 {
                self.create_all(std::mem::take(&mut group)).await?;
                kind = next;
            }
            group.push(object);
        }
        self.create_all(group).await
    }

    /// Writes a service's slice with a marker.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn mark(&self, scale: Scale, service: usize, marker: u16) -> Result<()> {
        let slice = scale.slice(service, Some(marker));
        self.write(Write::Endpoints(slice)).await
    }

    /// Writes what a controller would.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn write(&self, write: Write) -> Result<()> {
        match write {
            Write::Create(object) => self.create(object).await,
            Write::Endpoints(slice) => {
                let patch = json!({"endpoints": slice.get("endpoints")});
                let path = path(&slice, Of::Object)?;
                let written = self.send(Method::PATCH, &path, MERGE_PATCH, &patch);
                written.await.map(drop)
            }
            Write::Delete(object) => {
                // A kubelet would say that nothing of it is left.
                let at_once = json!({"gracePeriodSeconds": 0});
                let path = path(&object, Of::Object)?;
                let deleted = self.send(Method::DELETE, &path, "application/json", &at_once);
                deleted.await.map(drop)
            }
        }
    }

    async fn create_all(&self, objects: Vec<Value>) -> Result<()> {
        let mut creating = stream::iter(objects)
            .map(|object| self.create(object))
            .buffer_unordered(CONCURRENT);
        while let Some(created) = creating.next().await {
            created?;
        }
        Ok(())
    }

    async fn create(&self, mut object: Value) -> Result<()> {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            // Whose fields they are is for the server to say; owners that are not there would have it collected.
            metadata.remove("managedFields");
            metadata.remove("ownerReferences");
        }
        let collection = path(&object, Of::Collection)?;
        let status = self
            .send(Method::POST, &collection, "application/json", &object)
            .await?;
        if status == StatusCode::CONFLICT || object.get("kind") != Some(&json!("Pod")) {
            return Ok(());
        }
        // A pod's status is not taken with the pod.
        let patch = json!({"status": object.get("status")});
        let path = format!("{}/status", path(&object, Of::Object)?);
        self.send(Method::PATCH, &path, MERGE_PATCH, &patch)
            .await
            .map(drop)
    }

    /// That something is there already is no error.
    async fn send(
        &self,
        method: Method,
        path: &str,
        content: &str,
        body: &Value,
    ) -> Result<StatusCode> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, content)
            .body(body.to_string().into_bytes())?;
        match self.client.0.request_text(request).await {
            Ok(_) => Ok(StatusCode::OK),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(StatusCode::CONFLICT),
            Err(error) => Err(error).with_context(|| format!("{path} was not written")),
        }
    }
}

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Object,
    Collection,
}

fn path(object: &Value, of: Of) -> Result<String> {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str);
    let kind = text("/kind").context("an object has no kind")?;
    let name = text("/metadata/name").context("an object has no name")?;
    let namespace = text("/metadata/namespace").unwrap_or_default();
    let collection = match kind {
        "Namespace" => "/api/v1/namespaces".to_owned(),
        "Node" => "/api/v1/nodes".to_owned(),
        "EndpointSlice" => {
            format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices")
        }
        kind => format!(
            "/api/v1/namespaces/{namespace}/{}s",
            kind.to_ascii_lowercase()
        ),
    };
    Ok(match of {
        Of::Object => format!("{collection}/{name}"),
        Of::Collection => collection,
    })
}
