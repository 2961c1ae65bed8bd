//! One encoded resource.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes};
use prost::Message;

use crate::{Parts, Version, name::normalized};

/// An object that a resource was made from, as a person would name it: `vms service default/cart (inventory.yaml:12)`.
pub type Origin = Arc<str>;

/// A named, versioned, encoded xDS resource. A clone shares everything.
#[derive(Clone)]
pub struct Resource(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    name: Arc<str>,
    version: Version,
    body: Body,
    origins: Arc<[Origin]>,
    /// What few resources have.
    rare: Option<Box<Rare>>,
}

#[derive(Clone, Default)]
struct Rare {
    aliases: Vec<Arc<str>>,
    ttl: Option<Duration>,
}

/// An encoded message, whole or as the concatenation of parts that are encoded by themselves.
///
/// Concatenated encodings merge (protobuf encoding, "Last one wins"): repeated fields append, so a RouteConfiguration may be its
/// head followed by one part per virtual host, and parts are shared by all that contain them.
#[derive(Clone, Debug)]
pub enum Body {
    /// One encoding.
    Whole(Bytes),
    /// A beginning, and parts that follow it.
    Parts(Bytes, Parts),
}

impl Body {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Parts(head, parts) => head.len() + parts.len(),
        }
    }

    /// Whether there is nothing in it: the encoding of a message with default values only.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the encoding to a buffer.
    pub fn write_to(&self, buffer: &mut impl BufMut) {
        match self {
            Self::Whole(bytes) => buffer.put_slice(bytes),
            Self::Parts(head, parts) => {
                buffer.put_slice(head);
                parts.iter().for_each(|part| buffer.put_slice(part));
            }
        }
    }

    /// The encoding in one piece; copies where it is in parts.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::Whole(bytes) => bytes.clone(),
            Self::Parts(..) => {
                let mut whole = Vec::with_capacity(self.len());
                self.write_to(&mut whole);
                whole.into()
            }
        }
    }
}

impl Resource {
    /// Encodes a message. Its version is the fingerprint of the encoding.
    pub fn encode(
        name: impl Into<Arc<str>>,
        message: &impl Message,
        origins: impl Into<Arc<[Origin]>>,
    ) -> Self {
        let bytes = Bytes::from(message.encode_to_vec());
        let version = Version::of([&bytes[..]]);
        Self::new(name, Body::Whole(bytes), version, origins)
    }

    /// A resource from an encoding and its fingerprint. A name that begins with `xdstp:` is taken in its normalized form.
    ///
    /// The version must be a function of the encoding: for one in parts, of the parts.
    pub fn new(
        name: impl Into<Arc<str>>,
        body: Body,
        version: Version,
        origins: impl Into<Arc<[Origin]>>,
    ) -> Self {
        let name = name.into();
        let name = match normalized(&name) {
            Cow::Borrowed(_) => name,
            Cow::Owned(normalized) => normalized.into(),
        };
        Self(Arc::new(Inner {
            name,
            version,
            body,
            origins: origins.into(),
            rare: None,
        }))
    }

    /// The same, for a client to drop when it has not heard of it for so long. Clients that understand this are told in time that it
    /// still holds.
    #[must_use]
    pub fn with_ttl(self, ttl: Duration) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.0);
        let millis = ttl.as_millis().to_le_bytes();
        inner.version = inner
            .version
            .combined_with(Version::of([&b"ttl"[..], &millis]));
        inner.rare.get_or_insert_default().ttl = Some(ttl);
        Self(Arc::new(inner))
    }

    /// The same, found by these names too by clients that subscribe to them in delta.
    #[must_use]
    pub fn with_aliases(self, aliases: impl IntoIterator<Item = Arc<str>>) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.0);
        let mut aliases: Vec<_> = aliases.into_iter().collect();
        aliases.sort_unstable();
        aliases.dedup();
        let own = aliases.iter().map(|alias| alias.as_bytes());
        inner.version = inner.version.combined_with(Version::of(own));
        inner.rare.get_or_insert_default().aliases = aliases;
        Self(Arc::new(inner))
    }

    /// How long a client may keep it without hearing of it.
    pub fn ttl(&self) -> Option<Duration> {
        self.0.rare.as_ref()?.ttl
    }

    /// Other names that it is found by, in order.
    pub fn aliases(&self) -> &[Arc<str>] {
        self.0.rare.as_ref().map_or(&[], |rare| &rare.aliases)
    }

    /// The name by which proxies subscribe to it.
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// The fingerprint of its content.
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// Its encoding.
    pub fn body(&self) -> &Body {
        &self.0.body
    }

    /// The objects that it was made from. Not part of the fingerprint.
    pub fn origins(&self) -> &Arc<[Origin]> {
        &self.0.origins
    }
}

/// Equal where a proxy could not tell them apart.
impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.version == other.0.version && self.0.name == other.0.name)
    }
}

impl Eq for Resource {}

impl fmt::Debug for Resource {
    /// Without its content, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}@{} ({} bytes)",
            self.0.name,
            self.0.version,
            self.0.body.len()
        )
    }
}
