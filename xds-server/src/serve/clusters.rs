//! Registries that are in no file: clusters that a configured cluster knows of. They come and go while the server runs, and are
//! remembered by name, so that a restart serves what they had last until they are found again.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;
use bowline_kubernetes::{Facts, FoundClusters, RemoteClusters, SecretFacts, Writing};
use bowline_mesh::{MeshSettings, RegistryId, RegistrySettings};
use bowline_state::{Prefix, Store, WriteBehind, Writes};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    config::{KubernetesConfig, RegistryConfig, RegistrySource},
    pipeline::PipelineHandle,
};

/// The area of the state store with the names of found clusters, by the registry that knows of them.
const AREA: &str = "remote-clusters";
/// How often it is looked which clusters there are.
const EVERY: Duration = Duration::from_secs(5);

/// What the configuration says of the mesh and its registries.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Configured {
    pub(super) mesh: MeshSettings,
    pub(super) registries: Vec<RegistryConfig>,
}

/// What is known of the clusters that each registry knows of.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Their names, also before they are found after a start.
    names: BTreeMap<RegistryId, Vec<RegistryId>>,
    /// How they are reached.
    found: BTreeMap<RegistryId, FoundClusters>,
}

/// Puts configured and found registries in place.
#[derive(Debug)]
pub(super) struct Clusters {
    pub(super) configured: watch::Receiver<Configured>,
    pub(super) known: Known,
    pub(super) pipeline: PipelineHandle,
    pub(super) registries: watch::Sender<Vec<RegistryConfig>>,
    pub(super) writer: WriteBehind,
}

/// A configured cluster that is asked for others.
struct Asked {
    source: RegistrySource,
    cancelled: CancellationToken,
}

impl Known {
    /// The names that are remembered.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) fn load(store: &dyn Store, registries: &[RegistryConfig]) -> anyhow::Result<Self> {
        let mut names = BTreeMap::new();
        for hub in registries {
            let id = &hub.settings.id;
            if remote_namespace(hub).is_none() {
                continue;
            }
            let listing = store
                .list(&area(id))
                .context("cannot read the names of found clusters")?;
            let keys = listing.entries.iter().map(|(key, _)| key.name());
            let clusters = keys.filter_map(|name| String::from_utf8(name).ok()?.parse().ok());
            names.insert(id.clone(), clusters.collect());
        }
        Ok(Self {
            names,
            found: BTreeMap::new(),
        })
    }

    /// All registries: those of the configuration, and after them the clusters that they know of. The source of a cluster that is only
    /// remembered is not known. The name that somebody else has already is his.
    pub(super) fn all(
        &self,
        registries: &[RegistryConfig],
    ) -> Vec<(RegistrySettings, Option<RegistrySource>)> {
        let mut all: Vec<_> = registries
            .iter()
            .map(|registry| (registry.settings.clone(), Some(registry.source.clone())))
            .collect();
        for hub in registries {
            let RegistrySource::Kubernetes(config) = &hub.source else {
                continue;
            };
            let names = self.names.get(&hub.settings.id);
            for id in names.into_iter().flatten() {
                if all.iter().any(|(settings, _)| settings.id == *id) {
                    continue;
                }
                let found = self.found.get(&hub.settings.id);
                let access = found.and_then(|found| found.get(id));
                let source = access.map(|access| {
                    RegistrySource::Kubernetes(KubernetesConfig {
                        access: access.clone(),
                        // Who writes such Secrets grants no more than reading services and the Gateway API.
                        facts: Facts {
                            ingresses: false,
                            secrets: SecretFacts::none(),
                            ..config.facts.clone()
                        },
                        writing: Writing::Nothing,
                        remote_clusters: None,
                        ..config.clone()
                    })
                });
                let settings = RegistrySettings {
                    id: id.clone(),
                    ..hub.settings.clone()
                };
                all.push((settings, source));
            }
        }
        all
    }
}

