//! The core of watching one scope: which questions to ask next, and what their answers mean. No I/O; time is an argument.
//!
//! Two modes. As long as there is room, every service has a blocking query of its own and is known within milliseconds. Where there are
//! more services than requests at once (plain HTTP needs a connection for each, and agents allow 200 to a client), one query for all
//! checks tells which services to read again.

mod checks;
mod failure;
mod list;
mod names;
mod question;
mod services;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

pub(crate) use failure::{Standing, Trouble};
pub(crate) use question::{
    Action, Answer, Body, Checks, Consistency, Failure, Query, Request, RequestId,
};

use crate::{
    mapping::Mapped,
    watch::{Bucket, Index, LaneId, Lanes, Random},
};
use checks::CheckWatch;
use failure::Breaker;
use names::NameWatch;
use services::ServiceWatch;

/// Services that are read a second at the start, and how many of them at once.
const READS_PER_SECOND: f64 = 400.0;
const READ_BURST: f64 = 50.0;
const READS_MAX: usize = 32;
/// Requests at once that are left for reading while every service has a query of its own.
const READ_RESERVE: usize = 6;

/// What can be set about watching.
#[derive(Debug, Clone)]
pub(crate) struct WatchSettings {
    /// Agents that can be asked.
    pub(crate) agents: usize,
    /// Connections of this scope to each of them.
    pub(crate) connections_max: usize,
    /// An answer of a server that heard from its leader longer ago is not believed.
    pub(crate) stale_max: Duration,
    /// Everything is read anew within twice this time, and not sooner than after once.
    pub(crate) reread_after: Duration,
    pub(crate) seed: u64,
}

/// How the services of a scope are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A query for each.
    EachService,
    /// One query for all checks, and what it points at is read.
    ByChecks,
}

/// What is known of a service.
#[derive(Debug, Clone)]
pub(crate) enum Known<'a> {
    /// It is not there.
    Absent,
    /// What it has.
    Content(&'a Arc<Mapped>),
    /// Nobody can say now; what was told before stays.
    Unknown,
}

/// What happened since somebody asked last.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// Services of which something else is known.
    pub(crate) services: BTreeSet<Arc<str>>,
    /// Everything was read anew, so that what is not there is gone.
    pub(crate) is_complete: bool,
    /// The state or the troubles are others.
    pub(crate) standing: bool,
}

/// What is counted of a scope.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) changes: u64,
    pub(crate) throttled: u64,
    pub(crate) denied: u64,
    pub(crate) drift: u64,
    pub(crate) instances: usize,
}

/// Watches one scope.
#[derive(Debug)]
pub(crate) struct Watcher {
    settings: WatchSettings,
    random: Random,
    lanes: Lanes,
    bucket: Bucket,
    breaker: Breaker,
    names: NameWatch,
    checks: CheckWatch,
    services: BTreeMap<Arc<str>, ServiceWatch>,
    /// How many of them are no applications.
    foreign: usize,
    /// What is wrong with services.
    troubles: BTreeMap<Arc<str>, Trouble>,
    mode: Mode,
    /// Services to read, services to read where there is room for more, and services to wait for, by when.
    reads: BTreeSet<(Instant, Arc<str>)>,
    sweeps: BTreeSet<(Instant, Arc<str>)>,
    waits: BTreeSet<(Instant, Arc<str>)>,
    flights: HashMap<RequestId, Flight>,
    cancelled: Vec<RequestId>,
    last_request: u64,
    /// Reads on their way.
    reading: usize,
    /// Services that were not read since everything began anew.
    unread: usize,
    is_complete: bool,
    was_complete: bool,
    /// Some service may have changed, and nothing tells which.
    is_sweep_due: bool,
    sweep_ends: Instant,
    counts: Counts,
    throttled_at: Option<Instant>,
    last_error: Option<Arc<str>>,
    news: News,
}

