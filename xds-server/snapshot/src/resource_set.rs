//! Resources of one type by name.

use std::{borrow::Borrow, cmp::Ordering, sync::Arc, time::Duration};

use imbl::{OrdMap, OrdSet, ordmap::DiffItem};

use crate::{Resource, Version};

/// Resources of one type by name: members, which everybody who asks for everything gets, and resources on demand, which only those get
/// who ask for them by name.
#[derive(Clone, Debug, Default)]
pub struct ResourceSet {
    members: OrdMap<Key, Resource>,
    /// Of the names and versions of all members, kept up with each change.
    digest: Option<Version>,
    /// What few sets have.
    rare: Option<Arc<Rare>>,
}

#[derive(Clone, Debug, Default)]
struct Rare {
    on_demand: OrdMap<Key, Resource>,
    /// Like that of the members.
    digest: Option<Version>,
    /// Aliases, each with the name of a resource that has it.
    aliases: OrdSet<(Arc<str>, Arc<str>)>,
    /// Names of the resources that clients keep for a time only.
    expiring: OrdMap<Arc<str>, Duration>,
}

/// A name. Where one set came from another, nearly all their names are the same ones, and a look at the pointer tells: a difference
/// compares all names of a node, which begin alike.
#[derive(Clone, Debug, Eq)]
struct Key(Arc<str>);

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) {
            return Ordering::Equal;
        }
        self.0.cmp(&other.0)
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// How one set differs from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceChange<'a> {
    /// New, or with another version.
    Upserted(&'a Resource),
    /// No longer there.
    Removed(&'a Resource),
}

impl<'a> ResourceChange<'a> {
    /// The resource as it is, or as it was last.
    pub fn resource(self) -> &'a Resource {
        match self {
            Self::Upserted(resource) | Self::Removed(resource) => resource,
        }
    }
}

impl ResourceSet {
    /// The resource with this name, whether a member or on demand.
    pub fn get(&self, name: &str) -> Option<&Resource> {
        self.member(name).or_else(|| self.on_demand(name))
    }

    /// The member with this name.
    pub fn member(&self, name: &str) -> Option<&Resource> {
        self.members.get(name)
    }

    /// The resource on demand with this name.
    pub fn on_demand(&self, name: &str) -> Option<&Resource> {
        self.rare.as_ref()?.on_demand.get(name)
    }

    /// Whether some resource has an alias.
    pub fn has_aliases(&self) -> bool {
        let rare = self.rare.as_ref();
        rare.is_some_and(|rare| !rare.aliases.is_empty())
    }

    /// The resource with this alias; of several, the first by name.
    pub fn aliased(&self, alias: &str) -> Option<&Resource> {
        let aliases = &self.rare.as_ref()?.aliases;
        let first = (Arc::from(alias), Arc::from(""));
        let (found, name) = aliases.range(first..).next()?;
        (**found == *alias).then(|| self.get(name)).flatten()
    }

