//! Snapshots in the order in which one stream has seen them.

use std::sync::{Arc, LazyLock};

use bowline_snapshot::{Layer, Resource, ResourceType, Snapshot};

/// A snapshot and its place among those that this stream was given.
///
/// Generations do not do as places: a stream that is given other layers can see two snapshots of one generation.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    pub(crate) number: u64,
    pub(crate) snapshot: Snapshot,
}

impl Stage {
    /// Whether a snapshot consists of the very same layers, and lacks as little.
    pub(crate) fn is_of(&self, snapshot: &Snapshot) -> bool {
        let (own, other) = (self.snapshot.layers(), snapshot.layers());
        self.snapshot.is_partial() == snapshot.is_partial()
            && own.len() == other.len()
            && own
                .iter()
                .zip(other)
                .all(|(own, other)| Arc::ptr_eq(own, other))
    }
}

/// Whether a resource is one that everybody gets, or is served on demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listing {
    Member,
    OnDemand,
}

/// The names of one type that may differ between two snapshots, in order: a few too many, where a resource changed its layer. Only those
/// whose resource, as it is or was last, is wanted.
///
/// Costs the size of the difference.
pub(crate) fn changed_names(
    older: Option<&Snapshot>,
    newer: &Snapshot,
    resource_type: ResourceType,
    mut is_wanted: impl FnMut(&Resource, Listing) -> bool,
) -> Vec<Arc<str>> {
    let changed = changed(older, newer, resource_type);
    let wanted = changed.filter(|(resource, listing)| is_wanted(resource, *listing));
    let mut names: Vec<Arc<str>> = wanted
        .map(|(resource, _)| resource.name().clone())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The resources of one type that may differ between two snapshots, as they are or were last. Costs what is taken of it.
pub(crate) fn changed<'s>(
    older: Option<&'s Snapshot>,
    newer: &'s Snapshot,
    resource_type: ResourceType,
) -> impl Iterator<Item = (&'s Resource, Listing)> {
    static NONE: LazyLock<Layer> = LazyLock::new(Layer::default);
    let older = older.map_or(&[][..], Snapshot::layers);
    let newer = newer.layers();
    let layer = |layers: &'s [Arc<Layer>], place| layers.get(place).map_or(&*NONE, Arc::as_ref);
    let places = 0..older.len().max(newer.len());
    let pairs = places.map(move |place| (layer(older, place), layer(newer, place)));
    let others = pairs.filter(|(older, newer)| !std::ptr::eq(*older, *newer));
    others.flat_map(move |(older, newer)| {
        let (older, newer) = (older.of_type(resource_type), newer.of_type(resource_type));
        let members = newer.changes_since(older);
        let on_demand = newer.on_demand_changes_since(older);
        let members = members.map(|change| (change.resource(), Listing::Member));
        members.chain(on_demand.map(|change| (change.resource(), Listing::OnDemand)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{layer, snapshot_of};

    fn check(older: &[&[&str]], newer: &[&[&str]], expected: &[&str]) {
        let snapshot =
            |layers: &[&[&str]]| Snapshot::new(1, layers.iter().map(|resources| layer(resources)));
        let (older, newer) = (snapshot(older), snapshot(newer));
        let names = changed_names(Some(&older), &newer, ResourceType::CLUSTER, |_, _| true);
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn names_that_differ_in_any_layer_are_found_once() {
        check(&[&["CDS a 1"]], &[&["CDS a 1"]], &[]);
        check(&[&["CDS a 1", "CDS b 1"]], &[&["CDS a 2"]], &["a", "b"]);
        check(
            &[&["CDS a 1"], &["CDS b 1"]],
            &[&["CDS a 1"], &["CDS b 2"]],
            &["b"],
        );
        check(&[&["CDS a 1"], &[]], &[&[], &["CDS a 1"]], &["a"]);
        check(&[], &[&["CDS a 1", "EDS e 1"]], &["a"]);
    }

    #[test]
    fn a_snapshot_of_the_same_layers_is_the_same_stage() {
        let snapshot = snapshot_of(1, &["CDS a 1"]);
        let stage = Stage {
            number: 1,
            snapshot: snapshot.clone(),
        };
        assert!(stage.is_of(&Snapshot::new(2, snapshot.layers().iter().cloned())));
        assert!(!stage.is_of(&snapshot_of(1, &["CDS a 1"])));
        assert!(!stage.is_of(&snapshot.partial()));
    }
}
