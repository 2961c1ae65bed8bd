//! What one stream knows about one type: subscribed, sent, outstanding.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use bowline_snapshot::{Resource, ResourceType, Snapshot};

use super::{
    lingering::Lingering,
    outstanding::Outstanding,
    stage::{Stage, changed_names},
    work::{Context, Removals, Work},
};
use crate::subscription::{Change, Subscription, WildcardChange};

/// The protocol state of one type on one stream.
///
/// What the client was sent is a reference to the snapshot that it was sent from, for every name that it subscribes to, and the
/// exceptions to that: names that are owed an answer, and names that linger with the client.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) resource_type: ResourceType,
    pub(crate) subscription: Subscription,
    /// `None` before the first answer, and after a wildcard was added.
    pub(crate) sent: Option<Stage>,
    /// Names to be answered whether or not they changed.
    pub(crate) owed: Owed,
    /// What is no longer served, and the client is not told yet.
    pub(crate) lingering: Lingering,
    /// What the client says it holds from an earlier stream. Counts until the first answer; of what nothing is known to a snapshot
    /// that lacks something, until there is one that does not.
    pub(crate) held: Held,
    /// Whether it held anything.
    pub(crate) is_reconnected: bool,
    /// The next response goes out even when there is nothing in it.
    pub(crate) must_answer: bool,
    /// The last response was only a part, and the rest is owed: it does not wait for the acknowledgement.
    pub(crate) is_unfinished: bool,
    pub(crate) last_nonce: Option<u64>,
    pub(crate) outstanding: Option<Outstanding>,
}

/// Names that are owed an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Owed {
    /// All that are subscribed.
    All,
    Names(BTreeSet<Arc<str>>),
}

/// What a client claims to hold, in the first request of a type.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Held {
    Nothing,
    /// State of the world: the version of everything.
    AllAt(String),
    /// Delta: versions by name.
    Each(BTreeMap<String, String>),
}

impl Track {
    pub(crate) fn new(resource_type: ResourceType, subscription: Subscription, held: Held) -> Self {
        Self {
            resource_type,
            subscription,
            sent: None,
            owed: Owed::All,
            lingering: Lingering::default(),
            is_reconnected: matches!(&held, Held::Each(versions) if !versions.is_empty()),
            held,
            must_answer: false,
            is_unfinished: false,
            last_nonce: None,
            outstanding: None,
        }
    }

    /// Takes note of a changed subscription.
    pub(crate) fn note(&mut self, change: Change) {
        let Change {
            added,
            dropped,
            wildcard,
        } = change;
        if let Owed::Names(owed) = &mut self.owed {
            for name in &dropped {
                owed.remove(name);
            }
            owed.extend(added);
        }
        match wildcard {
            WildcardChange::Added => {
                self.sent = None;
                self.owed = Owed::All;
            }
            WildcardChange::Same | WildcardChange::Dropped => {}
        }
        self.lingering.retain(|name| self.subscription.covers(name));
    }

    /// Answers a name at the next opportunity, even if it is current.
    pub(crate) fn owe(&mut self, name: &Arc<str>) {
        // Before the first answer all names are owed, unless the client holds them already: this one is to be sent regardless.
        if let Held::Each(versions) = &mut self.held {
            versions.remove(&**name);
        }
        if let Owed::Names(owed) = &mut self.owed {
            owed.insert(name.clone());
        }
    }

