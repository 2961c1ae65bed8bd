//! What each service has.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Action, Answer, Body, Consistency, Failure, Flight, Mode, Query, READS_MAX, RequestId, Watcher,
    failure::Trouble,
};
use crate::{
    mapping::Mapped,
    watch::{Backoff, Index, LaneId, Pace, Step, pace::Answered},
};

/// After an answer that had no index, or whose index went back.
const AGAIN: Duration = Duration::from_millis(200);
/// After a hint a service is read twice: the first answer may come from a server that does not know yet.
const SECOND_LOOK: Duration = Duration::from_secs(1);
/// Between two services of a sweep.
const SWEEP_STEP: Duration = Duration::from_millis(10);
/// A service that is hidden is looked at again after so long.
const HIDDEN_AGAIN: Duration = Duration::from_secs(30);

/// The query for one service.
#[derive(Debug)]
pub(super) struct ServiceWatch {
    pub(super) flight: Option<RequestId>,
    /// When it is due, and in which of the sets.
    due: Option<(Instant, Due)>,
    pub(super) index: Index,
    pub(super) consistency: Consistency,
    lane: Option<LaneId>,
    host: Option<u64>,
    pace: Pace,
    pub(super) backoff: Backoff,
    reread_at: Instant,
    /// Something points at it since it was asked about.
    is_outdated: bool,
    /// It is read because something somewhere changed.
    is_swept: bool,
    second_look: bool,
    fingerprint: Option<u64>,
    pub(super) content: Option<Arc<Mapped>>,
    /// Whether it was read since everything began anew.
    pub(super) is_read: bool,
    /// Whether it is among the names.
    pub(super) is_named: bool,
    is_filtered: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Read,
    Sweep,
    Wait,
}

impl ServiceWatch {
    pub(super) fn new(reread_at: Instant) -> Self {
        Self {
            flight: None,
            due: None,
            index: Index::default(),
            consistency: Consistency::Stale,
            lane: None,
            host: None,
            pace: Pace::default(),
            backoff: Backoff::new(Duration::from_millis(250), Duration::from_secs(60)),
            reread_at,
            is_outdated: false,
            is_swept: false,
            second_look: false,
            fingerprint: None,
            content: None,
            is_read: false,
            is_named: true,
            is_filtered: false,
        }
    }

    pub(super) fn is_foreign(&self) -> bool {
        self.content
            .as_ref()
            .is_some_and(|content| content.is_foreign)
    }
}

impl Watcher {
    /// Asks about the services that are due, as far as there is room.
    pub(super) fn ask_services(&mut self, now: Instant, actions: &mut Vec<Action>) {
        while let Some((at, name)) = self.waits.first().cloned() {
            if at > now || !self.has_room(&name, now) {
                break;
            }
            self.waits.remove(&(at, name.clone()));
            actions.extend(self.ask_service(&name, now));
        }
        while let Some(name) = self.next_read(now) {
            let may_read = self.reading < READS_MAX && self.has_room(&name, now);
            if !may_read || self.bucket.take(now).is_err() {
                break;
            }
            self.unschedule(&name);
            actions.extend(self.ask_service(&name, now));
        }
    }

    /// What something points at goes before what is only looked through.
    fn next_read(&self, now: Instant) -> Option<Arc<str>> {
        let firsts = [self.reads.first(), self.sweeps.first()];
        let mut due = firsts.into_iter().flatten().filter(|(at, _)| *at <= now);
        due.next().map(|(_, name)| name.clone())
    }

    /// When services that are due, but were not asked about, can be: soon for a token; for room, an answer wakes us.
    pub(super) fn blocked_until(&self, now: Instant) -> Option<Instant> {
        let is_due = |set: &std::collections::BTreeSet<(Instant, Arc<str>)>| {
            set.first().is_some_and(|(at, _)| *at <= now)
        };
        let is_any_due = [&self.reads, &self.sweeps, &self.waits]
            .into_iter()
            .any(is_due);
        is_any_due.then(|| now + Duration::from_millis(5))
    }

    fn has_room(&self, name: &str, now: Instant) -> bool {
        self.lanes.choose(name, now).is_some()
    }

    fn ask_service(&mut self, name: &Arc<str>, now: Instant) -> Option<Action> {
        let usable = self.lanes.choose(name, now)?;
        let watch = self.services.get_mut(name)?;
        let is_wait = matches!(watch.due.take(), Some((_, Due::Wait)));
        let was_swept = std::mem::take(&mut watch.is_swept);
        let is_reread = now >= watch.reread_at && watch.is_read && !was_swept;
        let pinned = watch.lane.filter(|lane| self.lanes.is_usable(*lane, now));
        let lane = match (is_wait, pinned) {
            (true, Some(lane)) => lane,
            _ => usable,
        };
        if watch.lane != Some(lane) {
            watch.lane = Some(lane);
            watch.host = None;
            watch.index.reset();
        }
        let index = match is_wait && !is_reread {
            true => watch.index,
            false => Index::default(),
        };
        let (consistency, host) = (watch.consistency, watch.host);
        let (fingerprint, before) = (watch.fingerprint, watch.content.clone());
        let mut request = self.send(Query::Service(name.clone()), lane, index, consistency, now);
        request.host = request.index.and(host);
        // Where something is wrong, it is looked at again: what was kept may be right by now.
        request.fingerprint = fingerprint.filter(|_| before.is_some());
        request.before = before;
        if request.index.is_none() {
            self.reading += 1;
        }
        if let Some(flight) = self.flights.get_mut(&request.id) {
            flight.is_reread = is_reread;
        }
        if let Some(watch) = self.services.get_mut(name) {
            watch.flight = Some(request.id);
        }
        Some(Action::Send(request))
    }

