//! What a client says about what it was sent.

use std::time::{Duration, Instant};

use bowline_snapshot::{Resource, Version};

use super::{
    outstanding::{Outstanding, SUSPECTS_MAX},
    protocol::{Header, Protocol},
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
    let is_of =
        |outstanding: &mut Outstanding| nonce.is_some_and(|nonce| outstanding.has_nonce(nonce));
    let Some(outstanding) = track.outstanding.take_if(is_of) else {
        return (None, nonce != Some(last));
    };
    let is_complete = nonce == Some(outstanding.last_nonce) && !track.is_unfinished;
    let verdict = match header.rejection {
        Some(message) => {
            let message: String = message.chars().take(MESSAGE_CHARACTERS_MAX).collect();
            Some(Verdict::Rejected {
                version: outstanding.version,
                suspects: blamed(track, &outstanding, &message),
                message,
            })
        }
        None if is_complete && P::is_accepted(interest, outstanding.version) => {
            Some(Verdict::Acknowledged {
                version: outstanding.version,
                generation: outstanding.generation,
                waited: now.saturating_duration_since(outstanding.sent_at),
            })
        }
        None => None,
    };
    if !is_complete {
        track.outstanding = Some(outstanding);
    }
    (verdict, false)
}

/// Which resources a rejection may be about.
fn blamed(track: &Track, outstanding: &Outstanding, message: &str) -> Vec<Resource> {
    let sent = track.sent.iter().flat_map(|stage| {
        let members = stage.snapshot.members(track.resource_type);
        members.filter(|resource| track.subscription.covers(resource.name()))
    });
    let named = named_in(message, sent);
    if named.is_empty() {
        outstanding.suspects.clone()
    } else {
        named
    }
}
/// Those of the resources that a rejection's text names. The text is for people: this only helps them to look in the right place.
fn named_in<'a>(message: &str, resources: impl Iterator<Item = &'a Resource>) -> Vec<Resource> {
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
