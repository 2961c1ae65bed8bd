//! All checks as one query: which services to read again, where there is no room for a query for each.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Action, Answer, Body, Checks, Consistency, Query, RequestId, Watcher};
use crate::watch::{Index, LaneId, Pace, Step, pace::Answered};

/// Between answers that have no index to wait for.
const WITHOUT_INDEX: Duration = Duration::from_secs(5);

/// The query for all checks.
#[derive(Debug)]
pub(super) struct CheckWatch {
    pub(super) flight: Option<RequestId>,
    pub(super) due: Instant,
    pub(super) index: Index,
    pub(super) consistency: Consistency,
    lane: Option<LaneId>,
    host: Option<u64>,
    pace: Pace,
    fingerprint: Option<u64>,
    known: Option<Checks>,
}

impl CheckWatch {
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
            known: None,
        }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.flight.is_none() && self.due <= now
    }
}

impl Watcher {
    pub(super) fn ask_checks(&mut self, now: Instant) -> Option<Action> {
        let lane = match self.checks.lane {
            Some(lane) if self.lanes.is_usable(lane, now) => lane,
            _ => self.lanes.first(now)?,
        };
        if self.checks.lane != Some(lane) {
            self.checks.lane = Some(lane);
            self.checks.host = None;
            self.checks.index.reset();
        }
        let mut request = self.send(
            Query::Checks,
            lane,
            self.checks.index,
            self.checks.consistency,
            now,
        );
        request.host = request.index.and(self.checks.host);
        request.fingerprint = self.checks.fingerprint;
        self.checks.flight = Some(request.id);
        Some(Action::Send(request))
    }

    pub(super) fn checks_answered(&mut self, answer: Answer, now: Instant) {
        self.checks.consistency = Consistency::Stale;
        self.checks.host = Some(answer.host);
        self.checks.fingerprint = Some(answer.fingerprint);
        let step = self.checks.index.step(answer.index);
        let is_news = !matches!(answer.body, Body::Unchanged);
        let wait = self.checks.pace.answered(
            Answered {
                bytes: answer.bytes,
                is_news,
                endpoints: usize::MAX,
            },
            now,
        );
        self.checks.due = match step {
            Step::Missing => now + WITHOUT_INDEX,
            Step::Forward | Step::Same => now + wait,
            Step::Backward => {
                self.ask_names_anew(now);
                now + wait
            }
        };
        let Body::Checks(checks) = answer.body else {
            return;
        };
        let Some(known) = self.checks.known.replace(checks) else {
            return;
        };
        for name in self.pointed_at(&known) {
            self.look_at(&name, now);
        }
    }

    /// Services whose checks, or whose machines' checks, differ from those that were known.
    fn pointed_at(&self, known: &Checks) -> BTreeSet<Arc<str>> {
        let Some(checks) = &self.checks.known else {
            return BTreeSet::new();
        };
        let mut services = different(&known.services, &checks.services);
        let nodes = different(&known.nodes, &checks.nodes);
        if !nodes.is_empty() {
            for (name, watch) in &self.services {
                let content = watch.content.as_ref();
                if content.is_some_and(|content| !content.nodes.is_disjoint(&nodes)) {
                    services.insert(name.clone());
                }
            }
        }
        services
    }
}

fn different(
    before: &BTreeMap<Arc<str>, u64>,
    after: &BTreeMap<Arc<str>, u64>,
) -> BTreeSet<Arc<str>> {
    let changed = after
        .iter()
        .filter(|(name, print)| before.get(*name) != Some(print));
    let gone = before.iter().filter(|(name, _)| !after.contains_key(*name));
    changed.chain(gone).map(|(name, _)| name.clone()).collect()
}
