//! The shell: asks the agents what the cores want to know, and sends the events.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher as _,
    sync::Arc,
    time::{Duration, Instant},
};

use bowline_mesh::{LastGood, RegistryEvent, RegistryPart, RegistrySettings};
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, Id, JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{
    ask::ask,
    greet::greet,
    http::{Agent, Token, TokenFile},
    part::Rates,
    scope::Scope,
    settings::ConsulSettings,
    told::{ScopeView, Told},
    watcher::{Action, Answer, Failure, RequestId, Standing, WatchSettings, Watcher},
};

/// How often files and what is reported are looked at.
const TICK: Duration = Duration::from_secs(1);
/// At the start a scope that fails, and of which nothing is known, is waited for so long.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// Answers that are taken in before anything is told.
const BATCH_MAX: usize = 256;

/// A Consul that is watched.
#[derive(Debug)]
pub struct Consul {
    /// Its place in the mesh.
    pub settings: RegistrySettings,
    /// Where it is, and what of it is read.
    pub consul: ConsulSettings,
    /// What the mesh last had from it before the start. What cannot be read now stays as it is there.
    pub last_good: LastGood,
    /// Where it is reported how it is doing.
    pub parts: watch::Sender<Vec<RegistryPart>>,
}

/// One scope and its core.
struct Watched {
    scope: Arc<Scope>,
    watcher: Watcher,
    rates: Rates,
    standing: Standing,
    flights: HashMap<RequestId, AbortHandle>,
}

/// What a task brings back.
type Outcome = (usize, RequestId, Result<Answer, Failure>);

impl Consul {
    /// Sends what Consul has, and from then on what changes in it, until `shutdown`. Ends earlier only if nobody listens any more.
    pub async fn run(self, events: mpsc::Sender<RegistryEvent>, shutdown: CancellationToken) {
        let Self {
            settings,
            consul,
            last_good,
            parts,
        } = self;
        let settings = Arc::new(settings);
        let mut told = Told::new(settings.clone(), consul.service_port, last_good);
        let agents: Vec<Arc<Agent>> = consul
            .addresses
            .iter()
            .map(|address| {
                let agent = Agent::new(address.clone(), consul.tls.clone(), consul.connections_max);
                Arc::new(agent)
            })
            .collect();
        let mut token = TokenFile::new(consul.token_file.clone());
        let greeting = greet(&consul, &agents, &mut token, &mut told, &events, &parts);
        let datacenter = tokio::select! {
            () = shutdown.cancelled() => return,
            datacenter = greeting => datacenter,
        };
        let Some(datacenter) = datacenter else { return };
        let scopes = Scope::all(&consul, &datacenter);
        let watching = Watching::new(settings, &consul, scopes, agents, token, told, parts);
        watching.run(events, shutdown).await;
    }
}

/// Everything that is watched.
struct Watching {
    settings: Arc<RegistrySettings>,
    agents: Vec<Arc<Agent>>,
    token: TokenFile,
    token_error: Option<String>,
    watched: Vec<Watched>,
    told: Told,
    parts: watch::Sender<Vec<RegistryPart>>,
    started: Instant,
    tasks: JoinSet<Outcome>,
    /// Whose task it is, for the case that it panics.
    owners: HashMap<Id, (usize, RequestId)>,
}

impl Watching {
    fn new(
        settings: Arc<RegistrySettings>,
        consul: &ConsulSettings,
        scopes: Vec<Scope>,
        agents: Vec<Arc<Agent>>,
        token: TokenFile,
        told: Told,
        parts: watch::Sender<Vec<RegistryPart>>,
    ) -> Self {
        let now = Instant::now();
        let count = scopes.len().max(1);
        let watched = scopes.into_iter().map(|scope| {
            let watch = WatchSettings {
                agents: agents.len(),
                connections_max: (consul.connections_max / count).max(2),
                stale_max: consul.stale_max,
                reread_after: consul.reread_after,
                seed: RandomState::new().hash_one(&scope.datacenter),
            };
            Watched {
                scope: Arc::new(scope),
                watcher: Watcher::new(watch, now),
                rates: Rates::new(now),
                standing: Standing::Starting,
                flights: HashMap::new(),
            }
        });
        Self {
            settings,
            watched: watched.collect(),
            agents,
            token,
            token_error: None,
            told,
            parts,
            started: now,
            tasks: JoinSet::new(),
            owners: HashMap::new(),
        }
    }

    async fn run(mut self, events: mpsc::Sender<RegistryEvent>, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let next = self.step();
            let has_news = self.told.has_news(&self.views());
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(joined) = self.tasks.join_next_with_id() => self.take(joined),
                permit = events.reserve(), if has_news => {
                    let Ok(permit) = permit else { return };
                    let views = views(&self.watched, self.started, &self.told);
                    if let Some(event) = self.told.next_event(&views) {
                        permit.send(event);
                    }
                }
                _ = tick.tick() => self.tick().await,
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
    }

