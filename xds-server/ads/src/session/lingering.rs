//! Resources that are gone while the client may still refer to them.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use bowline_snapshot::{Resource, Version};

use super::work::{Context, Overdue};

/// What is no longer served, and the client is not told yet: removals leave after the listeners and routes that may refer to them
/// have been replaced, or when that takes too long.
#[derive(Debug, Default)]
pub(crate) struct Lingering(BTreeMap<Arc<str>, Entry>);

/// One resource.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The first stage without it.
    since: u64,
    deadline: Instant,
    source: EntrySource,
}

#[derive(Debug)]
enum EntrySource {
    /// We sent it on this stream.
    Sent(Resource),
    /// We sent it on this stream, and the client has rejected it or what came with it.
    Doubtful,
    /// The client brought it from an earlier stream.
    Held,
}

impl Lingering {
    /// What we sent.
    pub(crate) fn insert_sent(&mut self, resource: Resource, context: &Context<'_>) {
        let name = resource.name().clone();
        self.insert(name, EntrySource::Sent(resource), context);
    }

    /// What we sent and the client may have or not.
    pub(crate) fn insert_doubtful(&mut self, name: Arc<str>, context: &Context<'_>) {
        self.insert(name, EntrySource::Doubtful, context);
    }

    /// What the client brought along.
    pub(crate) fn insert_held(&mut self, name: Arc<str>, context: &Context<'_>) {
        self.insert(name, EntrySource::Held, context);
    }

    fn insert(&mut self, name: Arc<str>, source: EntrySource, context: &Context<'_>) {
        let entry = Entry {
            since: context.stage.number,
            deadline: context.linger_until,
            source,
        };
        self.0.insert(name, entry);
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Entry> {
        self.0.remove(name)
    }

    pub(crate) fn retain(&mut self, mut keeps: impl FnMut(&str) -> bool) {
        self.0.retain(|name, _| keeps(name));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes the names that the client is to be told of now.
    pub(crate) fn take_due(&mut self, context: &Context<'_>) -> impl Iterator<Item = Arc<str>> {
        self.0
            .extract_if(.., |_, entry| entry.is_due(context))
            .map(|(name, _)| name)
    }

    pub(crate) fn has_due(&self, context: &Context<'_>) -> bool {
        self.0.values().any(|entry| entry.is_due(context))
    }

    /// When the first of them has lingered for long enough.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.0.values().map(|entry| entry.deadline).min()
    }

    /// Those that we sent, in order of names: state of the world has to list them while they linger.
    pub(crate) fn sent(&self) -> impl Iterator<Item = &Resource> {
        self.0.values().filter_map(|entry| match &entry.source {
            EntrySource::Sent(resource) => Some(resource),
            EntrySource::Doubtful | EntrySource::Held => None,
        })
    }
}

impl Entry {
    /// What the client has, where we know.
    pub(crate) fn version(&self) -> Option<Version> {
        match &self.source {
            EntrySource::Sent(resource) => Some(resource.version()),
            EntrySource::Doubtful | EntrySource::Held => None,
        }
    }

    fn is_due(&self, context: &Context<'_>) -> bool {
        let is_unreferenced = match (&self.source, context.referrers_settled) {
            (_, Some(settled)) => self.since <= settled,
            // Nothing on this stream can refer to it.
            (EntrySource::Sent(_) | EntrySource::Doubtful, None) => true,
            // A client that reconnects has not subscribed to its listeners and routes yet.
            (EntrySource::Held, None) => false,
        };
        let is_overdue = context.overdue == Overdue::Goes && self.deadline <= context.now;
        is_unreferenced || is_overdue
    }
}
