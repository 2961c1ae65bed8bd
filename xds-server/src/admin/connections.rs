//! Connections to the admin API: not too many, and none that says nothing for long.
//!
//! Whoever reaches the port could otherwise use up the process's file descriptors, and with them those of the proxies.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// A listener that has only so many connections at a time; more wait in the kernel's queue.
#[derive(Debug)]
pub(super) struct Bounded<L> {
    listener: L,
    places: Arc<Semaphore>,
    idle_max: Duration,
}

/// A connection that fails when nothing was read or written for a while, and gives its place back when it ends.
#[derive(Debug)]
pub(super) struct Connection<S> {
    stream: S,
    idle_max: Duration,
    idle: Pin<Box<Sleep>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl<L> Bounded<L> {
    pub(super) fn new(listener: L) -> Self {
        Self::with_limits(listener, CONNECTIONS_MAX, IDLE_MAX)
    }

    fn with_limits(listener: L, connections_max: usize, idle_max: Duration) -> Self {
        Self {
            listener,
            places: Arc::new(Semaphore::new(connections_max)),
            idle_max,
        }
    }
}

impl<L: Listener> Listener for Bounded<L> {
    type Io = Connection<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // The semaphore is never closed, so there is always a place in the end.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, address) = self.listener.accept().await;
        let connection = Connection {
            stream,
            idle_max: self.idle_max,
            idle: Box::pin(sleep(self.idle_max.min(FIRST_WORD_MAX))),
            _place: place,
        };
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

impl<S> Connection<S> {
    /// Passes on what the stream says. While it says nothing, time runs.
    fn progress<T>(
        &mut self,
        context: &mut Context<'_>,
        said: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if said.is_ready() {
            let until = Instant::now() + self.idle_max;
            self.idle.as_mut().reset(until);
            return said;
        }
        ready!(self.idle.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let said = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.progress(context, said)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let said = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.progress(context, said)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let said = Pin::new(&mut self.stream).poll_flush(context);
        self.progress(context, said)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let said = Pin::new(&mut self.stream).poll_shutdown(context);
        self.progress(context, said)
    }
}

const CONNECTIONS_MAX: usize = 256;
/// Longer than Prometheus and probes pause between requests, which come over connections that are kept.
const IDLE_MAX: Duration = Duration::from_secs(120);
/// Who connects and says nothing at all gives the place back soon: probes of the process's health must not wait for a port scan.
const FIRST_WORD_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn bounded(connections_max: usize, idle_max: Duration) -> Bounded<TcpListener> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Bounded::with_limits(listener, connections_max, idle_max)
    }

    #[tokio::test]
    async fn a_connection_waits_for_a_place() {
        let mut listener = bounded(1, IDLE_MAX).await;
        let address = listener.local_addr().unwrap();
        let _clients = (
            TcpStream::connect(address).await,
            TcpStream::connect(address).await,
        );
        let (first, _) = listener.accept().await;
        let mut first = Some(first);
        let mut second = std::pin::pin!(listener.accept());
        // Polled in this order: while the first connection has the place, the second does not get it.
        tokio::select! {
            biased;
            _ = &mut second => panic!("two connections have one place"),
            () = std::future::ready(()) => drop(first.take()),
        }
        second.await;
    }

    #[tokio::test]
    async fn a_connection_that_says_nothing_ends() {
        let mut listener = bounded(1, Duration::from_millis(1)).await;
        let _client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (mut connection, _) = listener.accept().await;
        let error = connection.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
