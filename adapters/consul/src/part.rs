//! How a scope is doing, for people.

use std::time::{Duration, Instant};

use bowline_mesh::{PartState, RegistryPart};

use crate::{
    scope::Scope,
    watcher::{Mode, Standing, Watcher},
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
        let (state, error) = match standing {
            Standing::Starting => (PartState::Starting, None),
            Standing::Live => (PartState::Live, None),
            Standing::Throttled => (PartState::Throttled, None),
            Standing::Denied(error) => (PartState::Denied, Some(error)),
            Standing::Failing(error) if watcher.was_complete() => (PartState::Stale, Some(error)),
            Standing::Failing(error) => (PartState::Down, Some(error)),
        };
        let stale_for = watcher
            .failing_since()
            .filter(|_| watcher.was_complete())
            .filter(|_| matches!(state, PartState::Stale | PartState::Denied))
            .map(|since| Duration::from_secs(now.saturating_duration_since(since).as_secs()));
        let last_error = error.or(watcher.last_error()).cloned();
        RegistryPart {
            name: scope.to_string().into(),
            state,
            stale_for,
            services: watcher.service_names().count(),
            instances: counts.instances,
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
