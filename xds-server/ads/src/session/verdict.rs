//! What a client says about what it was sent.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use bowline_snapshot::{Resource, Version};

use super::{
    outstanding::Outstanding,
    protocol::{Header, Protocol},
    quarantine::reject,
    track::Track,
};

/// What is looked at and kept of a reason: Envoy's are a line or a few, but a peer could send megabytes.
const MESSAGE_CHARACTERS_MAX: usize = 4096;

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

/// What a request says about the response that it names, and whether it names one that is not outstanding.
pub(crate) fn judge<P: Protocol>(
    track: &mut Track,
    header: Header,
    interest: &P::Interest,
    now: Instant,
) -> (Option<Verdict>, bool) {
    let Some(last) = track.last_nonce.filter(|_| !header.nonce.is_empty()) else {
        // Nothing was sent yet: a nonce can only be from an earlier stream.
        return (None, false);
    };
    let nonce: Option<u64> = header.nonce.parse().ok();
    let is_of = |outstanding: &mut Box<Outstanding>| {
        nonce.is_some_and(|nonce| outstanding.has_nonce(nonce))
    };
    let Some(outstanding) = track.outstanding.take_if(is_of) else {
        return (None, nonce != Some(last));
    };
    let is_complete = nonce == Some(outstanding.last_nonce) && !track.is_unfinished;
    let verdict = match header.rejection {
        Some(message) => {
            let message: String = message.chars().take(MESSAGE_CHARACTERS_MAX).collect();
            Some(Verdict::Rejected {
                version: outstanding.version,
                suspects: reject::<P>(track, &outstanding, &message),
                message,
            })
        }
        None if is_complete && P::is_accepted(interest, outstanding.version) => {
            track.note_accepted();
            Some(Verdict::Acknowledged {
                version: outstanding.version,
                generation: outstanding.generation,
                waited: now.saturating_duration_since(outstanding.sent_at),
            })
        }
        None => None,
    };
    if !is_complete && !matches!(verdict, Some(Verdict::Rejected { .. })) {
        track.outstanding = Some(outstanding);
    }
    (verdict, false)
}

/// The names that a rejection's text may contain. The text is for people: this helps to look in the right place, and to leave out what
/// is named; what it does not tell is found in other ways.
pub(crate) struct Mentions<'t> {
    text: &'t str,
    /// The longest pieces that may be names.
    words: BTreeSet<&'t str>,
}

impl<'t> Mentions<'t> {
    pub(crate) fn of(text: &'t str) -> Self {
        let words = text.split(|character| !is_part(character));
        // A sentence may end behind the name.
        let words = words.flat_map(|word| [word, word.strip_suffix('.').unwrap_or(word)]);
        Self {
            text,
            words: words.collect(),
        }
    }

    /// Whether the text contains a name, and not only as a piece of a longer one.
    pub(crate) fn has(&self, name: &str) -> bool {
        if name.is_empty() {
            return false;
        }
        if name.chars().all(is_part) {
            return self.words.contains(name);
        }
        self.text.match_indices(name).any(|(at, _)| {
            let before = self
                .text
                .get(..at)
                .and_then(|text| text.chars().next_back());
            let mut after = self.text.get(at + name.len()..).unwrap_or_default().chars();
            let ends = match after.next() {
                Some('.') => !after.next().is_some_and(is_part),
                Some(character) => !is_part(character),
                None => true,
            };
            !before.is_some_and(is_part) && ends
        })
    }
}

/// Whether a character is usual in names, so that what is beside it may belong to the same one.
fn is_part(character: char) -> bool {
    character.is_alphanumeric() || "-_.|/".contains(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_in_envoys_message_and_not_as_part_of_another() {
        let message = "Error adding/updating cluster(s) outbound|80||cart.shop.svc: no such type, 'web-2'. See a.b. Not r/x:80, but s/x:80.";
        let mentions = Mentions::of(message);
        for (name, expected) in [
            ("outbound|80||cart.shop.svc", true),
            ("web-2", true),
            ("a.b", true),
            ("cart.shop.svc", false),
            ("web", false),
            ("clus", false),
            ("r/x:80", true),
            ("s/x:80", true),
            ("x:80", false),
            ("s/x:8", false),
            ("", false),
        ] {
            assert_eq!(mentions.has(name), expected, "{name}");
        }
    }
}