/// A request on its way.
#[derive(Debug, Clone)]
struct Flight {
    query: Query,
    lane: LaneId,
    index: Option<u64>,
    consistency: Consistency,
    /// It reads for the sake of reading: what differs now was missed before.
    is_reread: bool,
    sent_at: Instant,
}

impl Flight {
    /// Whether its wait is not over yet.
    fn ends_early(&self, now: Instant) -> bool {
        self.index.is_some() && now < self.sent_at + self.query.wait()
    }
}

impl Watcher {
    pub(crate) fn new(settings: WatchSettings, now: Instant) -> Self {
        Self {
            random: Random::new(settings.seed),
            lanes: Lanes::new(settings.agents, settings.connections_max),
            bucket: Bucket::new(READS_PER_SECOND, READ_BURST, now),
            breaker: Breaker::default(),
            names: NameWatch::new(now),
            checks: CheckWatch::new(now),
            services: BTreeMap::new(),
            foreign: 0,
            troubles: BTreeMap::new(),
            mode: Mode::EachService,
            reads: BTreeSet::new(),
            sweeps: BTreeSet::new(),
            waits: BTreeSet::new(),
            flights: HashMap::new(),
            cancelled: Vec::new(),
            last_request: 0,
            reading: 0,
            unread: 0,
            is_complete: false,
            was_complete: false,
            is_sweep_due: false,
            sweep_ends: now,
            counts: Counts::default(),
            throttled_at: None,
            last_error: None,
            news: News::default(),
            settings,
        }
    }

    /// What to do now.
    pub(crate) fn poll(&mut self, now: Instant) -> Vec<Action> {
        self.choose_mode(now);
        let mut actions = Vec::new();
        if self.names.list.is_due(now) && self.breaker.allows(now) {
            actions.extend(self.ask_names(now));
        }
        if !self.breaker.is_open() {
            if self.mode == Mode::ByChecks && self.checks.list.is_due(now) {
                actions.extend(self.ask_checks(now));
            }
            self.sweep(now);
            self.ask_services(now, &mut actions);
        }
        let cancelled = std::mem::take(&mut self.cancelled);
        let mut all: Vec<Action> = cancelled.into_iter().map(Action::Cancel).collect();
        all.append(&mut actions);
        all
    }

    /// When to ask what to do next, if no answer comes before.
    pub(crate) fn next_poll(&self, now: Instant) -> Instant {
        let idle = now + Duration::from_secs(1);
        let mut times = vec![idle];
        if self.names.list.flight.is_none() {
            times.push(match self.breaker.until() {
                Some(until) => until.max(self.names.list.due),
                None => self.names.list.due,
            });
        }
        if !self.breaker.is_open() {
            if self.mode == Mode::ByChecks && self.checks.list.flight.is_none() {
                times.push(self.checks.list.due);
            }
            if let Some(at) = self.blocked_until(now) {
                times.push(at);
            } else {
                let first = |set: &BTreeSet<(Instant, Arc<str>)>| set.first().map(|(at, _)| *at);
                times.extend(first(&self.reads));
                times.extend(first(&self.sweeps));
                times.extend(first(&self.waits));
            }
            times.extend(self.lanes.next_try());
        }
        // What is overdue waits for something: room or a token. Nothing is asked in a loop.
        let soonest = now + Duration::from_millis(1);
        times.into_iter().min().unwrap_or(idle).max(soonest)
    }

    /// Takes in what became of a request.
    pub(crate) fn answered(
        &mut self,
        id: RequestId,
        outcome: Result<Answer, Failure>,
        now: Instant,
    ) {
        let Some(flight) = self.end_flight(id) else {
            return;
        };
        let answer = match outcome {
            Ok(answer) => answer,
            Err(failure) => return self.failed(&flight, failure, now),
        };
        self.lanes.answered(flight.lane, answer.transport);
        let is_too_old = !answer.has_leader || answer.last_contact > self.settings.stale_max;
        if is_too_old && flight.consistency == Consistency::Stale {
            return self.ask_consistently(&flight, &answer, now);
        }
        match flight.query.clone() {
            Query::Names => self.names_answered(&flight, answer, now),
            Query::Service(name) => self.service_answered(&name, &flight, answer, now),
            Query::Checks => self.checks_answered(answer, now),
        }
    }

