//! The registry: all kinds of one cluster.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bowline_mesh::{Change, LastGood, Namespace, RegistryEvent, RegistryPart, RegistrySettings};
use kube::Client;
use tokio::{
    sync::{mpsc, watch},
    task::{JoinSet, yield_now},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Access, ClusterState, Facts, News, Pace, Statuses, Trouble, Watched,
    access::Clients,
    alike::Shared,
    api::{self, ApiError},
    report::Reporter,
    status::{Duty, Election, Health, Writer},
    watcher::{Listed, Watcher},
};

/// Room for what watches say. When it is full they wait, and so does the API server.
const NEWS_MAX: usize = 256;
/// How long what changed waits for the rest of a cluster that is being read again. News begin it anew.
const RECOVERY: Duration = Duration::from_secs(2);
/// Objects that are converted before others on the same thread may do something.
const CONVERTED_AT_ONCE: usize = 256;

/// A Kubernetes cluster.
#[derive(Debug, Clone)]
pub struct Kubernetes {
    /// The registry's place in the mesh.
    pub settings: RegistrySettings,
    /// How its API server is reached.
    pub access: Access,
    /// What is watched besides services and routes.
    pub facts: Facts,
    /// Namespaces whose services and pods are left out: those of the cluster itself.
    pub ignored_namespaces: BTreeSet<Namespace>,
    /// What the mesh last had from it before the start. What cannot be taken now stays as it is there.
    pub last_good: LastGood,
    /// How statuses are written back; `None` where they are not.
    pub statuses: Option<Statuses>,
    /// How soon things are tried again.
    pub pace: Pace,
    /// Where it is reported how each kind is doing.
    pub parts: watch::Sender<Vec<RegistryPart>>,
}

impl Kubernetes {
    /// Reads everything once, without watching it.
    pub async fn load(self) -> RegistryEvent {
        let mut state = self.state();
        let registry = self.settings.id.clone();
        if let Err(error) = load(&self, &mut state).await {
            return RegistryEvent {
                registry,
                change: Change::Failing { error },
                problems: Vec::new(),
            };
        }
        while state.settle(CONVERTED_AT_ONCE) {}
        state.event().unwrap_or(RegistryEvent {
            registry,
            change: Change::Replace(Vec::new()),
            problems: Vec::new(),
        })
    }

    /// Sends what the cluster has, and from then on what changes, until it is told to end or nobody listens any more.
    pub async fn run(self, events: mpsc::Sender<RegistryEvent>, shutdown: CancellationToken) {
        let (clients, keeper) = Clients::new(self.access.clone());
        let mut keeping = JoinSet::new();
        keeping.spawn(keeper.run());
        let mut electing = JoinSet::new();
        let cancelled = shutdown.clone();
        let watching = self.watch(events, clients, &mut electing, cancelled);
        let has_ended = shutdown.run_until_cancelled(watching).await.is_some();
        if !has_ended {
            // The Lease is given up, so that the next need not wait for its end.
            while electing.join_next().await.is_some() {}
        }
    }

    async fn watch(
        self,
        events: mpsc::Sender<RegistryEvent>,
        clients: Clients,
        electing: &mut JoinSet<()>,
        shutdown: CancellationToken,
    ) {
        let mut state = self.state();
        let (sender, mut news) = mpsc::channel(NEWS_MAX);
        let is_restored = !self.last_good.objects.is_empty();
        let age = is_restored.then(|| self.last_good.age(SystemTime::now()));
        let settings = Arc::new(self.settings);
        let mut tasks = JoinSet::new();
        for watched in Watched::all(&self.facts) {
            let watcher = Watcher::new(
                watched,
                settings.clone(),
                clients.clone(),
                sender.clone(),
                self.pace,
            );
            tasks.spawn(watcher.run());
        }
        drop(sender);
        let health = Health::new();
        let mut duty = self.statuses.map(|statuses| {
            let Statuses {
                served,
                lease_namespace,
                timing,
            } = statuses;
            let (needed, is_needed) = watch::channel(false);
            let (lead, leadership) = watch::channel(None);
            let (give, writes) = mpsc::channel(1);
            let election = Election {
                registry: settings.id.clone(),
                clients: clients.clone(),
                namespace: lease_namespace.map(|namespace| namespace.to_string()),
                timing,
                needed: is_needed,
                leadership: lead,
                health: health.clone(),
            };
            electing.spawn(election.run(shutdown));
            let writer = Writer {
                registry: settings.id.clone(),
                clients: clients.clone(),
                leadership: leadership.clone(),
                writes,
                health: health.clone(),
                timing,
            };
            tasks.spawn(writer.run());
            Duty::new(served, leadership, needed, give, timing)
        });
        let mut received = Vec::new();
        let mut reporter = Reporter::new(self.parts, age);
        loop {
            while state.settle(CONVERTED_AT_ONCE) {
                yield_now().await;
            }
            tokio::select! {
                count = news.recv_many(&mut received, NEWS_MAX) => {
                    if count == 0 {
                        return;
                    }
                }
                // While nobody takes events, what changes gathers in the state.
                permit = events.reserve(), if state.has_news() => {
                    let Ok(permit) = permit else {
                        return;
                    };
                    if let Some(event) = state.event() {
                        permit.send(event);
                    }
                }
                () = reporter.due() => reporter.report(&state, health.part()),
                () = due(&mut duty) => {
                    if let Some(duty) = &mut duty {
                        duty.look(&mut state);
                    }
                }
                () = sleep(RECOVERY), if state.holds_changes() => state.tell_meanwhile(),
                // None ends by itself. Whoever runs us starts all of them again.
                _ = tasks.join_next() => {
                    tracing::error!(registry = %settings.id, "a watch has ended by itself");
                    return;
                }
            }
            for (watched, news) in received.drain(..) {
                state.take(watched, news);
            }
        }
    }

    fn state(&self) -> ClusterState {
        ClusterState::new(
            self.settings.clone(),
            self.ignored_namespaces.clone(),
            &Watched::all(&self.facts),
            self.last_good.objects.clone(),
        )
    }
}

async fn due(duty: &mut Option<Duty>) {
    match duty {
        Some(duty) => duty.due().await,
        None => std::future::pending().await,
    }
}

/// Lists every kind once.
async fn load(cluster: &Kubernetes, state: &mut ClusterState) -> Result<(), String> {
    let client = cluster.access.client().await;
    let client = client.map_err(|error| error.to_string())?;
    for watched in Watched::all(&cluster.facts) {
        let news = match list_once(&client, &watched, &cluster.settings).await {
            Ok(listed) => listed.news(),
            Err(error) if !watched.is_required() => News::Failing {
                error: error.to_string(),
                trouble: match error {
                    ApiError::Denied(_) => Trouble::NotPermitted,
                    ApiError::Expired
                    | ApiError::Missing
                    | ApiError::Unauthorized(_)
                    | ApiError::Refused { .. }
                    | ApiError::Unreachable(_)
                    | ApiError::Garbled(_) => Trouble::Away,
                },
            },
            Err(error) => return Err(format!("{watched}: {error}")),
        };
        state.take(watched, news);
    }
    Ok(())
}

async fn list_once(
    client: &Client,
    watched: &Watched,
    settings: &RegistrySettings,
) -> Result<Listed, ApiError> {
    let mut listed = Listed::default();
    let mut shared = Shared::default();
    for version in watched.versions() {
        let take = |object: &str| listed.take(watched, object, settings, &mut shared);
        match api::list(client, &watched.collection(version), take).await {
            Ok(_) => break,
            Err(ApiError::Missing) if !watched.is_built_in() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(listed)
}