    pub(super) fn service_answered(
        &mut self,
        name: &Arc<str>,
        flight: &Flight,
        answer: Answer,
        now: Instant,
    ) {
        let reread_at = self.reread_at(now);
        let mode = self.mode;
        let Some(watch) = self.services.get_mut(name) else {
            return;
        };
        watch.consistency = Consistency::Stale;
        watch.host = Some(answer.host);
        let known_index = watch.index.get();
        let step = match flight.index {
            // A read for its own sake may be older than what is waited for; then what it says is not believed.
            None if known_index.is_some() && answer.index < known_index => {
                watch.index.reset();
                Step::Backward
            }
            _ => watch.index.step(answer.index),
        };
        if step == Step::Backward {
            // What a restored server says is taken together with everything else that it says.
            self.schedule(name, now + AGAIN);
            self.ask_names_anew(now);
            return;
        }
        let before = watch.content.clone();
        let content = match answer.body {
            Body::Service(content) => Some(content),
            Body::Unchanged => before.clone(),
            Body::Names(_) | Body::Checks(_) => None,
        };
        let Some(content) = content else {
            return self.schedule(name, now + AGAIN);
        };
        let count = |content: &Option<Arc<Mapped>>| {
            content
                .as_ref()
                .map_or(0, |content| content.instances.len())
        };
        let shrinks = content.instances.len() < count(&before);
        if answer.is_streamed && shrinks {
            // The token may have lost them; only a read without an index says so.
            return self.read_service(name, now);
        }
        let was_filtered = watch.is_filtered;
        watch.is_filtered = answer.is_filtered || (answer.is_streamed && was_filtered);
        let is_hidden =
            answer.is_filtered && (content.instances.is_empty() || (shrinks && !was_filtered));
        if is_hidden {
            // What was known stays, and what is seen now is compared with it again.
            watch.is_filtered = was_filtered;
            watch.backoff.succeeded();
            return self.service_hidden(name, now);
        }
        let has_nothing = content.instances.is_empty() && content.problems.is_empty();
        if has_nothing && watch.is_named && !content.is_foreign && shrinks {
            return self.service_doubted(name, now);
        }
        watch.backoff.succeeded();
        watch.fingerprint = Some(answer.fingerprint);
        let is_empty_and_unnamed = !watch.is_named && content.instances.is_empty();
        let is_news = before.as_ref().is_none_or(|before| *before != content);
        let wait = watch.pace.answered(
            Answered {
                bytes: answer.bytes,
                is_news,
                endpoints: content.healthy,
            },
            now,
        );
        let was_missed = mode == Mode::ByChecks || answer.index == known_index;
        // What differs although its index says that it does not was missed, too.
        let is_drift = is_news && (step == Step::Same || (flight.is_reread && was_missed));
        if flight.index.is_none() {
            watch.reread_at = reread_at;
        }
        let had_trouble = self.troubles.remove(name).is_some();
        self.foreign += usize::from(content.is_foreign);
        self.foreign -= usize::from(watch.is_foreign());
        self.counts.instances =
            (self.counts.instances + content.instances.len()).saturating_sub(count(&before));
        watch.content = Some(content);
        let next = match mode {
            _ if watch.is_foreign() => watch.reread_at,
            Mode::EachService if step == Step::Missing => now + wait.max(HIDDEN_AGAIN),
            Mode::EachService => now + wait,
            Mode::ByChecks if std::mem::take(&mut watch.is_outdated) => now + wait,
            Mode::ByChecks if std::mem::take(&mut watch.second_look) => now + SECOND_LOOK,
            Mode::ByChecks => watch.reread_at,
        };
        self.counts.drift += u64::from(is_drift);
        if is_empty_and_unnamed {
            // Nobody hides it: it is gone.
            self.remove_service(name);
        } else {
            if is_news {
                self.counts.changes += 1;
                self.news.services.insert(name.clone());
            }
            self.schedule(name, next);
        }
        self.news.standing |= had_trouble;
        self.mark_read(name);
    }

    /// Consul names no service without instances, so one that has lost the last of them is gone when the names say so.
    fn service_doubted(&mut self, name: &Arc<str>, now: Instant) {
        self.ask_names_anew(now);
        let failure =
            Failure::Server("Consul names it, and says that it has no instances".to_owned());
        self.service_failed(name, &failure, now);
    }

    fn service_hidden(&mut self, name: &Arc<str>, now: Instant) {
        self.counts.denied += 1;
        self.trouble(name, Trouble::Hidden);
        self.schedule(name, now + HIDDEN_AGAIN);
        self.mark_read(name);
    }

