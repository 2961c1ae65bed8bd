//! The resources that one View gave rise to.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Recipe, Resource, ResourceSet, ResourceType};

/// Resources of several types, shared by every proxy with the same view. A clone costs nothing and changing it costs the change.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    types: BTreeMap<ResourceType, ResourceSet>,
    recipes: BTreeMap<ResourceType, Recipe>,
}

impl Layer {
    /// The resources of one type; the empty set where there are none.
    pub fn of_type(&self, resource_type: ResourceType) -> &ResourceSet {
        static NONE: std::sync::LazyLock<ResourceSet> =
            std::sync::LazyLock::new(ResourceSet::default);
        self.types.get(&resource_type).unwrap_or(&NONE)
    }

    /// One resource, whether a member or on demand.
    pub fn get(&self, resource_type: ResourceType, name: &str) -> Option<&Resource> {
        self.of_type(resource_type).get(name)
    }

    /// Adds a member or puts it in the place of the resource with its name. Says whether that changed anything.
    pub fn upsert(&mut self, resource_type: ResourceType, resource: Resource) -> bool {
        self.types
            .entry(resource_type)
            .or_default()
            .upsert(resource)
    }

    /// The same for a resource on demand: one that is served to those who ask for it by name, and is not part of what somebody gets who
    /// asks for everything. Names are those of gRPC's listeners, or of clusters and virtual hosts that Envoy fetches when it needs them.
    pub fn upsert_on_demand(&mut self, resource_type: ResourceType, resource: Resource) -> bool {
        self.types
            .entry(resource_type)
            .or_default()
            .upsert_on_demand(resource)
    }

    /// Takes a resource out. Says whether it was there.
    pub fn remove(&mut self, resource_type: ResourceType, name: &str) -> bool {
        let Some(set) = self.types.get_mut(&resource_type) else {
            return false;
        };
        let removed = set.remove(name);
        if set.is_empty() {
            self.types.remove(&resource_type);
        }
        removed
    }

    /// Has resources of a type made when they are asked for by name, beside those that are there.
    pub fn set_recipe(&mut self, resource_type: ResourceType, recipe: Recipe) {
        self.recipes.insert(resource_type, recipe);
    }

    /// How resources of a type are made that are not there before somebody asks for them.
    pub fn recipe(&self, resource_type: ResourceType) -> Option<&Recipe> {
        self.recipes.get(&resource_type)
    }

    /// All recipes, by type.
    pub fn recipes(&self) -> impl Iterator<Item = (ResourceType, &Recipe)> {
        self.recipes
            .iter()
            .map(|(resource_type, recipe)| (*resource_type, recipe))
    }

    /// All resources, by type in the order of an update; members before resources on demand, each by name.
    pub fn iter(&self) -> impl Iterator<Item = (ResourceType, &Resource)> {
        self.types.iter().flat_map(|(resource_type, set)| {
            let all = set.iter().chain(set.all_on_demand());
            all.map(move |resource| (*resource_type, resource))
        })
    }

    /// Number of members of all types.
    pub fn len(&self) -> usize {
        self.types.values().map(ResourceSet::len).sum()
    }

    /// Whether there is none, and none is made.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty() && self.recipes.is_empty()
    }

    /// The types whose resources are not shared with another layer; `None` where more differs than resources.
    pub(crate) fn types_that_differ(&self, other: &Self) -> Option<Vec<ResourceType>> {
        let is_other = |(one, other): ((&ResourceType, &Recipe), (&ResourceType, &Recipe))| {
            one.0 != other.0 || !one.1.is_same(other.1)
        };
        if self.recipes.len() != other.recipes.len()
            || self.recipes.iter().zip(&other.recipes).any(is_other)
        {
            return None;
        }
        let types: BTreeSet<ResourceType> = self
            .types
            .keys()
            .chain(other.types.keys())
            .copied()
            .collect();
        let differs = |it: &ResourceType| !self.of_type(*it).is_same(other.of_type(*it));
        Some(types.into_iter().filter(differs).collect())
    }

    /// Whether both share all their content, which is cheap to see. Layers with equal content may say no.
    pub fn is_same(&self, other: &Self) -> bool {
        let same_types =
            self.types
                .iter()
                .zip(&other.types)
                .all(|((one_type, one), (other_type, other))| {
                    one_type == other_type && one.is_same(other)
                });
        let same_recipes = self.recipes.iter().zip(&other.recipes).all(
            |((one_type, one), (other_type, other))| one_type == other_type && one.is_same(other),
        );
        self.types.len() == other.types.len()
            && self.recipes.len() == other.recipes.len()
            && same_types
            && same_recipes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, Version};

    fn resource(name: &str, content: &str) -> Resource {
        let bytes = bytes::Bytes::copy_from_slice(content.as_bytes());
        Resource::new(
            name,
            Body::Whole(bytes),
            Version::of([content.as_bytes()]),
            [],
        )
    }

    #[test]
    fn the_same_content_changes_nothing() {
        let mut older = Layer::default();
        older.upsert(ResourceType::CLUSTER, resource("a", "1"));
        let mut newer = older.clone();
        assert!(!newer.upsert(ResourceType::CLUSTER, resource("a", "1")));
        assert!(newer.is_same(&older));
        assert!(!newer.remove(ResourceType::CLUSTER, "b"));
        assert!(newer.remove(ResourceType::CLUSTER, "a"));
        assert!(newer.is_empty());
    }

    #[test]
    fn a_recipe_is_content_too() {
        let recipe = || Recipe::new(|name| Some(resource(name, "1")));
        let older = Layer::default();
        let mut newer = older.clone();
        newer.set_recipe(ResourceType::LISTENER, recipe());
        assert!(!newer.is_same(&older) && !newer.is_empty());
        assert!(newer.is_same(&newer.clone()));
        let mut other = older.clone();
        other.set_recipe(ResourceType::LISTENER, recipe());
        assert!(!newer.is_same(&other));
        // Nothing is there before somebody asks.
        assert!(newer.get(ResourceType::LISTENER, "a").is_none() && newer.iter().next().is_none());
    }

    #[test]
    fn a_resource_on_demand_is_content_too() {
        let mut older = Layer::default();
        let mut newer = older.clone();
        assert!(newer.upsert_on_demand(ResourceType::CLUSTER, resource("a", "1")));
        assert!(!newer.is_same(&older) && !newer.is_empty());
        assert_eq!((newer.len(), newer.iter().count()), (0, 1));
        older.upsert(ResourceType::CLUSTER, resource("a", "1"));
        assert!(!newer.is_same(&older));
        assert!(newer.remove(ResourceType::CLUSTER, "a") && newer.is_empty());
    }
}
