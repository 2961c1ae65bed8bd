//! What belongs to a resource follows it.

use std::sync::Arc;

use bowline_snapshot::{Resource, ResourceType};

use super::{
    Session,
    protocol::{Protocol, Variant},
    stage::Stage,
};

impl<P: Protocol> Session<P> {
    /// What the client was last sent of the type that resources of this one belong to.
    pub(super) fn parents(&self, resource_type: ResourceType) -> Option<&Stage> {
        self.tracks.get(resource_type.parent()?)?.sent.as_ref()
    }

    /// Envoy warms a changed cluster only with endpoints that arrive after it, whether or not those changed, and a route configuration
    /// that it gets may put away the virtual hosts that came before: what belongs to a resource is sent again behind it, in whatever
    /// order their acknowledgements come.
    pub(super) fn owe_children(&mut self, parent: ResourceType, sent: &[Resource], stage: &Stage) {
        let is_reconnected = P::VARIANT == Variant::Delta
            && self
                .tracks
                .get(parent)
                .is_some_and(|track| track.is_reconnected);
        let types = self.settings.types.iter().copied();
        for child in types.filter(|child| child.parent() == Some(parent)) {
            // It may come to say that it holds what it held behind the older parent, or got before there was one.
            let may_be_disbelieved = is_reconnected || child.has_namespaces();
            if !may_be_disbelieved && !self.tracks.has(child) {
                continue;
            }
            let mut names: Vec<Arc<str>> = Vec::new();
            for resource in sent {
                if !child.has_namespaces() {
                    names.push(resource.name().clone());
                    continue;
                }
                let prefix = format!("{}/", resource.name());
                let within = stage.snapshot.beginning_with(child, &prefix);
                let own = within.filter(|within| {
                    child.parent_of(within.name()).map(|(_, name)| name) == Some(resource.name())
                });
                names.extend(own.map(|own| own.name().clone()));
            }
            match self.tracks.get_mut(child) {
                Some(track) => {
                    for name in &names {
                        let found = track.find(&stage.snapshot, name);
                        let is_wanted = match found {
                            Some(resource) => track.wants(resource),
                            // That there is nothing is an answer too.
                            None => track.subscription.asks_for(name),
                        };
                        if is_wanted {
                            track.owe(name);
                        }
                    }
                }
                None if names.is_empty() => {}
                None => self.disbelieved.entry(child).or_default().extend(names),
            }
        }
    }
}
