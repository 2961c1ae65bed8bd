//! All checks as one query: which services to read again, where there is no room for a query for each.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Answer, Body, Checks, Watcher, list::ListWatch};
use crate::watch::Step;

/// Between answers that have no index to wait for.
const WITHOUT_INDEX: Duration = Duration::from_secs(5);

/// The query for all checks.
#[derive(Debug)]
pub(super) struct CheckWatch {
    pub(super) list: ListWatch,
    known: Option<Checks>,
}

impl CheckWatch {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            list: ListWatch::new(now),
            known: None,
        }
    }
}

impl Watcher {
    pub(super) fn checks_answered(&mut self, answer: Answer, now: Instant) {
        if self.checks.list.answered(&answer, WITHOUT_INDEX, now) == Step::Backward {
            self.ask_names_anew(now);
        }
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
