//! What a client has rejected, and how it gets the rest all the same.
//!
//! A client that rejects a response may have taken over a part of it. Where its reason names resources, exactly those are quarantined:
//! they are not sent again on this stream before their content changes, and the others of the response are sent once more without
//! them. Where it names none, the response is repeated in halves, each of them other content than what was rejected, until a
//! rejection is about a single resource. That is sound where resources of a type stand for themselves, which is everywhere but in
//! state-of-the-world responses that list all that there is: what is absent from those is deleted, so nothing of them is repeated
//! before something changes. Other streams never notice.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bowline_snapshot::{Resource, Version};

use super::{
    outstanding::{Outstanding, SUSPECTS_MAX},
    protocol::Protocol,
    stage::Stage,
    track::{Owed, Track},
    verdict::Mentions,
};

/// Rejections that are followed by another attempt, until everything is accepted.
const ATTEMPTS_MAX: u32 = 32;

/// What one stream has rejected of one type.
#[derive(Debug, Default)]
pub(crate) struct Rejections {
    quarantined: BTreeMap<Arc<str>, Quarantined>,
    /// To be sent one by one, when there is nothing else to say: one of each is bad.
    parts: VecDeque<Vec<Resource>>,
    /// Since everything was accepted last.
    count: u32,
    /// Whether the rest of a rejected response is still to be sent.
    is_retrying: bool,
    /// What the client had when it accepted something last, where that has to be known.
    accepted: Option<Stage>,
}

/// A resource that is not sent before its content changes.
#[derive(Debug)]
struct Quarantined {
    rejected: Resource,
    /// What the client had accepted before: state of the world lists it in the place of the other.
    replacement: Option<Resource>,
    /// Whether there is other content or none, or the client has asked again. Kept until something is accepted: what comes now may be
    /// rejected too.
    is_released: bool,
    /// Whether the client was sent the replacement.
    is_replaced: bool,
}

impl Quarantined {
    fn holds(&self, resource: &Resource) -> bool {
        !self.is_released && self.rejected.version() == resource.version()
    }
}

impl Rejections {
    pub(crate) fn is_empty(&self) -> bool {
        let Self {
            quarantined,
            parts,
            count,
            is_retrying,
            accepted,
        } = self;
        quarantined.is_empty()
            && parts.is_empty()
            && *count == 0
            && !is_retrying
            && accepted.is_none()
    }

    /// What is not sent, in order of names.
    pub(crate) fn quarantined(&self) -> impl Iterator<Item = &Resource> {
        let entries = self.quarantined.values();
        entries
            .filter(|entry| !entry.is_released)
            .map(|entry| &entry.rejected)
    }

    /// Whether this very content was rejected.
    pub(crate) fn has(&self, resource: &Resource) -> bool {
        self.quarantined
            .get(resource.name())
            .is_some_and(|entry| entry.holds(resource))
    }

    /// What the client is to have of a resource.
    pub(crate) fn accepted<'a>(&'a self, resource: &'a Resource) -> Option<&'a Resource> {
        match self.quarantined.get(resource.name()) {
            Some(entry) if entry.holds(resource) => entry.replacement.as_ref(),
            Some(_) | None => Some(resource),
        }
    }

    /// What the client had before it was sent this: where it rejected that, what was before.
    fn accepted_before<'a>(&'a self, sent: &'a Resource) -> Option<&'a Resource> {
        match self.quarantined.get(sent.name()) {
            Some(entry) if entry.rejected.version() == sent.version() => entry.replacement.as_ref(),
            Some(_) | None => Some(sent),
        }
    }

    /// The content has changed or is gone, or the client asks for it.
    pub(crate) fn release(&mut self, name: &str) {
        if let Some(entry) = self.quarantined.get_mut(name) {
            entry.is_released = true;
        }
    }

    /// Whether the client is still to get what it did not reject.
    pub(crate) fn owes(&self) -> bool {
        self.is_retrying || !self.parts.is_empty()
    }

    /// Whether it is not known what the client has of a resource that it was sent.
    pub(crate) fn doubts(&self, sent: &Resource) -> bool {
        let mut parts = self.parts.iter().flatten();
        self.has(sent) || parts.any(|part| part.name() == sent.name())
    }

    pub(crate) fn has_parts(&self) -> bool {
        !self.parts.is_empty()
    }

    /// A response goes out. Says whether it has the rest of a rejected one.
    pub(crate) fn note_sent(&mut self) -> bool {
        std::mem::take(&mut self.is_retrying)
    }

    /// What a response lists for the first time in the place of what was rejected.
    pub(crate) fn take_replacements(&mut self) -> Vec<Resource> {
        let entries = self.quarantined.values_mut();
        let new = entries.filter(|entry| !entry.is_released && !entry.is_replaced);
        new.filter_map(|entry| {
            entry.is_replaced = true;
            entry.replacement.clone()
        })
        .collect()
    }

    /// A response was accepted.
    pub(crate) fn note_accepted(&mut self) {
        self.quarantined.retain(|_, entry| !entry.is_released);
        self.accepted = None;
        if self.parts.is_empty() {
            self.count = 0;
        }
    }

