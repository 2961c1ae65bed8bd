//! A response that waits for its acknowledgement.

use std::time::Instant;

use bowline_snapshot::{Resource, Version};

/// Resources that are kept to tell which ones a rejection may be about.
pub(crate) const SUSPECTS_MAX: usize = 16;

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
    /// Some of what was new in it.
    pub(crate) suspects: Vec<Resource>,
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
    pub(crate) fn continued_by(mut self, part: Self) -> Self {
        let room = SUSPECTS_MAX.saturating_sub(self.suspects.len());
        self.suspects.extend(part.suspects.into_iter().take(room));
        Self {
            first_nonce: self.first_nonce,
            last_nonce: part.last_nonce,
            version: part.version,
            generation: part.generation,
            sent_at: self.sent_at,
            deadline: part.deadline,
            blocks: self.blocks || part.blocks,
            settled_before: self.settled_before,
            suspects: self.suspects,
        }
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

/// Keeps a few of the resources of a response.
pub(crate) fn suspects(resources: &[Resource]) -> Vec<Resource> {
    resources.iter().take(SUSPECTS_MAX).cloned().collect()
}
