//! A query for a list, of names or of checks: one blocking query after the other.

use std::time::{Duration, Instant};

use super::{Action, Answer, Body, Consistency, Query, RequestId, Watcher};
use crate::watch::{Index, LaneId, Pace, Step, pace::Answered};

/// A chain of queries for one list.
#[derive(Debug)]
pub(super) struct ListWatch {
    pub(super) flight: Option<RequestId>,
    pub(super) due: Instant,
    pub(super) index: Index,
    pub(super) consistency: Consistency,
    lane: Option<LaneId>,
    host: Option<u64>,
    pace: Pace,
    fingerprint: Option<u64>,
}

impl ListWatch {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            flight: None,
            due: now,
            index: Index::default(),
            consistency: Consistency::Stale,
            lane: None,
            host: None,
            pace: Pace::default(),
            fingerprint: None,
        }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.flight.is_none() && self.due <= now
    }

    /// Whether it was answered.
    pub(super) fn is_known(&self) -> bool {
        self.fingerprint.is_some()
    }

    /// Asks from the beginning.
    pub(super) fn ask_anew_at(&mut self, at: Instant) {
        self.index.reset();
        self.due = at;
    }

    /// The same, and only a leader is believed.
    pub(super) fn ask_leader_at(&mut self, at: Instant) {
        self.consistency = Consistency::Default;
        self.ask_anew_at(at);
    }

    /// Takes in what every answer says besides the list, and when to ask next: after so long where there is no index to wait for.
    pub(super) fn answered(
        &mut self,
        answer: &Answer,
        without_index: Duration,
        now: Instant,
    ) -> Step {
        self.consistency = Consistency::Stale;
        self.host = Some(answer.host);
        self.fingerprint = Some(answer.fingerprint);
        let step = self.index.step(answer.index);
        let wait = self.pace.answered(
            Answered {
                bytes: answer.bytes,
                is_news: !matches!(answer.body, Body::Unchanged),
                endpoints: usize::MAX,
            },
            now,
        );
        self.due = match step {
            Step::Missing => now + without_index,
            Step::Forward | Step::Same | Step::Backward => now + wait,
        };
        step
    }
}

impl Watcher {
    pub(super) fn ask_names(&mut self, now: Instant) -> Option<Action> {
        self.ask_list(Query::Names, |watcher| &mut watcher.names.list, now)
    }

    pub(super) fn ask_checks(&mut self, now: Instant) -> Option<Action> {
        self.ask_list(Query::Checks, |watcher| &mut watcher.checks.list, now)
    }

    fn ask_list(
        &mut self,
        query: Query,
        list: fn(&mut Self) -> &mut ListWatch,
        now: Instant,
    ) -> Option<Action> {
        let known = list(self).lane;
        let usable = known.filter(|lane| self.lanes.is_usable(*lane, now));
        if usable.is_none() {
            list(self).index.reset();
        }
        // When all are down the query for names is the probe, once the breaker allows it.
        let lane = usable.or_else(|| self.lanes.first(now))?;
        let watch = list(self);
        if known != Some(lane) {
            watch.lane = Some(lane);
            watch.host = None;
            watch.index.reset();
        }
        let (index, consistency) = (watch.index, watch.consistency);
        let mut request = self.send(query, lane, index, consistency, now);
        let watch = list(self);
        request.fingerprint = watch.fingerprint;
        request.host = request.index.and(watch.host);
        watch.flight = Some(request.id);
        Some(Action::Send(request))
    }
}
