//! One response, before it is written to the wire.

use std::{borrow::Cow, sync::Arc};

use bowline_snapshot::{Resource, ResourceType, Version};

/// What one message to a proxy says.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    /// `None` answers a type that is not served.
    pub(crate) resource_type: Option<ResourceType>,
    pub(crate) type_url: Cow<'static, str>,
    /// Of the whole type.
    pub(crate) version: Version,
    /// Each with its version on the wire.
    pub(crate) resources: Vec<(Resource, Version)>,
    /// Names that do not, or no longer, exist. Only delta can say so.
    pub(crate) removed: Vec<Arc<str>>,
    pub(crate) nonce: u64,
    pub(crate) generation: u64,
}
