//! What happens when there is no answer: what was known stays, and who does not answer is not asked too often.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Answer, Consistency, Failure, Flight, Query, Watcher};
use crate::watch::{Backoff, Random};

/// A query that was cut is asked again after up to so long.
const AGAIN: Duration = Duration::from_millis(100);
/// After so many failures of a service the others are not held up by it any more.
const FAILURES_MAX: u32 = 3;
/// For so long after the last refusal a scope counts as throttled.
const THROTTLED_FOR: Duration = Duration::from_secs(30);

/// Why nobody can say what a service has; what was told before stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The token may not see it.
    Hidden,
    /// Its query fails.
    Failing(Arc<str>),
}

/// How a scope is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is not known yet.
    Starting,
    /// What is known is so.
    Live,
    /// It is, but Consul wants fewer requests.
    Throttled,
    /// Nobody answers.
    Failing(Arc<str>),
    /// The token may not.
    Denied(Arc<str>),
}

/// While a scope fails, only one question is asked now and then.
#[derive(Debug)]
pub(super) struct Breaker {
    open: Option<Open>,
    backoff: Backoff,
}

#[derive(Debug)]
struct Open {
    until: Instant,
    since: Instant,
    error: Arc<str>,
    is_denied: bool,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            open: None,
            backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(5)),
        }
    }
}

impl Breaker {
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn allows(&self, now: Instant) -> bool {
        self.open.as_ref().is_none_or(|open| open.until <= now)
    }

    pub(super) fn until(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.until)
    }

    pub(super) fn try_at(&mut self, at: Instant) {
        if let Some(open) = &mut self.open {
            open.until = at;
        }
    }

    /// Whether it failed more than once in a row: one lost connection is no failure yet.
    fn is_failing(&self) -> bool {
        self.open.is_some() && self.backoff.failures() > 1
    }

    /// Says whether it was failing.
    pub(super) fn close(&mut self) -> bool {
        let was_failing = self.is_failing();
        self.backoff.succeeded();
        self.open = None;
        was_failing
    }

    fn fail(&mut self, failure: &Failure, now: Instant, random: &mut Random) {
        let since = self.open.as_ref().map_or(now, |open| open.since);
        self.open = Some(Open {
            until: now + self.backoff.failed(random),
            since,
            error: failure.message().into(),
            is_denied: matches!(failure, Failure::Denied(_)),
        });
    }
}

impl Watcher {
    /// How it is doing.
    pub(crate) fn standing(&self, now: Instant) -> Standing {
        let throttled_until = self.throttled_at.map(|at| at + THROTTLED_FOR);
        match &self.breaker.open {
            Some(open) if self.breaker.is_failing() => match open.is_denied {
                true => Standing::Denied(open.error.clone()),
                false => Standing::Failing(open.error.clone()),
            },
            _ if !self.was_complete => Standing::Starting,
            _ if throttled_until.is_some_and(|until| now < until) => Standing::Throttled,
            _ => Standing::Live,
        }
    }

    /// Since when it fails.
    pub(crate) fn failing_since(&self) -> Option<Instant> {
        self.breaker.open.as_ref().map(|open| open.since)
    }

    /// What is wrong with single services.
    pub(crate) fn troubles(&self) -> impl Iterator<Item = (&Arc<str>, &Trouble)> {
        self.troubles.iter()
    }

    /// Whether the token may not see the names of all services.
    pub(crate) fn hides_names(&self) -> bool {
        self.names.is_filtered
    }

    pub(super) fn trouble(&mut self, name: &Arc<str>, trouble: Trouble) {
        if self.services.contains_key(name) && self.troubles.get(name) != Some(&trouble) {
            self.troubles.insert(name.clone(), trouble);
            self.news.standing = true;
        }
    }

    /// The server that answered has not heard from its leader for too long: the leader is asked.
    pub(super) fn ask_consistently(&mut self, flight: &Flight, answer: &Answer, now: Instant) {
        tracing::debug!(query = ?flight.query, last_contact = ?answer.last_contact, has_leader = answer.has_leader, "too old");
        match &flight.query {
            Query::Names => {
                self.names.list.ask_leader_at(now);
            }
            Query::Checks => {
                self.checks.list.ask_leader_at(now);
            }
            Query::Service(name) => {
                if let Some(watch) = self.services.get_mut(name) {
                    watch.consistency = Consistency::Default;
                }
                self.read_service(name, now);
            }
        }
    }

