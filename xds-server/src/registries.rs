//! Running adapters: one task a registry, started, changed and stopped as the configuration says.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use bowline_consul::{Consul, ConsulSettings};
use bowline_document::files::Pace;
use bowline_inventory::Inventory;
use bowline_kubernetes::{Kubernetes, Pace as RetryPace, Statuses, Timing, Writing};
use bowline_manifests::Manifests;
use bowline_mesh::{
    Change, LastGood, Object, RegistryEvent, RegistryId, RegistryPart, RegistrySettings, Served,
};
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::config::{KubernetesConfig, RegistryConfig, RegistrySource};

/// How long commands that work offline wait for what is not a file.
const LOAD_PATIENCE: Duration = Duration::from_secs(30);
/// After an adapter broke, before it is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(5);

/// Reads a registry once, without watching it: for commands that work offline.
pub fn load(registry: &RegistryConfig) -> RegistryEvent {
    let RegistryConfig { settings, source } = registry.clone();
    match source {
        RegistrySource::Inventory(path) => inventory(settings, path, Vec::new()).load(),
        RegistrySource::Manifests(paths) => manifests(settings, paths, Vec::new()).load(),
        RegistrySource::Kubernetes(config) => {
            let registry = settings.id.clone();
            let parts = watch::Sender::default();
            let cluster = kubernetes(settings, config, LastGood::default(), parts, None);
            asked(registry, cluster.load())
        }
        RegistrySource::Consul(config) => {
            let registry = settings.id.clone();
            asked(registry, load_consul(settings, config))
        }
    }
}

/// Waits for what a registry answers, where there is no runtime yet.
fn asked(registry: RegistryId, answer: impl Future<Output = RegistryEvent>) -> RegistryEvent {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(answer),
        Err(error) => failing(registry, format!("it cannot be asked: {error}")),
    }
}

/// The first thing that it says.
async fn load_consul(settings: RegistrySettings, config: ConsulSettings) -> RegistryEvent {
    let registry = settings.id.clone();
    let (sender, mut events) = mpsc::channel(1);
    let adapter = Consul {
        settings,
        consul: config,
        last_good: LastGood::default(),
        parts: watch::Sender::default(),
    };
    let running = adapter.run(sender, CancellationToken::new());
    tokio::select! {
        () = running => failing(registry, "its adapter ended by itself".to_owned()),
        Some(event) = events.recv() => event,
        () = tokio::time::sleep(LOAD_PATIENCE) => {
            failing(registry, format!("no answer within {} s", LOAD_PATIENCE.as_secs()))
        }
    }
}

fn failing(registry: RegistryId, error: String) -> RegistryEvent {
    RegistryEvent {
        registry,
        change: Change::Failing { error },
        problems: Vec::new(),
    }
}

/// What adapters report of the parts of their registries, for whoever lists them.
#[derive(Debug, Clone, Default)]
pub struct Reports(Arc<Mutex<BTreeMap<RegistryId, watch::Receiver<Vec<RegistryPart>>>>>);

impl Reports {
    /// Of one registry; nothing where it has no parts.
    pub fn of(&self, registry: &RegistryId) -> Vec<RegistryPart> {
        let receivers = self.0.lock();
        let receiver = receivers.get(registry);
        receiver.map_or_else(Vec::new, |receiver| receiver.borrow().clone())
    }

    fn follow(&self, registry: RegistryId, parts: watch::Receiver<Vec<RegistryPart>>) {
        self.0.lock().insert(registry, parts);
    }

    fn forget(&self, registry: &RegistryId) {
        self.0.lock().remove(registry);
    }
}

/// What is served, for adapters that tell their registries of it.
pub type ServedNow = watch::Receiver<Option<Served>>;

/// Runs the adapters of the newest configuration until the token is cancelled, and then until all have ended. `last_good` is what was
/// saved of each registry before the start.
///
/// # Errors
/// Never: an adapter that breaks is reported as failing and started again.
pub async fn run(
    mut configured: watch::Receiver<Vec<RegistryConfig>>,
    mut last_good: BTreeMap<RegistryId, LastGood>,
    events: mpsc::Sender<RegistryEvent>,
    served: ServedNow,
    reports: Reports,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut running: BTreeMap<RegistryId, Adapter> = BTreeMap::new();
    loop {
        let registries = configured.borrow_and_update().clone();
        let gone: Vec<RegistryId> = running
            .iter()
            .filter(|(_, adapter)| !registries.iter().any(|registry| adapter.is_for(registry)))
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            if let Some(adapter) = running.remove(&id) {
                // Its last word must not come after the first of its successor.
                adapter.stop().await;
                reports.forget(&id);
                info!(registry = %id, "stopped watching");
            }
        }
        for registry in registries {
            let id = registry.settings.id.clone();
            let saved = last_good.remove(&id).unwrap_or_default();
            running.entry(id).or_insert_with(|| {
                Adapter::start(
                    registry,
                    saved,
                    events.clone(),
                    served.clone(),
                    &reports,
                    &shutdown,
                )
            });
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            changed = configured.changed() => {
                if changed.is_err() {
                    shutdown.cancelled().await;
                    break;
                }
            }
        }
    }
    for (_, adapter) in running {
        adapter.stop().await;
    }
    Ok(())
}

