//! Responses, read as far as a fleet needs.

use anyhow::{Result, bail};

use super::{
    fields::{Field, Fields, text},
    kind::Kind,
};

/// Which protocol a stream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variant {
    /// Everything of a kind at once.
    StateOfTheWorld,
    /// What has changed.
    Delta,
}

impl Variant {
    /// The method of the aggregated service.
    pub fn path(self) -> &'static str {
        match self {
            Self::StateOfTheWorld => {
                "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
            }
            Self::Delta => {
                "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
            }
        }
    }
}

/// A response without what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// What it is about.
    pub kind: Kind,
    /// The version of all, in state of the world.
    pub version: &'a str,
    /// What an acknowledgement of it carries.
    pub nonce: &'a str,
}

/// Something in a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A resource: a `Resource` in delta, an `Any` in state of the world.
    Resource(&'a [u8]),
    /// The name of a resource that does not exist.
    Removed(&'a str),
}

/// What a response is about. The fields have the same numbers in both variants.
///
/// # Errors
/// When it cannot be read, or is about nothing that was asked for.
pub fn head(message: &[u8]) -> Result<Head<'_>> {
    let (mut version, mut type_url, mut nonce) = (&[][..], &[][..], &[][..]);
    for field in Fields::of(message) {
        match field? {
            Field::Bytes(1, bytes) => version = bytes,
            Field::Bytes(4, bytes) => type_url = bytes,
            Field::Bytes(5, bytes) => nonce = bytes,
            Field::Bytes(_, _) | Field::Number(_, _) => {}
        }
    }
    let Some(kind) = Kind::of(type_url) else {
        bail!(
            "a response of type '{}', which nobody has asked for",
            String::from_utf8_lossy(type_url)
        );
    };
    if nonce.is_empty() {
        bail!("a response with {kind:?} has no nonce");
    }
    Ok(Head {
        kind,
        version: text(version)?,
        nonce: text(nonce)?,
    })
}

/// What is in a response.
pub fn entries(message: &[u8], variant: Variant) -> impl Iterator<Item = Result<Entry<'_>>> {
    Fields::of(message).filter_map(move |field| match (field, variant) {
        (Ok(Field::Bytes(2, bytes)), _) => Some(Ok(Entry::Resource(bytes))),
        (Ok(Field::Bytes(6, bytes)), Variant::Delta) => Some(text(bytes).map(Entry::Removed)),
        (Ok(_), _) => None,
        (Err(error), _) => Some(Err(error)),
    })
}
