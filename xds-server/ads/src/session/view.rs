//! What a stream holds, as an operator asks for it. Made on demand: a stream that nobody asks about keeps nothing for it.

use std::{collections::BTreeSet, sync::Arc};

use bowline_snapshot::{Resource, ResourceType, Snapshot, Version};

use super::{Protocol, Session, outstanding::Content, track::Track};

/// What one stream subscribes to and was sent, at one moment. A clone is the same.
#[derive(Debug, Clone)]
pub(crate) struct StreamView(pub(crate) Arc<[TypeView]>);

/// Of one type.
#[derive(Debug)]
pub(crate) struct TypeView {
    pub(crate) resource_type: ResourceType,
    /// By name.
    pub(crate) resources: Vec<ResourceView>,
}

/// Of one name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ResourceView {
    pub(crate) name: Arc<str>,
    /// The newest of it, and its version on the wire; `None` where there is none.
    pub(crate) resource: Option<(Resource, Version)>,
    pub(crate) standing: Standing,
}

/// How the client stands to the newest of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It will be sent: it waits for its turn.
    NotSent,
    /// It was sent, and the client has not answered.
    Sent,
    /// It was sent, and the client has answered.
    Answered,
    /// The client has rejected exactly this, and is not sent it again.
    Rejected,
    /// The client asks for it and was told that there is none.
    Missing,
}

impl<P: Protocol> Session<P> {
    /// What the client has of everything that it subscribes to.
    pub(crate) fn view(&self) -> StreamView {
        let newest = self.gate.newest().map(|stage| &stage.snapshot);
        let types = self.tracks.iter().map(|track| of_type(track, newest));
        StreamView(types.collect())
    }
}

fn of_type(track: &Track, newest: Option<&Snapshot>) -> TypeView {
    let resource_type = track.resource_type;
    let sent = track.sent.as_ref().map(|stage| &stage.snapshot);
    let snapshots = || [sent, newest].into_iter().flatten();
    let mut names: BTreeSet<Arc<str>> = BTreeSet::new();
    if track.subscription.has_wildcard() {
        let members = snapshots().flat_map(|snapshot| snapshot.members(resource_type));
        names.extend(members.map(|resource| resource.name().clone()));
    }
    for name in track.subscription.names().iter() {
        let Some(prefix) = track.subscription.prefix_of(name) else {
            let aliased = snapshots().find_map(|snapshot| snapshot.aliased(resource_type, name));
            names.insert(aliased.map_or(name, Resource::name).clone());
            continue;
        };
        for snapshot in snapshots() {
            let below = snapshot.beginning_with(resource_type, &prefix);
            let included = below.filter(|below| track.subscription.includes(name, below.name()));
            names.extend(included.map(|resource| resource.name().clone()));
        }
        if snapshots().any(|snapshot| snapshot.get(resource_type, name).is_some()) {
            names.insert(name.clone());
        }
    }
    let resources = names.into_iter().map(|name| {
        let newest = newest.and_then(|newest| Some((newest, newest.get(resource_type, &name)?)));
        let sent = sent.map(|sent| sent.get(resource_type, &name));
        ResourceView {
            standing: standing(track, sent, newest.map(|(_, resource)| resource)),
            resource: newest.map(|(snapshot, resource)| {
                let version = snapshot.wire_version(resource_type, resource);
                (resource.clone(), version)
            }),
            name,
        }
    });
    TypeView {
        resource_type,
        resources: resources.collect(),
    }
}

/// How the client stands to the newest of a resource. `sent` is what the snapshot had that it was sent from, if it was sent any.
fn standing(track: &Track, sent: Option<Option<&Resource>>, newest: Option<&Resource>) -> Standing {
    match (sent, newest) {
        (_, Some(newest)) if track.is_quarantined(newest) => Standing::Rejected,
        (Some(Some(sent)), Some(newest)) if sent.version() == newest.version() => {
            match is_unanswered(track, newest.name()) {
                true => Standing::Sent,
                false => Standing::Answered,
            }
        }
        // The client asks for what is not there.
        (Some(None), None) => Standing::Missing,
        // It has nothing yet, or something else.
        (_, Some(_)) | (Some(Some(_)) | None, None) => Standing::NotSent,
    }
}

/// Whether a resource was in the response that waits for its answer; of a large response not all names are kept.
fn is_unanswered(track: &Track, name: &Arc<str>) -> bool {
    track
        .outstanding
        .as_ref()
        .is_some_and(|outstanding| match &outstanding.content {
            Content::Listed { upserts, .. } => {
                upserts.iter().any(|resource| resource.name() == name)
            }
            Content::Step(step) => {
                let mut resources = step.resources().iter();
                resources.any(|(resource, _)| resource.name() == name)
            }
            Content::Derived(_) => true,
        })
}
