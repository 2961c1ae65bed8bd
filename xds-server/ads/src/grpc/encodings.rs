//! Responses as bytes, encoded once for all streams that are told the same.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bowline_snapshot::Version;
use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::PREFIX_LEN;
use crate::{response::Response, session::Protocol, wire};

/// Responses below this size are cheaper to encode again than to look up and send in two pieces.
const SHARED_MIN: usize = 16 * 1024;

/// What shared encodings may hold in all. What does not fit is encoded for its stream alone.
const SHARED_MAX: usize = 64 * 1024 * 1024;

/// How long an encoding is kept that nobody asks for. Streams that connect or are woken together come within this time.
const KEPT_FOR: Duration = Duration::from_secs(5);

/// One message with its prefix, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// All of it, or all but what only this stream gets.
    pub(crate) head: Bytes,
    pub(crate) rest: Option<Bytes>,
}

impl Encoded {
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.rest.as_ref().map_or(0, Bytes::len)
    }
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
    head: Bytes,
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
        let body = P::body_len(response, &self.control_plane);
        let message = body + nonce.field_len();
        if body < SHARED_MIN {
            let mut bytes = BytesMut::with_capacity(PREFIX_LEN + message);
            put_prefix(message, &mut bytes);
            P::write_body(response, &self.control_plane, &mut bytes);
            nonce.write(&mut bytes);
            return Encoded {
                head: bytes.freeze(),
                rest: None,
            };
        }
        let mut rest = BytesMut::with_capacity(nonce.field_len());
        nonce.write(&mut rest);
        Encoded {
            head: self.shared::<P>(response, body, message),
            rest: Some(rest.freeze()),
        }
    }

    /// All but the nonce, whose length is the same for nearly all streams and counts as content here.
    fn shared<P: Protocol>(&self, response: &Response, body: usize, message: usize) -> Bytes {
        let content = response.content(P::VARIANT, message);
        let now = Instant::now();
        if let Some(entry) = self.shared.lock().by_content.get_mut(&content) {
            entry.used = now;
            return entry.head.clone();
        }
        // Not under the lock: this is where the time goes. Two streams may do it at once, and one result is kept.
        let mut bytes = BytesMut::with_capacity(PREFIX_LEN + body);
        put_prefix(message, &mut bytes);
        P::write_body(response, &self.control_plane, &mut bytes);
        let head = bytes.freeze();
        self.shared.lock().insert(content, head, now)
    }

    /// Forgets what nobody has asked for lately, for ever.
    pub(crate) async fn forget_unused(&self) {
        let mut ticks = tokio::time::interval(KEPT_FOR);
        loop {
            ticks.tick().await;
            self.shared.lock().forget_unused(Instant::now());
        }
    }
}

impl Shared {
    fn insert(&mut self, content: Version, head: Bytes, now: Instant) -> Bytes {
        if self.bytes + head.len() > SHARED_MAX {
            self.forget_unused(now);
        }
        if self.bytes + head.len() > SHARED_MAX {
            return head;
        }
        let entry = self.by_content.entry(content).or_insert_with(|| {
            self.bytes += head.len();
            Entry { head, used: now }
        });
        entry.head.clone()
    }

    fn forget_unused(&mut self, now: Instant) {
        self.by_content.retain(|_, entry| {
            let is_kept = entry.used + KEPT_FOR >= now;
            if !is_kept {
                self.bytes -= entry.head.len();
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
