//! The writer's loop.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use arc_swap::ArcSwap;
use bowline_mesh::{
    Applied, Change, MeshSettings, MeshStore, Problem, RegistryEvent, RegistryId, RegistrySettings,
    RegistryState,
    view::{EndpointsKey, ViewKey},
};
use bowline_snapshot::{Body, Layer, LayerName, Publisher, Snapshot};
use bowline_translate::layers::{EndpointLayers, StructureLayers};
use prometheus_client::metrics::histogram::Histogram;
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    Births, Blocker, Connected, LayerStatus, Opening, PipelineHandle, Saved,
    connections::{layer_name, layer_names},
    handle::{Command, Shown},
    job::{Built, Job, Pending},
    standing::Standing,
};

/// Events and commands that wait for the writer. Whoever sends more waits.
const QUEUE_MAX: usize = 1024;
/// Events that are applied before anything is published, so that a burst becomes one generation.
const BATCH_MAX: usize = 256;
/// How often ended streams are swept up and time limits are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often registries that are live, but have nothing to say, are noted as seen in the state store.
const SEEN_EVERY: Duration = Duration::from_secs(60);

/// What the pipeline must know besides the mesh.
#[derive(Debug, Clone, Copy)]
pub struct PipelineSettings {
    /// After this time it serves what it has, even if registries have not answered.
    pub start_timeout: Duration,
    /// How long a layer that nobody reads is kept, so that a proxy that reconnects finds it.
    pub linger: Duration,
}

/// The single writer. Run it once.
#[derive(Debug)]
pub struct Pipeline {
    events: mpsc::Receiver<RegistryEvent>,
    commands: mpsc::Receiver<Command>,
    writer: Writer,
}

/// A pipeline over a store, the handle on it, and where registries send their events.
pub fn pipeline(
    store: MeshStore,
    saved: Option<Saved>,
    settings: PipelineSettings,
    births: Births,
) -> (Pipeline, PipelineHandle, mpsc::Sender<RegistryEvent>) {
    let (event_sender, events) = mpsc::channel(QUEUE_MAX);
    let (command_sender, commands) = mpsc::channel(QUEUE_MAX);
    let shown = Arc::new(ArcSwap::from_pointee(Shown {
        mesh: store.mesh().clone(),
        registries: store.registries(),
        blockers: Vec::new(),
    }));
    let writer = Writer {
        store,
        saved,
        settings,
        births,
        build_times: None,
        publisher: Publisher::new(),
        connected: Connected::default(),
        endpoints: EndpointLayers::default(),
        structure: Some(StructureLayers::default()),
        structure_problems: Vec::new(),
        built: BTreeSet::new(),
        built_keys: 0,
        pending: Pending::default(),
        job: None,
        stale: BTreeSet::new(),
        since_job: BTreeSet::new(),
        started: Instant::now(),
        is_ready: false,
        seen: Instant::now(),
        retirement: None,
        shown: shown.clone(),
    };
    writer.show();
    let handle = PipelineHandle {
        shown,
        commands: command_sender,
    };
    (
        Pipeline {
            events,
            commands,
            writer,
        },
        handle,
        event_sender,
    )
}

#[derive(Debug)]
struct Writer {
    store: MeshStore,
    saved: Option<Saved>,
    settings: PipelineSettings,
    births: Births,
    build_times: Option<Histogram>,
    publisher: Publisher,
    connected: Connected,
    endpoints: EndpointLayers,
    /// `None` while the job has it.
    structure: Option<StructureLayers>,
    structure_problems: Vec<Problem>,
    /// Keys whose layers are published.
    built: BTreeSet<ViewKey>,
    /// The version of the keys in use that the last job was given.
    built_keys: u64,
    pending: Pending,
    job: Option<JoinHandle<Built>>,
    /// Assignments whose clusters the next structure takes away.
    stale: BTreeSet<Arc<str>>,
    /// Services whose endpoints changed since the running job took its mesh.
    since_job: BTreeSet<bowline_mesh::Hostname>,
    started: Instant,
    is_ready: bool,
    seen: Instant,
    /// Registries that are gone from the configuration and wait for their successors.
    retirement: Option<Retirement>,
    shown: Arc<ArcSwap<Shown>>,
}

/// A configuration that is taken over in full when the registries that are new in it are known.
#[derive(Debug, Clone)]
struct Retirement {
    settings: Arc<MeshSettings>,
    registries: Vec<RegistrySettings>,
    awaited: Vec<RegistryId>,
    until: Instant,
}

impl Pipeline {
    /// Observes how long each structure takes to build, in seconds.
    #[must_use]
    pub fn timed_by(mut self, build_times: Histogram) -> Self {
        self.writer.build_times = Some(build_times);
        self
    }

