//! Responses as bytes, encoded once for all streams that are told the same.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bowline_snapshot::{Resource, Version};
use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::PREFIX_LEN;
use crate::{
    response::{Entries, Response},
    session::Protocol,
    wire,
};

/// Responses below this size are cheaper to encode again than to look up and send in pieces.
const SHARED_MIN: usize = 16 * 1024;

/// A run of resources is encoded and shared as one piece. Between these sizes it ends where the version of a resource says so: runs of
/// different responses then begin and end at the same resources, also where one has a few that the other has not.
const RUN_MIN: usize = 16 * 1024;
const RUN_MAX: usize = 128 * 1024;

/// One resource of so many ends a run.
const RUN_END: u8 = 16;

/// What shared pieces may hold in all. What does not fit is encoded for its stream alone.
const SHARED_MAX: usize = 64 * 1024 * 1024;

/// How long a piece is kept that nobody asks for. Streams that connect or are woken together come within this time.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(2);

/// One message with its prefix, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// Of it, in order.
    pub(crate) pieces: Vec<Bytes>,
    /// Length in bytes.
    pub(crate) len: usize,
}

/// The encodings that streams share, by what they say. A server has one.
pub(crate) struct Encodings {
    control_plane: Arc<str>,
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    by_content: BTreeMap<Version, Entry>,
    bytes: usize,
}

struct Entry {
    piece: Bytes,
    used: Instant,
}

impl Encodings {
    /// Encodings of the server with this identifier.
    pub(crate) fn new(control_plane: Arc<str>) -> Self {
        Self {
            control_plane,
            shared: Mutex::default(),
        }
    }

    /// A response as the message that says it.
    pub(crate) fn encode<P: Protocol>(&self, response: &Response) -> Encoded {
        let nonce = wire::Nonce::of(response.nonce);
        let step = match &response.resources {
            Entries::Step(step) => Some(step.encoded(|entries| written::<P>(response, entries))),
            Entries::Own(_) => None,
        };
        let lengths = match step {
            Some(_) => Vec::new(),
            None => lengths::<P>(response, &response.resources),
        };
        let resources = step.map_or_else(|| lengths.iter().sum(), Bytes::len);
        let head = PREFIX_LEN + wire::type_version_len();
        let rest = P::rest_len(response, &self.control_plane) + nonce.field_len();
        let len = head + resources + rest;

        let is_small = len < SHARED_MIN;
        let mut bytes = BytesMut::with_capacity(if is_small { len } else { head });
        put_prefix(len - PREFIX_LEN, &mut bytes);
        wire::write_type_version(response.version, &mut bytes);
        if is_small {
            match step {
                Some(step) => bytes.put_slice(step),
                None => write::<P>(response, &response.resources, &mut bytes),
            }
            P::write_rest(response, &self.control_plane, &mut bytes);
            nonce.write(&mut bytes);
            let pieces = vec![bytes.freeze()];
            return Encoded { pieces, len };
        }
        let mut pieces = vec![bytes.freeze()];
        match step {
            Some(step) => pieces.push(step.clone()),
            None => pieces.extend(self.runs::<P>(response, &lengths)),
        }
        let mut bytes = BytesMut::with_capacity(rest);
        P::write_rest(response, &self.control_plane, &mut bytes);
        nonce.write(&mut bytes);
        pieces.push(bytes.freeze());
        Encoded { pieces, len }
    }

    /// The encodings of all resources, run by run, given the length of each.
    fn runs<P: Protocol>(&self, response: &Response, mut lengths: &[usize]) -> Vec<Bytes> {
        let mut resources = &response.resources[..];
        let mut pieces = Vec::new();
        while let Some((count, len)) = next_run(resources, lengths) {
            let (of_run, later) = resources.split_at(count);
            pieces.push(self.run::<P>(response, of_run, len));
            resources = later;
            lengths = lengths.get(count..).unwrap_or_default();
        }
        pieces
    }

    /// The encoding of a run, of this length.
    fn run<P: Protocol>(
        &self,
        response: &Response,
        entries: &[(Resource, Version)],
        len: usize,
    ) -> Bytes {
        let content = response.content(P::VARIANT, entries);
        let now = Instant::now();
        if let Some(entry) = self.shared.lock().by_content.get_mut(&content) {
            entry.used = now;
            return entry.piece.clone();
        }
        // Not under the lock: this is where the time goes. Two streams may do it at once, and one result is kept.
        let mut bytes = BytesMut::with_capacity(len);
        write::<P>(response, entries, &mut bytes);
        self.shared.lock().insert(content, bytes.freeze(), now)
    }

    /// Forgets what nobody has asked for lately.
    pub(crate) fn forget_unused(&self) {
        self.shared.lock().forget_unused(Instant::now());
    }
}

fn lengths<P: Protocol>(response: &Response, entries: &[(Resource, Version)]) -> Vec<usize> {
    let entries = entries.iter();
    entries
        .map(|(resource, _)| P::entry_len(response, resource))
        .collect()
}

fn write<P: Protocol>(
    response: &Response,
    entries: &[(Resource, Version)],
    buffer: &mut impl BufMut,
) {
    for entry in entries {
        P::write_entry(response, entry, buffer);
    }
}

fn written<P: Protocol>(response: &Response, entries: &[(Resource, Version)]) -> Bytes {
    let len = lengths::<P>(response, entries).iter().sum();
    let mut bytes = BytesMut::with_capacity(len);
    write::<P>(response, entries, &mut bytes);
    bytes.freeze()
}