    pub(super) fn failed(&mut self, flight: &Flight, failure: Failure, now: Instant) {
        if failure != Failure::Moved {
            self.last_error = Some(failure.message().into());
        }
        match &failure {
            Failure::Unreachable(_) => {
                self.lanes.unreachable(flight.lane, now, &mut self.random);
                if self.lanes.first(now).is_none() {
                    self.open_breaker(&failure, now);
                }
            }
            Failure::TooManyConnections(_) => {
                self.counts.throttled += 1;
                self.note_throttled(now);
                self.lanes.refuses_connections(flight.lane, now);
            }
            Failure::Throttled(_) => {
                self.counts.throttled += 1;
                self.note_throttled(now);
                self.bucket.slow_down(now);
            }
            Failure::Denied(_) => self.counts.denied += 1,
            Failure::Cut(_)
            | Failure::Moved
            | Failure::Server(_)
            | Failure::Garbage(_)
            | Failure::TooLarge(_) => {}
        }
        match &flight.query {
            Query::Names => self.names_failed(&failure, now),
            Query::Checks => {
                let at = now + AGAIN * 10 + self.random.below(AGAIN * 10);
                self.checks.list.ask_anew_at(at);
            }
            Query::Service(name) => self.service_failed(name, &failure, now),
        }
    }

    fn note_throttled(&mut self, now: Instant) {
        self.news.standing |= self.throttled_at.is_none();
        self.throttled_at = Some(now);
    }

    fn names_failed(&mut self, failure: &Failure, now: Instant) {
        self.names.list.index.reset();
        self.names.list.consistency = Consistency::Stale;
        match failure {
            Failure::Moved => self.names.list.due = now,
            // Consul is there, and says when it has had enough; nothing else is wrong.
            Failure::TooManyConnections(_) | Failure::Throttled(_) => {
                self.names.list.due = now + AGAIN * 5 + self.random.below(AGAIN * 10);
            }
            _ => self.open_breaker(failure, now),
        }
    }

    fn open_breaker(&mut self, failure: &Failure, now: Instant) {
        if self.breaker.allows(now) {
            self.breaker.fail(failure, now, &mut self.random);
            self.news.standing = true;
        }
        // The probe is the query for names; while it is waited for, nothing is known.
        self.cancel(|query| *query == Query::Names);
        self.names.list.index.reset();
        let until = self.breaker.until().unwrap_or(now);
        self.names.list.due =
            self.lanes
                .next_try()
                .map_or(until, |at| match self.lanes.first(now) {
                    Some(_) => until,
                    None => at.max(until),
                });
        self.breaker.try_at(self.names.list.due);
    }

    pub(super) fn service_failed(&mut self, name: &Arc<str>, failure: &Failure, now: Instant) {
        let Some(watch) = self.services.get_mut(name) else {
            return;
        };
        watch.index.reset();
        watch.consistency = Consistency::Stale;
        let wait = watch.backoff.failed(&mut self.random);
        let failures = watch.backoff.failures();
        let wait = match failure {
            Failure::Moved => Duration::ZERO,
            Failure::Cut(_) | Failure::Unreachable(_) if failures == 1 => self.random.below(AGAIN),
            _ => wait,
        };
        self.schedule(name, now + wait);
        // What one service alone fails with must not keep the others from being told.
        let is_its_own = match failure {
            Failure::Garbage(_) | Failure::TooLarge(_) => true,
            Failure::Denied(_) | Failure::Server(_) | Failure::Cut(_) => failures >= FAILURES_MAX,
            Failure::Unreachable(_)
            | Failure::Moved
            | Failure::TooManyConnections(_)
            | Failure::Throttled(_) => false,
        };
        if is_its_own {
            self.trouble(name, Trouble::Failing(failure.message().into()));
            self.mark_read(name);
        }
    }
}