    pub(crate) fn next_part(&mut self) -> Option<Vec<Resource>> {
        self.parts.pop_front()
    }

    /// What makes a set without the quarantined another one than with them.
    pub(crate) fn version(&self, of_all: Version) -> Version {
        let entries = self.quarantined.values();
        let held = entries.filter(|entry| !entry.is_released);
        held.fold(of_all, |version, entry| {
            let Quarantined {
                rejected,
                replacement,
                is_released: _,
                is_replaced: _,
            } = entry;
            let replacement = replacement
                .as_ref()
                .map_or(Version::EMPTY, Resource::version);
            let member = Version::of([rejected.name().as_bytes(), b"quarantined"])
                .combined_with(rejected.version())
                .combined_with(replacement);
            version.with_member(member)
        })
    }

    fn insert(&mut self, rejected: Resource, replacement: Option<Resource>) {
        let entry = Quarantined {
            rejected,
            replacement,
            is_released: false,
            is_replaced: false,
        };
        self.quarantined
            .insert(entry.rejected.name().clone(), entry);
    }
}

/// Takes note that the client has rejected a response, and tells what its reason may be about.
pub(crate) fn reject<P: Protocol>(
    track: &mut Track,
    outstanding: &Outstanding,
    reason: &str,
) -> Vec<Resource> {
    let Some(sent) = track.sent.as_ref().map(|stage| stage.snapshot.clone()) else {
        return Vec::new();
    };
    let (content, removed) = outstanding.content(track, &sent);
    let mentions = Mentions::of(reason);
    let mut named: Vec<Resource> = content
        .iter()
        .filter(|resource| mentions.has(resource.name()))
        .cloned()
        .collect();
    let is_divisible = P::can_split(track.resource_type);
    if named.is_empty() && !is_divisible {
        // It has all that there is, and something older may be in the way of what is new.
        let members = sent.members(track.resource_type);
        let covered = members.filter(|resource| track.subscription.covers(resource.name()));
        named = covered
            .filter(|resource| mentions.has(resource.name()))
            .cloned()
            .collect();
    }
    let suspected = if named.is_empty() { &content } else { &named };
    let suspects = suspected.iter().take(SUSPECTS_MAX).cloned().collect();

    let is_single = content.len() == 1 && removed.is_empty();
    if !named.is_empty() {
        if is_divisible {
            repeat(track, named, content, removed);
        } else {
            replace(track, outstanding, named, &content);
        }
    } else if is_divisible && is_single {
        repeat(track, content, Vec::new(), Vec::new());
    } else if is_divisible {
        halve(track, content);
    }
    suspects
}

/// Quarantines what is named, and sends the rest once more.
fn repeat(track: &mut Track, named: Vec<Resource>, content: Vec<Resource>, removed: Vec<Arc<str>>) {
    let rejections = &mut track.rare().rejections;
    rejections.count += 1;
    for resource in named {
        rejections.insert(resource, None);
    }
    let others = content
        .iter()
        .filter(|resource| !rejections.has(resource))
        .map(|resource| resource.name().clone());
    let others: Vec<_> = others.chain(removed).collect();
    if others.is_empty() || rejections.count > ATTEMPTS_MAX {
        return;
    }
    rejections.is_retrying = true;
    if let Owed::Names(owed) = &mut track.owed {
        owed.extend(others);
    }
}

/// Puts what the client had before in the place of what it names, and lists everything else once more.
fn replace(
    track: &mut Track,
    outstanding: &Outstanding,
    named: Vec<Resource>,
    content: &[Resource],
) {
    let rejections = &mut track.rare().rejections;
    if rejections.count == 0 {
        rejections.accepted.clone_from(&outstanding.before);
    }
    rejections.count += 1;
    let accepted = rejections.accepted.clone().map(|stage| stage.snapshot);
    for resource in named {
        let before = accepted
            .as_ref()
            .and_then(|accepted| track.find(accepted, resource.name()));
        let rejections = &track.rare().rejections;
        let replacement = before
            .and_then(|before| rejections.accepted_before(before))
            .cloned();
        if replacement.is_none() && track.is_reconnected {
            // It may have accepted something on an earlier stream, which to leave out would take away.
            continue;
        }
        track.rare().rejections.insert(resource, replacement);
    }
    let others: Vec<_> = content
        .iter()
        .filter(|resource| !track.is_quarantined(resource))
        .map(|resource| resource.name().clone())
        .collect();
    let has_quarantined = others.len() < content.len();
    let rejections = &mut track.rare().rejections;
    if has_quarantined && !others.is_empty() && rejections.count <= ATTEMPTS_MAX {
        rejections.is_retrying = true;
        // What belongs to them follows them again.
        if let Owed::Names(owed) = &mut track.owed {
            owed.extend(others);
        }
    }
}

/// Looks for the bad one.
fn halve(track: &mut Track, mut content: Vec<Resource>) {
    let rejections = &mut track.rare().rejections;
    rejections.count += 1;
    if rejections.count > ATTEMPTS_MAX {
        for resource in content {
            rejections.insert(resource, None);
        }
        return;
    }
    let second = content.split_off(content.len() / 2);
    for half in [second, content] {
        if !half.is_empty() {
            rejections.parts.push_front(half);
        }
    }
}
