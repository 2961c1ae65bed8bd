//! How a scope is doing, for people.

use std::time::{Duration, Instant};

use bowline_mesh::{PartState, RegistryPart};

use crate::{
    remembered::Memory,
    scope::Scope,
    watcher::{Failure, Mode, Standing, Watcher},
};

/// Over what time changes are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// How often something changes.
#[derive(Debug)]
pub(crate) struct Rates {
    since: Instant,
    changes: u64,
    milli: u64,
}

impl Rates {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            since: now,
            changes: 0,
            milli: 0,
        }
    }

    /// What is reported of a scope.
    pub(crate) fn part(
        &mut self,
        scope: &Scope,
        watcher: &Watcher,
        standing: &Standing,
        remembered: Option<Memory>,
        token_error: Option<&str>,
        now: Instant,
    ) -> RegistryPart {
        let counts = watcher.counts();
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= WINDOW {
            let changes = counts.changes.saturating_sub(self.changes);
            let millis = u64::try_from(elapsed.as_millis())
                .unwrap_or(u64::MAX)
                .max(1);
            self.milli = changes.saturating_mul(1_000_000) / millis;
            self.since = now;
            self.changes = counts.changes;
        }
        // Once it has said everything, that counts.
        let remembered = remembered.filter(|_| !watcher.was_complete());
        let is_known = watcher.was_complete() || remembered.is_some();
        let (state, error) = match standing {
            Standing::Starting => (PartState::Starting, None),
            Standing::Live => (PartState::Live, None),
            Standing::Throttled => (PartState::Throttled, None),
            Standing::Denied(error) => (PartState::Denied, Some(error)),
            Standing::Failing(error) if is_known => (PartState::Stale, Some(error)),
            Standing::Failing(error) => (PartState::Down, Some(error)),
        };
        let failing_for = watcher
            .failing_since()
            .filter(|_| watcher.was_complete())
            .map(|since| now.saturating_duration_since(since));
        let unconfirmed_for = remembered.map(|memory| memory.age).or(failing_for);
        let stale_for = unconfirmed_for
            .filter(|_| matches!(state, PartState::Stale | PartState::Denied))
            .map(whole_seconds);
        let last_error = error.or(watcher.last_error()).cloned();
        RegistryPart {
            name: scope.to_string().into(),
            state,
            stale_for,
            services: remembered.map_or(watcher.service_names().count(), |it| it.services),
            instances: remembered.map_or(counts.instances, |it| it.instances),
            changes_per_second_milli: self.milli,
            throttled: counts.throttled,
            denied: counts.denied,
            drift: counts.drift,
            mode: match watcher.mode() {
                Mode::EachService => "each service".into(),
                Mode::ByChecks => "by checks".into(),
            },
            last_error: last_error.or(token_error.map(Into::into)),
        }
    }
}

/// What is reported of a scope while no agent says anything.
pub(crate) fn unreached(
    scope: &Scope,
    failure: &Failure,
    remembered: Option<Memory>,
) -> RegistryPart {
    RegistryPart {
        name: scope.to_string().into(),
        state: match (failure, remembered) {
            (Failure::Denied(_), _) => PartState::Denied,
            (_, Some(_)) => PartState::Stale,
            (_, None) => PartState::Down,
        },
        stale_for: remembered.map(|memory| whole_seconds(memory.age)),
        services: remembered.map_or(0, |memory| memory.services),
        instances: remembered.map_or(0, |memory| memory.instances),
        changes_per_second_milli: 0,
        throttled: 0,
        denied: 0,
        drift: 0,
        mode: "".into(),
        last_error: Some(failure.message().into()),
    }
}

/// What is reported changes once a second at most.
fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs())
}
