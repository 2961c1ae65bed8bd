//! The guard against sudden losses: half a registry does not vanish because of one bad answer.

use std::{collections::BTreeSet, time::Duration};

use crate::ObjectKey;

/// When a sudden loss of endpoints is not believed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardSettings {
    /// A loss of fewer endpoints than this is always believed.
    pub endpoints_min: usize,
    /// A loss of less than this share of the registry's endpoints, in percent, is always believed. Over 100 switches the guard off.
    pub share_percent: u8,
    /// After this time a loss is believed.
    pub hold: Duration,
    /// The source is read anew as a whole on every change (files), so a loss in an update is no more credible than one in a full
    /// answer. False for sources that say themselves that an object was deleted: scaling to zero is not an accident.
    pub doubts_updates: bool,
}

impl Default for GuardSettings {
    fn default() -> Self {
        Self {
            endpoints_min: 20,
            share_percent: 50,
            hold: Duration::from_secs(600),
            doubts_updates: false,
        }
    }
}

impl GuardSettings {
    /// Whether losing so many of so many endpoints at once must be confirmed first.
    pub(crate) fn doubts(self, lost: usize, known: usize) -> bool {
        lost >= self.endpoints_min.max(1) && lost * 100 >= known * usize::from(self.share_percent)
    }
}

/// Objects that a registry no longer names, but whose loss is not believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeldBack {
    /// The objects, which are served as before.
    pub(crate) objects: BTreeSet<ObjectKey>,
    /// Their endpoints.
    pub(crate) endpoints: usize,
    /// When the loss was first reported, as time since the epoch.
    pub(crate) since: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_endpoints_and_at_least_twenty_are_doubted() {
        let guard = GuardSettings::default();
        for (lost, known, doubted) in [
            (0, 0, false),
            (1, 2, false),
            (2, 2, false),
            (19, 19, false),
            (20, 20, true),
            (20, 40, true),
            (20, 41, false),
            (500, 1000, true),
            (499, 1000, false),
        ] {
            assert_eq!(guard.doubts(lost, known), doubted, "{lost} of {known}");
        }
        let off = GuardSettings {
            share_percent: 101,
            ..guard
        };
        assert!(!off.doubts(1000, 1000));
    }
}
