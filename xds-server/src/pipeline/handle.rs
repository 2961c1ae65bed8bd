//! How the rest of the program speaks to the pipeline.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use bowline_mesh::{
    Mesh, MeshSettings, Problem, Proxy, RegistryId, RegistrySettings, RegistryStatus, Served,
};
use bowline_snapshot::{Snapshot, SnapshotReceiver};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

/// What the pipeline shows to everybody, as one value.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) mesh: Mesh,
    pub(super) registries: Vec<RegistryStatus>,
    pub(super) blockers: Vec<Blocker>,
}

/// Something that keeps the server from being ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocker {
    /// What, such as `registry vms`.
    pub name: String,
    /// Why, and what happens meanwhile.
    pub reason: String,
}

/// A layer that is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerStatus {
    /// Its name.
    pub name: String,
    /// Resources in it.
    pub resources: usize,
    /// Their encodings' size, as if nothing were shared with other layers.
    pub bytes: usize,
    /// Streams that read it.
    pub readers: usize,
}

/// Requests to the writer.
#[derive(Debug)]
pub(super) enum Command {
    Open {
        proxy: Box<Proxy>,
        reply: oneshot::Sender<Opening>,
    },
    Configure {
        settings: Arc<MeshSettings>,
        registries: Vec<RegistrySettings>,
        reply: oneshot::Sender<()>,
    },
    Release {
        registry: RegistryId,
        reply: oneshot::Sender<bool>,
    },
    Problems {
        reply: oneshot::Sender<Vec<Problem>>,
    },
    Layers {
        reply: oneshot::Sender<Vec<LayerStatus>>,
    },
    Snapshot {
        proxy: Arc<str>,
        reply: oneshot::Sender<Option<Snapshot>>,
    },
}

/// A stream's place at the pipeline.
#[derive(Debug)]
pub struct Opening {
    /// The stream's snapshots. Dropping it gives the place up.
    pub snapshots: SnapshotReceiver,
}

/// The pipeline has ended: the process is shutting down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PipelineEnded;

impl fmt::Display for PipelineEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server is shutting down")
    }
}

impl std::error::Error for PipelineEnded {}

/// A handle on the pipeline. Reading what it shows costs nothing; asking it takes a place in its queue.
#[derive(Debug, Clone)]
pub struct PipelineHandle {
    pub(super) shown: Arc<ArcSwap<Shown>>,
    pub(super) served: watch::Receiver<Option<Served>>,
    pub(super) commands: mpsc::Sender<Command>,
}

impl PipelineHandle {
    /// The mesh as it is now.
    pub fn mesh(&self) -> Mesh {
        self.shown.load().mesh.clone()
    }

    /// How every registry is doing, in the order in which they win.
    pub fn registries(&self) -> Vec<RegistryStatus> {
        self.shown.load().registries.clone()
    }

    /// What keeps the server from being ready; empty when it is.
    pub fn readiness(&self) -> Vec<Blocker> {
        self.shown.load().blockers.clone()
    }

    /// What is served, from when the server is ready.
    pub fn served(&self) -> watch::Receiver<Option<Served>> {
        self.served.clone()
    }

    /// A place for a stream of a proxy. Its first snapshot comes when the server is ready and the proxy's layers are built.
    ///
    /// # Errors
    /// When the pipeline has ended.
    pub async fn open(&self, proxy: Proxy) -> Result<Opening, PipelineEnded> {
        let proxy = Box::new(proxy);
        self.ask(|reply| Command::Open { proxy, reply }).await
    }

    /// Takes over a changed configuration.
    ///
    /// # Errors
    /// When the pipeline has ended.
    pub async fn configure(
        &self,
        settings: Arc<MeshSettings>,
        registries: Vec<RegistrySettings>,
    ) -> Result<(), PipelineEnded> {
        self.ask(|reply| Command::Configure {
            settings,
            registries,
            reply,
        })
        .await
    }

    /// Believes a loss of endpoints that the guard holds back. Says whether there was one.
    ///
    /// # Errors
    /// When the pipeline has ended.
    pub async fn release(&self, registry: RegistryId) -> Result<bool, PipelineEnded> {
        self.ask(|reply| Command::Release { registry, reply }).await
    }

    /// All problems: of registries, of the mesh, of translation.
    ///
    /// # Errors
    /// When the pipeline has ended.
    pub async fn problems(&self) -> Result<Vec<Problem>, PipelineEnded> {
        let mut problems = self.ask(|reply| Command::Problems { reply }).await?;
        let mesh = self.mesh();
        problems.extend(mesh.problems());
        Ok(mesh.located(problems))
    }

    /// All layers that are served.
    ///
    /// # Errors
    /// When the pipeline has ended.
    pub async fn layers(&self) -> Result<Vec<LayerStatus>, PipelineEnded> {
        self.ask(|reply| Command::Layers { reply }).await
    }

    /// What a connected proxy is served; `None` where none of that node id is connected, or nothing is built for it yet.
    ///
    /// # Errors
    /// When the pipeline has ended.
    pub async fn snapshot_of(&self, proxy: &str) -> Result<Option<Snapshot>, PipelineEnded> {
        self.ask(|reply| Command::Snapshot {
            proxy: proxy.into(),
            reply,
        })
        .await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, PipelineEnded> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(command(reply))
            .await
            .map_err(|_| PipelineEnded)?;
        answer.await.map_err(|_| PipelineEnded)
    }
}
