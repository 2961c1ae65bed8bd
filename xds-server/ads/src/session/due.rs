//! What is due to a client: from what it was sent to what it should have.

use std::{collections::BTreeMap, sync::Arc};

use bowline_snapshot::{Absence, Resource, Snapshot, Version};
use bytes::Bytes;

use super::{
    claims::Claims,
    protocol::Variant,
    track::{Held, Owed, Track},
    work::{Context, Removals, Work},
};

impl Track {
    /// Takes what has to be said: afterwards the track assumes that it was said.
    pub(crate) fn take_work(&mut self, context: &Context<'_>) -> Work {
        let Context { stage, .. } = context;
        let mut work = Work {
            must_answer: std::mem::take(&mut self.must_answer),
            ..Work::default()
        };
        let sent_before = self.sent.replace((*stage).clone());
        let owed = std::mem::take(&mut self.owed);
        let held = std::mem::replace(&mut self.held, Held::Nothing);
        let is_retry = self
            .rare_if_any()
            .is_some_and(|rare| rare.rejections.note_sent());
        if self.subscription.is_empty() && matches!(owed, Owed::All) {
            self.lingering.clear();
            return Work::default();
        }
        // What had a time to live the client may have dropped since, and has the version of all the same.
        let may_lack = context.client.has_wrapped_ttl
            && stage.snapshot.expiring(self.resource_type).next().is_some();
        if !may_lack && self.is_all_held(&held, &stage.snapshot) {
            return Work::default();
        }
        let mut held = match held {
            Held::Each(claims) => claims,
            Held::Nothing | Held::AllAt(_) => Claims::default(),
        };

        let before = sent_before.as_ref().map(|stage| &stage.snapshot);
        let is_first = before.is_none() && owed == Owed::All;
        let missing = is_first
            .then(|| self.all_at_once(&mut work, &mut held, context))
            .flatten();
        let in_order = work.upserts.len();
        let mut candidates = match missing {
            Some(missing) => missing.into_iter().map(|name| (name, true)).collect(),
            None => self.candidates(before, &owed, &stage.snapshot),
        };
        if before.is_some() && !stage.snapshot.is_partial() {
            // What was left alone while something was lacking counts as sent, and was not.
            let left = held.left().map(|(name, _)| name);
            let covered = left.filter(|name| self.subscription.covers(name));
            candidates.extend(covered.map(|name| (Arc::from(name), true)));
        }
        for (name, is_owed) in candidates {
            match self.lookup(context, &name, is_owed) {
                Some(resource) if self.is_left_alone(resource, &held, context) => {}
                Some(resource) => {
                    self.present(
                        &mut work,
                        before,
                        resource,
                        is_owed,
                        held.take(&name),
                        context,
                    );
                }
                None => self.absent(&mut work, before, name, is_owed, &held, context),
            }
        }
        if in_order > 0 && work.upserts.len() > in_order {
            work.upserts
                .sort_by(|one, other| one.name().cmp(other.name()));
        }
        self.absent_but_held(&mut work, held, context);
        work.removed.extend(self.lingering.take_due(context));
        self.add_part(&mut work, context);
        // Others wait for what was rejected, as they did for the first attempt.
        work.introduces |= is_retry;
        work.before = sent_before;
        work.owed = owed;
        work
    }

    /// Takes all that a first answer consists of at once, and gives back the names that have to be looked at one by one; none where all of
    /// them have to. This is what a fleet costs that starts, or comes back after a restart: it goes through names, resources, parents and
    /// what the client holds side by side, in order, and looks for none.
    fn all_at_once(
        &self,
        work: &mut Work,
        held: &mut Claims,
        context: &Context<'_>,
    ) -> Option<Vec<Arc<str>>> {
        let snapshot = &context.stage.snapshot;
        let is_left_alone = snapshot.is_partial() && !held.is_empty();
        if is_left_alone || self.has_rare() || !self.lingering.is_empty() {
            return None;
        }
        let (all, missing) = self.all_in_order(snapshot)?;
        if held.is_empty() {
            work.introduces |= !all.is_empty();
            work.upserts = all.into_iter().cloned().collect();
            return Some(missing);
        }
        let versions = context.wire_versions(self.resource_type, all.iter().copied());
        let mut claims = held.in_order();
        for (resource, version) in all.into_iter().zip(versions) {
            match claims.take(resource.name()) {
                Some(claimed) if is_kept(resource) && version.is(&claimed) => continue,
                Some(_) => {}
                None => work.introduces = true,
            }
            work.upserts.push(resource.clone());
        }
        Some(missing)
    }

