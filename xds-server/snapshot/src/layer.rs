//! The resources that one View gave rise to.

use std::{collections::BTreeMap, sync::Arc};

use imbl::{OrdMap, ordmap::DiffItem};

use crate::{Resource, ResourceType, Version};

/// Resources of several types, shared by every proxy with the same view. A clone costs nothing and changing it costs the change.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    types: BTreeMap<ResourceType, ResourceSet>,
}

impl Layer {
    /// The resources of one type; the empty set where there are none.
    pub fn of_type(&self, resource_type: ResourceType) -> &ResourceSet {
        static NONE: std::sync::LazyLock<ResourceSet> =
            std::sync::LazyLock::new(ResourceSet::default);
        self.types.get(&resource_type).unwrap_or(&NONE)
    }

    /// One resource.
    pub fn get(&self, resource_type: ResourceType, name: &str) -> Option<&Resource> {
        self.of_type(resource_type).get(name)
    }

    /// Adds a resource or puts it in the place of the one with its name. Says whether that changed anything.
    pub fn upsert(&mut self, resource_type: ResourceType, resource: Resource) -> bool {
        self.types
            .entry(resource_type)
            .or_default()
            .upsert(resource)
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

    /// All resources, by type in the order of an update, then by name.
    pub fn iter(&self) -> impl Iterator<Item = (ResourceType, &Resource)> {
        self.types.iter().flat_map(|(resource_type, set)| {
            set.iter().map(move |resource| (*resource_type, resource))
        })
    }

    /// Number of resources of all types.
    pub fn len(&self) -> usize {
        self.types.values().map(ResourceSet::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// Whether both share all their content, which is cheap to see. Layers with equal content may say no.
    pub fn is_same(&self, other: &Self) -> bool {
        self.types.len() == other.types.len()
            && self
                .types
                .iter()
                .zip(&other.types)
                .all(|((one_type, one), (other_type, other))| {
                    one_type == other_type && one.members.ptr_eq(&other.members)
                })
    }
}

/// Resources of one type by name.
#[derive(Clone, Debug, Default)]
pub struct ResourceSet {
    members: OrdMap<Arc<str>, Resource>,
    /// Of the names and versions of all members, kept up with each change.
    digest: Option<Version>,
}

/// How one set differs from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceChange<'a> {
    /// New, or with another version.
    Upserted(&'a Resource),
    /// No longer there.
    Removed(&'a Resource),
}

impl ResourceSet {
    /// The resource with this name.
    pub fn get(&self, name: &str) -> Option<&Resource> {
        self.members.get(name)
    }

    /// Members by name.
    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.members.values()
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The fingerprint of the set: equal sets have equal ones, whatever led to them. Costs nothing to ask for.
    pub fn digest(&self) -> Version {
        self.digest.unwrap_or(Version::EMPTY)
    }

    /// What has to be done to `older` to make it this set. Costs the size of the difference, not of the sets, where one came from
    /// the other.
    pub fn changes_since<'a>(
        &'a self,
        older: &'a Self,
    ) -> impl Iterator<Item = ResourceChange<'a>> {
        older
            .members
            .diff(&self.members)
            .filter_map(|item| match item {
                DiffItem::Add(_, resource) => Some(ResourceChange::Upserted(resource)),
                DiffItem::Remove(_, resource) => Some(ResourceChange::Removed(resource)),
                DiffItem::Update { old, new } => {
                    (old.1.version() != new.1.version()).then_some(ResourceChange::Upserted(new.1))
                }
            })
    }

    fn upsert(&mut self, resource: Resource) -> bool {
        let before = self.members.get(&**resource.name());
        if before.is_some_and(|before| before.version() == resource.version()) {
            // Not even the origins are worth waking anybody, but they must stay true.
            if before.is_some_and(|before| before.origins() != resource.origins()) {
                self.members.insert(resource.name().clone(), resource);
            }
            return false;
        }
        let mut digest = self.digest();
        if let Some(before) = before {
            digest = digest.without_member(member_digest(before));
        }
        self.digest = Some(digest.with_member(member_digest(&resource)));
        self.members.insert(resource.name().clone(), resource);
        true
    }

    fn remove(&mut self, name: &str) -> bool {
        let Some(removed) = self.members.remove(name) else {
            return false;
        };
        self.digest = Some(self.digest().without_member(member_digest(&removed)));
        true
    }
}

fn member_digest(resource: &Resource) -> Version {
    Version::of([resource.name().as_bytes(), &resource.version().to_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Body;

    fn resource(name: &str, content: &str) -> Resource {
        let bytes = bytes::Bytes::copy_from_slice(content.as_bytes());
        Resource::new(
            name,
            Body::Whole(bytes),
            Version::of([content.as_bytes()]),
            [],
        )
    }

    fn layer(resources: &[(&str, &str)]) -> Layer {
        let mut layer = Layer::default();
        for (name, content) in resources {
            layer.upsert(ResourceType::CLUSTER, resource(name, content));
        }
        layer
    }

    #[test]
    fn equal_sets_have_equal_digests_whatever_led_to_them() {
        let mut one = layer(&[("a", "1"), ("b", "2"), ("c", "3")]);
        one.remove(ResourceType::CLUSTER, "b");
        one.upsert(ResourceType::CLUSTER, resource("a", "4"));
        let other = layer(&[("c", "3"), ("a", "4")]);
        let digest = |layer: &Layer| layer.of_type(ResourceType::CLUSTER).digest();
        assert_eq!(digest(&one), digest(&other));
        assert_ne!(digest(&one), digest(&layer(&[("a", "3"), ("c", "4")])));
        assert_eq!(digest(&Layer::default()), Version::EMPTY);
    }

    #[test]
    fn the_difference_names_what_is_new_changed_and_gone() {
        let older = layer(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let mut newer = older.clone();
        newer.upsert(ResourceType::CLUSTER, resource("b", "changed"));
        newer.upsert(ResourceType::CLUSTER, resource("d", "4"));
        newer.remove(ResourceType::CLUSTER, "a");
        let changes: Vec<String> = newer
            .of_type(ResourceType::CLUSTER)
            .changes_since(older.of_type(ResourceType::CLUSTER))
            .map(|change| match change {
                ResourceChange::Upserted(resource) => format!("+{}", resource.name()),
                ResourceChange::Removed(resource) => format!("-{}", resource.name()),
            })
            .collect();
        assert_eq!(changes, ["-a", "+b", "+d"]);
    }

    #[test]
    fn the_same_content_changes_nothing() {
        let older = layer(&[("a", "1")]);
        let mut newer = older.clone();
        assert!(!newer.upsert(ResourceType::CLUSTER, resource("a", "1")));
        assert!(newer.is_same(&older));
        assert!(!newer.remove(ResourceType::CLUSTER, "b"));
        assert!(newer.remove(ResourceType::CLUSTER, "a"));
        assert!(newer.is_empty());
    }
}
