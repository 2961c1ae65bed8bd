//! The types that a stream subscribes to.

use bowline_snapshot::ResourceType;

use super::track::Track;

/// One track for each type, in the order of an update. There are a handful, and they are gone through with every message: in a list this is
/// quick, and costs a stream no more memory than they need.
#[derive(Debug, Default)]
pub(crate) struct Tracks(Vec<Track>);

impl Tracks {
    pub(crate) fn get(&self, resource_type: ResourceType) -> Option<&Track> {
        self.iter()
            .find(|track| track.resource_type == resource_type)
    }

    pub(crate) fn get_mut(&mut self, resource_type: ResourceType) -> Option<&mut Track> {
        self.iter_mut()
            .find(|track| track.resource_type == resource_type)
    }

    pub(crate) fn has(&self, resource_type: ResourceType) -> bool {
        self.get(resource_type).is_some()
    }

    /// Adds the track of a type that has none.
    pub(crate) fn add(&mut self, track: Track) {
        let earlier = |other: &&Track| other.resource_type < track.resource_type;
        let place = self.iter().take_while(earlier).count();
        self.0.reserve_exact(1);
        self.0.insert(place, track);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Track> {
        self.0.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Track> {
        self.0.iter_mut()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
