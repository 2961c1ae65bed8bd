//! Entries for fuzzers: any bytes go in, and what has to hold is checked. `fuzz/` gives them what libFuzzer makes up; the tests give
//! them its corpora and bytes at random.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bowline_proto::{
    envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest},
    google::rpc::Status,
};
use bowline_snapshot::{Body, Layer, Resource, ResourceType, Snapshot, Version};
use bytes::Bytes;
use futures_util::FutureExt;
use http_body::Frame;

use crate::{
    grpc::Requests,
    response::Response,
    session::{Client, Delta, Protocol, Session, StateOfTheWorld},
    settings::Settings,
};

/// Bytes as a client may send them on one stream, in both variants: gRPC frames of requests, or anything else.
///
/// # Panics
/// When a promise of the sessions is broken: that is what a fuzzer looks for.
pub fn requests(bytes: &[u8]) {
    read::<StateOfTheWorld>(bytes);
    read::<Delta>(bytes);
}

/// Bytes as a schedule of what happens to one stream, in both variants: snapshots, requests, answers, time.
///
/// # Panics
/// When a promise of the sessions is broken: that is what a fuzzer looks for.
pub fn schedule(bytes: &[u8]) {
    play::<StateOfTheWorld>(bytes);
    play::<Delta>(bytes);
}

/// A body that comes in one piece.
struct Whole(Option<Bytes>);

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|chunk| Ok(Frame::data(chunk))))
    }
}

const REQUEST_BYTES_MAX: usize = 64 * 1024;

fn read<P: Protocol>(bytes: &[u8]) {
    let body = Whole(Some(Bytes::copy_from_slice(bytes)));
    let mut requests = Requests::<_, P::Request>::new(body, REQUEST_BYTES_MAX);
    let mut stream = Stream::<P>::new();
    stream.session.update(snapshot(1, 0xff, 1));
    while let Some(Ok(Some(request))) = requests.next().now_or_never() {
        if !stream.receive(request) {
            return;
        }
    }
}

fn play<P: Played>(bytes: &[u8]) {
    let mut stream = Stream::<P>::new();
    let mut bytes = bytes.iter().copied();
    while let Some(action) = bytes.next() {
        let mut operand = || bytes.next().unwrap_or_default();
        match action % 6 {
            0 => {
                stream.generation += 1;
                let snapshot = snapshot(stream.generation, operand(), operand());
                stream.session.update(snapshot);
            }
            1 => {
                stream.generation += 1;
                let snapshot = snapshot(stream.generation, operand(), operand());
                stream.session.update(snapshot.partial());
            }
            2 => stream.now += Duration::from_secs(u64::from(operand()) / 8),
            answer => {
                let Some(resource_type) = one_of(&ResourceType::ALL, operand()) else {
                    return;
                };
                let (names, more) = (operand(), operand());
                let last = stream.last.get(&resource_type).cloned().unwrap_or_default();
                let error = (answer == 4).then(|| Status {
                    message: format!("bad {}", one_of(&NAMES, more).unwrap_or_default()),
                    ..Status::default()
                });
                let asked = Asked {
                    resource_type,
                    names,
                    more,
                    last,
                    error,
                };
                if !stream.receive(P::request(asked)) {
                    return;
                }
            }
        }
        stream.read();
    }
    stream.settle();
}

/// A request, as a schedule has it.
struct Asked {
    resource_type: ResourceType,
    /// Which of the names are listed, or subscribed to.
    names: u8,
    /// Which are unsubscribed from, or held.
    more: u8,
    /// Nonce and version of the last response.
    last: (String, String),
    error: Option<Status>,
}

trait Played: Protocol {
    fn request(asked: Asked) -> Self::Request;
}

impl Played for StateOfTheWorld {
    fn request(asked: Asked) -> DiscoveryRequest {
        DiscoveryRequest {
            type_url: asked.resource_type.url().to_owned(),
            resource_names: listed(asked.names),
            response_nonce: asked.last.0,
            version_info: asked.last.1,
            error_detail: asked.error,
            ..DiscoveryRequest::default()
        }
    }
}

impl Played for Delta {
    fn request(asked: Asked) -> Self::Request {
        let is_first = asked.last.0.is_empty();
        let more = listed(asked.more);
        let held = more.iter().map(|name| (name.clone(), asked.last.1.clone()));
        DeltaDiscoveryRequest {
            type_url: asked.resource_type.url().to_owned(),
            resource_names_subscribe: listed(asked.names),
            initial_resource_versions: if is_first {
                held.collect()
            } else {
                BTreeMap::new()
            },
            resource_names_unsubscribe: if is_first { Vec::new() } else { more },
            response_nonce: asked.last.0,
            error_detail: asked.error,
            ..DeltaDiscoveryRequest::default()
        }
        .into()
    }
}

/// More than any single event can lead to: every type has a few answers, and a few names.
const RESPONSES_MAX: usize = 200;

/// Deadlines after which a stream without events has nothing to do but to send heartbeats.
const DEADLINES_MAX: usize = 30;