fn inventory(settings: RegistrySettings, path: PathBuf, last_good: Vec<Object>) -> Inventory {
    Inventory {
        settings,
        path,
        last_good,
        pace: Pace::default(),
    }
}

fn manifests(settings: RegistrySettings, paths: Vec<PathBuf>, last_good: Vec<Object>) -> Manifests {
    Manifests {
        settings,
        paths,
        last_good,
        pace: Pace::default(),
    }
}

fn kubernetes(
    settings: RegistrySettings,
    config: KubernetesConfig,
    last_good: LastGood,
    parts: watch::Sender<Vec<RegistryPart>>,
    served: Option<ServedNow>,
) -> Kubernetes {
    let KubernetesConfig {
        access,
        facts,
        ignored_namespaces,
        writing,
        remote_clusters: _,
    } = config;
    let statuses = match (writing, served) {
        (Writing::Statuses { lease_namespace }, Some(served)) => Some(Statuses {
            served,
            lease_namespace,
            timing: Timing::default(),
        }),
        (Writing::Statuses { .. } | Writing::Nothing, _) => None,
    };
    Kubernetes {
        settings,
        access,
        facts,
        ignored_namespaces,
        last_good,
        statuses,
        pace: RetryPace::default(),
        parts,
    }
}

/// A running adapter.
struct Adapter {
    registry: RegistryConfig,
    task: JoinSet<()>,
    cancelled: CancellationToken,
}

impl Adapter {
    fn start(
        registry: RegistryConfig,
        last_good: LastGood,
        events: mpsc::Sender<RegistryEvent>,
        served: ServedNow,
        reports: &Reports,
        shutdown: &CancellationToken,
    ) -> Self {
        info!(registry = %registry.settings.id, source = %registry.source, "watching");
        let cancelled = shutdown.child_token();
        let parts = watch::Sender::default();
        reports.follow(registry.settings.id.clone(), parts.subscribe());
        let mut task = JoinSet::new();
        task.spawn(keep_running(
            registry.clone(),
            last_good,
            events,
            served,
            parts,
            cancelled.clone(),
        ));
        Self {
            registry,
            task,
            cancelled,
        }
    }

    /// Whether it need not be started anew. What only the store looks at (permissions, the guard) does not count.
    fn is_for(&self, registry: &RegistryConfig) -> bool {
        let naming = |settings: &RegistrySettings| {
            let RegistrySettings {
                id,
                trust_domain,
                domain,
                namespace,
                hostname_template,
                network,
                locality,
                allowed_namespaces: _,
                allowed_hostnames: _,
                policies_for_mesh: _,
                guard: _,
            } = settings.clone();
            (
                id,
                trust_domain,
                domain,
                namespace,
                hostname_template,
                network,
                locality,
            )
        };
        self.registry.source == registry.source
            && naming(&self.registry.settings) == naming(&registry.settings)
    }

    async fn stop(mut self) {
        self.cancelled.cancel();
        while self.task.join_next().await.is_some() {}
    }
}

/// Runs an adapter, again and again if it breaks.
async fn keep_running(
    registry: RegistryConfig,
    mut last_good: LastGood,
    events: mpsc::Sender<RegistryEvent>,
    served: ServedNow,
    parts: watch::Sender<Vec<RegistryPart>>,
    cancelled: CancellationToken,
) {
    let id = registry.settings.id.clone();
    while !cancelled.is_cancelled() {
        let mut task = JoinSet::new();
        task.spawn(run_once(
            registry.clone(),
            std::mem::take(&mut last_good),
            events.clone(),
            served.clone(),
            parts.clone(),
            cancelled.clone(),
        ));
        let ended = task.join_next().await;
        if cancelled.is_cancelled() {
            return;
        }
        let error = match ended {
            Some(Err(error)) => format!("its adapter broke ({error}); it is started again"),
            Some(Ok(())) | None => "its adapter ended by itself; it is started again".to_owned(),
        };
        error!(registry = %id, error, "an adapter must never end: please report this");
        if events.send(failing(id.clone(), error)).await.is_err() {
            return;
        }
        tokio::select! {
            () = cancelled.cancelled() => return,
            () = tokio::time::sleep(RESTART_PAUSE) => {}
        }
    }
}

async fn run_once(
    registry: RegistryConfig,
    last_good: LastGood,
    events: mpsc::Sender<RegistryEvent>,
    served: ServedNow,
    parts: watch::Sender<Vec<RegistryPart>>,
    cancelled: CancellationToken,
) {
    let RegistryConfig { settings, source } = registry;
    match source {
        RegistrySource::Inventory(path) => {
            inventory(settings, path, last_good.objects)
                .run(events, cancelled)
                .await;
        }
        RegistrySource::Manifests(paths) => {
            manifests(settings, paths, last_good.objects)
                .run(events, cancelled)
                .await;
        }
        RegistrySource::Kubernetes(config) => {
            kubernetes(settings, config, last_good, parts, Some(served))
                .run(events, cancelled)
                .await;
        }
        RegistrySource::Consul(config) => {
            let consul = Consul {
                settings,
                consul: config,
                last_good,
                parts,
            };
            consul.run(events, cancelled).await;
        }
    }
}
