//! Layers of ClusterLoadAssignments.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bowline_mesh::{
    Hostname, Mesh, Problem,
    view::{EndpointsKey, EndpointsView},
};
use bowline_snapshot::{Layer, Resource, ResourceType};
use imbl::OrdMap;

use crate::{Translated, endpoints, name};

/// The layers of all groups of callers that see endpoints alike.
#[derive(Debug, Default)]
pub struct EndpointLayers {
    layers: BTreeMap<EndpointsKey, EndpointLayer>,
    /// Names of the assignments of each service, in all layers. Those with one [`Balancer`] have the same.
    names: OrdMap<Hostname, Arc<[Arc<str>]>>,
}

/// One layer. A clone costs nothing.
#[derive(Debug, Clone, Default)]
pub struct EndpointLayer {
    /// The assignments.
    pub layer: Layer,
    /// What could not be made as written.
    problems: OrdMap<Hostname, Arc<[Problem]>>,
}

impl EndpointLayer {
    fn note(&mut self, hostname: &Hostname, problems: &[Problem]) {
        let is_known = |known: &Arc<[Problem]>| **known == *problems;
        if problems.is_empty() {
            self.problems.remove(hostname);
        } else if !self.problems.get(hostname).is_some_and(is_known) {
            self.problems.insert(hostname.clone(), problems.into());
        }
    }
}

/// What an update of endpoints led to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct EndpointsUpdate {
    /// Layers that are different now.
    pub changed: BTreeSet<EndpointsKey>,
    /// Assignments that no service has any more. They are still served: take them out with [`EndpointLayers::remove`] when the
    /// clusters that they belong to are gone, so that no cluster ever loses its endpoints before it goes itself.
    pub stale: BTreeSet<Arc<str>>,
    /// Assignments that there are (again).
    pub current: BTreeSet<Arc<str>>,
}

impl EndpointLayers {
    /// Follows a change of some services' endpoints. Costs one encoding per service, port and way of seeing it.
    pub fn update<'a>(
        &mut self,
        mesh: &Mesh,
        hostnames: impl IntoIterator<Item = &'a Hostname>,
    ) -> EndpointsUpdate {
        let mut update = EndpointsUpdate::default();
        for hostname in hostnames {
            let mut seen = SeenAlike::default();
            let mut names: BTreeSet<Arc<str>> = BTreeSet::new();
            for (key, layer) in &mut self.layers {
                let Some(view) = EndpointsView::new(mesh, key, hostname) else {
                    layer.note(hostname, &[]);
                    continue;
                };
                let translated = seen.translated(view);
                let Translated {
                    value: resources,
                    problems,
                } = &*translated;
                layer.note(hostname, problems);
                names.extend(resources.iter().map(|resource| resource.name().clone()));
                for resource in resources {
                    if layer.layer.upsert(ResourceType::ENDPOINT, resource.clone()) {
                        update.changed.insert(key.clone());
                    }
                }
            }
            let before = if names.is_empty() {
                self.names.remove(hostname)
            } else {
                update.current.extend(names.iter().cloned());
                let names = names.iter().cloned().collect();
                self.names.insert(hostname.clone(), names)
            };
            let gone = before.iter().flat_map(|before| before.iter());
            update
                .stale
                .extend(gone.filter(|name| !names.contains(*name)).cloned());
        }
        update
    }

    /// Builds the layer of a key from nothing, or from that of a key which differs in locality only. For another thread: it may
    /// take long where there are many services.
    pub fn build(
        mesh: &Mesh,
        key: &EndpointsKey,
        like: Option<(&EndpointsKey, &EndpointLayer)>,
    ) -> EndpointLayer {
        let like = like.filter(|(other, _)| differ_by_locality_only(other, key));
        let mut layer = like.map(|(_, layer)| layer.clone()).unwrap_or_default();
        for service in mesh.services() {
            if like.is_some() && !service.balancing.looks_at_locality() {
                continue;
            }
            if let Some(view) = EndpointsView::new(mesh, key, &service.hostname) {
                let Translated { value, problems } = endpoints(&view);
                layer.note(&service.hostname, &problems);
                for resource in value {
                    layer.layer.upsert(ResourceType::ENDPOINT, resource);
                }
            }
        }
        layer
    }

    /// Takes in a layer that was built beside, from an older mesh. What changed since must be given to [`Self::update`] next.
    pub fn insert(&mut self, key: EndpointsKey, layer: EndpointLayer) {
        if !self
            .layers
            .keys()
            .any(|other| other.balancer == key.balancer)
        {
            self.note_names(&layer.layer);
        }
        self.layers.insert(key, layer);
    }

    fn note_names(&mut self, layer: &Layer) {
        let mut by_hostname: BTreeMap<Hostname, BTreeSet<Arc<str>>> = BTreeMap::new();
        for resource in layer.of_type(ResourceType::ENDPOINT).iter() {
            if let Some(hostname) = name::service_of(resource.name()) {
                let names = by_hostname.entry(hostname).or_default();
                names.insert(resource.name().clone());
            }
        }
        for (hostname, mut names) in by_hostname {
            let known = self.names.get(&hostname);
            names.extend(known.into_iter().flat_map(|known| known.iter().cloned()));
            self.names.insert(hostname, names.into_iter().collect());
        }
    }

    /// Takes assignments out of all layers. Says which layers are different now.
    pub fn remove(&mut self, names: &BTreeSet<Arc<str>>) -> BTreeSet<EndpointsKey> {
        let mut changed = BTreeSet::new();
        for (key, layer) in &mut self.layers {
            for name in names {
                if layer.layer.remove(ResourceType::ENDPOINT, name) {
                    changed.insert(key.clone());
                }
            }
        }
        changed
    }

    /// Forgets layers that nobody uses.
    pub fn retain(&mut self, is_used: impl Fn(&EndpointsKey) -> bool) {
        self.layers.retain(|key, _| is_used(key));
    }

    /// The layer of a key.
    pub fn layer(&self, key: &EndpointsKey) -> Option<&Layer> {
        self.layers.get(key).map(|layer| &layer.layer)
    }

    /// A layer from which that of a key could be built faster than from nothing.
    pub fn like(&self, key: &EndpointsKey) -> Option<(EndpointsKey, EndpointLayer)> {
        self.layers
            .iter()
            .find(|(other, _)| differ_by_locality_only(other, key))
            .map(|(other, layer)| (other.clone(), layer.clone()))
    }

    /// What could not be made as written for somebody, each once.
    pub fn problems(&self) -> BTreeSet<&Problem> {
        let of_layers = self.layers.values().map(|layer| &layer.problems);
        let all = of_layers.flat_map(|problems| problems.values());
        all.flat_map(|problems| problems.iter()).collect()
    }
}

fn differ_by_locality_only(one: &EndpointsKey, other: &EndpointsKey) -> bool {
    let EndpointsKey {
        network,
        locality: _,
        families,
        balancer,
    } = one;
    *network == other.network && *families == other.families && *balancer == other.balancer
}

/// One service's assignments, built once for all callers that see it alike.
#[derive(Default)]
struct SeenAlike(Vec<(EndpointsView, Arc<Translated<Vec<Resource>>>)>);

impl SeenAlike {
    fn translated(&mut self, view: EndpointsView) -> Arc<Translated<Vec<Resource>>> {
        if let Some((_, translated)) = self.0.iter().find(|(seen, _)| *seen == view) {
            return translated.clone();
        }
        let translated = Arc::new(endpoints(&view));
        self.0.push((view, translated.clone()));
        translated
    }
}
