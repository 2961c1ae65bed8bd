//! Whether the peer of a connection is still there.
//!
//! A peer of which nothing is heard for a while is sent a PING. What counts is whatever is heard then: every peer that lives answers its
//! PINGs, and the buffers of one that has vanished are soon so full that no PING would leave.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

/// When something was last heard from a peer.
#[derive(Debug)]
pub(super) struct Heard {
    since: Instant,
    micros: AtomicU64,
}

impl Heard {
    fn note(&self) {
        let micros = self.since.elapsed().as_micros();
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        self.micros.store(micros, Ordering::Relaxed);
    }

    /// When that was.
    pub(super) fn last(&self) -> Instant {
        self.since + Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }
}

/// A connection that notes when something is heard on it.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    heard: Arc<Heard>,
}

impl<S> Watched<S> {
    /// Begins with the connection having been heard of now.
    pub(super) fn new(stream: S) -> (Self, Arc<Heard>) {
        let heard = Arc::new(Heard {
            since: Instant::now(),
            micros: AtomicU64::new(0),
        });
        let watched = Self {
            stream,
            heard: heard.clone(),
        };
        (watched, heard)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.heard.note();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_a_peer_says_is_a_sign_of_it_and_what_is_written_to_it_is_none() {
        let (mut peer, stream) = duplex(8);
        let (mut watched, heard) = Watched::new(stream);
        let begun = heard.last();
        tokio::time::advance(Duration::from_secs(1)).await;
        watched.write_all(b"x").await.unwrap();
        assert_eq!(heard.last(), begun);
        peer.write_all(b"x").await.unwrap();
        watched.read_u8().await.unwrap();
        assert_eq!(heard.last(), begun + Duration::from_secs(1));
    }
}