struct Stream<P> {
    session: Session<P>,
    now: Instant,
    generation: u64,
    /// Nonce and version of the last response, by type.
    last: BTreeMap<ResourceType, (String, String)>,
    nonces: BTreeSet<u64>,
}

impl<P: Protocol> Stream<P> {
    fn new() -> Self {
        let settings = Settings {
            names_max: 1000,
            ..Settings::new("fuzz")
        };
        Self {
            session: Session::new(Arc::new(settings), Arc::default(), Client::PLAIN),
            now: Instant::now(),
            generation: 1,
            last: BTreeMap::new(),
            nonces: BTreeSet::new(),
        }
    }

    /// Says whether the stream goes on.
    fn receive(&mut self, request: P::Request) -> bool {
        let Ok((header, interest)) = P::parse(request) else {
            return false;
        };
        let is_taken = self.session.receive(header, interest, self.now).is_ok();
        if is_taken {
            self.read();
        }
        is_taken
    }

    fn read(&mut self) {
        for _ in 0..RESPONSES_MAX {
            let Some(response) = self.session.next(self.now) else {
                return;
            };
            self.check(&response);
        }
        assert!(
            self.session.next(self.now).is_none(),
            "it has more and more to say"
        );
    }

    fn check(&mut self, response: &Response) {
        let resources = response.resources.iter();
        let names = resources.map(|(resource, _)| resource.name());
        let names: Vec<&Arc<str>> = names.chain(&response.removed).collect();
        let distinct: BTreeSet<_> = names.iter().collect();
        assert_eq!(names.len(), distinct.len(), "a name twice in {names:?}");
        assert!(self.nonces.insert(response.nonce), "a nonce twice");
        for entry in response.resources.iter() {
            let (mut bytes, len) = (Vec::new(), P::entry_len(response, &entry.0));
            P::write_entry(response, entry, &mut bytes);
            assert_eq!(bytes.len(), len, "a length that is not that of the entry");
        }
        let (mut bytes, len) = (Vec::new(), P::rest_len(response, "fuzz"));
        P::write_rest(response, "fuzz", &mut bytes);
        assert_eq!(bytes.len(), len, "a length that is not that of the rest");
        if let Some(resource_type) = response.resource_type {
            let last = (response.nonce.to_string(), response.version.to_string());
            self.last.insert(resource_type, last);
        }
    }

    /// Nobody says anything any more: what waits must come to an end.
    fn settle(&mut self) {
        for _ in 0..DEADLINES_MAX {
            let Some(deadline) = self.session.next_deadline() else {
                return;
            };
            assert!(deadline > self.now, "it would wake for ever");
            self.now = deadline;
            self.read();
        }
    }
}

const NAMES: [&str; 8] = [
    "a",
    "b",
    "r/a",
    "r/b",
    "xdstp://x/t/a",
    "xdstp://x/t/*",
    "r",
    "*",
];

/// One of some, by any number.
fn one_of<T: Copy>(all: &[T], number: u8) -> Option<T> {
    let index = usize::from(number).checked_rem(all.len())?;
    all.get(index).copied()
}

/// The names whose bits are set.
fn listed(bits: u8) -> Vec<String> {
    let names = NAMES.iter().enumerate();
    names
        .filter(|(bit, _)| bits & (1 << bit) != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect()
}

/// Some names of every type; the bits of the content say what is on demand, has an alias or a time to live.
fn snapshot(generation: u64, names: u8, content: u8) -> Snapshot {
    let mut layer = Layer::default();
    for resource_type in ResourceType::ALL {
        for (bit, name) in NAMES.iter().take(5).enumerate() {
            if names & (1 << bit) == 0 {
                continue;
            }
            let bytes = Bytes::copy_from_slice(&[content % 4]);
            let version = Version::of([&bytes[..]]);
            let mut resource = Resource::new(*name, Body::Whole(bytes), version, []);
            if content & 0x10 != 0 && bit == 0 {
                resource = resource.with_ttl(Duration::from_secs(60));
            }
            if content & 0x20 != 0 && bit == 2 {
                resource = resource.with_aliases([Arc::from("r/b")]);
            }
            if content & 0x40 != 0 && bit > 1 {
                layer.upsert_on_demand(resource_type, resource);
            } else {
                layer.upsert(resource_type, resource);
            }
        }
    }
    Snapshot::new(generation, [Arc::new(layer)])
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use proptest::prelude::*;

    use super::*;

    fn corpus(name: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/corpus")
            .join(name);
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|entry| fs::read(entry.unwrap().path()).unwrap())
            .collect()
    }

    #[test]
    fn the_corpora_break_nothing() {
        let (requests, schedules) = (corpus("requests"), corpus("schedule"));
        assert!(!requests.is_empty() && !schedules.is_empty());
        requests.iter().for_each(|bytes| super::requests(bytes));
        schedules.iter().for_each(|bytes| schedule(bytes));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_bytes_on_a_stream_break_anything(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            requests(&bytes);
            // Framed, so that they come further.
            let mut framed = vec![0];
            framed.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
            framed.extend(&bytes);
            requests(&framed);
        }

        #[test]
        fn no_schedule_breaks_anything(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            schedule(&bytes);
        }
    }
}
