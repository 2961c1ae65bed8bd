//! What one stream knows about one type: subscribed, sent, outstanding.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use bowline_snapshot::{Resource, ResourceType, Snapshot, Version};

use super::{
    claims::Claims,
    heartbeat::Heartbeat,
    lingering::Lingering,
    outstanding::Outstanding,
    quarantine::Rejections,
    stage::{Listing, Stage, changed, changed_names},
    work::{Context, Work},
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
    pub(crate) outstanding: Option<Box<Outstanding>>,
    /// What few streams need.
    rare: Option<Box<Rare>>,
}

#[derive(Debug, Default)]
pub(crate) struct Rare {
    pub(crate) rejections: Rejections,
    /// Names that the client was told are of nothing, by an error: once is enough.
    pub(crate) told_missing: BTreeSet<Arc<str>>,
    /// When the client has to hear of what it keeps for a time only.
    pub(crate) heartbeat: Option<Heartbeat>,
}

/// Names that are owed an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Owed {
    /// All that are subscribed.
    All,
    Names(BTreeSet<Arc<str>>),
}

impl Default for Owed {
    fn default() -> Self {
        Self::Names(BTreeSet::new())
    }
}

/// What a client claims to hold, in the first request of a type.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Held {
    Nothing,
    /// State of the world: the version of everything.
    AllAt(String),
    /// Delta: the version of each.
    Each(Claims),
}

impl Track {
    pub(crate) fn new(resource_type: ResourceType, subscription: Subscription, held: Held) -> Self {
        Self {
            resource_type,
            subscription,
            sent: None,
            owed: Owed::All,
            lingering: Lingering::default(),
            is_reconnected: match &held {
                Held::Nothing => false,
                Held::AllAt(version) => !version.is_empty(),
                Held::Each(claims) => !claims.is_empty(),
            },
            held,
            must_answer: false,
            is_unfinished: false,
            last_nonce: None,
            outstanding: None,
            rare: None,
        }
    }

    /// What few streams need, from now on this one too.
    pub(crate) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// The same, where this stream has needed it.
    pub(crate) fn rare_if_any(&mut self) -> Option<&mut Rare> {
        self.rare.as_deref_mut()
    }

    pub(crate) fn has_rare(&self) -> bool {
        self.rare.is_some()
    }

    pub(crate) fn heartbeat(&self) -> Option<Heartbeat> {
        self.rare.as_ref()?.heartbeat
    }

    fn rejections(&self) -> Option<&Rejections> {
        self.rare.as_ref().map(|rare| &rare.rejections)
    }

    /// What the client has rejected and is not sent any more.
    pub(crate) fn quarantined(&self) -> impl Iterator<Item = &Resource> {
        self.rejections()
            .into_iter()
            .flat_map(Rejections::quarantined)
    }

    pub(crate) fn is_quarantined(&self, resource: &Resource) -> bool {
        self.rejections()
            .is_some_and(|rejections| rejections.has(resource))
    }

    /// Whether it is not known what the client has of a resource that it was sent.
    pub(crate) fn doubts(&self, sent: &Resource) -> bool {
        self.rejections()
            .is_some_and(|rejections| rejections.doubts(sent))
    }

    /// What the client is to have of a resource: where it has rejected that, what it had accepted before.
    pub(crate) fn accepted<'a>(&'a self, resource: &'a Resource) -> Option<&'a Resource> {
        match self.rejections() {
            Some(rejections) => rejections.accepted(resource),
            None => Some(resource),
        }
    }

    /// The version of a whole set, given what of it is in quarantine.
    pub(crate) fn version(&self, of_all: Version) -> Version {
        self.rejections()
            .map_or(of_all, |rejections| rejections.version(of_all))
    }