    /// Asks what is to be asked now, and says when to ask next.
    fn step(&mut self) -> Instant {
        for _ in 1..BATCH_MAX {
            let Some(joined) = self.tasks.try_join_next_with_id() else {
                break;
            };
            self.take(joined);
        }
        let now = Instant::now();
        let mut next = now + TICK;
        for place in 0..self.watched.len() {
            self.ask(place, now);
            let Some(watched) = self.watched.get_mut(place) else {
                continue;
            };
            next = next.min(watched.watcher.next_poll(now));
            let standing = watched.watcher.standing(now);
            let mut news = watched.watcher.take_news();
            if standing != watched.standing {
                tracing::info!(registry = %self.settings.id, scope = %watched.scope, ?standing, "a part of a registry is doing otherwise");
                watched.standing = standing;
                news.standing = true;
            }
            let view = ScopeView {
                scope: &watched.scope,
                watcher: &watched.watcher,
                standing: &watched.standing,
                is_given_up: false,
            };
            self.told.note(place, view, news);
        }
        next
    }

    fn ask(&mut self, place: usize, now: Instant) {
        let Some(watched) = self.watched.get_mut(place) else {
            return;
        };
        for action in watched.watcher.poll(now) {
            match action {
                Action::Cancel(id) => {
                    if let Some(task) = watched.flights.remove(&id) {
                        task.abort();
                    }
                }
                Action::Send(request) => {
                    let id = request.id;
                    let agent = self.agents.get(request.lane.0).cloned();
                    let token: Option<Token> = self.token.token().cloned();
                    let scope = watched.scope.clone();
                    let settings = self.settings.clone();
                    let task = self.tasks.spawn(async move {
                        let outcome = match agent {
                            Some(agent) => ask(agent, scope, settings, token, request).await,
                            None => Err(Failure::Unreachable("there is no such agent".to_owned())),
                        };
                        (place, id, outcome)
                    });
                    self.owners.insert(task.id(), (place, id));
                    watched.flights.insert(id, task);
                }
            }
        }
    }

    fn take(&mut self, joined: Result<(Id, Outcome), JoinError>) {
        let (place, id, outcome) = match joined {
            Ok((task, outcome)) => {
                self.owners.remove(&task);
                outcome
            }
            Err(error) => {
                let Some((place, id)) = self.owners.remove(&error.id()) else {
                    return;
                };
                if error.is_cancelled() {
                    return;
                }
                tracing::error!(registry = %self.settings.id, %error, "reading an answer failed: please report this");
                (
                    place,
                    id,
                    Err(Failure::Garbage("reading the answer failed".to_owned())),
                )
            }
        };
        if let Some(watched) = self.watched.get_mut(place) {
            watched.flights.remove(&id);
            watched.watcher.answered(id, outcome, Instant::now());
        }
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        match self.token.read().await {
            Ok(true) => {
                tracing::info!(registry = %self.settings.id, "the ACL token is another one");
                for watched in &mut self.watched {
                    watched.watcher.credentials_changed(now);
                }
            }
            Ok(false) => self.token_error = None,
            Err(error) => {
                if self.token_error.as_ref() != Some(&error) {
                    tracing::warn!(registry = %self.settings.id, error, "the token of before is used on");
                }
                self.token_error = Some(error);
            }
        }
        let token_error = self.token_error.as_deref();
        let parts = self.watched.iter_mut().map(|watched| {
            let Watched {
                scope,
                watcher,
                rates,
                standing,
                ..
            } = watched;
            let remembered = self.told.remembered(scope, now);
            rates.part(scope, watcher, standing, remembered, token_error, now)
        });
        let parts: Vec<RegistryPart> = parts.collect();
        self.parts.send_if_modified(|known| {
            let is_other = *known != parts;
            *known = parts;
            is_other
        });
    }

    fn views(&self) -> Vec<ScopeView<'_>> {
        views(&self.watched, self.started, &self.told)
    }
}

fn views<'a>(watched: &'a [Watched], started: Instant, told: &Told) -> Vec<ScopeView<'a>> {
    let now = Instant::now();
    let is_late = now.saturating_duration_since(started) > START_PATIENCE;
    watched
        .iter()
        .map(|watched| {
            let is_failing = matches!(watched.standing, Standing::Failing(_) | Standing::Denied(_));
            ScopeView {
                scope: &watched.scope,
                watcher: &watched.watcher,
                standing: &watched.standing,
                is_given_up: is_failing
                    && (is_late || told.remembered(&watched.scope, now).is_some()),
            }
        })
        .collect()
}
