//! A response that waits for its acknowledgement.

use std::{sync::Arc, time::Instant};

use bowline_snapshot::{Resource, Snapshot, Version};

use super::{
    protocol::Draft,
    stage::Stage,
    steps::Step,
    track::{Owed, Track},
    work::Work,
};
use crate::response::Entries;

/// Resources that are told where a rejection names none.
pub(crate) const SUSPECTS_MAX: usize = 16;

/// Resources that are listed while a response is outstanding. What was in a larger one is found out when that is needed.
const LISTED_MAX: usize = 256;

/// What was sent last of one type. A response that was split counts as one.
#[derive(Debug)]
pub(crate) struct Outstanding {
    pub(crate) first_nonce: u64,
    pub(crate) last_nonce: u64,
    pub(crate) version: Version,
    pub(crate) generation: u64,
    pub(crate) sent_at: Instant,
    /// Until when new content waits; `None` after that.
    pub(crate) deadline: Option<Instant>,
    /// Whether others wait for the acknowledgement.
    pub(crate) blocks: bool,
    /// Up to where the client had everything before.
    pub(crate) settled_before: u64,
    /// What the client had been sent before.
    pub(crate) before: Option<Stage>,
    pub(crate) content: Content,
}

/// What was in a response.
#[derive(Debug)]
pub(crate) enum Content {
    Listed {
        upserts: Vec<Resource>,
        removed: Vec<Arc<str>>,
    },
    Step(Arc<Step>),
    /// What was owed and what had changed. Some of it the client may have brought from an earlier stream, and not been sent.
    Derived(Owed),
}

impl Content {
    /// Of a response that says this and answers what was owed. The rest of one that is a part only will be sent, too.
    pub(crate) fn of(draft: &Draft, work: &Work, owed: Owed, is_part: bool) -> Self {
        if let Entries::Step(step) = &draft.resources {
            return Self::Step(step.clone());
        }
        if is_part || draft.upserts(work).count() + work.removed.len() > LISTED_MAX {
            return Self::Derived(owed);
        }
        Self::Listed {
            upserts: draft.upserts(work).cloned().collect(),
            removed: work.removed.clone(),
        }
    }
}

impl Outstanding {
    /// Whether this nonce is of one of its messages.
    pub(crate) fn has_nonce(&self, nonce: u64) -> bool {
        (self.first_nonce..=self.last_nonce).contains(&nonce)
    }

    /// Whether new content of the type waits for the answer.
    pub(crate) fn is_awaited(&self) -> bool {
        self.deadline.is_some()
    }

    /// This response and a further part of it, as one.
    pub(crate) fn continued_by(self, part: Self) -> Self {
        Self {
            first_nonce: self.first_nonce,
            last_nonce: part.last_nonce,
            version: part.version,
            generation: part.generation,
            sent_at: self.sent_at,
            deadline: part.deadline,
            blocks: self.blocks || part.blocks,
            settled_before: self.settled_before,
            before: self.before,
            content: self.content,
        }
    }

    /// Resources and removed names in the response, as they were sent.
    pub(crate) fn content(&self, track: &Track, sent: &Snapshot) -> (Vec<Resource>, Vec<Arc<str>>) {
        let owed = match &self.content {
            Content::Listed { upserts, removed } => return (upserts.clone(), removed.clone()),
            Content::Step(step) => {
                let resources = step.resources().iter();
                let upserts = resources.map(|(resource, _)| resource.clone());
                return (upserts.collect(), Vec::new());
            }
            Content::Derived(owed) => owed,
        };
        let before = self.before.as_ref().map(|stage| &stage.snapshot);
        let (mut upserts, mut removed) = (Vec::new(), Vec::new());
        for (name, _) in track.candidates(before, owed, sent) {
            match track.find(sent, &name) {
                Some(resource) => upserts.push(resource.clone()),
                None => removed.push(name),
            }
        }
        (upserts, removed)
    }

    /// Stops waiting when the time is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.give_up();
        }
    }

    /// Stops waiting. The answer, should it come, still counts.
    pub(crate) fn give_up(&mut self) {
        self.deadline = None;
    }
}
