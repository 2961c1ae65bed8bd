//! Which services there are.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Answer, Body, Flight, Query, Watcher, list::ListWatch, services::ServiceWatch};
use crate::watch::Step;

/// Between answers that have no index to wait for.
const WITHOUT_INDEX: Duration = Duration::from_secs(1);

/// Names are asked for out of turn at most so often.
const ANEW_PAUSE: Duration = Duration::from_secs(1);

/// How often an answer that comes too early begins everything anew: servers may be set to wait for less time than they are asked to.
const ANEW_AT_MOST: Duration = Duration::from_secs(300);

/// The query for names.
#[derive(Debug)]
pub(super) struct NameWatch {
    pub(super) list: ListWatch,
    /// The index that was known last, also where it is not asked with.
    last: Option<u64>,
    /// When it was asked last whatever was waited for.
    asked_anew_at: Option<Instant>,
    /// When everything was begun anew last.
    anew_at: Option<Instant>,
    /// The token may not see all names, so that one that is missing may only be hidden.
    pub(super) is_filtered: bool,
}

impl NameWatch {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            list: ListWatch::new(now),
            last: None,
            asked_anew_at: None,
            anew_at: None,
            is_filtered: false,
        }
    }
}

impl Watcher {
    /// Whether the names are asked for without waiting for anything.
    fn is_reading_names(&self) -> bool {
        let flight = self.names.list.flight.and_then(|id| self.flights.get(&id));
        flight.is_some_and(|flight| flight.index.is_none())
    }

    /// Asks for the names from the beginning, whatever is waited for now. Thousands of services may want that at once.
    pub(super) fn ask_names_anew(&mut self, now: Instant) {
        let is_recent = |at: Instant| now < at + ANEW_PAUSE;
        if self.is_reading_names() || self.names.asked_anew_at.is_some_and(is_recent) {
            return;
        }
        self.names.asked_anew_at = Some(now);
        self.cancel(|query| *query == Query::Names);
        self.names.list.ask_anew_at(now);
    }

    pub(super) fn names_answered(&mut self, flight: &Flight, answer: Answer, now: Instant) {
        let was_failing = self.breaker.close();
        let step = self.names.list.answered(&answer, WITHOUT_INDEX, now);
        let went_back = answer.index < self.names.last && answer.index.is_some();
        self.names.last = answer.index;
        // Nothing but a restored snapshot ends a wait early with the index that it began with. The answer is from before it, and so are the
        // indexes of all other waits: they would be answered after their wait only.
        let is_restored = step == Step::Same
            && flight.ends_early(now)
            && self.names.anew_at.is_none_or(|at| now >= at + ANEW_AT_MOST);
        if is_restored {
            self.names.last = None;
            self.names.list.index.reset();
        }
        let was_filtered = std::mem::replace(&mut self.names.is_filtered, answer.is_filtered);
        self.news.standing |= was_failing || was_filtered != answer.is_filtered;
        if was_failing || went_back || is_restored {
            self.names.anew_at = Some(now);
            // Whatever was waited for has another past now.
            self.begin_anew(now);
        }
        if let Body::Names(names) = answer.body {
            self.take_names(&names, now);
        }
        if step == Step::Forward {
            self.registered_somewhere(now);
        }
        self.settle_completeness();
    }

    fn take_names(&mut self, names: &BTreeSet<Arc<str>>, now: Instant) {
        let gone: Vec<Arc<str>> = self
            .services
            .keys()
            .filter(|name| !names.contains(*name))
            .cloned()
            .collect();
        for name in gone {
            match self.names.is_filtered {
                // It may only be hidden; its own answer tells.
                true => {
                    if let Some(watch) = self.services.get_mut(&name) {
                        watch.is_named = false;
                    }
                    self.read_service(&name, now);
                }
                false => self.remove_service(&name),
            }
        }
        for name in names {
            match self.services.get_mut(name) {
                Some(watch) => watch.is_named = true,
                None => {
                    let reread_at = self.reread_at(now);
                    self.services
                        .insert(name.clone(), ServiceWatch::new(reread_at));
                    self.unread += 1;
                    self.read_service(name, now);
                }
            }
        }
    }

    /// Everything is read again, and only then what is not there any more is believed to be gone.
    pub(super) fn begin_anew(&mut self, now: Instant) {
        self.is_complete = false;
        self.cancel(|query| !matches!(query, Query::Names));
        self.checks = super::CheckWatch::new(now);
        for watch in self.services.values_mut() {
            watch.is_read = false;
        }
        self.unread = self.services.len();
        self.read_all(now);
    }

    /// Whether everything is known now.
    pub(super) fn settle_completeness(&mut self) {
        let is_named = self.names.list.is_known() && !self.breaker.is_open();
        if !self.is_complete && self.unread == 0 && is_named {
            self.is_complete = true;
            self.was_complete = true;
            self.news.is_complete = true;
            self.news.standing = true;
        }
    }
}
