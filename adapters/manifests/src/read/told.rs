//! What the mesh has been told, and what is new to tell.

use std::collections::BTreeMap;

use bowline_mesh::{Change, Object, ObjectKey, Problem};

/// Everything that the mesh knows from the registry.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Told {
    pub(super) objects: BTreeMap<ObjectKey, Object>,
    pub(super) problems: Vec<Problem>,
    pub(super) failing: Option<String>,
}

/// What is new, if anything.
pub(super) fn change(before: Option<&Told>, now: &Told) -> Option<Change> {
    let everything = || Change::Replace(now.objects.values().cloned().collect());
    match (before, &now.failing) {
        (None, Some(error)) => Some(Change::Failing {
            error: error.clone(),
        }),
        (Some(before), _) if before == now => None,
        (None, None) => Some(everything()),
        // While something could not be read, more may have changed than could be seen.
        (Some(before), None) if before.failing.is_some() => Some(everything()),
        (Some(before), failing) => Some(difference(before, now, failing.as_deref())),
    }
}

fn difference(before: &Told, now: &Told, failing: Option<&str>) -> Change {
    let changed = now
        .objects
        .iter()
        .filter(|(key, object)| before.objects.get(key) != Some(object));
    let upserts: Vec<Object> = changed.map(|(_, object)| object.clone()).collect();
    let gone = before
        .objects
        .keys()
        .filter(|key| !now.objects.contains_key(key));
    let removes: Vec<ObjectKey> = gone.cloned().collect();
    match failing {
        Some(error) if upserts.is_empty() && removes.is_empty() => Change::Failing {
            error: error.to_owned(),
        },
        _ => Change::Update { upserts, removes },
    }
}

/// An object that has only moved to another line is not told again: a line at the top of a file would tell all that is below it.
pub(super) fn as_told(object: &Object, before: Option<&Told>) -> Object {
    let before = before.and_then(|told| told.objects.get(object.key()));
    let is_same = |before: &&Object| {
        before.spec() == object.spec() && before.source.place == object.source.place
    };
    before.filter(is_same).unwrap_or(object).clone()
}
