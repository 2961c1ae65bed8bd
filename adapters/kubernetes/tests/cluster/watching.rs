//! An adapter at work, and what the mesh knows from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bowline_kubernetes::{Access, Facts, Kubernetes, SecretFacts};
use bowline_mesh::{
    Change, LastGood, Object, ObjectKey, Problem, RegistryEvent, RegistrySettings, Spec,
};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::contract::PACE;

/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running adapter.
pub(crate) struct Watching {
    pub(crate) objects: BTreeMap<ObjectKey, Object>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) failing: Option<String>,
    /// How often everything was told.
    pub(crate) replaces: usize,
    events: mpsc::Receiver<RegistryEvent>,
    _task: JoinSet<()>,
}

impl Watching {
    /// Watches the cluster of a kubeconfig.
    pub(crate) fn start(kubeconfig: std::path::PathBuf) -> Self {
        let access = Access::Kubeconfig {
            path: kubeconfig,
            context: None,
        };
        Self::of(cluster(access))
    }

    /// Watches a cluster.
    pub(crate) fn of(cluster: Kubernetes) -> Self {
        let (sender, events) = mpsc::channel(16);
        let mut task = JoinSet::new();
        task.spawn(cluster.run(sender, CancellationToken::new()));
        Self {
            objects: BTreeMap::new(),
            problems: Vec::new(),
            failing: None,
            replaces: 0,
            events,
            _task: task,
        }
    }

    /// Takes events until something holds.
    pub(crate) async fn until(&mut self, awaited: &str, holds: impl Fn(&Self) -> bool) {
        while !holds(self) {
            match timeout(PATIENCE, self.events.recv()).await {
                Ok(Some(event)) => self.take(event),
                Ok(None) => panic!("the adapter ended by itself"),
                Err(_) => panic!(
                    "waited for {awaited}; known are {:?}, failing {:?}, {:?}",
                    self.objects.keys(),
                    self.failing,
                    self.problems
                ),
            }
        }
    }

    /// Waits until a problem has this in its message.
    pub(crate) async fn says(&mut self, text: &str) {
        self.until(text, |known| known.has_problem(text)).await;
    }

    /// Whether a problem has this in its message.
    pub(crate) fn has_problem(&self, text: &str) -> bool {
        let mut problems = self.problems.iter();
        problems.any(|problem| problem.message.contains(text))
    }

    /// Whether an object of this name is known.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.objects.keys().any(|key| &*key.name == name)
    }

    /// All addresses of endpoints.
    pub(crate) fn addresses(&self) -> BTreeSet<String> {
        let groups = self
            .objects
            .values()
            .filter_map(|object| match object.spec() {
                Spec::Endpoints(group) => Some(group),
                _ => None,
            });
        let endpoints = groups.flat_map(|group| &group.endpoints);
        endpoints
            .map(|endpoint| endpoint.address.to_string())
            .collect()
    }

    fn take(&mut self, event: RegistryEvent) {
        self.problems = event.problems;
        match event.change {
            Change::Replace(objects) => {
                let keyed = objects.into_iter();
                self.objects = keyed.map(|object| (object.key().clone(), object)).collect();
                self.replaces += 1;
                self.failing = None;
            }
            Change::Update { upserts, removes } => {
                for object in upserts {
                    self.objects.insert(object.key().clone(), object);
                }
                for key in &removes {
                    self.objects.remove(key);
                }
                self.failing = None;
            }
            Change::Failing { error } => self.failing = Some(error),
        }
    }
}

/// A registry `prod` over everything that there is to watch.
pub(crate) fn cluster(access: Access) -> Kubernetes {
    Kubernetes {
        settings: RegistrySettings::new(
            "prod".parse().unwrap(),
            "mesh.example".parse().unwrap(),
            "cluster.local".parse().unwrap(),
            "default".parse().unwrap(),
        ),
        access,
        facts: Facts {
            pods: true,
            nodes: true,
            ingresses: true,
            secrets: SecretFacts {
                everywhere: true,
                namespaces: ["edge".parse().unwrap()].into(),
            },
        },
        ignored_namespaces: BTreeSet::new(),
        last_good: LastGood::default(),

        statuses: None,
        pace: PACE,
        parts: Default::default(),
    }
}