    /// Runs until the token is cancelled, and then until everything is on disk.
    ///
    /// # Errors
    /// When a build panics, or what must outlive the process cannot be written.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self {
            mut events,
            mut commands,
            mut writer,
        } = self;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(event) = events.recv() => {
                    let received = Instant::now();
                    writer.take_event(event, received);
                    for _ in 1..BATCH_MAX {
                        let Ok(event) = events.try_recv() else { break };
                        writer.take_event(event, received);
                    }
                    writer.publish_endpoints(received);
                }
                Some(command) = commands.recv() => writer.obey(command),
                built = finished(&mut writer.job) => writer.take_built(built.context("a build failed")?),
                _ = tick.tick() => writer.tick(),
            }
            writer.retire();
            writer.start_job();
            writer.show();
        }
        match &writer.saved {
            Some(saved) => saved.flush().await,
            None => Ok(()),
        }
    }
}

/// Waits for the running job; for ever where there is none.
async fn finished(job: &mut Option<JoinHandle<Built>>) -> Result<Built, tokio::task::JoinError> {
    match job {
        Some(running) => {
            let built = running.await;
            *job = None;
            built
        }
        None => std::future::pending().await,
    }
}

fn wall_clock() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

impl Writer {
    fn take_event(&mut self, event: RegistryEvent, received: Instant) {
        let registry = event.registry.clone();
        let is_heard = !matches!(event.change, Change::Failing { .. });
        let before = Standing::of(&self.store, &registry);
        let applied = self.store.apply(event, wall_clock());
        Standing::of(&self.store, &registry).tell_since(&before, &registry);
        self.settle(applied, is_heard.then_some(&registry), Some(received));
    }

    /// Passes on what a change of the store led to.
    fn settle(
        &mut self,
        applied: Applied,
        heard_of: Option<&RegistryId>,
        received: Option<Instant>,
    ) {
        let Applied { changed, persist } = applied;
        if let Some(saved) = &self.saved {
            saved.write(persist, heard_of, wall_clock());
        }
        let now = Instant::now();
        if changed.everything {
            self.connected.follow_everything(self.store.mesh(), now);
        } else if !changed.workloads.is_empty() {
            self.connected
                .follow_workloads(self.store.mesh(), &changed.workloads, now);
        }
        if !changed.is_empty() {
            self.pending.received = self.pending.received.or(received);
            self.pending.changed.merge(changed);
        }
    }

    /// Encodes changed endpoints and publishes them at once.
    fn publish_endpoints(&mut self, received: Instant) {
        let hostnames = std::mem::take(&mut self.pending.changed.endpoints);
        if self.pending.changed.is_empty() {
            self.pending.received = None;
        }
        if hostnames.is_empty() {
            return;
        }
        let update = self.endpoints.update(self.store.mesh(), &hostnames);
        self.stale.extend(update.stale);
        self.stale.retain(|name| !update.current.contains(name));
        if self.job.is_some() {
            self.since_job.extend(hostnames);
        }
        let layers = self.endpoint_layers(update.changed);
        if !layers.is_empty() {
            let generation = self.publish(layers);
            self.births.note(generation, received);
        }
    }

    fn endpoint_layers(
        &self,
        keys: BTreeSet<EndpointsKey>,
    ) -> Vec<(LayerName, Option<Arc<Layer>>)> {
        keys.into_iter()
            .filter_map(|key| {
                let layer = self.endpoints.layer(&key)?.clone();
                Some((layer_name(&ViewKey::Endpoints(key)), Some(Arc::new(layer))))
            })
            .collect()
    }

    fn publish(&mut self, layers: Vec<(LayerName, Option<Arc<Layer>>)>) -> u64 {
        if self.store.lacks_a_registry() {
            self.publisher.publish_partial(layers)
        } else {
            self.publisher.publish(layers)
        }
    }

    /// Starts a structure job if there is something to do and none is running.
    fn start_job(&mut self) {
        if !self.become_ready() || self.job.is_some() {
            return;
        }
        let keys = self.connected.keys_version();
        if self.pending.changed.is_empty() && keys == self.built_keys {
            return;
        }
        let wanted = self.connected.wanted();
        let Some(structure) = self.structure.take() else {
            return;
        };
        let pending = std::mem::take(&mut self.pending);
        let is_fresh = pending.changed.everything;
        let endpoints = wanted
            .iter()
            .filter_map(|key| match key {
                ViewKey::Endpoints(of) if is_fresh || !self.built.contains(key) => {
                    let like = if is_fresh {
                        None
                    } else {
                        self.endpoints.like(of)
                    };
                    Some((of.clone(), like))
                }
                _ => None,
            })
            .collect();
        let job = Job {
            structure,
            mesh: self.store.mesh().clone(),
            pending,
            wanted,
            endpoints,
            is_fresh,
            stale: self.stale.clone(),
        };
        self.built_keys = keys;
        self.since_job.clear();
        self.job = Some(tokio::task::spawn_blocking(move || job.build()));
    }

