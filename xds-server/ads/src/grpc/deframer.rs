//! Messages out of a body's chunks.

use bytes::{Buf, Bytes, BytesMut};
use tonic::Status;

use super::PREFIX_LEN;

/// Room that is made for a message before its bytes have come. A peer that only announces much costs no more than this.
const ROOM_AT_ONCE: usize = 64 * 1024;

/// Cuts a body into messages. Holds nothing between them.
#[derive(Debug, Default)]
pub(super) struct Deframer {
    /// What has come and was not looked at.
    chunk: Bytes,
    /// The beginning of a message that spans chunks, with its prefix.
    begun: BytesMut,
}

impl Deframer {
    /// Takes the next chunk, after [`Self::next`] has found nothing more.
    pub(super) fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "chunks are used up one by one");
        self.chunk = chunk;
    }

    /// The next whole message.
    ///
    /// # Errors
    /// When what comes is no gRPC, is compressed, or is longer than the limit.
    pub(super) fn next(&mut self, bytes_max: usize) -> Result<Option<Bytes>, Status> {
        if self.begun.is_empty() {
            // The usual case: whole messages in one chunk, of which nothing is copied.
            if let Some(len) = announced(&self.chunk, bytes_max)?
                && self.chunk.len() >= PREFIX_LEN + len
            {
                self.chunk.advance(PREFIX_LEN);
                let message = self.chunk.split_to(len);
                if self.chunk.is_empty() {
                    self.chunk = Bytes::new();
                }
                return Ok(Some(message));
            }
        }
        loop {
            let len = announced(&self.begun, bytes_max)?;
            let missing = PREFIX_LEN + len.unwrap_or(0) - self.begun.len();
            if len.is_some() && missing == 0 {
                let mut message = std::mem::take(&mut self.begun).freeze();
                message.advance(PREFIX_LEN);
                return Ok(Some(message));
            }
            if self.chunk.is_empty() {
                self.chunk = Bytes::new();
                return Ok(None);
            }
            let taken = self.chunk.split_to(missing.min(self.chunk.len()));
            self.begun
                .reserve(taken.len().max(missing.min(ROOM_AT_ONCE)));
            self.begun.extend_from_slice(&taken);
        }
    }

    /// Whether the body may end here.
    pub(super) fn is_between_messages(&self) -> bool {
        self.chunk.is_empty() && self.begun.is_empty()
    }
}

/// The length that a prefix announces, if it is there.
fn announced(bytes: &[u8], bytes_max: usize) -> Result<Option<usize>, Status> {
    let Some(([compressed], len)) = bytes
        .first_chunk::<PREFIX_LEN>()
        .and_then(|prefix| prefix.split_first_chunk::<1>())
        .and_then(|(compressed, len)| Some((compressed, len.first_chunk::<4>()?)))
    else {
        return Ok(None);
    };
    match compressed {
        0 => {}
        1 => {
            return Err(Status::unimplemented(
                "requests must not be compressed: no encoding was offered",
            ));
        }
        other => {
            return Err(Status::internal(format!(
                "no gRPC message begins with the byte {other}"
            )));
        }
    }
    let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
    if len > bytes_max {
        return Err(Status::resource_exhausted(format!(
            "a request of {len} bytes is larger than the limit of {bytes_max} (xds.limits.request_bytes_max)"
        )));
    }
    Ok(Some(len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tonic::Code;

    use super::*;

    fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for message in messages {
            bytes.push(0);
            bytes.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(message);
        }
        bytes
    }

    fn drain(deframer: &mut Deframer) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| deframer.next(1 << 20).unwrap())
            .map(|message| message.to_vec())
            .collect()
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_the_body_is_cut(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            cuts in prop::collection::vec(1_usize..30, 1..40),
        ) {
            let bytes = Bytes::from(framed(&messages));
            let mut deframer = Deframer::default();
            let (mut read, mut at) = (Vec::new(), 0);
            for cut in cuts.iter().cycle() {
                if at == bytes.len() {
                    break;
                }
                let end = (at + cut).min(bytes.len());
                deframer.push(bytes.slice(at..end));
                read.extend(drain(&mut deframer));
                at = end;
            }
            prop_assert_eq!(read, messages);
            prop_assert!(deframer.is_between_messages());
        }
    }

    #[test]
    fn a_message_that_is_only_announced_costs_no_memory() {
        let mut deframer = Deframer::default();
        deframer.push(Bytes::from_static(&[0, 0x03, 0xff, 0xff, 0xff, 7]));
        assert!(deframer.next(64 << 20).unwrap().is_none());
        assert!(deframer.begun.capacity() <= 2 * ROOM_AT_ONCE);
        assert!(!deframer.is_between_messages());
    }

    #[test]
    fn nothing_is_held_between_messages() {
        let mut deframer = Deframer::default();
        let bytes = Bytes::from(framed(&[vec![7; 1000]]));
        for part in [bytes.slice(..500), bytes.slice(500..)] {
            deframer.push(part);
            drain(&mut deframer);
        }
        assert_eq!(deframer.begun.capacity(), 0);
    }

    #[test]
    fn what_is_too_long_compressed_or_no_grpc_is_refused() {
        for (bytes, expected) in [
            (&[0, 0, 0, 4, 1][..], Code::ResourceExhausted),
            (&[1, 0, 0, 0, 1], Code::Unimplemented),
            (b"GET / HTTP/1.1", Code::Internal),
        ] {
            let mut deframer = Deframer::default();
            deframer.push(Bytes::from_static(bytes));
            assert_eq!(
                deframer.next(1024).unwrap_err().code(),
                expected,
                "{bytes:?}"
            );
        }
    }
}
