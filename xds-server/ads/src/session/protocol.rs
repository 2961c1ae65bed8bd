//! What the two variants of the protocol do differently.

use std::sync::Arc;

use bowline_proto::{Message, envoy::config::core::v3::Node};
use bowline_snapshot::{Resource, ResourceType, Version};
use bytes::BufMut;
use serde::Serialize;

use super::{
    client::Client,
    received::RequestError,
    track::{Held, Track},
    work::{Context, Removals, Work},
};
use crate::{
    names::NameTable,
    response::{Entries, Extra, Response},
};

/// Characters of a client's type URL that a message repeats.
const TYPE_URL_SHOWN: usize = 200;

/// The variants of the aggregated discovery service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// A response lists what there is.
    StateOfTheWorld,
    /// A response lists what changed.
    Delta,
}

impl Variant {
    /// The name that logs, metrics and listings use.
    pub fn name(self) -> &'static str {
        match self {
            Self::StateOfTheWorld => "state-of-the-world",
            Self::Delta => "delta",
        }
    }
}

/// What requests of both variants have in common.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) node: Option<Node>,
    pub(crate) type_url: String,
    pub(crate) nonce: String,
    /// The client's reason to reject the response with the nonce.
    pub(crate) rejection: Option<String>,
}

impl Header {
    /// Completes a request to the service of one type.
    ///
    /// # Errors
    /// When it is about another type.
    pub(crate) fn imply_type(&mut self, type_url: &str) -> Result<(), RequestError> {
        if self.type_url.is_empty() {
            self.type_url = type_url.to_owned();
        }
        if self.type_url == type_url {
            return Ok(());
        }
        Err(RequestError::OtherType {
            served: type_url.to_owned(),
            requested: self.type_url.chars().take(TYPE_URL_SHOWN).collect(),
        })
    }
}

/// What to send, before it has a nonce.
pub(crate) struct Draft {
    pub(crate) version: Version,
    pub(crate) resources: Entries,
    /// How many of them, from the first, were taken out of the work's upserts or are its step.
    pub(crate) taken: usize,
    pub(crate) removed: Vec<Arc<str>>,
    pub(crate) extra: Option<Box<Extra>>,
}

impl Draft {
    /// The resources that are new or changed, given what was left of the work.
    pub(crate) fn upserts<'a>(
        &'a self,
        work: &'a Work,
    ) -> impl Iterator<Item = &'a Resource> + Clone {
        let taken = self.resources.iter().take(self.taken);
        work.upserts
            .iter()
            .chain(taken.map(|(resource, _)| resource))
    }
}

/// A variant: state of the world or delta. Stateless; all state is in the [`Track`].
pub(crate) trait Protocol: Send + Sync + 'static {
    type Request: Message + Default + 'static;
    /// What a request says besides the header.
    type Interest: Send;

    const VARIANT: Variant;

    /// # Errors
    /// When it says something that cannot be read.
    fn parse(request: Self::Request) -> Result<(Header, Self::Interest), RequestError>;

    /// Whether the request belongs to an earlier response and says nothing about now.
    fn is_outdated(track: &Track, nonce: &str) -> bool;

    /// Whether the client took over what it was sent, given that it does not reject it.
    fn is_accepted(interest: &Self::Interest, version: Version) -> bool;

    /// What a first request says that the client holds.
    fn held(interest: &mut Self::Interest) -> Held;

    /// Changes the subscription. `first` requests of a type may imply a wildcard.
    fn subscribe(track: &mut Track, interest: Self::Interest, order: Order, table: &NameTable);

    fn removals(resource_type: ResourceType) -> Removals;

    /// Whether a large response can be sent in several.
    fn can_split(resource_type: ResourceType) -> bool;

    /// Whether the client is told how long it may keep resources.
    fn has_ttl(client: Client) -> bool;

    /// What to say, if anything. It takes upserts out of the work that it says as they are: they are shared by all streams, and to count
    /// one more reference to each would cost as much as all else.
    fn draft(track: &Track, context: &Context<'_>, work: &mut Work) -> Option<Draft>;

    /// The answer to a request for a type that nobody serves, if there is one.
    fn deny(interest: Self::Interest, nonce: &str) -> Option<Vec<Arc<str>>>;

    /// Length of [`Self::write_entry`].
    fn entry_len(response: &Response, resource: &Resource) -> usize;

    /// Encodes one of the resources of a response: a function of the type, of the resource, of its version on the wire and, where
    /// resources have a time to live, of the version of the response.
    fn write_entry(response: &Response, entry: &(Resource, Version), buffer: &mut impl BufMut);

    /// Length of [`Self::write_rest`].
    fn rest_len(response: &Response, control_plane: &str) -> usize;

    /// Encodes what follows the resources, but for the nonce, which comes last.
    fn write_rest(response: &Response, control_plane: &str, buffer: &mut impl BufMut);
}

/// Whether a request is the first of its type on the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    First,
    Later,
}
