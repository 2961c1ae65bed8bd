//! What belongs to a resource follows it.

use std::{collections::BTreeSet, sync::Arc};

use bowline_snapshot::{Resource, ResourceType};

use super::{
    Session,
    claims::Claims,
    protocol::{Protocol, Variant},
    stage::Stage,
    track::Track,
};

impl<P: Protocol> Session<P> {
    /// What the client was last sent of the type that resources of this one belong to.
    pub(super) fn parents(&self, resource_type: ResourceType) -> Option<&Stage> {
        self.tracks.get(resource_type.parent()?)?.sent.as_ref()
    }

    /// Envoy warms a changed cluster only with endpoints that arrive after it, whether or not those changed, and a route configuration
    /// that it gets may put away the virtual hosts that came before: what belongs to a resource is sent again behind it, in whatever
    /// order their acknowledgements come.
    pub(super) fn owe_children<'r>(
        &mut self,
        parent: ResourceType,
        sent: impl Iterator<Item = &'r Resource> + Clone,
        stage: &Stage,
    ) {
        let is_reconnected = P::VARIANT == Variant::Delta
            && self
                .tracks
                .get(parent)
                .is_some_and(|track| track.is_reconnected);
        let types = self.settings.types.iter().copied();
        for child in types.filter(|child| child.parent() == Some(parent)) {
            let Some(track) = self.tracks.get_mut(child) else {
                // It may come to say that it holds what it held behind the older parent, or got before there was one.
                if is_reconnected || child.has_namespaces() {
                    let names = sent.clone().map(|resource| resource.name().clone());
                    let disbelieved = self.disbelieved.entry(child).or_default();
                    disbelieved.extend(names);
                }
                continue;
            };
            for resource in sent.clone() {
                if child.has_namespaces() {
                    track.owe_within(resource.name(), stage);
                } else {
                    track.owe_if_wanted(resource.name(), stage);
                }
            }
        }
    }

    /// Drops what a client claims of resources that belong to these.
    pub(super) fn disbelieve(
        &self,
        resource_type: ResourceType,
        claims: &mut Claims,
        parents: &BTreeSet<Arc<str>>,
    ) {
        let newest = self.gate.newest().map(|stage| &stage.snapshot);
        claims.retain(|name| {
            let is_doubtful = resource_type
                .parent_of(name)
                .is_some_and(|(_, parent)| parents.contains(parent));
            // What is not there is taken away from the client, for which it has to be known.
            let is_there =
                || newest.is_some_and(|newest| newest.get(resource_type, name).is_some());
            !is_doubtful || resource_type.has_namespaces() && !is_there()
        });
    }
}

impl Track {
    /// Owes all that belongs to a parent.
    fn owe_within(&mut self, parent: &str, stage: &Stage) {
        let child = self.resource_type;
        for resource in stage.snapshot.beginning_with(child, &format!("{parent}/")) {
            let name = resource.name();
            if child.parent_of(name).map(|(_, name)| name) == Some(parent) {
                self.owe_if_wanted(name, stage);
            }
        }
    }

    fn owe_if_wanted(&mut self, name: &Arc<str>, stage: &Stage) {
        let is_wanted = match self.find(&stage.snapshot, name) {
            Some(resource) => self.wants(resource),
            // That there is nothing is an answer too.
            None => self.subscription.asks_for(name),
        };
        if is_wanted {
            self.owe(name);
        }
    }
}
