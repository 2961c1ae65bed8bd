//! What the log says about a registry: that something has become wrong with it, and that it is right again.

use bowline_mesh::{MeshStore, RegistryId, RegistryState};
use tracing::{info, warn};

/// What an operator wants to hear of, if it changes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Standing {
    error: Option<String>,
    is_known: bool,
    is_held_back: bool,
    problems: usize,
}

impl Standing {
    /// How a registry stands now.
    pub(super) fn of(store: &MeshStore, registry: &RegistryId) -> Self {
        Self {
            error: match store.registry_state(registry) {
                Some(RegistryState::Failing { error, .. }) => Some(error.clone()),
                _ => None,
            },
            is_known: store
                .registry_state(registry)
                .is_some_and(RegistryState::is_known),
            is_held_back: store.holds_back(registry),
            problems: store.problems_reported_by(registry),
        }
    }

    /// Logs what is different from before.
    pub(super) fn tell_since(&self, before: &Self, registry: &RegistryId) {
        if self.error != before.error {
            match &self.error {
                Some(error) if !self.is_known => {
                    warn!(%registry, error, "the registry cannot be read, and nothing is known of it yet");
                }
                Some(error) => {
                    warn!(%registry, error, "the registry cannot be read; what it said last is served");
                }
                None => info!(%registry, "the registry can be read again"),
            }
        }
        if self.is_held_back != before.is_held_back {
            if self.is_held_back {
                warn!(%registry, "a sudden loss of endpoints is held back; `bowline registries` shows it");
            } else {
                info!(%registry, "nothing is held back any more");
            }
        }
        match (before.problems, self.problems) {
            (before, now) if now > before => {
                warn!(%registry, problems = now, before, "new problems in its objects; `bowline check --admin` lists them");
            }
            (before, 0) if before > 0 => info!(%registry, "its objects have no problems any more"),
            _ => {}
        }
    }
}
