//! Handing structure jobs out, and taking in what they made.

use std::{collections::BTreeSet, sync::Arc};

use bowline_mesh::view::ViewKey;
use bowline_translate::layers::EndpointLayers;
use tracing::debug;

use super::Writer;
use crate::pipeline::{
    connections::layer_name,
    job::{Built, Job},
};

impl Writer {
    /// Starts a structure job if there is something to do and none is running.
    pub(super) fn start_job(&mut self) {
        if !self.become_ready() || !self.has_job_to_start() {
            return;
        }
        let keys = self.connected.keys_version();
        let wanted = self.connected.wanted();
        let Some(structure) = self.structure.take() else {
            return;
        };
        let pending = std::mem::take(&mut self.pending);
        let is_fresh = pending.changed.everything;
        let endpoints = wanted
            .iter()
            .filter_map(|key| match key {
                ViewKey::Endpoints(of) if is_fresh || !self.built.contains(key) => {
                    let like = if is_fresh {
                        None
                    } else {
                        self.endpoints.like(of)
                    };
                    Some((of.clone(), like))
                }
                _ => None,
            })
            .collect();
        let job = Job {
            structure,
            mesh: self.store.mesh().clone(),
            pending,
            wanted,
            endpoints,
            is_fresh,
            stale: self.stale.clone(),
        };
        self.built_keys = keys;
        self.since_job.clear();
        self.job = Some(tokio::task::spawn_blocking(move || job.build()));
    }

    /// Whether there is something to do that no job does yet.
    pub(super) fn has_job_to_start(&self) -> bool {
        let is_current =
            self.pending.changed.is_empty() && self.connected.keys_version() == self.built_keys;
        self.job.is_none() && !is_current
    }

    /// Publishes what a job made, together with the endpoints that changed meanwhile, as one generation.
    pub(super) fn take_built(&mut self, built: Built) {
        let Built {
            structure,
            layers,
            endpoints,
            is_fresh,
            wanted,
            stale,
            received,
            took,
        } = built;
        debug!(
            layers = layers.len(),
            endpoint_layers = endpoints.len(),
            ?took,
            "built"
        );
        if let Some(build_times) = &self.build_times {
            build_times.observe(took.as_secs_f64());
        }
        self.structure_problems = structure.problems();
        self.structure = Some(structure);
        // What was freed while the job ran stays free.
        let in_use = self.connected.wanted();
        let mut changed_endpoints = BTreeSet::new();
        if is_fresh {
            self.endpoints = EndpointLayers::default();
        }
        let has_new = !endpoints.is_empty();
        for (key, layer) in endpoints {
            if in_use.contains(&ViewKey::Endpoints(key.clone())) {
                changed_endpoints.insert(key.clone());
                self.endpoints.insert(key, layer);
            }
        }
        if has_new {
            let hostnames = std::mem::take(&mut self.since_job);
            let update = self.endpoints.update(self.store.mesh(), &hostnames);
            self.stale.extend(update.stale);
            changed_endpoints.extend(update.changed);
        }
        let gone: BTreeSet<_> = stale.intersection(&self.stale).cloned().collect();
        self.stale.retain(|name| !gone.contains(name));
        changed_endpoints.extend(self.endpoints.remove(&gone));
        let mut publication = self.endpoint_layers(changed_endpoints);
        let layers = layers.into_iter().filter(|(key, _)| in_use.contains(key));
        publication.extend(layers.map(|(key, layer)| (layer_name(&key), Some(Arc::new(layer)))));
        let before = self.publisher.generation();
        let generation = self.publish(publication);
        if let Some(received) = received
            && generation > before
        {
            self.births.note(generation, received);
        }
        self.built = wanted.intersection(&in_use).cloned().collect();
    }
}
