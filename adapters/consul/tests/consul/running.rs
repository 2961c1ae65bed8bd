//! An adapter at work, and the mesh that it makes.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bowline_consul::{Consul, ConsulSettings};
use bowline_harness::consul::ConsulAgent;
use bowline_mesh::{
    Address, Change, Endpoint, Hostname, LastGood, Mesh, MeshSettings, MeshStore, MutualTls,
    Object, ObjectKey, OutboundMode, PartState, Problem, RegistryEvent, RegistryPart,
    RegistrySettings, RegistryState, TrafficSettings,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// How long something may take that should happen soon, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// How old is what is there from before a restart.
pub(crate) const SAVED_BEFORE: Duration = Duration::from_secs(3600);

/// The adapter, and a mesh with its events.
pub(crate) struct Running {
    pub(crate) store: MeshStore,
    pub(crate) problems: Vec<Problem>,
    objects: BTreeMap<ObjectKey, Object>,
    pub(crate) parts: watch::Receiver<Vec<RegistryPart>>,
    /// Events so far.
    pub(crate) events: usize,
    receiver: mpsc::Receiver<RegistryEvent>,
    shutdown: CancellationToken,
    task: JoinSet<()>,
}

pub(crate) fn registry() -> RegistrySettings {
    RegistrySettings::new(
        "dc".parse().unwrap(),
        "mesh.example".parse().unwrap(),
        "cluster.local".parse().unwrap(),
        "default".parse().unwrap(),
    )
}

pub(crate) fn at(agent: &ConsulAgent) -> ConsulSettings {
    ConsulSettings::at(vec![agent.url().parse().unwrap()])
}

impl Running {
    pub(crate) fn start(consul: ConsulSettings) -> Self {
        Self::restarted(consul, Vec::new())
    }

    /// With what the mesh had before.
    pub(crate) fn restarted(consul: ConsulSettings, last_good: Vec<Object>) -> Self {
        let settings = registry();
        let mesh = MeshSettings {
            trust_domain: settings.trust_domain.clone(),
            domain: settings.domain.clone(),
            outbound: OutboundMode::PassThrough,
            virtual_addresses: "240.0.0.0/8".parse().unwrap(),
            explicit_http_port: 15080,
            east_west_port: 15443,
            mutual_tls: MutualTls::Absent,
            traffic: TrafficSettings::default(),
        };
        let saved_at = now() - SAVED_BEFORE;
        let mut store = MeshStore::new(Arc::new(mesh), [settings.clone()], []);
        if !last_good.is_empty() {
            store.restore(&settings.id, last_good.clone(), saved_at);
        }
        let (parts_sender, parts) = watch::channel(Vec::new());
        let (sender, receiver) = mpsc::channel(64);
        let shutdown = CancellationToken::new();
        let mut task = JoinSet::new();
        let consul = Consul {
            settings,
            consul,
            last_good: LastGood {
                objects: last_good,
                saved_at,
            },
            parts: parts_sender,
        };
        task.spawn(consul.run(sender, shutdown.clone()));
        Self {
            store,
            problems: Vec::new(),
            objects: BTreeMap::new(),
            parts,
            events: 0,
            receiver,
            shutdown,
            task,
        }
    }

    pub(crate) fn mesh(&self) -> &Mesh {
        self.store.mesh()
    }

    /// Takes events until something holds, which may be at once.
    pub(crate) async fn until(&mut self, awaited: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !holds(self) {
            let event = tokio::time::timeout_at(deadline, self.receiver.recv()).await;
            let Ok(Some(event)) = event else {
                panic!(
                    "waited for {awaited}; known is {:?}, {:?}, {:?}, {:?}",
                    self.addresses(),
                    self.state(),
                    self.problems,
                    *self.parts.borrow()
                );
            };
            self.take(event);
        }
    }

    /// Takes all events that come before the adapter has reported how it is doing once more; nothing else happens meanwhile.
    pub(crate) async fn until_part(
        &mut self,
        awaited: &str,
        holds: impl Fn(&RegistryPart) -> bool,
    ) {
        let mut parts = self.parts.clone();
        let all = |parts: &Vec<RegistryPart>| !parts.is_empty() && parts.iter().all(&holds);
        let reached = async {
            loop {
                if all(&parts.borrow_and_update()) {
                    return;
                }
                tokio::select! {
                    changed = parts.changed() => changed.unwrap(),
                    Some(event) = self.receiver.recv() => {
                        self.take(event);
                    }
                }
            }
        };
        if timeout(PATIENCE, reached).await.is_err() {
            panic!(
                "waited for {awaited}; reported is {:?}",
                *self.parts.borrow()
            );
        }
    }

    fn take(&mut self, event: RegistryEvent) {
        self.events += 1;
        self.problems.clone_from(&event.problems);
        match &event.change {
            Change::Replace(objects) => {
                let keyed = objects
                    .iter()
                    .map(|object| (object.key().clone(), object.clone()));
                self.objects = keyed.collect();
            }
            Change::Update { upserts, removes } => {
                for object in upserts {
                    self.objects.insert(object.key().clone(), object.clone());
                }
                self.objects.retain(|key, _| !removes.contains(key));
            }
            Change::Failing { .. } => {}
        }
        self.store.apply(event, now());
    }

    /// All objects that it has told, as they would be saved.
    pub(crate) fn objects(&self) -> Vec<Object> {
        self.objects.values().cloned().collect()
    }

    /// `service address` of everything that gets requests.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let mut addresses: Vec<String> = self
            .endpoints()
            .map(|(hostname, endpoint)| {
                let name = hostname.as_str().split('.').next().unwrap_or_default();
                match &endpoint.address {
                    Address::Ip(address) => format!("{name} {address}"),
                    other => format!("{name} {other}"),
                }
            })
            .collect();
        addresses.sort();
        addresses
    }

    pub(crate) fn endpoints(&self) -> impl Iterator<Item = (Hostname, Endpoint)> {
        let services = self
            .mesh()
            .services()
            .map(|service| service.hostname.clone());
        services.flat_map(|hostname| {
            let groups = self.mesh().endpoints(&hostname);
            let endpoints: Vec<Endpoint> = groups
                .values()
                .flat_map(|group| group.endpoints.clone())
                .collect();
            endpoints
                .into_iter()
                .map(move |endpoint| (hostname.clone(), endpoint))
        })
    }

    pub(crate) async fn until_addresses(&mut self, expected: &[&str]) {
        self.until(&format!("{expected:?}"), |running| {
            running.addresses() == expected
        })
        .await;
    }

    pub(crate) fn state(&self) -> RegistryState {
        self.store.registry_state(&registry().id).unwrap().clone()
    }

    pub(crate) fn is_failing(&self) -> bool {
        matches!(self.state(), RegistryState::Failing { .. })
    }

    pub(crate) async fn until_state(&mut self, state: PartState) {
        self.until_part(&format!("{state:?}"), |part| part.state == state)
            .await;
    }

    /// Ends it, which it does soon.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.task.join_next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}