    /// The members that a client wants and the names that it asks for beside them, both in order; none where names stand for more than one
    /// resource.
    fn all_in_order<'s>(
        &self,
        snapshot: &'s Snapshot,
    ) -> Option<(Vec<&'s Resource>, Vec<Arc<str>>)> {
        let resource_type = self.resource_type;
        if snapshot.has_aliases(resource_type) {
            return None;
        }
        let names = self.subscription.names();
        if self.subscription.has_wildcard() {
            if !names.is_empty() {
                return None;
            }
            let mut all: Vec<&Resource> = snapshot.members(resource_type).collect();
            // Stable: the earlier layer wins, as in `Snapshot::get`. Each layer is in order already, so this costs little.
            all.sort_by(|one, other| one.name().cmp(other.name()));
            all.dedup_by(|later, earlier| later.name() == earlier.name());
            return Some((all, Vec::new()));
        }
        if names
            .iter()
            .any(|name| self.subscription.prefix_of(name).is_some())
        {
            return None;
        }
        let mut all = Vec::with_capacity(names.len());
        let mut missing = Vec::new();
        let found = snapshot.members_named(resource_type, names.texts());
        for (name, found) in names.iter().zip(found) {
            match found {
                Some(resource) => all.push(resource),
                None => missing.push(name.clone()),
            }
        }
        Some((all, missing))
    }

    /// A resource as it is now. Who asks for the endpoints of a cluster that it was sent, and that is gone meanwhile, gets those that
    /// were there: without them the cluster would not become warm, and hold up all that comes after it.
    fn lookup<'c>(&self, context: &Context<'c>, name: &str, is_owed: bool) -> Option<&'c Resource> {
        self.find(&context.stage.snapshot, name).or_else(|| {
            let is_warming = is_owed && !self.resource_type.has_namespaces();
            let (parent, of) = self.resource_type.parent_of(name).filter(|_| is_warming)?;
            context.parents.get(parent, of)?;
            self.find(context.parents, name)
        })
    }

    /// Where there is nothing else to say: the next part of what the client has rejected without naming anything.
    fn add_part(&mut self, work: &mut Work, context: &Context<'_>) {
        while work.is_empty() {
            let part = self
                .rare_if_any()
                .and_then(|rare| rare.rejections.next_part());
            let Some(part) = part else {
                return;
            };
            // What has changed since was sent as it is now.
            let current = part.iter().filter_map(|rejected| {
                let resource = self.find(&context.stage.snapshot, rejected.name())?;
                let is_same = resource.version() == rejected.version() && self.wants(resource);
                is_same.then(|| resource.clone())
            });
            work.upserts.extend(current);
            work.introduces = true;
        }
    }

    /// Whether the client brought along another version than that of a snapshot that lacks something: routes and endpoints may be in it
    /// of a source that has not been heard yet.
    fn is_left_alone(&self, resource: &Resource, held: &Claims, context: &Context<'_>) -> bool {
        let wire_version = || context.wire_version(self.resource_type, resource);
        context.stage.snapshot.is_partial()
            && held
                .version(resource.name())
                .is_some_and(|version| !wire_version().is(version))
    }

    /// Whether the client holds exactly what a pure wildcard gets: the version is a fingerprint, so equal means equal.
    pub(crate) fn is_all_held(&self, held: &Held, snapshot: &Snapshot) -> bool {
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

    /// Names of resources that may have to be said something about, and whether an answer is owed.
    pub(crate) fn candidates(
        &self,
        before: Option<&Snapshot>,
        owed: &Owed,
        now: &Snapshot,
    ) -> BTreeMap<Arc<str>, bool> {
        let mut candidates = BTreeMap::new();
        if before.is_some() || self.subscription.has_wildcard() {
            let changed = self.changed(before, now);
            candidates.extend(changed.into_iter().map(|name| (name, false)));
        }
        let aliases = now.has_aliases(self.resource_type).then_some(now);
        let mut add = |name| self.owed_candidates(name, now, aliases, &mut candidates);
        match owed {
            Owed::All => self.subscription.names().iter().for_each(&mut add),
            Owed::Names(names) => names.iter().for_each(&mut add),
        }
        candidates
    }

    /// The resources that a name stands for: that with this name or alias, or all of a collection or of a parent. `aliases` is the snapshot
    /// where it has any.
    fn owed_candidates(
        &self,
        name: &Arc<str>,
        now: &Snapshot,
        aliases: Option<&Snapshot>,
        candidates: &mut BTreeMap<Arc<str>, bool>,
    ) {
        let resource_type = self.resource_type;
        if let Some(prefix) = self.subscription.prefix_of(name) {
            let members: Vec<_> = now
                .beginning_with(resource_type, &prefix)
                .filter(|resource| self.subscription.includes(name, resource.name()))
                .map(|resource| (resource.name().clone(), true))
                .collect();
            if !members.is_empty() {
                candidates.extend(members);
                return;
            }
        }
        let aliased = aliases.and_then(|aliases| match aliases.get(resource_type, name) {
            Some(_) => None,
            None => aliases.aliased(resource_type, name),
        });
        let resource = aliased.map_or(name, Resource::name);
        candidates.insert(resource.clone(), true);
    }

    fn present(
        &mut self,
        work: &mut Work,
        before: Option<&Snapshot>,
        resource: &Resource,
        is_owed: bool,
        held: Option<Bytes>,
        context: &Context<'_>,
    ) {
        let lingering = self.lingering.remove(resource.name());
        if !self.wants(resource) {
            // Owed when it was unsubscribed beside a wildcard that is gone meanwhile.
            return;
        }
        let is_quarantined = self.is_quarantined(resource);
        if let Some(rare) = self.rare_if_any() {
            rare.told_missing.remove(resource.name());
            if !is_quarantined {
                rare.rejections.release(resource.name());
            }
        }
        if is_quarantined {
            return;
        }
        if let Some(version) = &held
            && is_kept(resource)
            && context
                .wire_version(self.resource_type, resource)
                .is(version)
        {
            return;
        }
        let sent = before.and_then(|before| self.find(before, resource.name()));
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
        held: &Claims,
        context: &Context<'_>,
    ) {
        if held.version(&name).is_some() {
            // Said below, with all that the client holds in vain.
            return;
        }
        if is_owed && self.find(context.newest, &name).is_some() {
            // To say that it does not exist would be wrong in a moment.
            self.owe(&name);
            return;
        }
        if is_owed && self.tell_absence(work, &name, context) {
            return;
        }
        let sent = before.and_then(|before| self.find(before, &name));
        let is_doubtful = sent.is_some_and(|sent| self.doubts(sent));
        let lingering = match context.variant {
            Variant::Delta => sent,
            // It is listed for as long as it lingers, as the client has it.
            Variant::StateOfTheWorld => sent.and_then(|sent| self.accepted(sent)),
        };
        let lingering = lingering.cloned();
        if let Some(rare) = self.rare_if_any() {
            rare.rejections.release(&name);
        }
        let may_be_taken = is_owed || self.absence() != Absence::RemovedWhenAsked;
        let waits = match context.removals {
            Removals::Untold => return,
            Removals::Immediate => false,
            // Who asks for a name has to be told.
            Removals::AfterReferrers => !is_owed,
        };
        if !may_be_taken {
            self.lingering.remove(&name);
        } else if !waits {
            self.lingering.remove(&name);
            work.removed.push(name);
        } else if is_doubtful && context.variant == Variant::Delta {
            self.lingering.insert_doubtful(name, context);
        } else if let Some(lingering) = lingering {
            self.lingering.insert_sent(lingering, context);
        }
    }

    fn absence(&self) -> Absence {
        self.resource_type.spec().absence
    }

    /// Tells a client that asks for a name that it is of nothing, where that is not told as a removal.
    fn tell_absence(&mut self, work: &mut Work, name: &Arc<str>, context: &Context<'_>) -> bool {
        if !self.subscription.names().contains(name) {
            return false;
        }
        if context.variant == Variant::Delta {
            let is_empty = self.absence() == Absence::EmptyWhenAsked;
            if is_empty {
                self.lingering.remove(name);
                work.unknown.push(name.clone());
            }
            return is_empty;
        }
        if context.client.reads_errors
            && !context.stage.snapshot.is_partial()
            && self.rare().told_missing.insert(name.clone())
        {
            work.missing.push(name.clone());
        }
        false
    }

    /// What the client brought along and nobody serves any more.
    fn absent_but_held(&mut self, work: &mut Work, held: Claims, context: &Context<'_>) {
        if context.stage.snapshot.is_partial() {
            // Who has it may not have been heard yet.
            self.held = Held::Each(held);
            return;
        }
        for (name, version) in held.left() {
            let name = Arc::<str>::from(name);
            if !self.subscription.covers(&name) {
                continue;
            }
            if self.find(context.newest, &name).is_some() {
                self.owe(&name);
                continue;
            }
            match self.absence() {
                Absence::Removed => {}
                Absence::RemovedWhenAsked => continue,
                Absence::EmptyWhenAsked if self.subscription.names().contains(&name) => {
                    // It may know already that there is nothing.
                    if !Version::EMPTY.is(version) {
                        work.unknown.push(name);
                    }
                    continue;
                }
                Absence::EmptyWhenAsked => {}
            }
            match context.removals {
                Removals::Untold => {}
                Removals::Immediate => work.removed.push(name),
                Removals::AfterReferrers => self.lingering.insert_held(name, context),
            }
        }
    }
}

/// Whether a client that has brought a resource along keeps it. One with a time to live it may drop before it could hear of it: nobody
/// knows when it has heard of it last.
fn is_kept(resource: &Resource) -> bool {
    resource.ttl().is_none()
}
