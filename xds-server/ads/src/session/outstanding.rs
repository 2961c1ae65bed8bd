//! A response that waits for its acknowledgement.

use std::time::{Duration, Instant};

use bowline_snapshot::{Resource, Version};

/// Resources that are kept to tell which ones a rejection may be about.
const SUSPECTS_MAX: usize = 16;

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

/// What a client answered to a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Acknowledged {
        version: Version,
        generation: u64,
        waited: Duration,
    },
    Rejected {
        version: Version,
        message: String,
        /// Those that the message names; where it names none, some of those that were new in the response.
        suspects: Vec<Resource>,
    },
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

/// Those of the resources that a rejection's text names. The text is for people: this only helps them to look in the right place.
pub(crate) fn named_in<'a>(
    message: &str,
    resources: impl Iterator<Item = &'a Resource>,
) -> Vec<Resource> {
    resources
        .filter(|resource| mentions(message, resource.name()))
        .take(SUSPECTS_MAX)
        .cloned()
        .collect()
}

/// Whether a text contains a name, and not only as a piece of a longer one.
fn mentions(text: &str, name: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || "-_.|/".contains(character);
    !name.is_empty()
        && text.match_indices(name).any(|(at, _)| {
            let before = text.get(..at).and_then(|text| text.chars().next_back());
            let after = text.get(at + name.len()..).unwrap_or_default();
            let mut after = after.chars();
            // A sentence may end behind the name.
            let ends = match after.next() {
                Some('.') => !after.next().is_some_and(is_part),
                Some(character) => !is_part(character),
                None => true,
            };
            !before.is_some_and(is_part) && ends
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_in_envoys_message_and_not_as_part_of_another() {
        let message = "Error adding/updating cluster(s) outbound|80||cart.shop.svc: no such type, 'web-2'. See a.b.";
        for (name, expected) in [
            ("outbound|80||cart.shop.svc", true),
            ("web-2", true),
            ("a.b", true),
            ("cart.shop.svc", false),
            ("web", false),
            ("clus", false),
            ("", false),
        ] {
            assert_eq!(mentions(message, name), expected, "{name}");
        }
    }
}
