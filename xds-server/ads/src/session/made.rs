//! What is made for one stream: resources that are there because its client asks for them.
//!
//! What was made is bounded, and goes with the subscription and with the stream, so nobody pays for what another one's client invents.

use std::sync::Arc;

use bowline_snapshot::{Layer, Recipe, Resource, ResourceType, Snapshot};

use super::tracks::Tracks;
use crate::names::Names;

/// So many resources of a type are made for one stream; of further names there is nothing. A process listens at a few addresses, while
/// names can be subscribed by the hundred thousand.
pub(super) const MADE_MAX: usize = 1_000;

/// What everybody is served who has the same layers, and what was made by their recipes for this stream.
#[derive(Debug)]
pub(super) struct Made {
    shared: Snapshot,
    own: Arc<Layer>,
}

impl Made {
    /// Beside a new snapshot, for what is subscribed; `None` where it has no recipe. What was made before stays while the recipes do.
    pub(super) fn beside(shared: &Snapshot, before: Option<Self>, tracks: &Tracks) -> Option<Self> {
        shared.recipes().next()?;
        let kept = before.filter(|before| has_same_recipes(&before.shared, shared));
        let is_new = kept.is_none();
        let mut made = Self {
            shared: shared.clone(),
            own: kept.map_or_else(Arc::default, |before| before.own),
        };
        if is_new {
            let made_types = shared.recipes().map(|(resource_type, _)| resource_type);
            for track in made_types.filter_map(|resource_type| tracks.get(resource_type)) {
                made.follow(track.resource_type, track.subscription.names());
            }
        }
        Some(made)
    }

    /// Makes what is asked for now, and forgets what is asked for no more. Says whether that changed anything.
    pub(super) fn follow(&mut self, resource_type: ResourceType, names: &Names) -> bool {
        let mut made_types = self.shared.recipes().map(|(made_type, _)| made_type);
        if !made_types.any(|made_type| made_type == resource_type) {
            return false;
        }
        let made = self.own.of_type(resource_type);
        let dropped: Vec<Arc<str>> = made
            .all_on_demand()
            .map(Resource::name)
            .filter(|name| !names.contains(name))
            .cloned()
            .collect();
        let kept = made.all_on_demand().count() - dropped.len();
        let added: Vec<Resource> = names
            .iter()
            .filter(|name| made.get(name).is_none())
            .filter_map(|name| self.shared.make(resource_type, name))
            .take(MADE_MAX.saturating_sub(kept))
            .collect();
        if dropped.is_empty() && added.is_empty() {
            return false;
        }
        let own = Arc::make_mut(&mut self.own);
        for name in dropped {
            own.remove(resource_type, &name);
        }
        for resource in added {
            own.upsert_on_demand(resource_type, resource);
        }
        true
    }

    /// All that the stream is served. The same again while nothing changes.
    pub(super) fn snapshot(&self) -> Snapshot {
        if self.own.is_empty() {
            return self.shared.clone();
        }
        self.shared.with_made(self.own.clone())
    }
}

fn has_same_recipes(one: &Snapshot, other: &Snapshot) -> bool {
    let mut others = other.recipes();
    let mut is_next = |(resource_type, recipe): (ResourceType, &Recipe)| {
        others
            .next()
            .is_some_and(|(other_type, other)| other_type == resource_type && other.is_same(recipe))
    };
    one.recipes().all(&mut is_next) && others.next().is_none()
}
