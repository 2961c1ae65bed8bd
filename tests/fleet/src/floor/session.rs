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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base64::{Engine, prelude::BASE64_STANDARD};
    use bowline_proto::{
        Message, any,
        envoy::{
            config::{core::v3::Node, endpoint::v3::ClusterLoadAssignment},
            service::discovery::v3::{
                DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
                Resource,
            },
        },
    };

    use super::*;
    use crate::{
        proxy::request::FRAME_HEAD,
        recording::{Script, Update},
    };

    fn resource(name: &str, version: &str) -> String {
        let resource = Resource {
            name: name.to_owned(),
            version: version.to_owned(),
            resource: Some(any(&ClusterLoadAssignment {
                cluster_name: name.to_owned(),
                ..ClusterLoadAssignment::default()
            })),
            ..Resource::default()
        };
        BASE64_STANDARD.encode(resource.encode_to_vec())
    }

    /// Two places: `a` is served in both, `b` and `c` in one each.
    fn book() -> Arc<Book> {
        let script = Script {
            resources: ["a", "b", "c"].map(|name| resource(name, "1")).to_vec(),
            groups: BTreeMap::from([(
                Kind::Endpoints.url().to_owned(),
                vec![vec![0, 1], vec![0, 2]],
            )]),
            nodes: Vec::new(),
        };
        let book = Book::default();
        book.load(&script).unwrap();
        Arc::new(book)
    }

    fn update(book: &Book, name: &str, version: &str, groups: &[usize]) {
        let update = Update {
            type_url: Kind::Endpoints.url().to_owned(),
            groups: groups.to_vec(),
            resource: resource(name, version),
        };
        book.update(&[update]).unwrap();
    }

    fn node(place: usize) -> Option<Node> {
        Some(Node {
            cluster: format!("0/{place}/0"),
            ..Node::default()
        })
    }

    fn ask(place: usize, nonce: &str) -> Vec<u8> {
        DeltaDiscoveryRequest {
            node: node(place),
            type_url: Kind::Endpoints.url().to_owned(),
            response_nonce: nonce.to_owned(),
            ..DeltaDiscoveryRequest::default()
        }
        .encode_to_vec()
    }

    /// Names with versions; the frame has to be as long as it says.
    fn read(parts: Parts) -> Vec<String> {
        let frame = parts.concat();
        let (head, message) = frame.split_at(FRAME_HEAD);
        let len = u32::try_from(message.len()).unwrap();
        assert_eq!((head[0], &head[1..]), (0, &len.to_be_bytes()[..]));
        let response = DeltaDiscoveryResponse::decode(message).unwrap();
        assert_eq!(response.type_url, Kind::Endpoints.url());
        let resources = response.resources.into_iter();
        resources
            .map(|resource| format!("{}@{}", resource.name, resource.version))
            .collect()
    }

    #[test]
    fn a_stream_gets_what_its_group_is_served() {
        let book = book();
        for (place, expected) in [(0, ["a@1", "b@1"]), (1, ["a@1", "c@1"])] {
            let mut session = Session::new(book.clone(), Variant::Delta);
            let answer = session.receive(&ask(place, "")).unwrap().unwrap();
            assert_eq!(read(answer), expected);
            assert!(session.receive(&ask(place, "floor")).unwrap().is_none());
        }
        let mut session = Session::new(book, Variant::StateOfTheWorld);
        let request = DiscoveryRequest {
            node: node(1),
            type_url: Kind::Endpoints.url().to_owned(),
            ..DiscoveryRequest::default()
        };
        let answer = session.receive(&request.encode_to_vec()).unwrap().unwrap();
        let answer = DiscoveryResponse::decode(&answer.concat()[FRAME_HEAD..]).unwrap();
        assert_eq!(answer.resources.len(), 2);
    }

    #[test]
    fn changes_wait_for_the_acknowledgement_and_become_one() {
        let book = book();
        let mut session = Session::new(book.clone(), Variant::Delta);
        session.receive(&ask(0, "")).unwrap();
        update(&book, "a", "2", &[0, 1]);
        update(&book, "c", "2", &[1]);
        update(&book, "a", "3", &[0, 1]);
        assert!(session.news().is_empty());
        let answer = session.receive(&ask(0, "floor")).unwrap().unwrap();
        assert_eq!(read(answer), ["a@3"]);
        assert!(session.receive(&ask(0, "floor")).unwrap().is_none());
        // What concerns others only is no news.
        update(&book, "c", "3", &[1]);
        assert!(session.news().is_empty());
        update(&book, "b", "2", &[0]);
        let news: Vec<_> = session.news().into_iter().map(read).collect();
        assert_eq!(news, [["b@2"]]);

        // Who comes later gets the newest of everything.
        let mut late = Session::new(book, Variant::Delta);
        let answer = late.receive(&ask(0, "")).unwrap().unwrap();
        assert_eq!(read(answer), ["a@3", "b@2"]);
    }

    #[test]
    fn a_proxy_that_holds_everything_is_sent_nothing() {
        let mut session = Session::new(book(), Variant::Delta);
        let mut request = DeltaDiscoveryRequest::decode(&ask(0, "")[..]).unwrap();
        request
            .initial_resource_versions
            .insert("a".to_owned(), "1".to_owned());
        assert!(session.receive(&request.encode_to_vec()).unwrap().is_none());
    }

    #[test]
    fn a_request_that_cannot_be_understood_is_an_error() {
        let mut session = Session::new(book(), Variant::Delta);
        let mut request = DeltaDiscoveryRequest::decode(&ask(0, "")[..]).unwrap();
        request.node = Some(Node {
            cluster: "cart".to_owned(),
            ..Node::default()
        });
        assert!(session.receive(&request.encode_to_vec()).is_err());
        assert!(session.receive(b"\xff").is_err());
    }
}
