//! Taking over a changed configuration.

use std::{sync::Arc, time::Instant};

use bowline_mesh::{MeshSettings, RegistryId, RegistrySettings, RegistryState};

use super::Writer;

/// A configuration that is taken over in full when the registries that are new in it are known.
#[derive(Debug, Clone)]
pub(super) struct Retirement {
    settings: Arc<MeshSettings>,
    registries: Vec<RegistrySettings>,
    awaited: Vec<RegistryId>,
    until: Instant,
}

impl Writer {
    /// Takes over a configuration. Registries that are gone from it leave only when those that are new in it have answered, or have
    /// had their time: one that is merely renamed must not be away in between.
    pub(super) fn configure(
        &mut self,
        settings: Arc<MeshSettings>,
        registries: Vec<RegistrySettings>,
    ) {
        let has = |all: &[RegistrySettings], one: &RegistrySettings| {
            all.iter().any(|other| other.id == one.id)
        };
        let before = self.store.registry_settings();
        let awaited: Vec<_> = registries
            .iter()
            .filter(|registry| !has(&before, registry))
            .map(|registry| registry.id.clone())
            .collect();
        let gone = before.iter().filter(|registry| !has(&registries, registry));
        let mut for_now = registries.clone();
        self.retirement = None;
        if !awaited.is_empty() {
            for_now.extend(gone.cloned());
            let until = Instant::now() + self.settings.start_timeout;
            let settings = settings.clone();
            let retirement = Retirement {
                settings,
                registries,
                awaited,
                until,
            };
            self.retirement = (for_now.len() > retirement.registries.len()).then_some(retirement);
        }
        self.apply_configuration(settings, for_now);
    }

    fn apply_configuration(
        &mut self,
        settings: Arc<MeshSettings>,
        registries: Vec<RegistrySettings>,
    ) {
        let applied = self.store.configure(settings, registries);
        self.settle(applied, None, Some(Instant::now()));
        // A job builds all endpoint layers anew; until then the old ones are served.
        self.pending.changed.endpoints.clear();
    }

    /// Lets registries go that wait for their successors, when those are there.
    pub(super) fn retire(&mut self) {
        let Some(retirement) = &self.retirement else {
            return;
        };
        let is_known = |id: &RegistryId| {
            self.store
                .registry_state(id)
                .is_none_or(RegistryState::is_known)
        };
        if retirement.awaited.iter().all(is_known) || retirement.until <= Instant::now() {
            let Retirement {
                settings,
                registries,
                ..
            } = retirement.clone();
            self.retirement = None;
            self.apply_configuration(settings, registries);
        }
    }
}