    /// Publishes what a job made, together with the endpoints that changed meanwhile, as one generation.
    fn take_built(&mut self, built: Built) {
        let Built {
            structure,
            layers,
            endpoints,
            is_fresh,
            wanted,
            stale,
            received,
            took,
        } = built;
        debug!(
            layers = layers.len(),
            endpoint_layers = endpoints.len(),
            ?took,
            "built"
        );
        if let Some(build_times) = &self.build_times {
            build_times.observe(took.as_secs_f64());
        }
        self.structure_problems = structure.problems();
        self.structure = Some(structure);
        // What was freed while the job ran stays free.
        let in_use = self.connected.wanted();
        let mut changed_endpoints = BTreeSet::new();
        if is_fresh {
            self.endpoints = EndpointLayers::default();
        }
        let has_new = !endpoints.is_empty();
        for (key, layer) in endpoints {
            if in_use.contains(&ViewKey::Endpoints(key.clone())) {
                changed_endpoints.insert(key.clone());
                self.endpoints.insert(key, layer);
            }
        }
        if has_new {
            let hostnames = std::mem::take(&mut self.since_job);
            let update = self.endpoints.update(self.store.mesh(), &hostnames);
            self.stale.extend(update.stale);
            changed_endpoints.extend(update.changed);
        }
        let gone: BTreeSet<_> = stale.intersection(&self.stale).cloned().collect();
        self.stale.retain(|name| !gone.contains(name));
        changed_endpoints.extend(self.endpoints.remove(&gone));
        let mut publication = self.endpoint_layers(changed_endpoints);
        let layers = layers.into_iter().filter(|(key, _)| in_use.contains(key));
        publication.extend(layers.map(|(key, layer)| (layer_name(&key), Some(Arc::new(layer)))));
        let before = self.publisher.generation();
        let generation = self.publish(publication);
        if let Some(received) = received
            && generation > before
        {
            self.births.note(generation, received);
        }
        self.built = wanted.intersection(&in_use).cloned().collect();
    }

    /// Whether what is known may be served: every registry is known, or has had its time.
    fn become_ready(&mut self) -> bool {
        if self.is_ready {
            return true;
        }
        let unknown: Vec<_> = self
            .store
            .registries()
            .into_iter()
            .filter(|status| !status.state.is_known())
            .map(|status| status.registry.to_string())
            .collect();
        if unknown.is_empty() {
            self.is_ready = true;
            info!(after = ?self.started.elapsed(), services = self.store.mesh().services_len(), "ready");
        } else if self.started.elapsed() >= self.settings.start_timeout {
            self.is_ready = true;
            warn!(
                registries = ?unknown,
                after = ?self.started.elapsed(),
                "serving without registries that have not answered: what proxies still hold of them is left to them"
            );
        }
        self.is_ready
    }

    /// Takes over a configuration. Registries that are gone from it leave only when those that are new in it have answered, or have
    /// had their time: one that is merely renamed must not be away in between.
    fn configure(&mut self, settings: Arc<MeshSettings>, registries: Vec<RegistrySettings>) {
        let has = |all: &[RegistrySettings], one: &RegistrySettings| {
            all.iter().any(|other| other.id == one.id)
        };
        let before = self.store.registry_settings();
        let awaited: Vec<_> = registries
            .iter()
            .filter(|registry| !has(&before, registry))
            .map(|registry| registry.id.clone())
            .collect();
        let gone = before.iter().filter(|registry| !has(&registries, registry));
        let mut for_now = registries.clone();
        self.retirement = None;
        if !awaited.is_empty() {
            for_now.extend(gone.cloned());
            let until = Instant::now() + self.settings.start_timeout;
            let settings = settings.clone();
            let retirement = Retirement {
                settings,
                registries,
                awaited,
                until,
            };
            self.retirement = (for_now.len() > retirement.registries.len()).then_some(retirement);
        }
        self.apply_configuration(settings, for_now);
    }

    fn apply_configuration(
        &mut self,
        settings: Arc<MeshSettings>,
        registries: Vec<RegistrySettings>,
    ) {
        let applied = self.store.configure(settings, registries);
        self.settle(applied, None, Some(Instant::now()));
        // A job builds all endpoint layers anew; until then the old ones are served.
        self.pending.changed.endpoints.clear();
    }