    /// Members by name.
    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.members.values()
    }

    /// Resources on demand, by name.
    pub fn all_on_demand(&self) -> impl Iterator<Item = &Resource> {
        let rare = self.rare.as_ref();
        rare.into_iter().flat_map(|rare| rare.on_demand.values())
    }

    /// Members and then resources on demand whose names begin with this. Costs the number of those.
    pub fn beginning_with(&self, prefix: &str) -> impl Iterator<Item = &Resource> {
        let on_demand = self.rare.as_ref().map(|rare| &rare.on_demand);
        let maps = std::iter::once(&self.members).chain(on_demand);
        let start = Key(prefix.into());
        maps.flat_map(move |map| {
            let (prefix, start) = (start.0.clone(), start.clone());
            map.range(start..)
                .map(|(_, resource)| resource)
                .take_while(move |resource| resource.name().starts_with(&*prefix))
        })
    }

    /// Names of the resources that clients keep for a time only, and for how long.
    pub fn expiring(&self) -> impl Iterator<Item = (&Arc<str>, Duration)> {
        let rare = self.rare.as_ref();
        rare.into_iter()
            .flat_map(|rare| rare.expiring.iter().map(|(name, ttl)| (name, *ttl)))
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is neither a member nor anything on demand.
    pub fn is_empty(&self) -> bool {
        let rare = self.rare.as_ref();
        self.members.is_empty() && rare.is_none_or(|rare| rare.on_demand.is_empty())
    }

    /// The fingerprint of the members: equal sets have equal ones, whatever led to them. Costs nothing to ask for.
    pub fn digest(&self) -> Version {
        self.digest.unwrap_or(Version::EMPTY)
    }

    /// The fingerprint of the resources on demand; [`Version::EMPTY`] where there are none.
    pub fn on_demand_digest(&self) -> Version {
        let rare = self.rare.as_ref();
        rare.and_then(|rare| rare.digest).unwrap_or(Version::EMPTY)
    }

    /// Whether both share all their content, which is cheap to see.
    pub fn is_same(&self, other: &Self) -> bool {
        self.members.ptr_eq(&other.members) && self.has_same_but_members(other)
    }

    /// Whether both share everything but their members: resources on demand, and what is known of aliases and times.
    pub fn has_same_but_members(&self, other: &Self) -> bool {
        match (&self.rare, &other.rare) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// What has to be done to the members of `older` to make them those of this set. Costs the size of the difference, not of the sets,
    /// where one came from the other.
    pub fn changes_since<'a>(
        &'a self,
        older: &'a Self,
    ) -> impl Iterator<Item = ResourceChange<'a>> {
        changes(&older.members, &self.members)
    }

    /// The same for resources on demand.
    pub fn on_demand_changes_since<'a>(
        &'a self,
        older: &'a Self,
    ) -> impl Iterator<Item = ResourceChange<'a>> {
        static NONE: std::sync::LazyLock<OrdMap<Key, Resource>> =
            std::sync::LazyLock::new(OrdMap::new);
        let of = |set: &'a Self| set.rare.as_ref().map_or(&*NONE, |rare| &rare.on_demand);
        changes(of(older), of(self))
    }

    /// Adds a member or puts it in the place of the resource with its name. Says whether that changed anything.
    pub(crate) fn upsert(&mut self, resource: Resource) -> bool {
        let was_on_demand = self.take_on_demand(resource.name()).is_some();
        let before = self.members.get(&**resource.name()).cloned();
        self.note(before.as_ref(), Some(&resource));
        upsert(&mut self.members, &mut self.digest, resource) || was_on_demand
    }

    /// The same for a resource on demand.
    pub(crate) fn upsert_on_demand(&mut self, resource: Resource) -> bool {
        let was_member = self.take_member(resource.name()).is_some();
        let before = self.on_demand(resource.name()).cloned();
        self.note(before.as_ref(), Some(&resource));
        let rare = Arc::make_mut(self.rare.get_or_insert_default());
        upsert(&mut rare.on_demand, &mut rare.digest, resource) || was_member
    }

    pub(crate) fn remove(&mut self, name: &str) -> bool {
        self.take_member(name).is_some() || self.take_on_demand(name).is_some()
    }

    fn take_member(&mut self, name: &str) -> Option<Resource> {
        let taken = self.members.remove(name)?;
        self.digest = Some(self.digest().without_member(digest_of(&taken)));
        self.note(Some(&taken), None);
        Some(taken)
    }

    fn take_on_demand(&mut self, name: &str) -> Option<Resource> {
        self.on_demand(name)?;
        let rare = Arc::make_mut(self.rare.as_mut()?);
        let taken = rare.on_demand.remove(name)?;
        let digest = rare.digest.unwrap_or(Version::EMPTY);
        rare.digest = Some(digest.without_member(digest_of(&taken)));
        self.note(Some(&taken), None);
        Some(taken)
    }

    /// Keeps up what is known of aliases and times.
    fn note(&mut self, before: Option<&Resource>, after: Option<&Resource>) {
        let is_rare =
            |resource: &&Resource| resource.ttl().is_some() || !resource.aliases().is_empty();
        let (before, after) = (before.filter(is_rare), after.filter(is_rare));
        if before.is_none() && after.is_none() {
            return;
        }
        let rare = Arc::make_mut(self.rare.get_or_insert_default());
        if let Some(before) = before {
            rare.expiring.remove(before.name());
            for alias in before.aliases() {
                rare.aliases.remove(&(alias.clone(), before.name().clone()));
            }
        }
        if let Some(after) = after {
            if let Some(ttl) = after.ttl() {
                rare.expiring.insert(after.name().clone(), ttl);
            }
            for alias in after.aliases() {
                rare.aliases.insert((alias.clone(), after.name().clone()));
            }
        }
    }
}

fn changes<'a>(
    older: &'a OrdMap<Key, Resource>,
    newer: &'a OrdMap<Key, Resource>,
) -> impl Iterator<Item = ResourceChange<'a>> {
    older.diff(newer).filter_map(|item| match item {
        DiffItem::Add(_, resource) => Some(ResourceChange::Upserted(resource)),
        DiffItem::Remove(_, resource) => Some(ResourceChange::Removed(resource)),
        DiffItem::Update { old, new } => {
            (old.1.version() != new.1.version()).then_some(ResourceChange::Upserted(new.1))
        }
    })
}

fn upsert(
    map: &mut OrdMap<Key, Resource>,
    digest: &mut Option<Version>,
    resource: Resource,
) -> bool {
    let before = map.get(&**resource.name());
    if before.is_some_and(|before| before.version() == resource.version()) {
        // Not even the origins are worth waking anybody, but they must stay true.
        if before.is_some_and(|before| before.origins() != resource.origins()) {
            map.insert(Key(resource.name().clone()), resource);
        }
        return false;
    }
    let mut sum = digest.unwrap_or(Version::EMPTY);
    if let Some(before) = before {
        sum = sum.without_member(digest_of(before));
    }
    *digest = Some(sum.with_member(digest_of(&resource)));
    map.insert(Key(resource.name().clone()), resource);
    true
}

