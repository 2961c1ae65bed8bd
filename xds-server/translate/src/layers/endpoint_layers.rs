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

use crate::{Translated, endpoints};

/// The layers of all groups of callers that see endpoints alike.
#[derive(Debug, Default)]
pub struct EndpointLayers {
    layers: BTreeMap<EndpointsKey, Layer>,
    /// Names of the assignments of each service; the same in all layers.
    names: OrdMap<Hostname, Arc<[Arc<str>]>>,
    problems: BTreeMap<Hostname, Vec<Problem>>,
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
            let mut names: Arc<[Arc<str>]> = Arc::new([]);
            for (key, layer) in &mut self.layers {
                let Some(view) = EndpointsView::new(mesh, key, hostname) else {
                    continue;
                };
                let resources = seen.resources(view);
                names = resources
                    .iter()
                    .map(|resource| resource.name().clone())
                    .collect();
                for resource in resources {
                    if layer.upsert(ResourceType::ENDPOINT, resource.clone()) {
                        update.changed.insert(key.clone());
                    }
                }
            }
            self.note_problems(hostname, seen.into_problems());
            let before = if names.is_empty() {
                self.names.remove(hostname)
            } else {
                update.current.extend(names.iter().cloned());
                self.names.insert(hostname.clone(), names.clone())
            };
            let gone = before.iter().flat_map(|before| before.iter());
            update
                .stale
                .extend(gone.filter(|name| !names.contains(name)).cloned());
        }
        update
    }

    /// Builds the layer of a key from nothing, or from that of a key which differs in locality only. For another thread: it may
    /// take long where there are many services.
    pub fn build(mesh: &Mesh, key: &EndpointsKey, like: Option<(&EndpointsKey, &Layer)>) -> Layer {
        let like = like.filter(|(other, _)| differ_by_locality_only(other, key));
        let mut layer = like.map(|(_, layer)| layer.clone()).unwrap_or_default();
        for service in mesh.services() {
            if like.is_some() && !service.balancing.looks_at_locality() {
                continue;
            }
            if let Some(view) = EndpointsView::new(mesh, key, &service.hostname) {
                for resource in endpoints(&view).value {
                    layer.upsert(ResourceType::ENDPOINT, resource);
                }
            }
        }
        layer
    }

    /// Takes in a layer that was built beside, from an older mesh. What changed since must be given to [`Self::update`] next.
    pub fn insert(&mut self, key: EndpointsKey, layer: Layer) {
        if self.layers.is_empty() {
            self.names = layer
                .of_type(ResourceType::ENDPOINT)
                .iter()
                .filter_map(|resource| Some((hostname_of(resource)?, resource.name().clone())))
                .fold(
                    BTreeMap::<Hostname, Vec<Arc<str>>>::new(),
                    |mut names, (hostname, name)| {
                        names.entry(hostname).or_default().push(name);
                        names
                    },
                )
                .into_iter()
                .map(|(hostname, names)| (hostname, Arc::from(names)))
                .collect();
        }
        self.layers.insert(key, layer);
    }

    /// Takes assignments out of all layers. Says which layers are different now.
    pub fn remove(&mut self, names: &BTreeSet<Arc<str>>) -> BTreeSet<EndpointsKey> {
        let mut changed = BTreeSet::new();
        for (key, layer) in &mut self.layers {
            for name in names {
                if layer.remove(ResourceType::ENDPOINT, name) {
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
        self.layers.get(key)
    }

    /// A layer from which that of a key could be built faster than from nothing.
    pub fn like(&self, key: &EndpointsKey) -> Option<(EndpointsKey, Layer)> {
        self.layers
            .iter()
            .find(|(other, _)| differ_by_locality_only(other, key))
            .map(|(other, layer)| (other.clone(), layer.clone()))
    }

    /// What could not be made as written.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.values().flatten()
    }

    fn note_problems(&mut self, hostname: &Hostname, problems: Vec<Problem>) {
        if problems.is_empty() {
            self.problems.remove(hostname);
        } else {
            self.problems.insert(hostname.clone(), problems);
        }
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

/// The service that an assignment is of. Its name is its cluster's.
fn hostname_of(resource: &Resource) -> Option<Hostname> {
    resource.name().rsplit('|').next()?.parse().ok()
}

/// One service's assignments, built once for all callers that see it alike.
#[derive(Default)]
struct SeenAlike(Vec<(EndpointsView, Translated<Vec<Resource>>)>);

impl SeenAlike {
    fn resources(&mut self, view: EndpointsView) -> &[Resource] {
        let known = self.0.iter().position(|(seen, _)| *seen == view);
        let index = known.unwrap_or_else(|| {
            let translated = endpoints(&view);
            self.0.push((view, translated));
            self.0.len() - 1
        });
        self.0
            .get(index)
            .map(|(_, translated)| translated.value.as_slice())
            .unwrap_or_default()
    }

    fn into_problems(self) -> Vec<Problem> {
        let mut problems: Vec<_> = self
            .0
            .into_iter()
            .flat_map(|(_, translated)| translated.problems)
            .collect();
        problems.sort();
        problems.dedup();
        problems
    }
}
