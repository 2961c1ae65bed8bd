//! Registries as the API lists them: times as RFC 3339, which the mesh counts from the epoch.

use std::time::Duration;

use bowline_mesh::{Held, RegistryPart, RegistryState, RegistryStatus};

use super::wire::{HeldLoss, ListedRegistry, Moment, RegistryHealth};
use crate::registries::Reports;

pub(super) fn list(
    registries: Vec<RegistryStatus>,
    reports: &Reports,
    now: Duration,
) -> Vec<ListedRegistry> {
    registries
        .into_iter()
        .map(|status| {
            let parts = reports.of(&status.registry);
            listed(status, parts, now)
        })
        .collect()
}

fn listed(status: RegistryStatus, parts: Vec<RegistryPart>, now: Duration) -> ListedRegistry {
    let age = status.state.age(now);
    let RegistryStatus {
        registry,
        state,
        objects,
        endpoints,
        events,
        held,
    } = status;
    let mut listed = ListedRegistry {
        registry: registry.to_string(),
        state: RegistryHealth::Starting,
        age_seconds: age.map(|age| age.as_secs()),
        last_event: None,
        saved_at: None,
        failing_since: None,
        last_good: None,
        error: None,
        objects,
        endpoints,
        events,
        held: held.map(held_loss),
        parts,
    };
    match state {
        RegistryState::Starting => {}
        RegistryState::Restored { saved_at } => {
            listed.state = RegistryHealth::Restored;
            listed.saved_at = Some(Moment::since_epoch(saved_at));
        }
        RegistryState::Live { last_event } => {
            listed.state = RegistryHealth::Live;
            listed.last_event = Some(Moment::since_epoch(last_event));
        }
        RegistryState::Failing {
            since,
            last_good,
            error,
        } => {
            listed.state = RegistryHealth::Failing;
            listed.failing_since = Some(Moment::since_epoch(since));
            listed.last_good = last_good.map(Moment::since_epoch);
            listed.error = Some(error);
        }
    }
    listed
}

fn held_loss(held: Held) -> HeldLoss {
    let Held {
        objects,
        endpoints,
        since,
        until,
    } = held;
    HeldLoss {
        objects,
        endpoints,
        since: Moment::since_epoch(since),
        until: Moment::since_epoch(until),
    }
}