fn digest_of(resource: &Resource) -> Version {
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

    fn set(resources: &[(&str, &str)]) -> ResourceSet {
        let mut set = ResourceSet::default();
        for (name, content) in resources {
            set.upsert(resource(name, content));
        }
        set
    }

    fn names<'a>(resources: impl Iterator<Item = &'a Resource>) -> Vec<&'a str> {
        resources.map(|resource| &**resource.name()).collect()
    }

    #[test]
    fn equal_sets_have_equal_digests_whatever_led_to_them() {
        let mut one = set(&[("a", "1"), ("b", "2"), ("c", "3")]);
        one.remove("b");
        one.upsert(resource("a", "4"));
        let other = set(&[("c", "3"), ("a", "4")]);
        assert_eq!(one.digest(), other.digest());
        assert_ne!(one.digest(), set(&[("a", "3"), ("c", "4")]).digest());
        assert_eq!(ResourceSet::default().digest(), Version::EMPTY);
    }

    #[test]
    fn the_difference_names_what_is_new_changed_and_gone() {
        let older = set(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let mut newer = older.clone();
        newer.upsert(resource("b", "changed"));
        newer.upsert(resource("d", "4"));
        newer.remove("a");
        newer.upsert_on_demand(resource("e", "5"));
        let text = |change: ResourceChange<'_>| match change {
            ResourceChange::Upserted(resource) => format!("+{}", resource.name()),
            ResourceChange::Removed(resource) => format!("-{}", resource.name()),
        };
        let changes: Vec<String> = newer.changes_since(&older).map(text).collect();
        assert_eq!(changes, ["-a", "+b", "+d"]);
        let changes: Vec<String> = older.on_demand_changes_since(&newer).map(text).collect();
        assert_eq!(changes, ["-e"]);
    }

    #[test]
    fn what_is_on_demand_is_found_by_name_and_is_no_member() {
        let mut one = set(&[("a", "1")]);
        let before = one.clone();
        assert!(one.upsert_on_demand(resource("b", "1")));
        assert!(!one.upsert_on_demand(resource("b", "1")));
        assert!(!one.is_same(&before));
        assert_eq!((names(one.iter()), one.len()), (vec!["a"], 1));
        assert!(one.get("b").is_some() && one.member("b").is_none());
        assert_eq!(one.digest(), before.digest());
        assert_ne!(one.on_demand_digest(), before.on_demand_digest());
        // A name is in one place only.
        assert!(one.upsert(resource("b", "1")));
        assert_eq!(one.on_demand_digest(), Version::EMPTY);
        assert!(one.upsert_on_demand(resource("a", "1")));
        assert_eq!(names(one.iter()), ["b"]);
        assert_eq!(names(one.all_on_demand()), ["a"]);
        assert!(one.remove("a") && one.remove("b") && !one.remove("b"));
        assert!(one.is_empty());
    }

    #[test]
    fn a_resource_is_found_by_its_aliases_while_it_has_them() {
        let aliased = |name: &str, aliases: &[&str]| {
            resource(name, "1").with_aliases(aliases.iter().map(|alias| Arc::from(*alias)))
        };
        let mut one = ResourceSet::default();
        one.upsert_on_demand(aliased("r/2", &["r/x", "r/y"]));
        one.upsert(aliased("r/1", &["r/x"]));
        let found = |set: &ResourceSet, alias| set.aliased(alias).map(|it| it.name().to_string());
        assert_eq!(found(&one, "r/x").as_deref(), Some("r/1"));
        assert_eq!(found(&one, "r/y").as_deref(), Some("r/2"));
        assert_eq!(found(&one, "r/"), None);
        one.upsert(aliased("r/1", &[]));
        assert_eq!(found(&one, "r/x").as_deref(), Some("r/2"));
        one.remove("r/2");
        assert_eq!(found(&one, "r/x"), None);
    }

    #[test]
    fn a_time_to_live_is_part_of_the_version() {
        let second = Duration::from_secs(1);
        let one = resource("a", "1").with_ttl(second);
        assert_ne!(one.version(), resource("a", "1").version());
        assert_eq!(one.ttl(), Some(second));
        let mut set = set(&[("a", "1"), ("b", "1")]);
        assert!(set.upsert(one));
        let expiring: Vec<_> = set.expiring().collect();
        assert_eq!(expiring, [(&Arc::from("a"), second)]);
        set.upsert(resource("a", "1"));
        assert_eq!(set.expiring().count(), 0);
    }

    #[test]
    fn names_with_a_beginning_are_found_among_all() {
        let mut one = set(&[("r/a", "1"), ("r", "1"), ("s/a", "1"), ("r/b/c", "1")]);
        one.upsert_on_demand(resource("r/b", "1"));
        assert_eq!(names(one.beginning_with("r/")), ["r/a", "r/b/c", "r/b"]);
        assert_eq!(names(one.beginning_with("t")), [""; 0]);
    }
}
