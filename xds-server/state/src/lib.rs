//! What must outlive the process: registries' last good objects, the certificate authority's root, and whatever else changes a
//! Snapshot besides the registries' content.
//!
//! A [`Store`] is get, list, compare-and-swap commit and watch over `/`-separated [`Key`]s, with semantics that a shared store such as
//! etcd can give as well. [`Embedded`] keeps a file, [`Memory`] keeps nothing (offline commands, tests). A store blocks; whoever may
//! not wait for a disk writes through [`WriteBehind`]. [`RegistryObjects`] is the layer for registries on top of both.

mod embedded;
mod key;
mod memory;
mod recent;
mod registry_objects;
mod store;
mod watch;
mod write_behind;
mod writes;

pub use embedded::{Embedded, OpenError};
pub use key::{Key, Prefix};
pub use memory::Memory;
pub use registry_objects::{LastGood, RegistryObjects};
pub use store::{Changes, CommitError, Expected, Listing, Revision, Store, StoreError, Stored};
pub use watch::Watch;
pub use write_behind::{Failing, FlushError, WriteBehind, WriteStatus};
pub use writes::{Value, Writes};
