//! A stream of a floor: what was asked for, and what was not acknowledged yet.

use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;

use super::book::{Book, Wanted, framed};
use crate::{
    proxy::{
        fields::{Field, Fields, bytes_of, text},
        kind::{Kind, PerKind},
        response::Variant,
    },
    recording::group_of,
    world::Group,
};

/// A stream, without what carries it.
#[derive(Debug)]
pub struct Session {
    book: Arc<Book>,
    variant: Variant,
    group: Option<Group>,
    tracks: PerKind<Track>,
}

#[derive(Debug, Default, Clone, Copy)]
enum Track {
    /// Not asked for.
    #[default]
    Unknown,
    /// Sent and not acknowledged; up to which place of the log.
    Sent(usize),
    /// Acknowledged.
    Idle(usize),
}

/// A response, in parts to be sent one after the other, with gRPC's framing.
pub type Parts = Vec<Bytes>;

impl Session {
    /// A stream on which nothing was asked for.
    pub fn new(book: Arc<Book>, variant: Variant) -> Self {
        Self {
            book,
            variant,
            group: None,
            tracks: PerKind::default(),
        }
    }

    /// Takes a request: what to send.
    ///
    /// # Errors
    /// When it cannot be understood.
    pub fn receive(&mut self, message: &[u8]) -> Result<Option<Parts>> {
        let request = Request::of(message, self.variant)?;
        let group = match self.group {
            Some(group) => group,
            None => *self.group.insert(group(request.node)?),
        };
        let kind = request.kind;
        let number = group_of(group, kind);
        match *self.tracks.of(kind) {
            Track::Unknown => {
                let (entries, at) = self.book.everything(kind, number, self.variant);
                if request.has_versions {
                    // A proxy that has come back holds it all.
                    *self.tracks.of_mut(kind) = Track::Idle(at);
                    return Ok(kind.is_wildcard().then(|| framed(kind, &[])));
                }
                *self.tracks.of_mut(kind) = Track::Sent(at);
                Ok(Some(framed(kind, &entries)))
            }
            Track::Sent(at) if request.is_answer => {
                *self.tracks.of_mut(kind) = Track::Idle(at);
                Ok(self.news_of(kind))
            }
            Track::Sent(_) | Track::Idle(_) => Ok(None),
        }
    }

    /// What has changed since it was sent, of what is acknowledged.
    pub fn news(&mut self) -> Vec<Parts> {
        Kind::ALL
            .into_iter()
            .filter_map(|kind| self.news_of(kind))
            .collect()
    }

    fn news_of(&mut self, kind: Kind) -> Option<Parts> {
        let Track::Idle(from) = *self.tracks.of(kind) else {
            return None;
        };
        let to = self.book.position();
        if from == to {
            return None;
        }
        let wanted = Wanted {
            kind,
            group: group_of(self.group?, kind),
            variant: self.variant,
            from,
            to,
        };
        let changed = self.book.changed(wanted);
        *self.tracks.of_mut(kind) = match changed {
            Some(_) => Track::Sent(to),
            None => Track::Idle(to),
        };
        changed.map(|frame| vec![frame])
    }
}

/// What a floor reads of a request.
struct Request<'a> {
    kind: Kind,
    node: &'a [u8],
    is_answer: bool,
    has_versions: bool,
}

impl<'a> Request<'a> {
    fn of(message: &'a [u8], variant: Variant) -> Result<Self> {
        let (mut node, mut type_url) = (&[][..], &[][..]);
        let (mut is_answer, mut has_versions) = (false, false);
        for field in Fields::of(message) {
            let Field::Bytes(number, bytes) = field? else {
                continue;
            };
            match (variant, number) {
                (Variant::Delta, 1) | (Variant::StateOfTheWorld, 2) => node = bytes,
                (Variant::Delta, 2) | (Variant::StateOfTheWorld, 4) => type_url = bytes,
                (Variant::Delta, 5) => has_versions = true,
                (Variant::Delta, 6) | (Variant::StateOfTheWorld, 5) => is_answer = true,
                _ => {}
            }
        }
        Ok(Self {
            kind: Kind::of(type_url).context("an unknown type")?,
            node,
            is_answer,
            has_versions,
        })
    }
}

/// The numbers that the Node's cluster has.
fn group(node: &[u8]) -> Result<Group> {
    const CLUSTER: u32 = 2;
    let cluster = text(bytes_of(node, CLUSTER)?)?;
    let mut numbers = cluster.split('/').map(str::parse::<usize>);
    let mut next = || {
        let number = numbers.next().context("a number is missing")?;
        number.map_err(anyhow::Error::from)
    };
    let mut read = || -> Result<Group> {
        Ok(Group {
            workload: next()?,
            place: next()?,
            namespace: next()?,
        })
    };
    read().with_context(|| format!("the Node's cluster is '{cluster}'"))
}
