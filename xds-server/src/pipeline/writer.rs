//! The writer's loop.

mod configure;
mod jobs;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use arc_swap::ArcSwap;
use bowline_mesh::{
    Applied, Change, MeshStore, Problem, RegistryEvent, RegistryId, RegistryState, Served,
    view::{EndpointsKey, ViewKey},
};
use bowline_snapshot::{Body, Layer, LayerName, Progress, Publisher, Snapshot};
use bowline_translate::layers::{EndpointLayers, StructureLayers};
use prometheus_client::metrics::histogram::Histogram;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use configure::Retirement;

use super::{
    Births, Blocker, Connected, LayerStatus, Opening, PipelineHandle, Saved,
    connections::{layer_name, layer_names},
    handle::{Command, Shown},
    job::{Built, Pending},
    standing::Standing,
};

/// Events and commands that wait for the writer. Whoever sends more waits.
const QUEUE_MAX: usize = 1024;
/// Events that are applied before anything is published, so that a burst becomes one generation.
const BATCH_MAX: usize = 256;
/// How often ended streams are swept up and time limits are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long a publication waits at most for streams to be done with the one before it.
const TAKEN_WITHIN: Duration = Duration::from_millis(500);
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
    let (serve, served) = watch::channel(None);
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
        unpublished: None,
        published: tokio::time::Instant::now(),
        taken_after: None,
        job: None,
        stale: BTreeSet::new(),
        since_job: BTreeSet::new(),
        started: Instant::now(),
        is_ready: false,
        seen: Instant::now(),
        retirement: None,
        shown: shown.clone(),
        served: serve,
    };
    writer.show();
    let handle = PipelineHandle {
        shown,
        served,
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
    /// When the oldest event behind endpoints was received that are not published yet.
    unpublished: Option<Instant>,
    published: tokio::time::Instant,
    /// How long it took the streams to take what was published last; `None` while they have not.
    taken_after: Option<Duration>,
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
    served: watch::Sender<Option<Served>>,
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
            let may_publish = writer.may_publish();
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(event) = events.recv() => {
                    let received = Instant::now();
                    writer.take_event(event, received);
                    for _ in 1..BATCH_MAX {
                        let Ok(event) = events.try_recv() else { break };
                        writer.take_event(event, received);
                    }
                    writer.owe_endpoints(received);
                }
                () = may_publish, if writer.watches_streams() => {}
                Some(command) = commands.recv() => writer.obey(command),
                built = finished(&mut writer.job) => writer.take_built(built.context("a build failed")?),
                _ = tick.tick() => writer.tick(),
            }
            writer.retire();
            if writer.is_free() {
                writer.publish_endpoints();
                writer.start_job();
            }
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
        if changed.everything || changed.explicit_ports || changed.nodes {
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

    /// Whether streams are done with what was published last, or have had the time for it. While a fleet is busy with one publication, what
    /// changes meanwhile becomes the next one: more of them would only wake streams that cannot send anything yet.
    ///
    /// A client may take long to answer, as Envoy does while a cluster is warming. So all that streams are given for it is the time that
    /// it took them to send.
    fn is_free(&mut self) -> bool {
        let progress = self.publisher.progress();
        if progress >= Progress::Taken {
            let elapsed = self.published.elapsed();
            self.taken_after.get_or_insert(elapsed);
        }
        progress == Progress::Settled || self.published.elapsed() >= self.published_for()
    }

    /// How long what was published last stays the last at most, given what is known.
    fn published_for(&self) -> Duration {
        self.taken_after
            .map_or(TAKEN_WITHIN, |taken_after| 2 * taken_after)
            .min(TAKEN_WITHIN)
    }

    /// Waits until that may have changed.
    fn may_publish(&self) -> impl Future<Output = ()> + use<> {
        let limit = self.published + self.published_for();
        let known = match self.taken_after {
            Some(_) => Progress::Taken,
            None => Progress::Published,
        };
        let progressed = tokio::time::timeout_at(limit, self.publisher.progressed(known));
        // Either way there is something to look at.
        async move { drop(progressed.await) }
    }

    /// Whether that is worth waiting for: something is to be published, or the moment is to be known in which all was taken.
    fn watches_streams(&self) -> bool {
        let is_being_taken = self.taken_after.is_none() && self.published.elapsed() < TAKEN_WITHIN;
        self.has_unpublished() || is_being_taken
    }

    fn has_unpublished(&self) -> bool {
        self.unpublished.is_some() || self.is_ready && self.has_job_to_start()
    }

    /// Takes note of events that may have changed endpoints.
    fn owe_endpoints(&mut self, received: Instant) {
        self.unpublished.get_or_insert(received);
    }

    /// Encodes changed endpoints and publishes them.
    fn publish_endpoints(&mut self) {
        let Some(received) = self.unpublished.take() else {
            return;
        };
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
        self.published = tokio::time::Instant::now();
        self.taken_after = None;
        if self.store.lacks_a_registry() {
            self.publisher.publish_partial(layers)
        } else {
            self.publisher.publish(layers)
        }
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

    fn obey(&mut self, command: Command) {
        // A reply that nobody waits for any more is no error.
        match command {
            Command::Open { proxy, reply } => {
                let keys = ViewKey::of(&proxy, self.store.mesh());
                let (assignment, snapshots) = self.publisher.subscribe(layer_names(&keys));
                if reply.send(Opening { snapshots }).is_ok() {
                    self.connected
                        .add(*proxy, self.store.mesh(), keys, assignment);
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
                self.owe_endpoints(received);
                let _ = reply.send(was_held);
            }
            Command::Problems { reply } => {
                let mut problems = self.structure_problems.clone();
                problems.extend(self.endpoints.problems().into_iter().cloned());
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
        self.owe_endpoints(now);
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
        if self.is_ready {
            self.served.send_replace(Some(Served {
                mesh: self.store.mesh().clone(),
                gateways: self.connected.gateways().clone(),
            }));
        }
    }
}
