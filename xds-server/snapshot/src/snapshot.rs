//! What one proxy is served.

use std::{sync::Arc, time::Duration};

use crate::{Layer, Recipe, Resource, ResourceType, Version};

/// To look for one name costs as much as to go on by so many members.
const LOOKUP_COST: usize = 8;

/// Outbound, endpoints, inbound and own.
pub const LAYERS_MAX: usize = 4;

/// Up to [`LAYERS_MAX`] shared layers of one generation, and what was made for one stream. It owns nothing else; a clone costs a few
/// reference counts.
///
/// Names are disjoint between layers by construction of whoever fills them; where they are not, the earlier layer wins.
#[derive(Clone, Debug)]
pub struct Snapshot {
    generation: u64,
    is_partial: bool,
    layers: Arc<[Arc<Layer>]>,
}

impl Snapshot {
    /// A snapshot of these layers.
    pub fn new(generation: u64, layers: impl IntoIterator<Item = Arc<Layer>>) -> Self {
        Self {
            generation,
            is_partial: false,
            layers: layers.into_iter().collect(),
        }
    }

    /// The generation that all layers were read from. Grows with time within one process and means nothing outside of it.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The same, known to lack something that a source has not told yet.
    pub fn partial(self) -> Self {
        Self {
            is_partial: true,
            ..self
        }
    }

    /// Whether something is lacking, so that what a client held before it connected must not be taken away.
    pub fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// The layers it consists of.
    pub fn layers(&self) -> &[Arc<Layer>] {
        &self.layers
    }

    /// One resource, whether a member or on demand.
    pub fn get(&self, resource_type: ResourceType, name: &str) -> Option<&Resource> {
        self.layers
            .iter()
            .find_map(|layer| layer.get(resource_type, name))
    }

    /// One member.
    pub fn member(&self, resource_type: ResourceType, name: &str) -> Option<&Resource> {
        self.layers
            .iter()
            .find_map(|layer| layer.of_type(resource_type).member(name))
    }

    /// The members with these names, which are in order, each in its place. For many names this is far cheaper than to look for each.
    pub fn members_named<'s, 'n>(
        &'s self,
        resource_type: ResourceType,
        names: impl ExactSizeIterator<Item = &'n str> + Clone,
    ) -> Vec<Option<&'s Resource>> {
        let mut found = vec![None; names.len()];
        for layer in self.layers.iter() {
            let set = layer.of_type(resource_type);
            let missing = found
                .iter_mut()
                .zip(names.clone())
                .filter(|(slot, _)| slot.is_none());
            if set.len() > LOOKUP_COST * names.len() {
                missing.for_each(|(slot, name)| *slot = set.member(name));
                continue;
            }
            let mut members = set.iter().peekable();
            for (slot, name) in missing {
                while members.next_if(|member| **member.name() < *name).is_some() {}
                *slot = members.next_if(|member| **member.name() == *name);
            }
        }
        found
    }

    /// Makes the resource with a name of which there is none before somebody asks for it.
    pub fn make(&self, resource_type: ResourceType, name: &str) -> Option<Resource> {
        self.layers
            .iter()
            .filter_map(|layer| layer.recipe(resource_type))
            .find_map(|recipe| recipe.make(name))
    }

    /// How resources are made that are not there before somebody asks for them, layer by layer, by type within each.
    pub fn recipes(&self) -> impl Iterator<Item = (ResourceType, &Recipe)> {
        self.layers.iter().flat_map(|layer| layer.recipes())
    }

    /// The same with one more layer behind the others, of what was made for one stream.
    #[must_use]
    pub fn with_made(&self, made: Arc<Layer>) -> Self {
        let layers = self.layers.iter().cloned();
        Self {
            layers: layers.chain([made]).collect(),
            ..self.clone()
        }
    }

    /// Whether some resource of the type has an alias.
    pub fn has_aliases(&self, resource_type: ResourceType) -> bool {
        let mut layers = self.layers.iter();
        layers.any(|layer| layer.of_type(resource_type).has_aliases())
    }

    /// One resource by an alias.
    pub fn aliased(&self, resource_type: ResourceType, alias: &str) -> Option<&Resource> {
        self.layers
            .iter()
            .find_map(|layer| layer.of_type(resource_type).aliased(alias))
    }

    /// The version of a resource on the wire: its own, combined with that of the resource that it belongs to.
    ///
    /// A ClusterLoadAssignment thereby has a new version when its cluster changes, so every protocol variant sends it again and a
    /// warming cluster always gets its endpoints.
    pub fn wire_version(&self, resource_type: ResourceType, resource: &Resource) -> Version {
        match resource_type
            .parent_of(resource.name())
            .and_then(|(parent, name)| self.get(parent, name))
        {
            Some(parent) => resource.version().combined_with(parent.version()),
            None => resource.version(),
        }
    }

    /// What a wildcard subscription gets, layer by layer, by name within each.
    pub fn members(&self, resource_type: ResourceType) -> impl Iterator<Item = &Resource> {
        self.layers
            .iter()
            .flat_map(move |layer| layer.of_type(resource_type).iter())
    }

    /// Resources on demand, layer by layer, by name within each.
    pub fn on_demand(&self, resource_type: ResourceType) -> impl Iterator<Item = &Resource> {
        self.layers
            .iter()
            .flat_map(move |layer| layer.of_type(resource_type).all_on_demand())
    }

    /// Resources whose names begin with this, members and on demand.
    pub fn beginning_with<'s>(
        &'s self,
        resource_type: ResourceType,
        prefix: &str,
    ) -> impl Iterator<Item = &'s Resource> {
        let layers = self.layers.iter();
        layers.flat_map(move |layer| layer.of_type(resource_type).beginning_with(prefix))
    }

    /// Names of the resources that clients keep for a time only, and for how long.
    pub fn expiring(
        &self,
        resource_type: ResourceType,
    ) -> impl Iterator<Item = (&Arc<str>, Duration)> {
        self.layers
            .iter()
            .flat_map(move |layer| layer.of_type(resource_type).expiring())
    }

    /// Number of members of a type.
    pub fn len(&self, resource_type: ResourceType) -> usize {
        self.layers
            .iter()
            .map(|layer| layer.of_type(resource_type).len())
            .sum()
    }

    /// The version of all members of a type, as state of the world has it. Never empty text, also for the empty set.
    pub fn type_version(&self, resource_type: ResourceType) -> Version {
        let own = self.digest(resource_type);
        self.with_parents(resource_type, own)
    }

    /// The version of all resources of a type, with those on demand.
    pub fn type_version_with_on_demand(&self, resource_type: ResourceType) -> Version {
        let own = self
            .layers
            .iter()
            .fold(self.digest(resource_type), |digest, layer| {
                digest.with_member(layer.of_type(resource_type).on_demand_digest())
            });
        self.with_parents(resource_type, own)
    }

    fn with_parents(&self, resource_type: ResourceType, own: Version) -> Version {
        match resource_type.parent() {
            Some(parent) => own.combined_with(self.digest(parent)),
            None => own,
        }
    }

    fn digest(&self, resource_type: ResourceType) -> Version {
        // A set's digest is a sum over its members, so the digest of the union is the sum of the digests.
        self.layers.iter().fold(Version::EMPTY, |digest, layer| {
            digest.with_member(layer.of_type(resource_type).digest())
        })
    }
}
