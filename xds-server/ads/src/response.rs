//! One response, before it is written to the wire.

use std::{borrow::Cow, ops::Deref, sync::Arc};

use bowline_snapshot::{Resource, ResourceType, Version};

use crate::session::{Step, Variant};

/// What one message to a proxy says.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    /// `None` answers a type that is not served.
    pub(crate) resource_type: Option<ResourceType>,
    pub(crate) type_url: Cow<'static, str>,
    /// Of the whole type.
    pub(crate) version: Version,
    /// Each with its version on the wire.
    pub(crate) resources: Entries,
    /// Names that do not, or no longer, exist. Only delta can say so.
    pub(crate) removed: Vec<Arc<str>>,
    pub(crate) extra: Option<Box<Extra>>,
    /// What the client has rejected and is not sent: no part of the message.
    pub(crate) quarantined: Vec<Resource>,
    pub(crate) nonce: u64,
    pub(crate) generation: u64,
}

impl Response {
    /// The fingerprint of what the encoding of some of its resources depends on.
    pub(crate) fn content(&self, variant: Variant, entries: &[(Resource, Version)]) -> Version {
        let wraps = self.extra.as_ref().is_some_and(|extra| extra.wraps);
        // Only then is the version of the response in its resources.
        let version = if wraps { self.version } else { Version::EMPTY };
        let version = version.to_bytes();
        let head: [&[u8]; 3] = [
            variant.name().as_bytes(),
            self.type_url.as_bytes(),
            &version,
        ];
        let versions: Vec<[u8; 16]> = entries
            .iter()
            .map(|(_, version)| version.to_bytes())
            .collect();
        let names = entries
            .iter()
            .map(|(resource, _)| resource.name().as_bytes());
        let entries = names
            .zip(&versions)
            .flat_map(|(name, version)| [name, &version[..]]);
        Version::of(head.into_iter().chain(entries))
    }
}

/// Resources of a response, each with its version on the wire.
#[derive(Debug, Clone)]
pub(crate) enum Entries {
    Own(Vec<(Resource, Version)>),
    /// Those of all streams that take the same step.
    Step(Arc<Step>),
}

impl Deref for Entries {
    type Target = [(Resource, Version)];

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Own(entries) => entries,
            Self::Step(step) => step.resources(),
        }
    }
}

impl FromIterator<(Resource, Version)> for Entries {
    fn from_iter<I: IntoIterator<Item = (Resource, Version)>>(entries: I) -> Self {
        Self::Own(entries.into_iter().collect())
    }
}

/// What few responses say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extra {
    /// What the client has and may keep for longer, each with its version on the wire. Their content is not repeated.
    pub(crate) heartbeats: Vec<(Resource, Version)>,
    /// Names that are asked for and are of nothing, told as resources without content.
    pub(crate) unknown: Vec<Arc<str>>,
    /// The same, told as errors.
    pub(crate) missing: Vec<Arc<str>>,
    /// Whether resources with a time to live are written with it, in state of the world.
    pub(crate) wraps: bool,
}
