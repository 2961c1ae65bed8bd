//! Tells clients in time that what they keep for a time only still holds.

use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, Instant},
};

use bowline_snapshot::{Resource, ResourceType, Snapshot, Version};

use super::{
    Session,
    protocol::Protocol,
    track::{Owed, Track},
    work::Context,
};
use crate::response::{Entries, Extra, Response};

/// When a client has to hear of its resources.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heartbeat {
    pub(crate) at: Instant,
    /// When it heard of all of them last; of some it may have heard since.
    told_at: Instant,
    /// Of the last response: clients of the state of the world compare it.
    pub(crate) version: Version,
}

/// What a heartbeat speaks of.
struct Due {
    /// Of what was sent last.
    generation: u64,
    version: Version,
    /// Each with its version on the wire.
    resources: Vec<(Resource, Version)>,
}

impl Track {
    /// After a response of this version: plans the next heartbeat if there has to be one.
    pub(crate) fn plan_heartbeat<P: Protocol>(&mut self, version: Version, context: &Context<'_>) {
        if !P::has_ttl(context.client) || !self.resource_type.has_heartbeats() {
            return;
        }
        let snapshot = &context.stage.snapshot;
        let times = snapshot.expiring(self.resource_type);
        let times = times.filter(|(name, _)| self.subscription.covers(name));
        let Some(shortest) = times.map(|(_, ttl)| ttl).min() else {
            return;
        };
        let heartbeat = &mut self.rare().heartbeat;
        let at = context.now + interval(shortest, context.now);
        *heartbeat = Some(match *heartbeat {
            // What was not in the response cannot wait any longer for it.
            Some(planned) => Heartbeat {
                at: planned.at.min(at),
                version,
                ..planned
            },
            None => Heartbeat {
                at,
                told_at: context.now,
                version,
            },
        });
    }

    fn is_heartbeat_due(&self, now: Instant) -> bool {
        self.heartbeat()
            .is_some_and(|heartbeat| heartbeat.at <= now)
    }

    /// The resources to speak of. The next heartbeat is planned, if there has to be one.
    ///
    /// A client ignores a heartbeat for what it has dropped already, so what it may have dropped is owed to it with its content.
    fn take_heartbeat(&mut self, parents: Option<&Snapshot>, now: Instant) -> Option<Due> {
        let heartbeat = self.rare_if_any()?.heartbeat.take()?;
        let snapshot = self.sent.as_ref()?.snapshot.clone();
        let parents = parents.unwrap_or(&snapshot);
        let is_owed = |name: &str| match &self.owed {
            Owed::All => true,
            Owed::Names(owed) => owed.contains(name),
        };
        let silence = now.saturating_duration_since(heartbeat.told_at);
        let mut shortest = Duration::MAX;
        let mut resources = Vec::new();
        let mut dropped = Vec::new();
        for (name, ttl) in snapshot.expiring(self.resource_type) {
            let resource = self
                .find(&snapshot, name)
                .filter(|resource| self.wants(resource) && !self.is_quarantined(resource));
            if let Some(resource) = resource {
                shortest = shortest.min(ttl);
                // What is on its way anyway needs no heartbeat.
                if is_owed(name) {
                    continue;
                }
                if is_in_time(silence, ttl) {
                    let version = parents.wire_version(self.resource_type, resource);
                    resources.push((resource.clone(), version));
                } else {
                    dropped.push(resource.name().clone());
                }
            }
        }
        if shortest < Duration::MAX {
            let at = now + interval(shortest, now);
            self.rare().heartbeat = Some(Heartbeat {
                at,
                told_at: now,
                ..heartbeat
            });
        }
        for name in &dropped {
            self.owe(name);
        }
        (!resources.is_empty()).then(|| Due {
            generation: snapshot.generation(),
            version: heartbeat.version,
            resources,
        })
    }
}

impl<P: Protocol> Session<P> {
    /// Tells the client what it may keep for longer. Its acknowledgement says nothing new, so nothing waits for it, and it waits for no
    /// other.
    pub(super) fn heartbeat(&mut self, now: Instant) -> Option<Response> {
        loop {
            let due = |track: &&Track| track.is_heartbeat_due(now);
            let resource_type = self.tracks.iter().find(due)?.resource_type;
            let heartbeat = self.heartbeat_of(resource_type, now);
            if heartbeat.is_some() {
                return heartbeat;
            }
        }
    }

    /// Takes the heartbeat of one type, which is due.
    fn heartbeat_of(&mut self, resource_type: ResourceType, now: Instant) -> Option<Response> {
        let parents = self
            .parents(resource_type)
            .map(|stage| stage.snapshot.clone());
        let track = self.tracks.get_mut(resource_type)?;
        let Due {
            generation,
            version,
            resources: heartbeats,
        } = track.take_heartbeat(parents.as_ref(), now)?;
        if !P::can_split(resource_type) {
            // What is absent from the response would be deleted: it has to be everything.
            track.must_answer = true;
            return None;
        }
        self.last_nonce += 1;
        let nonce = self.last_nonce;
        track.last_nonce = Some(nonce);
        if let Some(outstanding) = &mut track.outstanding {
            // The client answers in order, and the last answer is the one that counts.
            outstanding.last_nonce = nonce;
        }
        Some(Response {
            resource_type: Some(resource_type),
            type_url: Cow::Borrowed(resource_type.url()),
            version,
            resources: Entries::Own(Vec::new()),
            removed: Vec::new(),
            extra: Some(Box::new(Extra {
                heartbeats,
                ..Extra::default()
            })),
            quarantined: track.quarantined().cloned().collect(),
            nonce,
            generation,
        })
    }
}

/// Less than half of the time to live, so that one heartbeat may be lost; and not the same for all streams that were served at once.
fn interval(ttl: Duration, now: Instant) -> Duration {
    let mut hasher = DefaultHasher::new();
    now.hash(&mut hasher);
    let percent = 30 + u32::try_from(hasher.finish() % 16).unwrap_or(0);
    // A time of nothing at all would be a heartbeat for ever.
    (ttl * percent / 100).max(Duration::from_millis(100))
}

/// Whether a client that has not heard of a resource for so long certainly has it, also when it hears of it a little later.
fn is_in_time(silence: Duration, ttl: Duration) -> bool {
    silence <= ttl * 3 / 4
}
