//! What translation hands to the xDS server: encoded resources in shared, immutable layers.
//!
//! ```text
//! Resource ──► Layer (one View's resources) ──► Publisher (one generation at a time) ──► SnapshotReceiver (one stream)
//! ```
//!
//! Nothing here knows what a cluster or a listener is; a [`ResourceType`] is a type URL and how the protocol treats it, so whoever
//! embeds the server can bring types of their own. Everything is a value: a [`Layer`] is an ordered persistent map, cloned and
//! changed at the cost of the change, and a [`Snapshot`] is up to four of them, read from one generation.

mod layer;
pub mod name;
mod parts;
mod publish;
mod recipe;
mod resource;
mod resource_set;
mod resource_type;
mod snapshot;
mod version;

pub use layer::Layer;
pub use parts::Parts;
pub use publish::{
    Assignment, Bell, LayerName, Progress, Publisher, PublisherClosed, SnapshotReceiver,
};
pub use recipe::Recipe;
pub use resource::{Body, Origin, Resource};
pub use resource_set::{ResourceChange, ResourceSet};
pub use resource_type::{Absence, Parent, ResourceType, TypeSpec};
pub use snapshot::{LAYERS_MAX, Snapshot};
pub use version::Version;
