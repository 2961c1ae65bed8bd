//! Reports of how a cluster's kinds are doing: now and then, and only if something is different.

use std::time::Duration;

use bowline_mesh::{PartState, RegistryPart};
use tokio::{
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval},
};

use crate::ClusterState;

/// How often it is looked, and over how long changes are counted.
const EVERY: Duration = Duration::from_secs(5);

/// Reports to whoever listens.
#[derive(Debug)]
pub(crate) struct Reporter {
    parts: watch::Sender<Vec<RegistryPart>>,
    ticks: Interval,
    before: Looked,
    /// When each kind that is not live was last so.
    live: Vec<Option<Instant>>,
    started: Instant,
    /// How old at the start was what was known from before it, if anything was.
    restored: Option<Duration>,
}

/// When it was last looked.
#[derive(Debug)]
struct Looked {
    at: Instant,
    /// Changes of each kind until then.
    changes: Vec<u64>,
}

impl Reporter {
    /// `restored` is how old is what was known of the cluster before the start, if anything was.
    pub(crate) fn new(parts: watch::Sender<Vec<RegistryPart>>, restored: Option<Duration>) -> Self {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let started = Instant::now();
        Self {
            parts,
            ticks,
            before: Looked {
                at: started,
                changes: Vec::new(),
            },
            live: Vec::new(),
            started,
            restored,
        }
    }

    /// Waits until it is time to look. Cancel-safe.
    pub(crate) async fn due(&mut self) {
        self.ticks.tick().await;
    }

    /// Looks, and tells what is different.
    pub(crate) fn report(&mut self, state: &ClusterState, status: Option<RegistryPart>) {
        let now = Instant::now();
        let mut parts = state.parts();
        let changes = state.changes();
        let looked = Looked {
            at: now,
            changes: changes.clone(),
        };
        let before = std::mem::replace(&mut self.before, looked);
        let milliseconds = now.duration_since(before.at).as_millis().max(1);
        self.live.resize(parts.len(), None);
        let kinds = parts.iter_mut().zip(&mut self.live).zip(changes.iter());
        for (index, ((part, live), count)) in kinds.enumerate() {
            let new = count.saturating_sub(before.changes.get(index).copied().unwrap_or(*count));
            let rate = u128::from(new) * 1_000_000 / milliseconds;
            part.changes_per_second_milli = u64::try_from(rate).unwrap_or(u64::MAX);
            match part.state {
                PartState::Live => *live = Some(now),
                // Nothing is known of it.
                PartState::NotPermitted => *live = None,
                PartState::Starting
                | PartState::Stale
                | PartState::Denied
                | PartState::Throttled
                | PartState::Down => {
                    let age = self.restored;
                    let age = age.map(|age| age + now.duration_since(self.started));
                    // What is stale and was never live is from before the start.
                    let restored = age.filter(|_| part.state == PartState::Stale);
                    part.stale_for = live.map(|live| now.duration_since(live)).or(restored);
                }
            }
        }
        parts.extend(status);
        self.parts.send_if_modified(|told| {
            let differs = *told != parts;
            *told = parts;
            differs
        });
    }
}
