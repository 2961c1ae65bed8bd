//! What the store remembers about one registry.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::{Object, RegistryId, RegistrySettings, Spec, guard::HeldBack};

/// How one registry is doing. Its objects are in the mesh.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) settings: RegistrySettings,
    /// Its place in the configuration: lower wins conflicts.
    pub(crate) rank: usize,
    /// Number of its objects.
    pub(crate) objects: usize,
    /// Number of endpoints in all objects.
    pub(crate) endpoints: usize,
    pub(crate) state: RegistryState,
    pub(crate) held: Option<HeldBack>,
    pub(crate) events: u64,
}

impl Record {
    pub(crate) fn new(settings: RegistrySettings, rank: usize) -> Self {
        Self {
            settings,
            rank,
            objects: 0,
            endpoints: 0,
            state: RegistryState::Starting,
            held: None,
            events: 0,
        }
    }

    pub(crate) fn status(&self) -> RegistryStatus {
        RegistryStatus {
            registry: self.settings.id.clone(),
            state: self.state.clone(),
            objects: self.objects,
            endpoints: self.endpoints,
            events: self.events,
            held: self.held.as_ref().map(|held| Held {
                objects: held.objects.len(),
                endpoints: held.endpoints,
                since: held.since,
                until: held.since + self.settings.guard.hold,
            }),
        }
    }
}

/// Endpoints in an object.
pub(crate) fn endpoints_in(spec: &Spec) -> usize {
    match spec {
        Spec::Endpoints(group) => group.endpoints.len(),
        Spec::Service(_)
        | Spec::Workload(_)
        | Spec::HttpRoute(_)
        | Spec::StreamRoute(_)
        | Spec::Gateway(_)
        | Spec::Policy(_)
        | Spec::NetworkGateway(_) => 0,
    }
}

/// How a registry is doing. All times are since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum RegistryState {
    /// It has not answered yet, and nothing of it is known.
    Starting,
    /// It has not answered since the start; its last good objects of before are served.
    Restored {
        /// When they were last confirmed.
        saved_at: Duration,
    },
    /// What is served is what it last said.
    Live {
        /// When it last said something.
        last_event: Duration,
    },
    /// It cannot be read. What it said last is served.
    Failing {
        /// Since when.
        since: Duration,
        /// When it was last good, which is until it failed where it was live; `None` where it never was.
        last_good: Option<Duration>,
        /// What fails.
        error: String,
    },
}

impl RegistryState {
    /// When what is served was last confirmed; `None` where nothing is.
    pub fn last_good(&self) -> Option<Duration> {
        match self {
            Self::Starting => None,
            Self::Restored { saved_at } => Some(*saved_at),
            Self::Live { last_event } => Some(*last_event),
            Self::Failing { last_good, .. } => *last_good,
        }
    }

    /// For how long what is served has not been confirmed: not at all while it is live, however long ago it last changed. `None` where
    /// nothing is served.
    pub fn age(&self, now: Duration) -> Option<Duration> {
        match self {
            Self::Live { .. } => Some(Duration::ZERO),
            Self::Starting | Self::Restored { .. } | Self::Failing { .. } => {
                Some(now.saturating_sub(self.last_good()?))
            }
        }
    }

    /// Whether something of it can be served: it answered once, or its last good state is known.
    pub fn is_known(&self) -> bool {
        self.last_good().is_some()
    }
}

/// What the mesh had of a registry before the start.
#[derive(Debug, Clone, Default)]
pub struct LastGood {
    /// Its objects.
    pub objects: Vec<Object>,
    /// When the registry last confirmed them, since the epoch.
    pub saved_at: Duration,
}

impl LastGood {
    /// For how long the registry has not confirmed them; nothing where the clock was set back since.
    pub fn age(&self, now: SystemTime) -> Duration {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        now.saturating_sub(self.saved_at)
    }
}

/// A registry's state for listings and metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RegistryStatus {
    /// Which.
    pub registry: RegistryId,
    /// How it is doing.
    #[serde(flatten)]
    pub state: RegistryState,
    /// Objects that are served.
    pub objects: usize,
    /// Endpoints in them.
    pub endpoints: usize,
    /// Events received since the start.
    pub events: u64,
    /// A loss that is held back.
    pub held: Option<Held>,
}

/// What an adapter reports of one part of its registry that is watched by itself: a Consul datacenter, a kind of objects in a Kubernetes
/// cluster. For people and metrics; what is served depends on events only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryPart {
    /// Which, as messages name it.
    pub name: Arc<str>,
    /// How it is doing.
    pub state: PartState,
    /// For how long what is known of it has not been confirmed, at the time of the report; `None` where nothing is known or it is live.
    pub stale_for: Option<Duration>,
    /// Services that it has.
    pub services: usize,
    /// Instances of them.
    pub instances: usize,
    /// Changes per second over the last while, in thousandths.
    pub changes_per_second_milli: u64,
    /// Requests that were refused because there were too many.
    pub throttled: u64,
    /// Requests that were refused because the credentials may not, or answers that were empty for that reason.
    pub denied: u64,
    /// Changes that were missed, and found when everything was read again.
    pub drift: u64,
    /// How it is watched, for people; empty where there is one way only.
    pub mode: Arc<str>,
    /// The last thing that failed, which may be long ago.
    pub last_error: Option<Arc<str>>,
}

/// How a part of a registry is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartState {
    /// It has not said everything yet.
    Starting,
    /// What is known is what it has.
    Live,
    /// It does not answer; what is known is from before.
    Stale,
    /// The credentials may not read it.
    Denied,
    /// The credentials may not read it, and need not: what it would tell is not known.
    NotPermitted,
    /// It answers, but wants fewer requests.
    Throttled,
    /// It does not answer, and nothing is known.
    Down,
}

/// A loss of endpoints that is not believed yet. Times are since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Objects that the registry no longer names.
    pub objects: usize,
    /// Endpoints in them.
    pub endpoints: usize,
    /// When the loss was reported.
    pub since: Duration,
    /// When it will be believed.
    pub until: Duration,
}
