//! Events: how registries speak to the mesh. This is the registry contract's vocabulary.

use crate::{Object, ObjectKey, Problem, RegistryId};

/// What a registry says.
///
/// The contract (tested for every adapter by the conformance crate):
/// 1. After every (re)connect a registry sends [`Change::Replace`] with everything it has, and only when it knows everything: an
///    error, a timeout, a partial answer is never an empty or shorter `Replace`.
/// 2. After that it sends what changed, in the order in which it happened for each object.
/// 3. An object that is wrong is left out and reported as a Problem; if it was good before, its last good version stays.
/// 4. Every event carries all problems that the registry sees now, so that one that is mended disappears.
#[derive(Debug, Clone, PartialEq)]
pub struct RegistryEvent {
    /// Who speaks.
    pub registry: RegistryId,
    /// What changed.
    pub change: Change,
    /// Everything that is wrong in the registry's objects now.
    pub problems: Vec<Problem>,
}

/// What changed in a registry.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Everything the registry has; what is not in it is gone.
    Replace(Vec<Object>),
    /// New or changed objects and, after them, removed ones, applied as one: nobody sees half of it.
    Update {
        /// New or changed.
        upserts: Vec<Object>,
        /// Gone. Keys that were not there are ignored.
        removes: Vec<ObjectKey>,
    },
    /// The registry cannot be read now. Everything that it said before stays, and its age becomes visible, until the next
    /// [`Change::Replace`] or [`Change::Update`].
    Failing {
        /// What failed, where, and what to do.
        error: String,
    },
}
