//! Make before break: what listeners and routes may show, given what clusters and endpoints have reached the client.
//!
//! Suppliers (secrets, clusters, endpoints: all that comes before listeners in the order of an update) are served from the newest
//! stage. Referrers (listeners, routes) are served from the last stage whose clusters were all sent and acknowledged, so they never
//! name a cluster that the client has not made ready. Envoy withholds the acknowledgement of clusters until they are warm, which
//! makes it the right signal (xDS protocol, "Eventual consistency considerations"). A stage that was skipped, because a newer one
//! came while the client was busy, is never served to anybody: its clusters may not have been sent.

use std::time::{Duration, Instant};

use bowline_snapshot::{ResourceType, Snapshot};

use super::stage::Stage;

/// The stages of one stream.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    newest: Option<Stage>,
    /// What referrers are served from.
    open: Option<Stage>,
    /// Until when referrers wait for something newer, counted from when they began to wait: newer stages do not put it off.
    deadline: Option<Instant>,
}

/// Whether resources of a type are referred to by listeners and routes, or are those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Supplier,
    Referrer,
}

impl Role {
    pub(crate) fn of(resource_type: ResourceType) -> Self {
        if resource_type.spec().order < ResourceType::LISTENER.spec().order {
            Self::Supplier
        } else {
            Self::Referrer
        }
    }
}

/// Whether referrers wait for resources of this type: for clusters. Endpoints and secrets are asked for by what needs them, and the
/// client waits for them itself.
pub(crate) fn is_gating(resource_type: ResourceType) -> bool {
    Role::of(resource_type) == Role::Supplier && resource_type.spec().full_state
}

impl Gate {
    /// Takes a new snapshot. Says whether it is another one.
    pub(crate) fn update(&mut self, snapshot: Snapshot) -> bool {
        if self
            .newest
            .as_ref()
            .is_some_and(|newest| newest.is_of(&snapshot))
        {
            return false;
        }
        let number = self.newest.as_ref().map_or(0, |newest| newest.number) + 1;
        self.newest = Some(Stage { number, snapshot });
        true
    }

    /// What suppliers are served from.
    pub(crate) fn newest(&self) -> Option<&Stage> {
        self.newest.as_ref()
    }

    /// What referrers are served from.
    pub(crate) fn open(&self) -> Option<&Stage> {
        self.open.as_ref()
    }

    /// Opens for the stage that the client has all clusters of, if there is one; when the time is over, for the newest.
    pub(crate) fn advance(&mut self, ready: Option<&Stage>, now: Instant, limit: Duration) {
        let Some(newest) = &self.newest else {
            return;
        };
        let ready = if self.is_due(now) {
            Some(newest)
        } else {
            ready
        };
        let is_open = |open: &Option<Stage>, stage: &Stage| {
            open.as_ref()
                .is_some_and(|open| open.number == stage.number)
        };
        if let Some(ready) = ready
            && !is_open(&self.open, ready)
        {
            self.open = Some(ready.clone());
            self.deadline = None;
        }
        if is_open(&self.open, newest) {
            self.deadline = None;
        } else {
            self.deadline.get_or_insert(now + limit);
        }
    }

    /// Ends the waiting: something that waits for referrers cannot wait any longer.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.deadline = Some(now);
    }

    /// Whether referrers have waited for long enough.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::snapshot_of;

    const LIMIT: Duration = Duration::from_secs(5);

    fn open(gate: &Gate) -> Option<u64> {
        gate.open().map(|stage| stage.number)
    }

    /// Gives the gate a stage and returns it.
    fn update(gate: &mut Gate, generation: u64) -> Stage {
        gate.update(snapshot_of(generation, &["CDS a 1"]));
        gate.newest().unwrap().clone()
    }

    #[test]
    fn referrers_wait_for_clusters() {
        let start = Instant::now();
        let mut gate = Gate::default();
        gate.advance(None, start, LIMIT);
        assert_eq!(open(&gate), None);
        let first = update(&mut gate, 1);
        gate.advance(None, start, LIMIT);
        assert_eq!(
            (open(&gate), gate.next_deadline()),
            (None, Some(start + LIMIT))
        );
        gate.advance(Some(&first), start, LIMIT);
        assert_eq!((open(&gate), gate.next_deadline()), (Some(1), None));
    }

    #[test]
    fn endless_change_delays_referrers_no_longer_than_the_limit() {
        let start = Instant::now();
        let mut gate = Gate::default();
        let opened: Vec<_> = (1..=12)
            .map(|second| {
                update(&mut gate, second);
                gate.advance(None, start + Duration::from_secs(second), LIMIT);
                open(&gate)
            })
            .collect();
        assert_eq!(opened[..5], [None; 5]);
        assert_eq!(opened[5..11], [Some(6); 6]);
        assert_eq!(opened[11], Some(12));
    }

    #[test]
    fn what_was_acknowledged_is_served_while_newer_content_waits() {
        let start = Instant::now();
        let mut gate = Gate::default();
        let first = update(&mut gate, 1);
        update(&mut gate, 2);
        gate.advance(Some(&first), start, LIMIT);
        assert_eq!(
            (open(&gate), gate.next_deadline()),
            (Some(1), Some(start + LIMIT))
        );
    }

    #[test]
    fn the_same_layers_are_no_new_stage() {
        let mut gate = Gate::default();
        let snapshot = snapshot_of(1, &["CDS a 1"]);
        assert!(gate.update(snapshot.clone()));
        assert!(!gate.update(snapshot));
    }
}