    /// Whether a response may be sent without waiting for the client.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_unfinished
            || !self
                .outstanding
                .as_ref()
                .is_some_and(Outstanding::is_awaited)
    }

    /// The stage that the client has all of, so that others can build on it.
    pub(crate) fn ready_stage(&self) -> Option<&Stage> {
        let is_blocked = |outstanding: &Outstanding| outstanding.is_awaited() && outstanding.blocks;
        self.sent
            .as_ref()
            .filter(|_| !self.is_unfinished && !self.outstanding.as_ref().is_some_and(is_blocked))
    }

    /// Up to where what the client has does not refer to anything older.
    pub(crate) fn settled(&self) -> u64 {
        match &self.outstanding {
            Some(outstanding) if outstanding.is_awaited() && outstanding.blocks => {
                outstanding.settled_before
            }
            // It may still hold what an earlier stream gave it.
            Some(_) | None if self.owes() => 0,
            Some(_) | None => self.sent.as_ref().map_or(0, |stage| stage.number),
        }
    }

    /// When something has to happen without any event.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match &self.outstanding {
            // Nothing else can happen before.
            Some(outstanding) if outstanding.is_awaited() => outstanding.deadline,
            Some(_) | None => self.lingering.next_deadline(),
        }
    }

    /// Whether something lingers for longer than it may.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        self.lingering
            .next_deadline()
            .is_some_and(|deadline| deadline <= now)
    }

    fn owes(&self) -> bool {
        match &self.owed {
            Owed::All => true,
            Owed::Names(names) => !names.is_empty(),
        }
    }

    /// Whether the client must be left with what it has: to list all that there is would take away what the snapshot lacks, and so would
    /// a route configuration or an assignment that is made without it.
    pub(crate) fn is_withheld(&self, snapshot: &Snapshot) -> bool {
        let holds_something = matches!(&self.held, Held::AllAt(version) if !version.is_empty());
        holds_something && snapshot.is_partial() && !self.is_all_held(&self.held, snapshot)
    }

    /// Whether [`Self::take_work`] has anything to look at.
    pub(crate) fn has_work(&self, context: &Context<'_>) -> bool {
        if self.is_withheld(&context.stage.snapshot) {
            return false;
        }
        let is_current = self
            .sent
            .as_ref()
            .is_some_and(|sent| sent.number == context.stage.number);
        !is_current || self.owes() || self.must_answer || self.lingering.has_due(context)
    }

    /// Goes along with a stage that has nothing new of this type, while the client has to answer first: so that others need not wait
    /// for an answer that has nothing to do with them.
    pub(crate) fn follow_along(&mut self, context: &Context<'_>) {
        let Some(sent) = &self.sent else {
            return;
        };
        if sent.number == context.stage.number {
            return;
        }
        let (older, newer) = (&sent.snapshot, &context.stage.snapshot);
        let changed = changed_names(Some(older), newer, self.resource_type);
        if !changed.iter().any(|name| self.subscription.covers(name)) {
            self.sent = Some(context.stage.clone());
        }
    }

    /// Leaves what does not fit into one response to the next one.
    pub(crate) fn defer(&mut self, work: &mut Work, bytes_max: usize) {
        let later = work.split_off(self.resource_type, bytes_max);
        self.is_unfinished = !later.is_empty();
        for name in &later {
            self.owe(name);
        }
    }

    /// Takes what has to be said: afterwards the track assumes that it was said.
    pub(crate) fn take_work(&mut self, context: &Context<'_>) -> Work {
        let Context { stage, .. } = context;
        let mut work = Work {
            must_answer: std::mem::take(&mut self.must_answer),
            ..Work::default()
        };
        let before = self.sent.replace((*stage).clone());
        let owed = std::mem::replace(&mut self.owed, Owed::Names(BTreeSet::new()));
        let held = std::mem::replace(&mut self.held, Held::Nothing);
        if self.subscription.is_empty() && matches!(owed, Owed::All) {
            self.lingering.clear();
            return Work::default();
        }
        if self.is_all_held(&held, &stage.snapshot) {
            return Work::default();
        }
        let mut held = match held {
            Held::Each(versions) => versions,
            Held::Nothing | Held::AllAt(_) => BTreeMap::new(),
        };

        let before = before.as_ref().map(|stage| &stage.snapshot);
        let mut candidates = self.candidates(before, &owed, &stage.snapshot);
        if before.is_some() && !stage.snapshot.is_partial() {
            // What was left alone while something was lacking counts as sent, and was not.
            let left = held.keys().filter(|name| self.subscription.covers(name));
            candidates.extend(left.map(|name| (Arc::from(&**name), true)));
        }
        for (name, is_owed) in candidates {
            match context.lookup(self.resource_type, &name, is_owed) {
                Some(resource) if self.is_left_alone(resource, &held, context) => {}
                Some(resource) => {
                    self.present(
                        &mut work,
                        before,
                        resource,
                        is_owed,
                        held.remove(&*name),
                        context,
                    );
                }
                None => self.absent(&mut work, before, name, is_owed, &mut held, context),
            }
        }
        self.absent_but_held(&mut work, held, context);
        work.removed.extend(self.lingering.take_due(context));
        work
    }

    /// Whether the client brought along another version than that of a snapshot that lacks something: routes and endpoints may be in it
    /// of a source that has not been heard yet.
    fn is_left_alone(
        &self,
        resource: &Resource,
        held: &BTreeMap<String, String>,
        context: &Context<'_>,
    ) -> bool {
        let wire_version = || context.wire_version(self.resource_type, resource);
        context.stage.snapshot.is_partial()
            && held
                .get(&**resource.name())
                .is_some_and(|version| !wire_version().is(version))
    }

    /// Whether the client holds exactly what a pure wildcard gets: the version is a fingerprint, so equal means equal.
    fn is_all_held(&self, held: &Held, snapshot: &Snapshot) -> bool {
        match held {
            Held::AllAt(version) => {
                self.resource_type.spec().full_state
                    && self.subscription.has_wildcard()
                    && self.subscription.names().is_empty()
                    && snapshot.type_version(self.resource_type).is(version)
            }
            Held::Nothing | Held::Each(_) => false,
        }
    }

    /// Names that may have to be said something about, and whether an answer is owed.
    fn candidates(
        &self,
        before: Option<&Snapshot>,
        owed: &Owed,
        now: &Snapshot,
    ) -> BTreeMap<Arc<str>, bool> {
        let mut candidates = BTreeMap::new();
        if before.is_some() || self.subscription.has_wildcard() {
            let changed = changed_names(before, now, self.resource_type);
            let covered = changed
                .into_iter()
                .filter(|name| self.subscription.covers(name));
            candidates.extend(covered.map(|name| (name, false)));
        }
        match owed {
            Owed::All => candidates.extend(
                self.subscription
                    .names()
                    .iter()
                    .map(|name| (name.clone(), true)),
            ),
            Owed::Names(names) => candidates.extend(names.iter().map(|name| (name.clone(), true))),
        }
        candidates
    }

    fn present(
        &mut self,
        work: &mut Work,
        before: Option<&Snapshot>,
        resource: &Resource,
        is_owed: bool,
        held: Option<String>,
        context: &Context<'_>,
    ) {
        let lingering = self.lingering.remove(resource.name());
        if !self.subscription.covers(resource.name()) {
            // Owed when it was unsubscribed beside a wildcard that is gone meanwhile.
            return;
        }
        if let Some(version) = &held
            && context
                .wire_version(self.resource_type, resource)
                .is(version)
        {
            return;
        }
        let sent = before.and_then(|before| before.get(self.resource_type, resource.name()));
        let lingers_equal = lingering
            .as_ref()
            .is_some_and(|entry| entry.version() == Some(resource.version()));
        let is_sent = sent.is_some_and(|sent| sent.version() == resource.version());
        if !is_owed && (is_sent || lingers_equal) {
            return;
        }
        work.introduces |= sent.is_none() && lingering.is_none() && held.is_none();
        work.upserts.push(resource.clone());
    }

    fn absent(
        &mut self,
        work: &mut Work,
        before: Option<&Snapshot>,
        name: Arc<str>,
        is_owed: bool,
        held: &mut BTreeMap<String, String>,
        context: &Context<'_>,
    ) {
        if held.contains_key(&*name) {
            // Said below, with all that the client holds in vain.
            return;
        }
        if is_owed && context.newest.get(self.resource_type, &name).is_some() {
            // To say that it does not exist would be wrong in a moment.
            self.owe(&name);
            return;
        }
        let waits = match context.removals {
            Removals::Untold => return,
            Removals::Immediate => false,
            // Who asks for a name has to be told.
            Removals::AfterReferrers => !is_owed,
        };
        if !waits {
            self.lingering.remove(&name);
            work.removed.push(name);
        } else if let Some(sent) = before.and_then(|before| before.get(self.resource_type, &name)) {
            self.lingering.insert_sent(sent.clone(), context);
        }
    }

    /// What the client brought along and nobody serves any more.
    fn absent_but_held(
        &mut self,
        work: &mut Work,
        held: BTreeMap<String, String>,
        context: &Context<'_>,
    ) {
        if context.stage.snapshot.is_partial() {
            // Who has it may not have been heard yet.
            self.held = Held::Each(held);
            return;
        }
        for name in held.into_keys().map(Arc::<str>::from) {
            if !self.subscription.covers(&name) {
                continue;
            }
            if context.newest.get(self.resource_type, &name).is_some() {
                self.owe(&name);
                continue;
            }
            match context.removals {
                Removals::Untold => {}
                Removals::Immediate => work.removed.push(name),
                Removals::AfterReferrers => self.lingering.insert_held(name, context),
            }
        }
    }
}
