//! An adapter at work, and what the mesh knows from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use bowline_mesh::{
    Address, Change, Hostname, Namespace, Object, ObjectKey, Problem, RegistryEvent,
    RegistrySettings, Severity, Spec,
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{App, Subject, settings};

/// How long something may take that should happen soon, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// How an adapter breaks the contract.
#[derive(Debug, thiserror::Error)]
pub enum Violation {
    /// Something that must happen did not.
    #[error("waited {PATIENCE:?} for {awaited}; {known}")]
    NotInTime {
        /// What must happen.
        awaited: String,
        /// What was known at the end.
        known: String,
    },
    /// Something happened that must not.
    #[error("{what}; {known}")]
    Wrong {
        /// What happened.
        what: String,
        /// What was known then.
        known: String,
    },
    /// The test itself could not be set up.
    #[error("the test cannot be set up: {0}")]
    Setup(Box<dyn std::error::Error + Send + Sync>),
}

/// An adapter that runs, and the source that it watches.
pub(crate) struct Running<S> {
    pub(crate) source: S,
    pub(crate) told: Told,
    events: mpsc::Receiver<RegistryEvent>,
    shutdown: CancellationToken,
    task: JoinSet<()>,
}

/// What the mesh knows from the adapter.
pub(crate) struct Told {
    settings: RegistrySettings,
    pub(crate) objects: BTreeMap<ObjectKey, Object>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) failing: Option<String>,
    /// Kinds of events, in order.
    pub(crate) said: Vec<Said>,
}

/// An event, for tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Replace,
    /// With the hostnames that it is about.
    Update {
        upserts: BTreeSet<String>,
        removes: usize,
    },
    Failing,
}

impl<S: Subject> Running<S> {
    /// Starts the adapter on a source, with room for so many events.
    pub(crate) fn start(source: S, last_good: Vec<Object>, room: usize) -> Result<Self, Violation> {
        let settings = settings().map_err(Violation::Setup)?;
        let (sender, events) = mpsc::channel(room);
        let shutdown = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(source.run(settings.clone(), last_good, sender, shutdown.clone()));
        Ok(Self {
            source,
            told: Told {
                settings,
                objects: BTreeMap::new(),
                problems: Vec::new(),
                failing: None,
                said: Vec::new(),
            },
            events,
            shutdown,
            task,
        })
    }

