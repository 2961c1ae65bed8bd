//! What has to be said to a client, and what that is made from.

use std::{sync::Arc, time::Instant};

use bowline_snapshot::{Parent, Resource, ResourceType, Snapshot, Version};

use super::{client::Client, protocol::Variant, stage::Stage, steps::Step, track::Owed};

/// What a response is made from.
pub(crate) struct Context<'a> {
    /// What is to be served.
    pub(crate) stage: &'a Stage,
    /// The newest that there is, which may be ahead of `stage`.
    pub(crate) newest: &'a Snapshot,
    /// What the client was last sent of the type that this one's resources belong to: it may be older or newer than `stage`.
    pub(crate) parents: &'a Snapshot,
    pub(crate) removals: Removals,
    /// Up to where listeners and routes are sent and acknowledged; `None` while the stream subscribes to none.
    pub(crate) referrers_settled: Option<u64>,
    pub(crate) now: Instant,
    pub(crate) overdue: Overdue,
    /// When what begins to linger now has to be gone.
    pub(crate) linger_until: Instant,
    pub(crate) variant: Variant,
    pub(crate) client: Client,
}

/// What a track does about names that vanish from the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removals {
    /// The client cannot be told, and drops the resource when nothing refers to it.
    Untold,
    /// The client is told at once.
    Immediate,
    /// The client is told after the listeners and routes that may refer to it have been replaced.
    AfterReferrers,
}

/// What becomes of lingering resources whose time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// Listeners and routes may still have something to say, which has to come first.
    Stays,
    Goes,
}

/// What has to be said to the client.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// New or changed, in order of names.
    pub(crate) upserts: Vec<Resource>,
    /// Changed, and the same for other streams; then there are no others.
    pub(crate) step: Option<Arc<Step>>,
    pub(crate) removed: Vec<Arc<str>>,
    /// Names that are asked for and are of nothing, where the client is told so by a resource without content.
    pub(crate) unknown: Vec<Arc<str>>,
    /// The same, where the client is told so by an error.
    pub(crate) missing: Vec<Arc<str>>,
    /// Whether a name is among them that the client did not have.
    pub(crate) introduces: bool,
    /// Whether a response is due even if nothing is in it.
    pub(crate) must_answer: bool,
    /// What the client had been sent before.
    pub(crate) before: Option<Stage>,
    /// What was owed, all of which this answers.
    pub(crate) owed: Owed,
}

/// From so many names on it is cheaper to go through all resources beside them than to look for each.
const MANY: usize = 16;

/// What framing, version and lengths add to an entry of a response, at most.
const ENTRY_BYTES: usize = 64;

/// What a resource makes of a response, at most.
pub(crate) fn entry_bytes_max(resource_type: ResourceType, resource: &Resource) -> usize {
    resource.body().len() + resource.name().len() + resource_type.url().len() + ENTRY_BYTES
}

impl Context<'_> {
    /// The versions of resources on the wire: with the parent that the client was sent, not with one that is still to come. A client that
    /// reconnects then tells which of them its resource followed.
    pub(crate) fn wire_versions<'r>(
        &self,
        resource_type: ResourceType,
        resources: impl ExactSizeIterator<Item = &'r Resource> + Clone,
    ) -> Vec<Version> {
        let one_by_one = |resource: &Resource| self.wire_version(resource_type, resource);
        let parent = match resource_type.spec().parent {
            Some(Parent::SameName(_)) => resource_type.parent(),
            Some(Parent::Namespace(_)) => {
                return self.wire_versions_within(resource_type, resources);
            }
            None => None,
        };
        let Some(parent) = parent.filter(|_| resources.len() >= MANY) else {
            return resources.map(one_by_one).collect();
        };
        let names = resources.clone().map(|resource| &**resource.name());
        let parents = self.parents.members_named(parent, names);
        resources
            .zip(parents)
            .map(|(resource, parent)| match parent {
                Some(parent) => resource.version().combined_with(parent.version()),
                None => one_by_one(resource),
            })
            .collect()
    }

    /// The same for resources of namespaces. In order of names those of one follow each other, so it is looked for once.
    fn wire_versions_within<'r>(
        &self,
        resource_type: ResourceType,
        resources: impl Iterator<Item = &'r Resource>,
    ) -> Vec<Version> {
        let mut last: Option<(&str, Option<Version>)> = None;
        resources
            .map(|resource| {
                let own = resource.version();
                let Some((parent, name)) = resource_type.parent_of(resource.name()) else {
                    return own;
                };
                let of_parent = match last {
                    Some((known, version)) if known == name => version,
                    Some(_) | None => self.parents.get(parent, name).map(Resource::version),
                };
                last = Some((name, of_parent));
                of_parent.map_or(own, |of_parent| own.combined_with(of_parent))
            })
            .collect()
    }

    /// The version of one resource on the wire.
    pub(crate) fn wire_version(&self, resource_type: ResourceType, resource: &Resource) -> Version {
        self.parents.wire_version(resource_type, resource)
    }
}

impl Work {
    /// Whether it gives no reason for a response.
    pub(crate) fn is_empty(&self) -> bool {
        let Self {
            upserts,
            step,
            removed,
            unknown,
            missing,
            introduces: _,
            must_answer,
            before: _,
            owed: _,
        } = self;
        upserts.is_empty()
            && step.is_none()
            && removed.is_empty()
            && unknown.is_empty()
            && missing.is_empty()
            && !must_answer
    }

    /// Takes out what does not fit into one message, by name. One entry always fits.
    pub(crate) fn split_off(
        &mut self,
        resource_type: ResourceType,
        bytes_max: usize,
    ) -> Vec<Arc<str>> {
        let mut bytes = 0;
        let mut is_full = |entry: usize| {
            let had_any = bytes > 0;
            bytes += entry;
            had_any && bytes > bytes_max
        };
        let fitting = self
            .upserts
            .iter()
            .position(|new| is_full(entry_bytes_max(resource_type, new)))
            .unwrap_or(self.upserts.len());
        let later = self.upserts.split_off(fitting);
        let fitting = self
            .removed
            .iter()
            .position(|name| !later.is_empty() || is_full(name.len() + ENTRY_BYTES))
            .unwrap_or(self.removed.len());
        let removed_later = self.removed.split_off(fitting);
        let later = later.iter().map(|resource| resource.name().clone());
        later.chain(removed_later).collect()
    }
}
