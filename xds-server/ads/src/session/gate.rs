//! Make before break: what listeners and routes may show, given what clusters and endpoints have reached the client.
//!
//! Suppliers (secrets, clusters, endpoints: all that comes before listeners in the order of an update) are served from the newest
//! stage. Referrers (listeners, routes) are served from the last stage whose suppliers have all been acknowledged, so they never
//! name a cluster that the client has not made ready. Envoy withholds the acknowledgement of clusters until they are warm, which
//! makes it the right signal (xDS protocol, "Eventual consistency considerations").

use std::time::{Duration, Instant};

use bowline_snapshot::{ResourceType, Snapshot};

use super::stage::Stage;

/// The stages of one stream.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    newest: Option<Stage>,
    /// What referrers are served from.
    open: Option<Stage>,
    /// The stage that referrers wait for, and until when. It stays while newer ones come, so that endless change delays nobody for
    /// longer than the limit.
    waiting: Option<(Stage, Instant)>,
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

    /// Opens for what the suppliers have settled, or for what has waited long enough.
    pub(crate) fn advance(&mut self, suppliers_settled: u64, now: Instant, limit: Duration) {
        let Some(newest) = &self.newest else {
            return;
        };
        if newest.number <= suppliers_settled {
            self.open = Some(newest.clone());
            self.waiting = None;
            return;
        }
        if let Some((stage, deadline)) = &self.waiting
            && (stage.number <= suppliers_settled || *deadline <= now)
        {
            self.open = Some(stage.clone());
            self.waiting = None;
        }
        let is_open = self
            .open
            .as_ref()
            .is_some_and(|open| open.number == newest.number);
        if self.waiting.is_none() && !is_open {
            self.waiting = Some((newest.clone(), now + limit));
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|(_, deadline)| *deadline)
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

    #[test]
    fn referrers_wait_for_suppliers() {
        let start = Instant::now();
        let mut gate = Gate::default();
        gate.advance(0, start, LIMIT);
        assert_eq!(open(&gate), None);
        gate.update(snapshot_of(1, &["CDS a 1"]));
        gate.advance(0, start, LIMIT);
        assert_eq!(
            (open(&gate), gate.next_deadline()),
            (None, Some(start + LIMIT))
        );
        gate.advance(1, start, LIMIT);
        assert_eq!((open(&gate), gate.next_deadline()), (Some(1), None));
    }

    #[test]
    fn endless_change_delays_referrers_no_longer_than_the_limit() {
        let start = Instant::now();
        let mut gate = Gate::default();
        for second in 0..20 {
            gate.update(snapshot_of(second, &["CDS a 1"]));
            gate.advance(0, start + Duration::from_secs(second), LIMIT);
        }
        // After 5 s the first, after 5 more what was the newest then, and so on.
        assert_eq!(open(&gate), Some(11));
    }

    #[test]
    fn what_was_acknowledged_is_served_while_newer_content_waits() {
        let start = Instant::now();
        let mut gate = Gate::default();
        for generation in 1..=3 {
            gate.update(snapshot_of(generation, &["CDS a 1"]));
            gate.advance(generation - 1, start, LIMIT);
        }
        assert_eq!(open(&gate), Some(2));
    }

    #[test]
    fn the_same_layers_are_no_new_stage() {
        let mut gate = Gate::default();
        let snapshot = snapshot_of(1, &["CDS a 1"]);
        assert!(gate.update(snapshot.clone()));
        assert!(!gate.update(snapshot));
    }
}