    /// Takes events until something holds, which may be at once.
    pub(crate) async fn until(
        &mut self,
        awaited: &str,
        holds: impl Fn(&Told) -> bool,
    ) -> Result<(), Violation> {
        let deadline = Instant::now() + PATIENCE;
        while !holds(&self.told) {
            match timeout_at(deadline, self.events.recv()).await {
                Ok(Some(event)) => self.told.take(event)?,
                Ok(None) => return Err(self.told.wrong("the adapter ended by itself")),
                Err(_) => {
                    return Err(Violation::NotInTime {
                        awaited: awaited.to_owned(),
                        known: self.told.to_string(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Takes events until exactly these are there.
    pub(crate) async fn until_apps(&mut self, apps: &[App]) -> Result<(), Violation> {
        let expected = self.told.expected(apps)?;
        self.until(&format!("exactly {expected:?}"), |told| {
            told.endpoints() == expected
        })
        .await
    }

    /// Tells the adapter to end, waits until it has, and gives back its source.
    pub(crate) async fn stop(mut self) -> Result<(S, Told), Violation> {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.task.join_next()).await;
        match ended {
            Ok(Some(Ok(()))) => Ok((self.source, self.told)),
            Ok(Some(Err(error))) => Err(self.told.wrong(&format!("the adapter failed: {error}"))),
            Ok(None) | Err(_) => Err(Violation::NotInTime {
                awaited: "the adapter's end".to_owned(),
                known: self.told.to_string(),
            }),
        }
    }
}

impl Told {
    /// Addresses of endpoints by hostname, of those that have a service.
    pub(crate) fn endpoints(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for object in self.objects.values() {
            if let Spec::Service(service) = object.spec() {
                found.entry(service.hostname.to_string()).or_default();
            }
        }
        for object in self.objects.values() {
            if let Spec::Endpoints(group) = object.spec()
                && let Some(addresses) = found.get_mut(group.service.as_str())
            {
                let texts = group
                    .endpoints
                    .iter()
                    .map(|endpoint| match &endpoint.address {
                        Address::Ip(address) => address.to_string(),
                        other => other.to_string(),
                    });
                addresses.extend(texts);
            }
        }
        found
    }

    /// What should be known of these applications.
    pub(crate) fn expected(
        &self,
        apps: &[App],
    ) -> Result<BTreeMap<String, BTreeSet<String>>, Violation> {
        apps.iter()
            .map(|app| {
                let addresses = BTreeSet::from([app.address.to_string()]);
                Ok((self.hostname(app)?.to_string(), addresses))
            })
            .collect()
    }

    pub(crate) fn hostname(&self, app: &App) -> Result<Hostname, Violation> {
        let namespace: Namespace = match &app.namespace {
            Some(namespace) => namespace.parse().map_err(setup)?,
            None => self.settings.namespace.clone(),
        };
        self.settings.hostname(&app.name, &namespace).map_err(setup)
    }

    pub(crate) fn settings(&self) -> &RegistrySettings {
        &self.settings
    }

    pub(crate) fn has_errors(&self) -> bool {
        let is_error = |problem: &Problem| problem.severity == Severity::Error;
        self.problems.iter().any(is_error)
    }

    pub(crate) fn wrong(&self, what: &str) -> Violation {
        Violation::Wrong {
            what: what.to_owned(),
            known: self.to_string(),
        }
    }

    /// Says what is wrong unless something holds.
    pub(crate) fn must(&self, holds: bool, what: &str) -> Result<(), Violation> {
        match holds {
            true => Ok(()),
            false => Err(self.wrong(what)),
        }
    }

    fn take(&mut self, event: RegistryEvent) -> Result<(), Violation> {
        let RegistryEvent {
            registry,
            change,
            problems,
        } = event;
        self.must(
            registry == self.settings.id,
            "an event has the id of another registry",
        )?;
        self.problems = problems;
        let said = match change {
            Change::Replace(objects) => {
                let count = objects.len();
                self.objects = objects
                    .into_iter()
                    .map(|object| (object.key().clone(), object))
                    .collect();
                self.must(count == self.objects.len(), "two objects have one key")?;
                self.failing = None;
                Said::Replace
            }
            Change::Update { upserts, removes } => {
                self.must(
                    self.said.contains(&Said::Replace),
                    "an update came before everything was told",
                )?;
                let said = Said::Update {
                    upserts: upserts.iter().filter_map(hostname_of).collect(),
                    removes: removes.len(),
                };
                for object in upserts {
                    self.objects.insert(object.key().clone(), object);
                }
                for key in &removes {
                    self.objects.remove(key);
                }
                self.failing = None;
                said
            }
            Change::Failing { error } => {
                self.must(!error.is_empty(), "it fails without saying why")?;
                self.failing = Some(error);
                Said::Failing
            }
        };
        self.said.push(said);
        let foreign = |key: &ObjectKey| key.registry != self.settings.id;
        self.must(
            !self.objects.keys().any(foreign),
            "an object has the key of another registry",
        )?;
        let mute = |problem: &Problem| {
            problem.message.is_empty() || problem.meanwhile.is_empty() || problem.hint.is_empty()
        };
        self.must(
            !self.problems.iter().any(mute),
            "a problem does not say what is wrong, what happens meanwhile, or what to do",
        )
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "known is {:?}", self.endpoints())?;
        if let Some(error) = &self.failing {
            write!(f, ", failing: {error}")?;
        }
        for problem in &self.problems {
            write!(f, ", problem: {problem}")?;
        }
        write!(f, ", said so far: {:?}", self.said)
    }
}

fn hostname_of(object: &Object) -> Option<String> {
    match object.spec() {
        Spec::Service(service) => Some(service.hostname.to_string()),
        Spec::Endpoints(group) => Some(group.service.to_string()),
        Spec::Policy(policy) => Some(policy.service.to_string()),
        Spec::Workload(_)
        | Spec::HttpRoute(_)
        | Spec::StreamRoute(_)
        | Spec::Gateway(_)
        | Spec::NetworkGateway(_) => None,
    }
}

fn setup(error: impl std::error::Error + Send + Sync + 'static) -> Violation {
    Violation::Setup(Box::new(error))
}