    /// Lets registries go that wait for their successors, when those are there.
    fn retire(&mut self) {
        let Some(retirement) = &self.retirement else {
            return;
        };
        let is_known = |id: &RegistryId| {
            self.store
                .registry_state(id)
                .is_none_or(RegistryState::is_known)
        };
        if retirement.awaited.iter().all(is_known) || retirement.until <= Instant::now() {
            let Retirement {
                settings,
                registries,
                ..
            } = retirement.clone();
            self.retirement = None;
            self.apply_configuration(settings, registries);
        }
    }

    fn obey(&mut self, command: Command) {
        // A reply that nobody waits for any more is no error.
        match command {
            Command::Open { proxy, reply } => {
                let keys = ViewKey::of(&proxy, self.store.mesh());
                let (assignment, snapshots) = self.publisher.subscribe(layer_names(&keys));
                if reply.send(Opening { snapshots }).is_ok() {
                    self.connected
                        .add(proxy, self.store.mesh(), keys, assignment);
                }
            }
            Command::Configure {
                settings,
                registries,
                reply,
            } => {
                self.configure(settings, registries);
                let _ = reply.send(());
            }
            Command::Release { registry, reply } => {
                let was_held = self.store.holds_back(&registry);
                let received = Instant::now();
                let applied = self.store.release(&registry);
                self.settle(applied, None, Some(received));
                self.publish_endpoints(received);
                let _ = reply.send(was_held);
            }
            Command::Problems { reply } => {
                let mut problems = self.structure_problems.clone();
                problems.extend(self.endpoints.problems().cloned());
                let _ = reply.send(problems);
            }
            Command::Layers { reply } => {
                let _ = reply.send(self.layers());
            }
            Command::Snapshot { proxy, reply } => {
                let _ = reply.send(self.snapshot_of(&proxy));
            }
        }
    }

    fn snapshot_of(&self, proxy: &str) -> Option<Snapshot> {
        let names = self.connected.layers_of(proxy)?;
        let layers: Option<Vec<_>> = names
            .iter()
            .map(|name| self.publisher.layer(name))
            .collect();
        Some(Snapshot::new(self.publisher.generation(), layers?))
    }

    fn layers(&self) -> Vec<LayerStatus> {
        let readers = self.connected.readers();
        let status = |(name, layer): (LayerName, Arc<Layer>)| LayerStatus {
            resources: layer.len(),
            bytes: layer
                .iter()
                .map(|(_, resource)| Body::len(resource.body()))
                .sum(),
            readers: readers.get(&name).copied().unwrap_or_default(),
            name: name.to_string(),
        };
        self.publisher.layers().into_iter().map(status).collect()
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let (released, _) = self.store.release_expired(wall_clock());
        self.settle(released, None, Some(now));
        self.publish_endpoints(now);
        let idle = self.connected.sweep(now, self.settings.linger);
        if !idle.is_empty() {
            debug!(
                layers = idle.len(),
                streams = self.connected.len(),
                "layers that nobody reads are freed"
            );
            self.free(&idle);
        }
        if now.duration_since(self.seen) >= SEEN_EVERY {
            self.seen = now;
            self.note_seen();
        }
    }

    fn free(&mut self, idle: &[ViewKey]) {
        for key in idle {
            self.built.remove(key);
        }
        self.endpoints
            .retain(|key| !idle.contains(&ViewKey::Endpoints(key.clone())));
        if let Some(structure) = &mut self.structure {
            structure.retain(|key| !idle.contains(key));
        }
        let layers = idle.iter().map(|key| (layer_name(key), None)).collect();
        self.publish(layers);
    }

    fn note_seen(&self) {
        let Some(saved) = &self.saved else { return };
        for status in self.store.registries() {
            if matches!(status.state, RegistryState::Live { .. }) {
                saved.seen(&status.registry, SystemTime::now());
            }
        }
    }

    fn show(&self) {
        let registries = self.store.registries();
        let blockers = if self.is_ready {
            Vec::new()
        } else {
            registries
                .iter()
                .filter(|status| !status.state.is_known())
                .map(|status| Blocker {
                    name: format!("registry {}", status.registry),
                    reason: match &status.state {
                        RegistryState::Failing { error, .. } => {
                            format!("it cannot be read: {error}")
                        }
                        _ => "it has not answered yet".to_owned(),
                    },
                })
                .collect()
        };
        self.shown.store(Arc::new(Shown {
            mesh: self.store.mesh().clone(),
            registries,
            blockers,
        }));
    }
}