    /// The credentials are other ones: what was denied is asked at once.
    pub(crate) fn credentials_changed(&mut self, now: Instant) {
        if self.breaker.is_open() {
            self.breaker.try_at(now);
            self.names.list.due = now;
        }
        let troubled: Vec<Arc<str>> = self.troubles.keys().cloned().collect();
        for name in troubled {
            self.read_service(&name, now);
        }
    }

    /// What happened since this was asked last.
    pub(crate) fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// Whether everything was read, so that what is not known is not there.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether everything was read at least once.
    pub(crate) fn was_complete(&self) -> bool {
        self.was_complete
    }

    /// What is known of a service.
    pub(crate) fn known(&self, name: &str) -> Known<'_> {
        match self.services.get(name) {
            Some(watch) => match &watch.content {
                Some(content) => Known::Content(content),
                None => Known::Unknown,
            },
            None if self.is_complete => Known::Absent,
            None => Known::Unknown,
        }
    }

    /// All services by name.
    pub(crate) fn service_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.services.keys()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    pub(crate) fn last_error(&self) -> Option<&Arc<str>> {
        self.last_error.as_ref()
    }

    fn choose_mode(&mut self, now: Instant) {
        let capacity = self.lanes.capacity(now);
        if capacity == 0 || self.breaker.is_open() {
            return;
        }
        let needed = self.services.len().saturating_sub(self.foreign) + READ_RESERVE + 1;
        match self.mode {
            Mode::EachService if needed > capacity => self.change_mode(Mode::ByChecks, now),
            Mode::ByChecks if needed <= capacity * 4 / 5 => {
                self.change_mode(Mode::EachService, now);
            }
            Mode::EachService | Mode::ByChecks => {}
        }
    }

    fn change_mode(&mut self, mode: Mode, now: Instant) {
        tracing::info!(
            ?mode,
            services = self.services.len(),
            "services are watched in another way"
        );
        self.mode = mode;
        self.checks = CheckWatch::new(now);
        self.cancel(|query| !matches!(query, Query::Names));
        self.news.standing = true;
        // What changes between the one and the other way is not missed.
        self.read_all(now);
    }

    fn send(
        &mut self,
        query: Query,
        lane: LaneId,
        index: Index,
        consistency: Consistency,
        now: Instant,
    ) -> Request {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        let index = index.get();
        self.lanes.sent(lane);
        self.flights.insert(
            id,
            Flight {
                query: query.clone(),
                lane,
                index,
                consistency,
                is_reread: false,
                sent_at: now,
            },
        );
        Request {
            id,
            query,
            lane,
            index,
            consistency,
            host: None,
            fingerprint: None,
            before: None,
        }
    }

    fn end_flight(&mut self, id: RequestId) -> Option<Flight> {
        let flight = self.flights.remove(&id)?;
        self.lanes.ended(flight.lane);
        match &flight.query {
            Query::Names => self.names.list.flight = None,
            Query::Checks => self.checks.list.flight = None,
            Query::Service(name) => {
                if flight.index.is_none() {
                    self.reading = self.reading.saturating_sub(1);
                }
                if let Some(watch) = self.services.get_mut(name) {
                    watch.flight = None;
                }
            }
        }
        Some(flight)
    }

    /// Gives up requests; their answers are not waited for.
    fn cancel(&mut self, which: impl Fn(&Query) -> bool) {
        let ids: Vec<RequestId> = self
            .flights
            .iter()
            .filter(|(_, flight)| which(&flight.query))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.end_flight(id);
            self.cancelled.push(id);
        }
    }
}

#[cfg(test)]
mod tests;