/// How many of the resources the next run has, and its length; none where there are no more.
fn next_run(resources: &[(Resource, Version)], lengths: &[usize]) -> Option<(usize, usize)> {
    let mut total = 0;
    for (number, ((_, version), len)) in resources.iter().zip(lengths).enumerate() {
        total += len;
        let [first, ..] = version.to_bytes();
        if total >= RUN_MAX || total >= RUN_MIN && first % RUN_END == 0 {
            return Some((number + 1, total));
        }
    }
    (!resources.is_empty()).then_some((resources.len(), total))
}

impl Shared {
    fn insert(&mut self, content: Version, piece: Bytes, now: Instant) -> Bytes {
        if self.bytes + piece.len() > SHARED_MAX {
            self.forget_unused(now);
        }
        if self.bytes + piece.len() > SHARED_MAX {
            return piece;
        }
        let entry = self.by_content.entry(content).or_insert_with(|| {
            self.bytes += piece.len();
            Entry { piece, used: now }
        });
        entry.piece.clone()
    }

    fn forget_unused(&mut self, now: Instant) {
        self.by_content.retain(|_, entry| {
            let is_kept = entry.used + KEPT_FOR >= now;
            if !is_kept {
                self.bytes -= entry.piece.len();
            }
            is_kept
        });
    }
}

fn put_prefix(len: usize, buffer: &mut BytesMut) {
    buffer.put_u8(0);
    // Responses of 4 GiB cannot be said; snapshots are far from it, and a client would refuse the length.
    buffer.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use bowline_proto::{Message, envoy::service::discovery::v3::DeltaDiscoveryResponse};
    use bowline_snapshot::ResourceType;

    use super::*;
    use crate::{
        session::{Delta, Step},
        testing::resource,
    };

    fn response(names: impl IntoIterator<Item = u32>, nonce: u64) -> Response {
        let resources = names.into_iter().map(|number| {
            let resource = resource(
                &format!("name-{number:05}"),
                &format!("{number}").repeat(80),
            );
            let version = resource.version();
            (resource, version)
        });
        Response {
            resource_type: Some(ResourceType::CLUSTER),
            type_url: Cow::Borrowed(ResourceType::CLUSTER.url()),
            version: Version::of([&b"type"[..]]),
            resources: resources.collect(),
            removed: vec!["gone".into()],
            extra: None,
            quarantined: Vec::new(),
            nonce,
            generation: 1,
        }
    }

    fn encodings() -> Encodings {
        Encodings::new("cp".into())
    }

    /// The message, checked to be framed as it says.
    fn decoded(encoded: &Encoded) -> DeltaDiscoveryResponse {
        let bytes = encoded.pieces.concat();
        assert_eq!(bytes.len(), encoded.len);
        let (prefix, message) = bytes.split_at(PREFIX_LEN);
        let len = u32::try_from(message.len()).unwrap().to_be_bytes();
        assert_eq!(prefix, [&[0], &len[..]].concat());
        DeltaDiscoveryResponse::decode(message).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_in_pieces_reads_back_as_it_was_meant() {
        for count in [0, 1, 100, 3000] {
            let response = response(0..count, 7);
            let read = decoded(&encodings().encode::<Delta>(&response));
            assert_eq!(read.nonce, "00000007");
            assert_eq!(read.removed_resources, ["gone"]);
            assert_eq!(read.resources.len(), response.resources.len());
            for ((resource, version), entry) in response.resources.iter().zip(&read.resources) {
                assert_eq!(entry.name, **resource.name());
                assert_eq!(entry.version, version.to_string());
                let any = entry.resource.as_ref().unwrap();
                assert_eq!(any.value, resource.body().to_bytes());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_is_encoded_once_and_as_if_it_were_the_streams_own() {
        for count in [1, 10, 1000] {
            let own = response(0..count, 7);
            let step = Arc::new(Step::of(own.resources.iter().cloned()));
            let shared = Response {
                resources: Entries::Step(step.clone()),
                ..own.clone()
            };
            let encodings = encodings();
            let expected = encodings.encode::<Delta>(&own).pieces.concat();
            for _ in 0..2 {
                let encoded = encodings.encode::<Delta>(&shared);
                assert_eq!(encoded.pieces.concat(), expected);
                assert_eq!(encoded.len, expected.len());
            }
            step.encoded(|_| panic!("it was encoded before"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn responses_that_say_nearly_the_same_share_nearly_all() {
        let encodings = encodings();
        let one = encodings.encode::<Delta>(&response(0..3000, 1));
        let other = encodings.encode::<Delta>(&response((0..3000).filter(|name| *name != 42), 2));
        let is_shared = |piece: &&Bytes| {
            one.pieces
                .iter()
                .any(|other| other.as_ptr() == piece.as_ptr())
        };
        let own: usize = other
            .pieces
            .iter()
            .filter(|piece| !is_shared(piece))
            .map(Bytes::len)
            .sum();
        assert!(own * 4 < other.len, "{own} of {}", other.len);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_asks_for_is_forgotten() {
        let encodings = encodings();
        encodings.encode::<Delta>(&response(0..3000, 1));
        assert!(encodings.shared.lock().bytes > 0);
        tokio::time::advance(KEPT_FOR * 2).await;
        encodings.forget_unused();
        assert_eq!(encodings.shared.lock().bytes, 0);
    }
}