    /// A response was accepted.
    pub(crate) fn note_accepted(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.rejections.note_accepted();
            let Rare {
                rejections,
                told_missing,
                heartbeat,
            } = &**rare;
            if rejections.is_empty() && told_missing.is_empty() && heartbeat.is_none() {
                self.rare = None;
            }
        }
    }

    /// A resource that this client can have: one that everybody gets, or one on demand that it asks for.
    pub(crate) fn find<'s>(&self, snapshot: &'s Snapshot, name: &str) -> Option<&'s Resource> {
        snapshot.member(self.resource_type, name).or_else(|| {
            snapshot
                .get(self.resource_type, name)
                .filter(|resource| self.subscription.asks_for_resource(resource))
        })
    }

    /// Whether the client wants to hear of a resource that it can have.
    pub(crate) fn wants(&self, resource: &Resource) -> bool {
        self.subscription.has_wildcard() || self.subscription.asks_for_resource(resource)
    }

    /// Takes note of a changed subscription.
    pub(crate) fn note(&mut self, change: Change) {
        let Change {
            added,
            dropped,
            wildcard,
        } = change;
        if let Some(rare) = &mut self.rare {
            for name in added.iter() {
                // Whoever asks again has lost what it had.
                rare.rejections.release(name);
            }
            for name in &dropped {
                rare.told_missing.remove(name);
            }
        }
        if let Owed::Names(owed) = &mut self.owed {
            for name in &dropped {
                owed.remove(name);
            }
            owed.extend(added.iter().cloned());
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
        if let Held::Each(claims) = &mut self.held {
            claims.take(name);
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
                .is_some_and(|outstanding| outstanding.is_awaited())
    }

    /// The stage that the client has all of, so that others can build on it.
    pub(crate) fn ready_stage(&self) -> Option<&Stage> {
        let is_blocked = |outstanding: &Outstanding| outstanding.is_awaited() && outstanding.blocks;
        self.sent
            .as_ref()
            .filter(|_| !self.is_unfinished && !self.outstanding.as_deref().is_some_and(is_blocked))
            .filter(|_| !self.rejections().is_some_and(Rejections::owes))
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
        let deadline = match &self.outstanding {
            // Nothing else can happen before.
            Some(outstanding) if outstanding.is_awaited() => outstanding.deadline,
            Some(_) | None => self.lingering.next_deadline(),
        };
        let heartbeat = self.heartbeat().map(|heartbeat| heartbeat.at);
        deadline.into_iter().chain(heartbeat).min()
    }

    /// Whether something lingers for longer than it may.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        self.lingering
            .next_deadline()
            .is_some_and(|deadline| deadline <= now)
    }

    fn owes(&self) -> bool {
        self.rejections().is_some_and(Rejections::owes) || self.owes_answers()
    }

    fn owes_answers(&self) -> bool {
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

    /// Whether there is certainly nothing to say, nor to wait for: the client has this very stage, and is owed nothing. Nearly always so.
    pub(crate) fn is_idle(&self, stage: &Stage) -> bool {
        let is_current = |sent: &Stage| sent.number == stage.number;
        self.sent.as_ref().is_some_and(is_current)
            && !self.must_answer
            && !self.owes()
            && self.lingering.is_empty()
            && !self.rejections().is_some_and(Rejections::has_parts)
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
        let has_parts = self.rejections().is_some_and(Rejections::has_parts);
        !is_current
            || self.owes_answers()
            || has_parts
            || self.must_answer
            || self.lingering.has_due(context)
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
        let is_changed = changed(Some(older), newer, self.resource_type)
            .any(|(resource, listing)| self.is_wanted(resource, listing));
        if !is_changed {
            self.sent = Some(context.stage.clone());
        }
    }

    /// Names of resources that the client wants to hear of and that may differ between two snapshots.
    pub(crate) fn changed(&self, older: Option<&Snapshot>, newer: &Snapshot) -> Vec<Arc<str>> {
        changed_names(older, newer, self.resource_type, |resource, listing| {
            self.is_wanted(resource, listing)
        })
    }

    fn is_wanted(&self, resource: &Resource, listing: Listing) -> bool {
        (listing == Listing::Member && self.subscription.has_wildcard())
            || self.subscription.asks_for_resource(resource)
    }

    /// Leaves what does not fit into one response to the next one.
    pub(crate) fn defer(&mut self, work: &mut Work, bytes_max: usize) {
        let later = work.split_off(self.resource_type, bytes_max);
        self.is_unfinished = !later.is_empty();
        for name in &later {
            self.owe(name);
        }
    }
}