impl Clusters {
    /// Follows the configuration and the clusters until the token is cancelled.
    pub(super) async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let (sender, mut found) = mpsc::channel(16);
        let mut asking = JoinSet::new();
        let mut asked: BTreeMap<RegistryId, Asked> = BTreeMap::new();
        // What the server was started with is in place already.
        let mut placed = self.placement();
        loop {
            let configured = self.configured.borrow_and_update().clone();
            self.ask(&configured, &sender, &mut asking, &mut asked, &shutdown);
            let placement = self.placement();
            if placement != placed {
                placed = placement.clone();
                // The store must know a registry before its first event arrives.
                let (mesh, settings) = placement;
                let placed = self.pipeline.configure(mesh.into(), settings).await;
                if placed.is_err() {
                    return Ok(());
                }
            }
            let all = self.known.all(&configured.registries).into_iter();
            let with_source = all.filter_map(|(settings, source)| {
                let source = source?;
                Some(RegistryConfig { settings, source })
            });
            self.registries.send_replace(with_source.collect());
            tokio::select! {
                () = shutdown.cancelled() => break,
                changed = self.configured.changed() => {
                    if changed.is_err() {
                        shutdown.cancelled().await;
                        break;
                    }
                }
                Some((hub, clusters)) = found.recv() => self.take(hub, clusters),
            }
        }
        while asking.join_next().await.is_some() {}
        Ok(())
    }

    fn placement(&self) -> (MeshSettings, Vec<RegistrySettings>) {
        let configured = self.configured.borrow();
        let all = self.known.all(&configured.registries).into_iter();
        let settings = all.map(|(settings, _)| settings).collect();
        (configured.mesh.clone(), settings)
    }

    /// Asks those registries that are to be asked, and no others.
    fn ask(
        &mut self,
        configured: &Configured,
        sender: &mpsc::Sender<(RegistryId, FoundClusters)>,
        asking: &mut JoinSet<()>,
        asked: &mut BTreeMap<RegistryId, Asked>,
        shutdown: &CancellationToken,
    ) {
        let is_asked = |id: &RegistryId, source: &RegistrySource| {
            configured.registries.iter().any(|hub| {
                hub.settings.id == *id && hub.source == *source && remote_namespace(hub).is_some()
            })
        };
        let known = &mut self.known;
        asked.retain(|id, hub| {
            let stays = is_asked(id, &hub.source);
            if !stays {
                hub.cancelled.cancel();
                known.found.remove(id);
            }
            stays
        });
        known.names.retain(|id, _| {
            let mut hubs = configured.registries.iter();
            hubs.any(|hub| hub.settings.id == *id && remote_namespace(hub).is_some())
        });
        for hub in &configured.registries {
            let id = &hub.settings.id;
            let (Some((access, namespace)), false) =
                (remote_namespace(hub), asked.contains_key(id))
            else {
                continue;
            };
            let cancelled = shutdown.child_token();
            let remote = RemoteClusters {
                hub: id.clone(),
                access: access.clone(),
                namespace: namespace.clone(),
                every: EVERY,
            };
            asking.spawn(remote.run(sender.clone(), cancelled.clone()));
            let source = hub.source.clone();
            asked.insert(id.clone(), Asked { source, cancelled });
        }
    }

    fn take(&mut self, hub: RegistryId, clusters: FoundClusters) {
        let configured = self.configured.borrow();
        for id in clusters.keys() {
            let registries = &configured.registries;
            if registries
                .iter()
                .any(|registry| registry.settings.id == *id)
            {
                warn!(registry = %hub, cluster = %id, "a found cluster has the name of a configured registry, and is not watched");
            }
        }
        let names: Vec<_> = clusters.keys().cloned().collect();
        info!(registry = %hub, clusters = names.len(), "clusters found");
        let area = area(&hub);
        let mut writes = Writes::new();
        writes.clear(area.clone());
        for name in &names {
            writes.put(area.key(name.as_str()), Vec::new());
        }
        self.writer.write(writes);
        self.known.names.insert(hub.clone(), names);
        self.known.found.insert(hub, clusters);
    }
}

fn area(hub: &RegistryId) -> Prefix {
    Prefix::of(AREA).child(hub.as_str())
}

/// How a registry is asked for other clusters, and in which namespace, if it is to be.
fn remote_namespace(
    registry: &RegistryConfig,
) -> Option<(&bowline_kubernetes::Access, &bowline_mesh::Namespace)> {
    match &registry.source {
        RegistrySource::Kubernetes(config) => {
            Some((&config.access, config.remote_clusters.as_ref()?))
        }
        RegistrySource::Inventory(_) | RegistrySource::Manifests(_) | RegistrySource::Consul(_) => {
            None
        }
    }
}
