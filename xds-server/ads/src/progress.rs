//! Ends streams that take nothing.
//!
//! A stream is polled by its connection, and a connection does not poll a stream whose client has no room for more: the stream
//! itself cannot notice that time passes. So the supervisor holds the other end and takes away what the stream holds.

use std::{
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::Stream;
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::Status;
use tracing::warn;

use crate::grpc::Encoded;

type Responses = Pin<Box<dyn Stream<Item = Result<Encoded, Status>> + Send>>;

/// The streams of a server.
#[derive(Clone, Default)]
pub(crate) struct Streams {
    all: Arc<Mutex<Vec<Weak<Mutex<State>>>>>,
}

/// A stream that can be ended while nobody polls it.
pub(crate) struct Supervised(Arc<Mutex<State>>);

enum State {
    Running {
        responses: Responses,
        /// Since when a message waits to be taken: from when it was handed out until the connection asks for the next.
        waiting_since: Option<Instant>,
    },
    /// Ended from outside; the client is told if it should come back.
    Evicted,
    Ended,
}

impl Streams {
    pub(crate) fn supervise(
        &self,
        responses: impl Stream<Item = Result<Encoded, Status>> + Send + 'static,
    ) -> Supervised {
        let state = Arc::new(Mutex::new(State::Running {
            responses: Box::pin(responses),
            waiting_since: None,
        }));
        let mut all = self.all.lock();
        if all.len() == all.capacity() {
            // Before it grows: at most half of the table is streams that ended.
            all.retain(|stream| stream.strong_count() > 0);
        }
        all.push(Arc::downgrade(&state));
        Supervised(state)
    }

    /// Ends every stream that has waited for longer than the limit, for ever.
    pub(crate) async fn end_stuck(&self, limit: Duration) {
        // Often enough that no stream waits much longer than the limit.
        let mut ticks = tokio::time::interval((limit / 4).max(Duration::from_millis(1)));
        loop {
            ticks.tick().await;
            self.end_waiting_since_before(Instant::now() - limit);
        }
    }

    fn end_waiting_since_before(&self, limit: Instant) {
        let streams: Vec<_> = {
            let mut all = self.all.lock();
            all.retain(|stream| stream.strong_count() > 0);
            all.iter().filter_map(Weak::upgrade).collect()
        };
        for stream in streams {
            // A stream that is being polled makes progress.
            let Some(mut state) = stream.try_lock() else {
                continue;
            };
            let State::Running {
                waiting_since: Some(since),
                ..
            } = &*state
            else {
                continue;
            };
            if *since <= limit {
                let waited = since.elapsed();
                let ended = std::mem::replace(&mut *state, State::Evicted);
                drop(state);
                warn!(?waited, "a client takes no messages: its stream is ended");
                drop(ended);
            }
        }
    }
}

impl Stream for Supervised {
    type Item = Result<Encoded, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.0.lock();
        match &mut *state {
            State::Running {
                responses,
                waiting_since,
            } => {
                let polled = responses.as_mut().poll_next(context);
                *waiting_since = polled.is_ready().then(Instant::now);
                if matches!(polled, Poll::Ready(None)) {
                    *state = State::Ended;
                }
                polled
            }
            State::Evicted => {
                *state = State::Ended;
                Poll::Ready(Some(Err(Status::unavailable(
                    "the client took no messages for too long",
                ))))
            }
            State::Ended => Poll::Ready(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use bytes::Bytes;
    use futures_util::stream;

    use super::*;

    fn response() -> Encoded {
        Encoded {
            pieces: vec![Bytes::from_static(b"all")],
            len: 3,
        }
    }

    fn poll(stream: &mut Supervised) -> Poll<Option<Result<Encoded, Status>>> {
        Pin::new(stream).poll_next(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_whose_message_is_not_taken_ends_and_frees_what_it_holds() {
        let streams = Streams::default();
        let held = Arc::new(());
        let guard = held.clone();
        let mut stuck = streams.supervise(stream::repeat_with(move || {
            let _ = &guard;
            Ok(response())
        }));
        let mut idle = streams.supervise(stream::pending());
        assert!(poll(&mut stuck).is_ready());
        assert!(poll(&mut idle).is_pending());

        let limit = Duration::from_secs(60);
        let supervision = tokio::time::timeout(limit * 2, streams.end_stuck(limit));
        assert!(supervision.await.is_err());

        assert_eq!(Arc::strong_count(&held), 1);
        assert!(matches!(poll(&mut stuck), Poll::Ready(Some(Err(_)))));
        assert!(matches!(poll(&mut stuck), Poll::Ready(None)));
        assert!(poll(&mut idle).is_pending());
    }

    #[tokio::test(start_paused = true)]
    async fn streams_that_ended_are_forgotten() {
        let streams = Streams::default();
        for _ in 0..1000 {
            drop(streams.supervise(stream::pending()));
        }
        assert!(streams.all.lock().capacity() < 100);
    }
}
