//! One response, before it is written to the wire.

use std::{borrow::Cow, sync::Arc};

use bowline_snapshot::{Resource, ResourceType, Version};

use crate::session::Variant;

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
    pub(crate) extra: Option<Box<Extra>>,
    /// What the client has rejected and is not sent: no part of the message.
    pub(crate) quarantined: Vec<Resource>,
    pub(crate) nonce: u64,
    pub(crate) generation: u64,
}

impl Response {
    /// The fingerprint of all that is said, without the nonce: responses with equal ones have the same encoding, but for that. `len` is the
    /// length of the whole message.
    pub(crate) fn content(&self, variant: Variant, len: usize) -> Version {
        // Whatever is added to a response has to be added here.
        let Self {
            resource_type: _,
            type_url,
            version,
            resources,
            removed,
            extra,
            quarantined: _,
            nonce: _,
            generation: _,
        } = self;
        let (len, version) = (len.to_le_bytes(), version.to_bytes());
        let head: [&[u8]; 4] = [
            variant.name().as_bytes(),
            type_url.as_bytes(),
            &version,
            &len,
        ];
        let entries: Vec<[u8; 16]> = resources
            .iter()
            .map(|(resource, version)| {
                Version::of([resource.name().as_bytes(), &version.to_bytes()]).to_bytes()
            })
            .collect();
        let count = resources.len().to_le_bytes();
        let extra = extra
            .as_ref()
            .map_or(Version::EMPTY, |extra| extra.content())
            .to_bytes();
        Version::of(
            head.into_iter()
                .chain([&count[..], &extra])
                .chain(entries.iter().map(|entry| &entry[..]))
                .chain(removed.iter().map(|name| name.as_bytes())),
        )
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

impl Extra {
    fn content(&self) -> Version {
        let Self {
            heartbeats,
            unknown,
            missing,
            wraps,
        } = self;
        let list = |names: &[Arc<str>]| Version::of(names.iter().map(|name| name.as_bytes()));
        let heartbeats = heartbeats.iter().map(|(resource, version)| {
            Version::of([resource.name().as_bytes(), &version.to_bytes()]).to_bytes()
        });
        let heartbeats: Vec<[u8; 16]> = heartbeats.collect();
        let heartbeats = Version::of(heartbeats.iter().map(|entry| &entry[..]));
        Version::of([&[u8::from(*wraps)][..]])
            .combined_with(heartbeats)
            .combined_with(list(unknown))
            .combined_with(list(missing))
    }
}