    /// A service counts as read: with an answer, or because there will be none soon.
    pub(super) fn mark_read(&mut self, name: &str) {
        if let Some(watch) = self.services.get_mut(name)
            && !std::mem::replace(&mut watch.is_read, true)
        {
            self.unread = self.unread.saturating_sub(1);
        }
        self.settle_completeness();
    }

    pub(super) fn remove_service(&mut self, name: &Arc<str>) {
        self.cancel(|query| *query == Query::Service(name.clone()));
        self.unschedule(name);
        let Some(watch) = self.services.remove(name) else {
            return;
        };
        if !watch.is_read {
            self.unread = self.unread.saturating_sub(1);
        }
        self.foreign -= usize::from(watch.is_foreign());
        let instances = watch.content.map_or(0, |content| content.instances.len());
        self.counts.instances = self.counts.instances.saturating_sub(instances);
        self.counts.changes += 1;
        self.news.services.insert(name.clone());
        self.news.standing |= self.troubles.remove(name).is_some();
    }

    /// Reads all services anew, from the beginning.
    pub(super) fn read_all(&mut self, now: Instant) {
        let names: Vec<Arc<str>> = self.services.keys().cloned().collect();
        for name in names {
            self.read_service(&name, now);
        }
    }

    /// Reads a service anew, whatever is waited for now.
    pub(super) fn read_service(&mut self, name: &Arc<str>, at: Instant) {
        let Some(watch) = self.services.get_mut(name) else {
            return;
        };
        watch.index.reset();
        if let Some(id) = watch.flight {
            self.end_flight(id);
            self.cancelled.push(id);
        }
        self.schedule(name, at);
    }

    /// Reads a service because something points at it. What is on its way may be from before, and is followed by another look; it is
    /// not given up, because then nothing would ever arrive while it changes all the time.
    pub(super) fn look_at(&mut self, name: &Arc<str>, now: Instant) {
        if let Some(watch) = self.services.get_mut(name) {
            watch.second_look = true;
            watch.is_swept = false;
            watch.is_outdated = watch.flight.is_some();
            let is_due = watch
                .due
                .is_some_and(|(at, due)| at <= now && due == Due::Read);
            if !watch.is_outdated && !is_due {
                self.read_service(name, now);
            }
        }
    }

    /// An instance came, went or changed, and nothing says of which service. Where only checks are watched, services are read of which no
    /// check tells that; and later all others, because a changed address is in no check either.
    pub(super) fn registered_somewhere(&mut self, now: Instant) {
        if self.mode != Mode::ByChecks {
            return;
        }
        let unchecked: Vec<Arc<str>> = self
            .services
            .iter()
            .filter(|(_, watch)| {
                let content = watch.content.as_ref();
                watch.is_read && content.is_none_or(|content| content.has_unchecked)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in unchecked {
            self.look_at(&name, now);
        }
        self.is_sweep_due = true;
    }

    /// Reads all services once after something was registered, slowly, and one such sweep after the other.
    pub(super) fn sweep(&mut self, now: Instant) {
        if !self.is_sweep_due || now < self.sweep_ends || self.mode != Mode::ByChecks {
            return;
        }
        self.is_sweep_due = false;
        let names: Vec<Arc<str>> = self.services.keys().cloned().collect();
        let mut at = now;
        for name in names {
            let Some(watch) = self.services.get_mut(&name) else {
                continue;
            };
            watch.is_swept = !watch.is_outdated;
            watch.is_outdated |= watch.flight.is_some();
            if watch.due.is_some_and(|(due, _)| due > at) {
                self.schedule(&name, at);
            }
            at += SWEEP_STEP;
        }
        self.sweep_ends = at;
    }

    /// When everything about a service is read next for its own sake.
    pub(super) fn reread_at(&mut self, now: Instant) -> Instant {
        let after = self.settings.reread_after;
        now + after + self.random.below(after)
    }

    pub(super) fn schedule(&mut self, name: &Arc<str>, at: Instant) {
        self.unschedule(name);
        let mode = self.mode;
        let Some(watch) = self.services.get_mut(name) else {
            return;
        };
        if watch.flight.is_some() {
            return;
        }
        let is_wait =
            mode == Mode::EachService && watch.index.get().is_some() && !watch.is_foreign();
        let (due, set) = match (is_wait, watch.is_swept) {
            (true, _) => (Due::Wait, &mut self.waits),
            (false, true) => (Due::Sweep, &mut self.sweeps),
            (false, false) => (Due::Read, &mut self.reads),
        };
        watch.due = Some((at, due));
        set.insert((at, name.clone()));
    }

    fn unschedule(&mut self, name: &Arc<str>) {
        let due = self
            .services
            .get_mut(name)
            .and_then(|watch| watch.due.take());
        match due {
            Some((at, Due::Read)) => self.reads.remove(&(at, name.clone())),
            Some((at, Due::Sweep)) => self.sweeps.remove(&(at, name.clone())),
            Some((at, Due::Wait)) => self.waits.remove(&(at, name.clone())),
            None => false,
        };
    }
}
