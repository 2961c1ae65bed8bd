//! What a stream holds, as an operator asks for it. Made on demand: a stream that nobody asks about keeps nothing for it.

use std::{collections::BTreeSet, sync::Arc};

use bowline_snapshot::{Resource, ResourceType, Snapshot, Version};

use super::{Protocol, Session, outstanding::SUSPECTS_MAX, track::Track};

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
    /// The client asks for it and was told that there is none.
    Missing,
}

impl<P: Protocol> Session<P> {
    /// What the client has of everything that it subscribes to.
    pub(crate) fn view(&self) -> StreamView {
        let newest = self.gate.newest().map(|stage| &stage.snapshot);
        let types = self.tracks.values().map(|track| of_type(track, newest));
        StreamView(types.collect())
    }
}

fn of_type(track: &Track, newest: Option<&Snapshot>) -> TypeView {
    let resource_type = track.resource_type;
    let sent = track.sent.as_ref().map(|stage| &stage.snapshot);
    let mut names: BTreeSet<&Arc<str>> = track.subscription.names().iter().collect();
    if track.subscription.has_wildcard() {
        let snapshots = [sent, newest].into_iter().flatten();
        names.extend(
            snapshots.flat_map(|snapshot| snapshot.members(resource_type).map(Resource::name)),
        );
    }
    let resources = names.into_iter().map(|name| {
        let newest = newest.and_then(|newest| Some((newest, newest.get(resource_type, name)?)));
        let sent = sent.map(|sent| sent.get(resource_type, name));
        let standing = match (sent, newest) {
            (Some(Some(sent)), Some((_, newest))) if sent.version() == newest.version() => {
                match is_unanswered(track, name) {
                    true => Standing::Sent,
                    false => Standing::Answered,
                }
            }
            // The client asks for what is not there, or for something else than what it has.
            (Some(None), None) => Standing::Missing,
            (_, Some(_)) | (Some(Some(_)) | None, None) => Standing::NotSent,
        };
        ResourceView {
            name: name.clone(),
            resource: newest.map(|(snapshot, resource)| {
                let version = snapshot.wire_version(resource_type, resource);
                (resource.clone(), version)
            }),
            standing,
        }
    });
    TypeView {
        resource_type,
        resources: resources.collect(),
    }
}

/// Whether a resource was in the response that waits for its answer; of a large response not all names are kept.
fn is_unanswered(track: &Track, name: &Arc<str>) -> bool {
    track.outstanding.as_ref().is_some_and(|outstanding| {
        let suspects = &outstanding.suspects;
        suspects.len() >= SUSPECTS_MAX || suspects.iter().any(|suspect| suspect.name() == name)
    })
}
