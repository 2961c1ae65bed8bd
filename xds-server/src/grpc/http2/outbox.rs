//! What a connection writes, until it is sent.
//!
//! h2 writes each frame by itself, and asks for it to be sent before it writes the next. A response of many frames would be as many calls
//! of the system, packets, and moments in which its client is woken for a part of it.

use std::{
    io::{self, IoSlice},
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are gathered before they are sent without being asked for. It is about what the system takes at once.
const GATHERED_MAX: usize = 64 * 1024;
/// A write of so much is a frame that is full, after which more will come.
const FULL: usize = 16 * 1024;

/// A stream that gathers what is written to it until [`Outbox::poll_send`]; to flush it does nothing. All clones are the same.
#[derive(Debug)]
pub(super) struct Outbox<I>(Arc<Mutex<Gathering<I>>>);

#[derive(Debug)]
struct Gathering<I> {
    stream: I,
    /// Of which the first are sent already. Nothing is kept of what is sent whole.
    gathered: Vec<u8>,
    sent: usize,
    /// Whether the stream was given something that it may hold back.
    is_unflushed: bool,
}

impl<I> Outbox<I> {
    pub(super) fn new(stream: I) -> Self {
        Self(Arc::new(Mutex::new(Gathering {
            stream,
            gathered: Vec::new(),
            sent: 0,
            is_unflushed: false,
        })))
    }
}

impl<I> Clone for Outbox<I> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<I: AsyncWrite + Unpin> Outbox<I> {
    /// Sends what was gathered.
    pub(super) fn poll_send(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll_send(context)
    }
}

impl<I: AsyncWrite + Unpin> Gathering<I> {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest @ [_, ..]) = self.gathered.get(self.sent..) {
            match ready!(Pin::new(&mut self.stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
            self.is_unflushed = true;
        }
        if self.is_unflushed {
            // A connection that is silent holds no buffer.
            drop(mem::take(&mut self.gathered));
            self.sent = 0;
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes what there is room for.
    fn poll_gather(
        &mut self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.gathered.len() >= GATHERED_MAX {
            ready!(self.poll_send(context))?;
        }
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if self.gathered.is_empty() {
            self.gathered
                .reserve_exact(if len < FULL { len } else { GATHERED_MAX });
        }
        let room = GATHERED_MAX - self.gathered.len();
        let mut left = len.min(room);
        for part in parts {
            let (taken, _) = part.split_at(part.len().min(left));
            self.gathered.extend_from_slice(taken);
            left -= taken.len();
        }
        Poll::Ready(Ok(len.min(room)))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Outbox<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().stream).poll_read(context, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Outbox<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_gather(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_gather(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gathering = &mut *self.0.lock();
        ready!(gathering.poll_send(context))?;
        Pin::new(&mut gathering.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// A stream that takes so many bytes, and says what it was given in each call.
    #[derive(Debug, Default)]
    struct Wire {
        room: usize,
        calls: Vec<usize>,
        flushed: usize,
        is_shut_down: bool,
    }

    impl AsyncWrite for Wire {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.room);
            if taken == 0 {
                return Poll::Pending;
            }
            self.room -= taken;
            self.calls.push(taken);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.flushed += 1;
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.is_shut_down = true;
            Poll::Ready(Ok(()))
        }
    }

    fn outbox(room: usize) -> Outbox<Wire> {
        Outbox::new(Wire {
            room,
            ..Wire::default()
        })
    }

    /// Writes as h2 does: head and payload, and asks for them to be sent. How much was taken, if any.
    fn write(outbox: &mut Outbox<Wire>, payload: usize) -> Option<usize> {
        let context = &mut Context::from_waker(Waker::noop());
        let (head, payload) = ([0; 9], vec![1; payload]);
        let parts = [IoSlice::new(&head), IoSlice::new(&payload)];
        let written = Pin::new(&mut *outbox).poll_write_vectored(context, &parts);
        assert!(Pin::new(outbox).poll_flush(context).is_ready());
        match written {
            Poll::Ready(written) => Some(written.unwrap()),
            Poll::Pending => None,
        }
    }

    fn send(outbox: &Outbox<Wire>) -> bool {
        let context = &mut Context::from_waker(Waker::noop());
        outbox.poll_send(context).map(Result::unwrap).is_ready()
    }

    #[test]
    fn what_is_written_in_one_turn_goes_out_in_one_call_and_nothing_is_kept() {
        let mut outbox = outbox(usize::MAX);
        for _ in 0..3 {
            assert_eq!(write(&mut outbox, FULL), Some(FULL + 9));
        }
        assert!(outbox.0.lock().stream.calls.is_empty());
        assert!(send(&outbox));
        assert!(send(&outbox));
        let gathering = outbox.0.lock();
        assert_eq!(gathering.stream.calls, [3 * (FULL + 9)]);
        assert_eq!(gathering.stream.flushed, 1);
        assert_eq!(gathering.gathered.capacity(), 0);
    }

    #[test]
    fn what_a_client_does_not_read_is_gathered_up_to_a_limit() {
        let mut outbox = outbox(10);
        let mut written = 0;
        while let Some(more) = write(&mut outbox, FULL) {
            written += more;
        }
        // Some of it has gone; the rest waits, and no more is taken.
        assert_eq!(written, GATHERED_MAX);
        assert!(!send(&outbox));
        outbox.0.lock().stream.room = usize::MAX;
        assert!(send(&outbox));
        let sent: usize = outbox.0.lock().stream.calls.iter().sum();
        assert_eq!(sent, written);
        assert_eq!(write(&mut outbox, 1), Some(10));
    }

    #[test]
    fn a_connection_that_ends_has_sent_all() {
        let mut outbox = outbox(10);
        write(&mut outbox, 91);
        let context = &mut Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut outbox).poll_shutdown(context).is_pending());
        assert!(!outbox.0.lock().stream.is_shut_down);
        outbox.0.lock().stream.room = 90;
        assert!(Pin::new(&mut outbox).poll_shutdown(context).is_ready());
        assert!(outbox.0.lock().stream.is_shut_down);
    }
}
